"""Zoom that outlives a refresh.

Streamlit builds a chart anew whenever its figure changes, so Plotly's `uirevision` has nothing left to keep. This notes what an operator
zooms to and hides in the legend, and gives it to the chart that takes the place of the old one, as long as both have the same `uirevision`.
"""

import streamlit as st

# Charts lie outside of the component, under the keys of their elements. One look at all of them, five times a second.
JS = """
const kept = window.__trajopsZoom = window.__trajopsZoom || new Map();
const seen = new WeakSet();
const EDGE = /^([xy]axis\\d*)\\.(range(\\[[01]\\])?|autorange)$/;
function watch(key, plot) {
  seen.add(plot);
  const revision = String(plot.layout.uirevision);
  const note = () => {
    if (kept.get(key)?.revision !== revision) kept.set(key, { revision, axes: {}, hidden: {} });
    return kept.get(key);
  };
  const known = kept.get(key);
  let isOwn = false, isReset = false;
  if (known && known.revision === revision) {
    const hidden = plot.data.map((trace, i) => [trace.name, i]).filter(([name]) => name && known.hidden[name]).map(([, i]) => i);
    const axes = {};
    for (const [axis, range] of Object.entries(known.axes)) if (plot.layout[axis]) axes[`${axis}.range`] = range;
    isOwn = true;
    const done = () => { isOwn = false; };
    Promise.resolve()
      .then(() => Object.keys(axes).length && window.Plotly.relayout(plot, axes))
      .then(() => hidden.length && window.Plotly.restyle(plot, { visible: 'legendonly' }, hidden))
      .then(done, done);
  }
  plot.on('plotly_doubleclick', () => { kept.delete(key); isReset = true; });
  plot.on('plotly_relayout', (changed) => {
    if (isOwn) return;
    if (isReset) { isReset = false; return; }
    for (const name of Object.keys(changed)) {
      const [, axis, what] = name.match(EDGE) || [];
      if (!axis) continue;
      if (what === 'autorange') delete note().axes[axis];
      else note().axes[axis] = [...plot.layout[axis].range];
    }
  });
  plot.on('plotly_restyle', ([changed, traces]) => {
    if (isOwn || !('visible' in changed)) return;
    traces.forEach((i) => {
      const name = plot.data[i]?.name;
      if (name) note().hidden[name] = plot.data[i].visible === 'legendonly';
    });
  });
}
export default function (component) {
  const state = window.__trajopsZoomTimer = window.__trajopsZoomTimer || {};
  clearInterval(state.timer);
  const look = () => {
    for (const plot of document.querySelectorAll('[class*=st-key-] .js-plotly-plot')) {
      if (seen.has(plot) || !plot.on || !plot.layout?.uirevision || !window.Plotly) continue;
      const key = [...plot.closest('[class*=st-key-]').classList].find((name) => name.startsWith('st-key-'));
      watch(key, plot);
    }
  };
  look();
  state.timer = setInterval(look, 200);
  return () => clearInterval(state.timer);
}
"""
_ZOOM = st.components.v2.component("trajops_zoom", js=JS)


def keep() -> None:
    """Keep the zoom of all charts of the page."""
    _ZOOM(key="zoom-keeper")
