"""Figures of the Services page: availability with its gaps, and what the probe met. No Streamlit here."""

from collections.abc import Sequence
from datetime import timedelta

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from console.drawing import finished, naive_utc, rgba, time_axis
from console.palette import Palette
from console.services.budget import unknown_spans
from trajops.contracts.availability import AvailabilityPoint

LEAST_SPAN = timedelta(minutes=10)


def availability_over_time(points: Sequence[AvailabilityPoint], target: float, bucket_s: int, palette: Palette) -> go.Figure:
    """Share of good minutes in per cent against time in UTC, the objective as a line; where nobody probed there is a grey stretch."""
    width = timedelta(seconds=bucket_s)
    values = [None if point.availability is None else 100 * point.availability for point in points]
    figure = go.Figure(
        go.Scatter(
            x=[naive_utc(point.at + width / 2) for point in points],
            y=values,
            name="Good minutes",
            mode="lines+markers",
            connectgaps=False,
            line={"color": palette.series[0], "width": 2, "shape": "hvh"},
            marker={
                "size": [5 if value is not None and value < 100 * target else 1 for value in values],
                "color": palette.bad,
                "symbol": "diamond",
            },
            customdata=[100 * point.known_share for point in points],
            hovertemplate="%{y:.3f} % good, %{customdata:.0f} % of the minutes known<extra></extra>",
        )
    )
    spans = unknown_spans(points, width)
    for begin, end in spans:
        figure.add_vrect(x0=naive_utc(begin), x1=naive_utc(end), fillcolor=rgba(palette.unknown, 0.25), line_width=0, layer="below")
    if spans:  # So that the legend says what grey is.
        swatch = {"symbol": "square", "size": 11, "color": rgba(palette.unknown, 0.35)}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name="Unknown: nobody probed", marker=swatch))
    figure.add_hline(
        y=100 * target,
        line={"color": palette.muted, "dash": "dot", "width": 1},
        annotation={"text": f"objective {100 * target:g} %", "font": {"color": palette.muted, "size": 11}},
        annotation_position="bottom left",
    )
    time_axis(figure)
    lowest = min((value for value in values if value is not None), default=100.0)
    floor = min(100 * target - 0.3, lowest)
    figure.update_yaxes(title_text="Good minutes (%)", range=[floor - 0.08 * (100 - floor), 100 + 0.06 * (100 - floor)])
    _whole_range(figure, points, width)
    return finished(figure, palette, height=280)


def probe_over_time(points: Sequence[AvailabilityPoint], bucket_s: int, palette: Palette) -> go.Figure:
    """Share of bad probes in per cent above, the slowest answer in milliseconds below, against time in UTC."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.45, 0.55], vertical_spacing=0.09)
    width = timedelta(seconds=bucket_s)
    x = [naive_utc(point.at + width / 2) for point in points]
    figure.add_trace(
        go.Bar(
            x=x,
            y=[None if point.availability is None else 100 * (1 - point.availability) for point in points],
            name="Bad",
            width=900 * bucket_s,  # milliseconds
            marker={"color": palette.bad},
            showlegend=False,
            hovertemplate="%{y:.2f} % bad<extra></extra>",
        ),
        row=1,
        col=1,
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=[point.slowest_ms for point in points],
            name="Slowest",
            mode="lines+markers" if len(points) <= 30 else "lines",
            connectgaps=False,
            showlegend=False,
            line={"color": palette.series[1], "width": 2},
            hovertemplate="slowest %{y:.0f} ms<extra></extra>",
        ),
        row=2,
        col=1,
    )
    time_axis(figure)
    figure.update_xaxes(title_text=None, row=1, col=1)
    worst = max((1 - point.availability for point in points if point.availability is not None), default=0.0)
    figure.update_yaxes(title_text="Bad (%)", range=[0, max(1.0, 105 * worst)], row=1, col=1)
    figure.update_yaxes(title_text="Slowest (ms)", rangemode="tozero", row=2, col=1)
    _whole_range(figure, points, width)
    return finished(figure, palette, height=300, unified=True)


def _whole_range(figure: go.Figure, points: Sequence[AvailabilityPoint], width: timedelta) -> None:
    """From the first bucket to the end of the last, ten minutes at least."""
    if points:
        end = points[-1].at + width
        figure.update_xaxes(range=[naive_utc(min(points[0].at, end - LEAST_SPAN)), naive_utc(end)])
