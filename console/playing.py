"""The controls that play a figure with frames, for mouse and keyboard alike.

Plotly's own buttons and slider cannot be reached with the keyboard. These are buttons and a slider of HTML below the figure, and they show
its frames through the Plotly that drew it; nobody is asked for anything.
"""

from collections.abc import Sequence

import streamlit as st

from console.played import Played

SPEEDS = (1, 2, 4)
HTML = """
<div class="player" role="group" aria-label="Player">
  <button type="button" class="back" aria-label="One step back">⏮</button>
  <button type="button" class="play" aria-label="Play">▶</button>
  <button type="button" class="on" aria-label="One step on">⏭</button>
  <select aria-label="Pace"></select>
  <input type="range" min="0" step="1" aria-label="Moment">
  <output></output>
</div>
"""
CSS = """
.player { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; padding: 2px; font-family: var(--st-font); font-size: 14px; }
button, select {
  height: 34px; min-width: 40px; padding: 0 10px; font: inherit; color: var(--st-text-color); background: var(--st-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius); cursor: pointer;
}
button:hover, select:hover { border-color: var(--st-primary-color); }
:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
svg { display: block; width: 16px; height: 16px; margin: auto; fill: currentColor; }
input { flex: 1 1 160px; min-width: 120px; height: 24px; margin: 0; background: none; appearance: none; cursor: pointer; }
input::-webkit-slider-runnable-track {
  height: 4px; border-radius: 2px;
  background: linear-gradient(90deg, var(--st-primary-color) var(--share, 0%), var(--st-border-color) var(--share, 0%));
}
input::-webkit-slider-thumb {
  appearance: none; width: 14px; height: 14px; margin-top: -5px; border-radius: 50%; background: var(--st-primary-color);
}
input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--st-border-color); }
input::-moz-range-progress { height: 4px; border-radius: 2px; background: var(--st-primary-color); }
input::-moz-range-thumb { width: 14px; height: 14px; border: 0; border-radius: 50%; background: var(--st-primary-color); }
output { min-width: 11em; color: var(--st-text-color); font-variant-numeric: tabular-nums; }
"""
# The chart lies outside of the component: it is found by its key, and again when it was replaced.
JS = """
const states = new WeakMap();
const SHAPES = {
  back: 'M3 2h2v12H3z M13 2v12L6 8z', on: 'M11 2h2v12h-2z M3 2v12l7-6z', play: 'M4 2l10 6-10 6z', pause: 'M4 2h3v12H4z M9 2h3v12H9z',
};
const drawn = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${SHAPES[name]}"/></svg>`;
export default function (component) {
  const { data, parentElement } = component;
  const state = states.get(parentElement) || { at: 0, about: null, plot: null, begun: null };
  states.set(parentElement, state);
  const part = (selector) => parentElement.querySelector(selector);
  const play = part('.play'), slider = part('input'), told = part('output'), pace = part('select');
  state.data = data;
  const last = () => state.data.labels.length - 1;
  const chart = () => document.querySelector(`.st-key-${state.data.chart} .js-plotly-plot`);
  state.tell = () => {
    const words = `${state.data.prefix}${state.data.labels[state.at]} s`;
    slider.max = last();
    slider.value = state.at;
    slider.style.setProperty('--share', `${last() ? 100 * state.at / last() : 0}%`);
    slider.setAttribute('aria-valuetext', words);
    told.textContent = words;
    const isPlaying = state.begun !== null;
    if (play.dataset.shows !== String(isPlaying)) {
      play.innerHTML = drawn(isPlaying ? 'pause' : 'play');
      play.setAttribute('aria-label', isPlaying ? 'Pause' : 'Play');
      play.dataset.shows = String(isPlaying);
    }
  };
  state.show = (at) => {
    state.at = Math.max(0, Math.min(last(), at));
    state.tell();
    if (!state.plot || !window.Plotly) return;
    const frame = { duration: 0, redraw: state.data.redraw };
    window.Plotly.animate(state.plot, [String(state.at)], { mode: 'immediate', frame, transition: { duration: 0 } }).catch(() => {});
  };
  state.pause = () => {
    cancelAnimationFrame(state.timer);
    state.begun = null;
    state.tell();
  };
  state.tick = (now) => {
    const { from, at_ms, speed } = state.begun;
    const at = Math.min(last(), from + Math.floor((now - at_ms) * speed / (1000 * state.data.step_s)));
    if (at !== state.at) state.show(at);
    if (at >= last()) state.pause();
    else state.timer = requestAnimationFrame(state.tick);
  };
  state.play = () => {
    if (state.at >= last()) state.show(0);
    state.begun = { from: state.at, at_ms: performance.now(), speed: Number(pace.value) };
    state.tell();
    cancelAnimationFrame(state.timer);
    state.timer = requestAnimationFrame(state.tick);
  };
  if (!pace.options.length) {
    for (const speed of data.speeds) pace.add(new Option(`×${speed}`, String(speed)));
    part('.back').innerHTML = drawn('back');
    part('.on').innerHTML = drawn('on');
  }
  play.onclick = () => (state.begun === null ? state.play() : state.pause());
  part('.back').onclick = () => { state.pause(); state.show(state.at - 1); };
  part('.on').onclick = () => { state.pause(); state.show(state.at + 1); };
  slider.oninput = () => { const at = Number(slider.value); state.pause(); state.show(at); };
  pace.onchange = () => { if (state.begun !== null) state.play(); };
  if (state.about !== data.about) {
    cancelAnimationFrame(state.timer);
    state.begun = null;
    state.about = data.about;
    state.at = data.start;
  }
  state.at = Math.min(state.at, last());
  state.tell();
  state.look = () => {
    const plot = chart();
    if (!plot || plot === state.plot || !plot.data || !window.Plotly) return;
    state.plot = plot;
    if (state.at !== state.data.start) state.show(state.at);
  };
  state.look();
  state.looking = state.looking || setInterval(() => state.look(), 200);
  return () => {
    clearInterval(state.looking);
    cancelAnimationFrame(state.timer);
    states.delete(parentElement);
  };
}
"""
_CONTROLS = st.components.v2.component("trajops_player", html=HTML, css=CSS, js=JS)


def controls(played: Played, chart: str, *, about: str, prefix: str = "Moment: ", speeds: Sequence[int] = SPEEDS) -> None:
    """Buttons to play, pause and step, a choice of pace, and a slider, for the chart of a key.

    Args:
        played: what the chart shows.
        chart: its key.
        about: what is played; where it changes, the start is shown again.
        prefix: before the time that is told.
        speeds: multiples of the recording's own pace.
    """
    data = {
        "chart": chart,
        "labels": played.labels,
        "start": played.start,
        "step_s": played.step_s,
        "redraw": played.redraw,
        "about": about,
        "prefix": prefix,
        "speeds": list(speeds),
    }
    _CONTROLS(key=f"{chart}-player", data=data)
