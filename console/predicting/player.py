"""A prediction that can be played: the track as it was observed, then the modes, then truth step by step. No Streamlit here.

The frames are part of the figure, so that scrubbing and playing ask nobody anything.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from console.drawing import SYMBOLS, pick, rgba
from console.palette import Palette
from console.plane import Drawn, Points, ellipse, plane
from console.played import Played, label
from console.wording import DASH
from trajops.contracts.predictions import PredictOut


def player(history: Points, forecasts: Sequence[Drawn], truth: Points, palette: Palette) -> Played:
    """The plane with a frame for each step of track and horizon; its end is shown first.

    Args:
        history: positions, metres, oldest first.
        forecasts: one or two versions on that history, the shown one first.
        truth: observed positions at the predicted times, None where not known.
        palette: colours.
    """
    figure = plane(history, forecasts, truth, palette)
    past = [p for p in history if p is not None]
    known = [(step, p) for step, p in enumerate(truth, start=1) if p is not None]
    at_once = {i: trace for i, trace in enumerate(figure.data) if trace.name not in {"History", "Truth"}}
    moving = {trace.name: i for i, trace in enumerate(figure.data) if trace.name in {"History", "Truth"}}
    first = len(figure.data)
    dt_s = forecasts[0].prediction.dt_s
    horizon = max(len(drawn.prediction.modes[0].positions) for drawn in forecasts)
    for drawn in forecasts:
        figure.add_traces(_now(drawn, horizon, palette))
    frames, labels = [], []
    for step in range(1 - len(past), horizon + 1):
        data: list[Any] = [go.Scatter(x=trace.x if step >= 0 else [], y=trace.y if step >= 0 else []) for trace in at_once.values()]
        numbers = list(at_once)
        seen = [p for at, p in known if at <= step]
        shown = {"History": past[: len(past) + step] if step < 0 else past, "Truth": seen}
        for name, number in moving.items():
            data.append(go.Scatter(x=[p[0] for p in shown[name]], y=[p[1] for p in shown[name]]))
            numbers.append(number)
        for i, drawn in enumerate(forecasts):
            data += _now(drawn, step, palette)
            numbers += [first + 2 * i, first + 2 * i + 1]
        frames.append(go.Frame(name=str(len(frames)), data=data, traces=numbers))
        labels.append(label(step * dt_s))
    figure.frames = frames
    _hold_view(figure)
    return Played(figure, labels, start=len(frames) - 1, step_s=dt_s, redraw=True)


def step_rows(shown: PredictOut, truth: Points) -> list[dict[str, Any]]:
    """The likeliest mode step by step, beside what came: what the figure shows, for those who read."""
    rows = []
    mode = shown.modes[0]
    for step, (predicted, came) in enumerate(zip(mode.positions, truth, strict=False), start=1):
        error_m = None if came is None else ((predicted[0] - came[0]) ** 2 + (predicted[1] - came[1]) ** 2) ** 0.5
        rows.append(
            {
                "Ahead (s)": round(step * shown.dt_s, 2),
                "Predicted (m)": f"{predicted[0]:.2f}, {predicted[1]:.2f}",
                "Observed (m)": DASH if came is None else f"{came[0]:.2f}, {came[1]:.2f}",
                "Error (m)": None if error_m is None else round(error_m, 2),
            }
        )
    return rows


def _now(drawn: Drawn, step: int, palette: Palette) -> list[Any]:
    """Where the modes of a forecast are at a step, and the ellipse of the likeliest one there; nothing before the first."""
    version = drawn.prediction.model_version - 1
    colour = pick(palette.series, version)
    modes = [mode for mode in drawn.prediction.modes if 1 <= step <= len(mode.positions)]
    outline = ellipse(modes[0].positions[step - 1], modes[0].covariance[step - 1]).tolist() if modes else []
    return [
        go.Scatter(
            x=[p[0] for p in outline],
            y=[p[1] for p in outline],
            mode="lines",
            fill="toself",
            fillcolor=rgba(colour, 0.18),
            line={"color": colour, "width": 1.5},
            showlegend=False,
            hoverinfo="skip",
        ),
        go.Scatter(
            x=[mode.positions[step - 1][0] for mode in modes],
            y=[mode.positions[step - 1][1] for mode in modes],
            mode="markers",
            marker={
                "symbol": pick(SYMBOLS, version),
                "color": colour,
                "size": [7 + 7 * mode.weight for mode in modes],
                "line": {"color": palette.surface, "width": 1},
            },
            showlegend=False,
            hoverinfo="skip",
        ),
    ]


def _hold_view(figure: go.Figure) -> None:
    """Fix the axes around all that comes, so that nothing jumps while it plays."""
    x = [float(v) for trace in figure.data for v in trace.x]
    y = [float(v) for trace in figure.data for v in trace.y]
    for update, values in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
        low, high = min(values), max(values)
        margin = 0.06 * max(high - low, 1.0)
        update(range=[low - margin, high + margin])
