"""The board on which a track is drawn by mouse, pen or finger; the table of points beside it serves the keyboard."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from console.predicting.strokes import stroke_of

HTML = '<canvas role="img" aria-label="Board to draw a track on; the table of points below does the same with the keyboard"></canvas>'
CSS = """
canvas {
  display: block; width: 100%; aspect-ratio: 4 / 3; touch-action: none; cursor: crosshair; box-sizing: border-box;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); background: var(--st-background-color);
}
"""
# Metres: x to the right, y upwards, the middle is the origin. What is sent: [x, y, milliseconds] of at most 400 points.
JS = """
export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const canvas = parentElement.querySelector('canvas'), pen = canvas.getContext('2d');
  let stroke = [];
  const scale = () => canvas.clientWidth / data.width_m;
  const place = (x, y) => [canvas.clientWidth / 2 + x * scale(), canvas.clientHeight / 2 - y * scale()];
  function draw() {
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    if (!w) return;
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(canvas), token = (name) => style.getPropertyValue(name).trim();
    const ink = token('--st-text-color') || '#888', accent = token('--st-primary-color') || '#0b62c4';
    const step = data.step_m, columns = Math.ceil(data.width_m / 2 / step);
    pen.font = '11px ' + (token('--st-font') || 'sans-serif');
    pen.lineWidth = 1;
    for (let i = -columns; i <= columns; i++) {
      const [x, y] = place(i * step, i * step);
      pen.globalAlpha = i === 0 ? 0.4 : 0.12;
      pen.strokeStyle = ink;
      pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, h); pen.moveTo(0, y); pen.lineTo(w, y); pen.stroke();
    }
    pen.globalAlpha = 0.75;
    pen.fillStyle = ink;
    pen.fillText(step + ' m a square', 8, h - 8);
    if (!stroke.length && !data.points.length) pen.fillText('Draw here', 8, 18);
    pen.globalAlpha = 1;
    pen.strokeStyle = accent;
    pen.fillStyle = accent;
    pen.lineWidth = 2;
    const line = stroke.length ? stroke : data.points;
    pen.beginPath();
    line.forEach(([x, y], i) => { const [a, b] = place(x, y); i ? pen.lineTo(a, b) : pen.moveTo(a, b); });
    pen.stroke();
    if (!stroke.length) data.points.forEach(([x, y], i) => {
      const [a, b] = place(x, y);
      pen.beginPath(); pen.arc(a, b, i === data.points.length - 1 ? 5 : 3, 0, 2 * Math.PI); pen.fill();
    });
  }
  function add(event) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - box.width / 2) / scale(), y = (box.top + box.height / 2 - event.clientY) / scale();
    stroke.push([x, y, event.timeStamp]);
  }
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); stroke = []; add(event); draw(); };
  canvas.onpointermove = (event) => {
    if (!canvas.hasPointerCapture(event.pointerId) || !stroke.length) return;
    (event.getCoalescedEvents?.() || []).forEach(add);
    add(event);
    draw();
  };
  canvas.onpointerup = () => {
    const every = Math.ceil(stroke.length / 400), last = stroke.length - 1;
    const kept = stroke.filter((_, i) => i % every === 0 || i === last);
    if (kept.length > 1) setTriggerValue('stroke', kept);
    stroke = [];
  };
  canvas.onpointercancel = () => { stroke = []; draw(); };
  const watch = new ResizeObserver(draw);
  watch.observe(canvas);
  draw();
  return () => watch.disconnect();
}
"""
# Width of the board in metres, and of one square of its grid.
WIDTHS: dict[str, tuple[float, float]] = {"20 m": (20.0, 2.0), "50 m": (50.0, 5.0), "200 m": (200.0, 20.0), "2 km": (2000.0, 200.0)}
_BOARD = st.components.v2.component("trajops_board", html=HTML, css=CSS, js=JS)


def board(points: Sequence[tuple[float, float]], width: str) -> np.ndarray | None:
    """Show the board with the points in force; what was just drawn, once.

    Args:
        points: shown until something is drawn, metres.
        width: a key of `WIDTHS`.

    Returns:
        (N, 3) metres, metres, milliseconds; None where nothing was drawn.
    """
    width_m, step_m = WIDTHS[width]
    data = {"points": [list(point) for point in points], "width_m": width_m, "step_m": step_m}
    result = _BOARD(key="drawing-board", data=data, on_stroke_change=lambda: None)
    drawn = getattr(result, "stroke", None)
    return None if drawn is None else stroke_of(drawn)
