"""Figures that several pages show: accuracy, traffic, errors by step, and which version was live when. No Streamlit here."""

from collections.abc import Sequence
from datetime import UTC
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from console.drawing import DASHES, MAX_POINTS, SYMBOLS, at_least_a_minute, finished, naive_utc, pick, short, thin, time_axis
from console.palette import Palette
from console.viewmodels import LiveSpan
from trajops.contracts.models import family_words
from trajops.contracts.performance import PerformancePoint
from trajops.contracts.status import TrafficPoint

Metric = Literal["ade_m", "fde_m", "coverage"]
_METRIC_TITLES: dict[str, str] = {"ade_m": "ADE (m)", "fde_m": "FDE (m)", "coverage": "Steps inside ellipse (%)"}


def accuracy_over_time(
    points: Sequence[PerformancePoint], metric: Metric, palette: Palette, *, nominal_coverage: float | None = None
) -> go.Figure:
    """One line a model version: ADE or FDE in metres, or coverage in per cent, against time in UTC."""
    scale = 100.0 if metric == "coverage" else 1.0
    figure = go.Figure()
    for version in sorted({p.model_version for p in points}):
        i = version - 1
        mine = sorted((p for p in points if p.model_version == version and getattr(p, metric) is not None), key=lambda p: p.at)
        if not mine:
            continue
        y = np.array([scale * getattr(p, metric) for p in mine])
        at = np.array([p.at.timestamp() for p in mine])
        keep = thin(at, y)
        figure.add_trace(
            go.Scatter(
                x=[naive_utc(mine[k].at) for k in keep],
                y=y[keep].tolist(),
                customdata=[mine[k].scored for k in keep],
                name=f"v{version}",
                mode="lines+markers" if len(keep) <= 30 else "lines",
                line={"color": pick(palette.series, i), "dash": pick(DASHES, i), "width": 2},
                marker={"symbol": pick(SYMBOLS, i), "size": 6},
                hovertemplate=f"v{version} · %{{y:.2f}} {'%' if metric == 'coverage' else 'm'} · %{{customdata:,d}} scored<extra></extra>",
            )
        )
    if metric == "coverage" and nominal_coverage is not None:
        figure.add_hline(
            y=100 * nominal_coverage,
            line={"color": palette.muted, "dash": "dot", "width": 1},
            annotation={"text": f"nominal {100 * nominal_coverage:.0f} %", "font": {"color": palette.muted, "size": 11}},
            annotation_position="top left",
        )
    time_axis(figure)
    at_least_a_minute(figure, [p.at for p in points if getattr(p, metric) is not None])
    figure.update_yaxes(title_text=_METRIC_TITLES[metric], rangemode="normal" if metric == "coverage" else "tozero")
    return finished(figure, palette, height=280, unified=True)


def traffic_over_time(points: Sequence[TrafficPoint], palette: Palette) -> go.Figure:
    """Predictions in each bucket above, latency p50 and p95 in milliseconds below, against time in UTC."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.09)
    ordered = sorted(points, key=lambda p: p.at)[-MAX_POINTS:]
    x = [naive_utc(p.at) for p in ordered]
    figure.add_trace(
        go.Bar(
            x=x,
            y=[p.predictions for p in ordered],
            name="Predictions",
            marker={"color": palette.series[0]},
            showlegend=False,
            hovertemplate="%{y:,d} predictions<extra></extra>",
        ),
        row=1,
        col=1,
    )
    for name, values, i in (("p95", [p.latency_p95_ms for p in ordered], 1), ("p50", [p.latency_p50_ms for p in ordered], 2)):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=values,
                name=name,
                mode="lines",
                line={"color": pick(palette.series, i), "dash": pick(DASHES, i - 1), "width": 2},
                hovertemplate=f"{name} %{{y:.2f}} ms<extra></extra>",
            ),
            row=2,
            col=1,
        )
    time_axis(figure)
    figure.update_xaxes(title_text=None, row=1, col=1)
    figure.update_yaxes(title_text="Predictions", rangemode="tozero", tickformat=",d", row=1, col=1)
    figure.update_yaxes(title_text="Latency (ms)", rangemode="tozero", row=2, col=1)
    return finished(figure, palette, height=300, unified=True)


def error_by_step(step_error_m: dict[str, list[float | None]], palette: Palette, *, dt_s: float = 0.4) -> go.Figure:
    """Mean error of each horizon step in metres against the time ahead in seconds, one line a version."""
    figure = go.Figure()
    for n, (version, errors) in enumerate(sorted(step_error_m.items(), key=lambda item: (len(item[0]), item[0]))):
        i = int(version) - 1 if version.isdigit() else n
        label = f"v{version}" if version.isdigit() else family_words(version)
        figure.add_trace(
            go.Scatter(
                x=[round((k + 1) * dt_s, 6) for k in range(len(errors))],
                y=errors,
                name=label,
                mode="lines+markers",
                line={"color": pick(palette.series, i), "dash": pick(DASHES, i), "width": 2},
                marker={"symbol": pick(SYMBOLS, i), "size": 6},
                hovertemplate=f"{label} · %{{x:.1f}} s ahead · %{{y:.2f}} m<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="Time ahead (s)", rangemode="tozero")
    figure.update_yaxes(title_text="Mean error (m)", rangemode="tozero")
    return finished(figure, palette, height=300)


def live_timeline(spans: Sequence[LiveSpan], palette: Palette) -> go.Figure:
    """Which version was champion and which was challenger when, as bars over time in UTC; newest 200 spans."""
    figure = go.Figure()
    shown = sorted(spans, key=lambda s: s.since)[-200:]
    for span in shown:
        colour = pick(palette.series, span.model_version - 1)
        detail = f"<br>{100 * span.coverage:.0f} % of agents enrolled" if span.role == "Challenger" else ""
        figure.add_trace(
            go.Bar(
                x=[max(1.0, (span.until - span.since).total_seconds()) * 1000],
                base=[naive_utc(span.since)],
                y=[span.role],
                orientation="h",
                width=0.62,
                name=f"v{span.model_version}",
                text=f"v{span.model_version}",
                textposition="inside",
                insidetextanchor="middle",
                insidetextfont={"color": palette.surface, "size": 12},
                constraintext="inside",
                marker={"color": colour, "opacity": 0.75 if span.role == "Challenger" else 1.0},
                hovertemplate=(
                    f"<b>v{span.model_version}</b> {span.role.lower()}<br>{span.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} – "
                    f"{span.until.astimezone(UTC):%H:%M:%S UTC}{detail}<br>{short(span.reason)}<br>by {span.actor}<extra></extra>"
                ),
                showlegend=False,
            )
        )
    time_axis(figure)
    figure.update_yaxes(categoryorder="array", categoryarray=["Challenger", "Champion"], showgrid=False)
    figure.update_layout(barmode="overlay")
    return finished(figure, palette, height=190)
