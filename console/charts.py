"""Figures as pure functions from wire models to Plotly; no Streamlit here.

Every figure states its units on the axes, speaks UTC, carries at most MAX_POINTS points a trace, and tells series apart
by more than colour. Colours of lines come from a Palette; fonts and grid follow the theme of the page that shows them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from tsdownsample import MinMaxLTTBDownsampler

from console.names import family_words
from console.palette import Palette
from console.viewmodels import LiveSpan, drift_share
from console.wording import drift_mark
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, column_title
from trajops.contracts.figures import THIN_SPACE
from trajops.contracts.performance import PerformancePoint
from trajops.contracts.predictions import PredictOut
from trajops.contracts.status import TrafficPoint

MAX_POINTS = 2_000
LEAST_SPAN = timedelta(minutes=1)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")
CHI2_2_90 = 4.605170185988092  # 90 % quantile of χ² with two degrees of freedom: −2 ln(1 − 0.9)
Points = Sequence[tuple[float, float] | None]


_DOWNSAMPLER: Any = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]
Metric = Literal["ade_m", "fde_m", "coverage"]
_METRIC_TITLES: dict[str, str] = {"ade_m": "ADE (m)", "fde_m": "FDE (m)", "coverage": "Steps inside ellipse (%)"}


def thin(x: np.ndarray, y: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `most` points that keep the look of a line.

    Args:
        x: (N,) increasing numbers.
        y: (N,) finite values.
        most: largest count of indices; even, at least 4.

    Returns:
        (min(N, most),) increasing indices; extremes are kept (MinMaxLTTB).
    """
    if len(y) <= most:
        return np.arange(len(y))
    return np.asarray(_DOWNSAMPLER.downsample(np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=most), dtype=np.int64)


def rgba(colour: str, alpha: float) -> str:
    """A `#RRGGBB` colour with opacity."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{alpha})"


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
                line={"color": _of(palette.series, i), "dash": _of(DASHES, i), "width": 2},
                marker={"symbol": _of(SYMBOLS, i), "size": 6},
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
    _at_least_a_minute(figure, [p.at for p in points if getattr(p, metric) is not None])
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
                line={"color": _of(palette.series, i), "dash": _of(DASHES, i - 1), "width": 2},
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
                line={"color": _of(palette.series, i), "dash": _of(DASHES, i), "width": 2},
                marker={"symbol": _of(SYMBOLS, i), "size": 6},
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
        colour = _of(palette.series, span.model_version - 1)
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


@dataclass(frozen=True, slots=True)
class Drawn:
    """One forecast on the plane, and how it is called in the legend."""

    label: str
    prediction: PredictOut


def ellipse(mean: tuple[float, float], covariance: tuple[float, float, float], chi2: float = CHI2_2_90, n: int = 48) -> np.ndarray:
    """Outline of the region that holds the nominal share of a bivariate Gaussian.

    Args:
        mean: centre, metres.
        covariance: xx, xy, yy, square metres.
        chi2: quantile of χ² with two degrees of freedom; default for 90 %.
        n: points of the closed outline.

    Returns:
        (n, 2) metres; Mahalanobis distance² of every point is `chi2`.
    """
    xx, xy, yy = covariance
    values, vectors = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
    angle = np.linspace(0.0, 2.0 * math.pi, n)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline: np.ndarray = np.asarray(mean) + (circle * np.sqrt(np.maximum(values, 0.0) * chi2)) @ vectors.T
    return outline


def plane(
    history: Points, forecasts: Sequence[Drawn], truth: Points, palette: Palette, *, ellipse_steps: Sequence[int] = (3, 7, 11)
) -> go.Figure:
    """History, forecasts and truth on an equal-aspect plane, metres.

    The likeliest mode has the widest line; modes differ by dash and are labelled with their probability. Ellipses hold
    90 % of a mode's probability at the given steps (0–11); only modes of at least 15 % draw them.
    """
    figure = go.Figure()
    past = [p for p in history if p is not None]
    for drawn in forecasts:
        i = drawn.prediction.model_version - 1
        colour = _of(palette.series, i)
        for rank, mode in enumerate(drawn.prediction.modes[:6]):
            path = [past[-1], *mode.positions] if past else list(mode.positions)
            if mode.weight >= 0.15:
                _add_ellipses(figure, mode.positions, mode.covariance, ellipse_steps, colour, first=rank == 0)
            figure.add_trace(
                go.Scatter(
                    x=[p[0] for p in path],
                    y=[p[1] for p in path],
                    mode="lines+markers+text",
                    text=[""] * (len(path) - 1) + [f"{100 * mode.weight:.0f} %" if len(drawn.prediction.modes) > 1 else ""],
                    textposition="top right",
                    textfont={"color": colour, "size": 11},
                    name=drawn.label if rank == 0 else f"{drawn.label}, mode {rank + 1} ({100 * mode.weight:.0f} %)",
                    legendgroup=f"{i}-{rank}",
                    line={"color": colour, "dash": _of(DASHES, rank), "width": 1.2 + 2.4 * mode.weight},
                    marker={"symbol": _of(SYMBOLS, i), "size": 5 if rank == 0 else 4},
                    opacity=1.0 if rank == 0 else 0.75,
                    hovertemplate=f"{drawn.label}<br>x %{{x:.2f}} m, y %{{y:.2f}} m<extra></extra>",
                )
            )
    seen = [p for p in truth if p is not None]
    if seen:
        figure.add_trace(
            go.Scatter(
                x=[p[0] for p in seen],
                y=[p[1] for p in seen],
                mode="markers+lines",
                name="Truth",
                line={"color": palette.ok, "width": 1.5, "dash": "dot"},
                marker={"symbol": "x-thin", "size": 9, "line": {"color": palette.ok, "width": 2}},
                hovertemplate="Truth<br>x %{x:.2f} m, y %{y:.2f} m<extra></extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[p[0] for p in past],
            y=[p[1] for p in past],
            mode="lines+markers",
            name="History",
            line={"color": palette.muted, "width": 2},
            marker={"symbol": "circle-open", "size": 7, "color": palette.muted},
            hovertemplate="History<br>x %{x:.2f} m, y %{y:.2f} m<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="x (m)", zeroline=False, showgrid=True)
    figure.update_yaxes(title_text="y (m)", scaleanchor="x", scaleratio=1, zeroline=False)
    return finished(figure, palette, height=520)


def drift_heatmap(checks: Sequence[DriftCheckOut], palette: Palette, *, most: int = 60) -> go.Figure:
    """How far each column (rows) had gone towards its threshold in each check, oldest left; see `drift_share`. A cross marks drift."""
    ordered = sorted(checks, key=lambda c: c.at)[-most:]
    names = list(dict.fromkeys(column.column for check in reversed(ordered) for column in check.columns))
    found = [{column.column: column for column in check.columns} for check in ordered]
    cells = [[columns.get(name) for columns in found] for name in names]
    shown = range(0, len(ordered), max(1, -(-len(ordered) // 4)))
    is_long = bool(ordered) and ordered[-1].at - ordered[0].at > timedelta(hours=20)
    low, high = palette.surface, palette.bad
    figure = go.Figure(
        go.Heatmap(
            z=[[drift_share(cell) if cell else None for cell in row] for row in cells],
            x=list(range(len(ordered))),
            y=[column_title(name) for name in names],
            zmin=0.0,
            zmax=2.0,
            colorscale=[[0.0, low], [0.49, rgba(palette.info, 0.55)], [0.5, palette.warn], [1.0, high]],
            xgap=2 if len(ordered) <= 24 else 1,
            ygap=2,
            customdata=[[_hover(check, cell) for check, cell in zip(ordered, row, strict=True)] for row in cells],
            text=[["✕" if cell and cell.is_drifted else "" for cell in row] for row in cells],
            texttemplate="%{text}",
            textfont={"color": palette.surface},
            hoverongaps=False,
            colorbar={"title": {"text": "share of the threshold", "side": "right"}, "thickness": 10, "tickvals": [0, 0.5, 1, 1.5, 2],
                      "ticktext": ["0", "0.5", "1", "1.5", "≥ 2"]},
            hovertemplate="%{y}<br>%{customdata}<br>%{z:.2f} of the threshold<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Time of the check (UTC)",
        tickvals=list(shown),
        ticktext=[ordered[k].at.astimezone(UTC).strftime("%d %b %H:%M" if is_long else "%H:%M") for k in shown],
        tickangle=0,
        showgrid=False,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finished(figure, palette, height=90 + 30 * max(3, len(names)))


def _hover(check: DriftCheckOut, column: DriftColumn | None) -> str:
    """When a cell was checked, and what was measured there against which threshold."""
    text = f"{check.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC · {drift_mark(check.verdict).word}"
    if column is None or column.score is None or column.threshold is None:
        return text
    if column.method != UNIT_RULE:
        return f"{text}<br>{column.column}: score {column.score:.3g}, threshold {column.threshold:.3g}"
    side = "above" if column.threshold < 1 else "below"
    return f"{text}<br>{column.column}: {column.score:.3g} × the reference, healthy {side} {column.threshold:.3g} ×"


def reference_against_current(column: DriftColumn, palette: Palette) -> go.Figure:
    """Share of agents in each bin, reference against current, in per cent, over the column's own unit."""
    edges = np.asarray(column.bins, dtype=float)
    centres = (edges[:-1] + edges[1:]) / 2
    widths = np.diff(edges)
    figure = go.Figure()
    for name, shares, colour, shape in (
        ("Reference", column.reference_share, palette.unknown, ""),
        ("Current", column.current_share, palette.series[0], "/"),
    ):
        n = min(len(centres), len(shares))
        figure.add_trace(
            go.Bar(
                x=centres[:n].tolist(),
                y=[100 * s for s in shares[:n]],
                width=widths[:n].tolist(),
                name=name,
                marker={"color": rgba(colour, 0.55), "line": {"color": colour, "width": 1}, "pattern": {"shape": shape, "fgcolor": colour}},
                hovertemplate=f"{name} %{{y:.1f}} %<extra></extra>",
            )
        )
    for mean, label, colour in ((column.reference_mean, "ref. mean", palette.unknown), (column.current_mean, "mean", palette.series[0])):
        if mean is not None:
            figure.add_vline(x=mean, line={"color": colour, "width": 1.5, "dash": "dash" if label == "mean" else "dot"})
    figure.update_xaxes(title_text=column_title(column.column))
    figure.update_yaxes(title_text="Share (%)", rangemode="tozero")
    figure.update_layout(barmode="overlay", bargap=0)
    return finished(figure, palette, height=300)


def _add_ellipses(
    figure: go.Figure,
    positions: Sequence[tuple[float, float]],
    covariance: Sequence[tuple[float, float, float]],
    steps: Sequence[int],
    colour: str,
    *,
    first: bool,
) -> None:
    for step in steps:
        if step >= len(positions):
            continue
        outline = ellipse(positions[step], covariance[step])
        figure.add_trace(
            go.Scatter(
                x=outline[:, 0].tolist(),
                y=outline[:, 1].tolist(),
                mode="lines",
                fill="toself",
                fillcolor=rgba(colour, 0.1 if first else 0.04),
                line={"color": rgba(colour, 0.55), "width": 1, "dash": "solid" if first else "dot"},
                name="90 % ellipse",
                showlegend=False,
                hoverinfo="skip",
            )
        )


def naive_utc(at: datetime) -> datetime:
    """A naive UTC time: Plotly has no time zones and would write the browser's otherwise."""
    return at.astimezone(UTC).replace(tzinfo=None)


def _of(values: tuple[str, ...], i: int) -> str:
    return values[i % len(values)]


def short(text: str, most: int = 80) -> str:
    """A text that fits beside a mark, without what Plotly would take for markup."""
    plain = text.replace("<", "‹").replace(">", "›")
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def time_axis(figure: go.Figure) -> None:
    """An axis of times, which says that they are UTC."""
    figure.update_xaxes(type="date", hoverformat="%Y-%m-%d %H:%M:%S UTC", title_text="Time (UTC)")


def _at_least_a_minute(figure: go.Figure, times: Sequence[datetime]) -> None:
    """Widen the axis around the first points, which Plotly would otherwise label in fractions of a second."""
    if times and max(times) - min(times) < LEAST_SPAN:
        middle = min(times) + (max(times) - min(times)) / 2
        figure.update_xaxes(range=[naive_utc(middle - LEAST_SPAN / 2), naive_utc(middle + LEAST_SPAN / 2)], tickformat="%H:%M:%S")


def finished(figure: go.Figure, palette: Palette, *, height: int, unified: bool = False) -> go.Figure:
    """Margins, legend and grid that every figure shares."""
    options: dict[str, Any] = {"hovermode": "x unified"} if unified else {"hovermode": "closest"}
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1.0, "title": None},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": palette.muted, "family": "Inter, system-ui, sans-serif", "size": 12},
        uirevision="keep",
        separators=f".{THIN_SPACE}",
        **options,
    )
    ink = {"color": palette.muted, "size": 12}
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=palette.grid, automargin=True, title_standoff=8, tickfont=ink, title_font=ink)
    return figure
