"""A map that moves in place and tells which agent was clicked on.

Streamlit builds a chart anew whenever its figure changes, or when it is watched for selections: every two seconds that flickers,
and zoom is lost. So the figure stays as it was drawn first, and this gives its traces new values through the Plotly that drew it.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

# The chart lies outside of the component: it is found by its key, and again when it was replaced.
JS = """
const states = new WeakMap();
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const state = states.get(parentElement) || { plot: null, shown: null };
  states.set(parentElement, state);
  state.data = data;
  state.send = setTriggerValue;
  state.tell = state.tell || ((event) => {
    const named = event.points.find((point) => Array.isArray(point.customdata));
    if (named) state.send('agent', String(named.customdata[0]));
  });
  state.look = () => {
    const plot = document.querySelector(`.st-key-${state.data.chart} .js-plotly-plot`);
    if (!plot || !plot.on || !plot.data || !window.Plotly) return;
    if (plot !== state.plot) {
      plot.on('plotly_click', state.tell);
      state.plot = plot;
      state.shown = null;
    }
    const { traces, first } = state.data;
    if (!traces.length || state.shown === state.data || plot.data.length < first + traces.length) return;
    state.shown = state.data;
    const update = {};
    for (const name of ['x', 'y', 'text', 'customdata']) update[name] = traces.map((trace) => trace[name] || []);
    window.Plotly.restyle(plot, update, traces.map((_, i) => first + i));
  };
  state.look();
  state.timer = state.timer || setInterval(() => state.look(), 200);
  return () => {
    clearInterval(state.timer);
    if (state.plot && state.plot.removeListener) state.plot.removeListener('plotly_click', state.tell);
    states.delete(parentElement);
  };
}
"""
_MOVING = st.components.v2.component("trajops_moving", js=JS)


def follow(chart: str, traces: Sequence[dict[str, Any]] = (), first: int = 0) -> str | None:
    """Give the traces of a chart new values, and hear its clicks.

    Args:
        chart: its key.
        traces: x, y, text and customdata of each; empty: the chart stays as it is.
        first: number of the first of them in the figure.

    Returns:
        The agent that was just clicked on, once; None otherwise.
    """
    data = {"chart": chart, "traces": list(traces), "first": first}
    result = _MOVING(key=f"{chart}-moving", data=data, on_agent_change=lambda: None)
    agent = getattr(result, "agent", None)
    return agent if isinstance(agent, str) and 0 < len(agent) <= 128 else None
