"""Figures of the Performance page: dots with whiskers beside validation, steps of the horizon, estimates beside what came out."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from console.drawing import DASHES, SYMBOLS, at_least_a_minute, finished, naive_utc, pick, rgba, time_axis
from console.palette import Palette
from console.performance.words import axis_title, figure_of, percent, value_words
from console.wording import figure_mark
from trajops.contracts.performance import EstimatePoint, FigureOut, Metric, SliceBy, SliceOut, VersionEstimateOut, metric_text

DT_S = 0.4


def slice_dots(slices: Sequence[SliceOut], by: SliceBy, metric: Metric, palette: Palette, *, nominal: float) -> go.Figure:
    """One row a slice: a dot with its interval, and a tick where validation was; versions differ by colour and symbol."""
    figure = go.Figure()
    shown = [(one, found) for one in slices if (found := figure_of(one, metric)) is not None and found.mean is not None][:60]
    versions = sorted({one.model_version for one, _ in shown})
    rows = [_row(one, by, len(versions) > 1) for one, _ in shown]
    ticks = [(row, found.validation) for row, (_, found) in zip(rows, shown, strict=True) if found.validation is not None]
    if metric != "coverage" and ticks:
        figure.add_trace(
            go.Scatter(
                x=[percent(metric, value) for _, value in ticks],
                y=[row for row, _ in ticks],
                mode="markers",
                name="Validation",
                marker={"symbol": "line-ns", "size": 16, "line": {"color": palette.muted, "width": 2}},
                hovertemplate="Validation %{x:.2f}<extra></extra>",
            )
        )
    for version in versions:
        mine = [(row, one, found) for row, (one, found) in zip(rows, shown, strict=True) if one.model_version == version]
        figure.add_trace(
            go.Scatter(
                x=[percent(metric, found.mean) for _, _, found in mine],
                y=[row for row, _, _ in mine],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_margin(metric, found, found.high) for _, _, found in mine],
                    "arrayminus": [_margin(metric, found, found.low) for _, _, found in mine],
                    "thickness": 2,
                    "width": 5,
                    "color": pick(palette.series, version - 1),
                },
                mode="markers",
                name=f"v{version}",
                marker={"symbol": pick(SYMBOLS, version - 1), "size": 10, "color": pick(palette.series, version - 1)},
                customdata=[[_hover(found), one.agents, one.predictions] for _, one, found in mine],
                hovertemplate="%{y}<br>%{customdata[0]}<br>%{customdata[1]:,d} agents, %{customdata[2]:,d} predictions<extra></extra>",
            )
        )
    if metric == "coverage":
        _nominal(figure, palette, nominal, is_vertical=True)
    figure.update_xaxes(title_text=axis_title(metric), zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=True, categoryorder="array", categoryarray=rows)
    return finished(figure, palette, height=max(190, 96 + 34 * len(rows)))


def by_step(slices: Sequence[SliceOut], metric: Metric, palette: Palette, *, nominal: float) -> go.Figure:
    """A figure at each step of the horizon, one line a version, its interval as a band, and in grey, dashed alike, what validation said."""
    figure = go.Figure()
    for version in sorted({one.model_version for one in slices}):
        mine = [(int(one.value), found) for one in slices if one.model_version == version and (found := figure_of(one, metric)) is not None]
        known = sorted(((step, found) for step, found in mine if found.mean is not None), key=lambda pair: pair[0])
        if not known:
            continue
        colour, ahead_s = pick(palette.series, version - 1), [round(step * DT_S, 6) for step, _ in known]
        banded = [(x, found) for x, (_, found) in zip(ahead_s, known, strict=True) if found.low is not None and found.high is not None]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in banded] + [x for x, _ in reversed(banded)],
                y=[percent(metric, f.high) for _, f in banded] + [percent(metric, f.low) for _, f in reversed(banded)],
                fill="toself",
                fillcolor=rgba(colour, 0.16),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=ahead_s,
                y=[percent(metric, found.mean) for _, found in known],
                mode="lines+markers",
                name=f"v{version}",
                line={"color": colour, "dash": pick(DASHES, version - 1), "width": 2},
                marker={"symbol": pick(SYMBOLS, version - 1), "size": 6},
                customdata=[_hover(found) for _, found in known],
                hovertemplate=f"v{version} · %{{x:.1f}} s ahead<br>%{{customdata}}<extra></extra>",
            )
        )
        before = [(x, found.validation) for x, (_, found) in zip(ahead_s, known, strict=True) if found.validation is not None]
        if before and metric != "coverage":
            figure.add_trace(
                go.Scatter(
                    x=[x for x, _ in before],
                    y=[percent(metric, value) for _, value in before],
                    mode="lines",
                    name=f"v{version} at validation",
                    line={"color": palette.muted, "dash": pick(DASHES, version - 1), "width": 1.5},
                    hovertemplate=f"v{version} at validation %{{y:.2f}}<extra></extra>",
                )
            )
    if metric == "coverage":
        _nominal(figure, palette, nominal, is_vertical=False)
    figure.update_xaxes(title_text="Time ahead (s)", rangemode="tozero")
    title = "Mean error (m)" if metric == "ade_m" else axis_title(metric)
    figure.update_yaxes(title_text=title, rangemode="normal" if metric in {"coverage", "nll"} else "tozero")
    return finished(figure, palette, height=300)


def estimated_against_observed(found: VersionEstimateOut, palette: Palette) -> go.Figure:
    """ADE of each part of the range: as it was estimated before its truth, with its interval, and as it was observed; metres, UTC.

    The intervals are a band; that of a single part, which would have no width, is a whisker.
    """
    figure = go.Figure()
    colour = pick(palette.series, found.model_version - 1)
    known = [point for point in found.points if point.estimated_ade_m is not None and point.low is not None and point.high is not None]
    times = [naive_utc(point.at) for point in known]
    is_band = len(known) > 1
    if is_band:
        figure.add_trace(
            go.Scatter(
                x=times + times[::-1],
                y=[point.high for point in known] + [point.low for point in reversed(known)],
                mode="lines",
                fill="toself",
                fillcolor=rgba(colour, 0.16),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    figure.add_trace(
        go.Scatter(
            x=times,
            y=[point.estimated_ade_m for point in known],
            mode="lines+markers" if is_band else "markers",
            name="Estimated before truth",
            error_y=None if is_band else _whiskers(known, colour),
            line={"color": colour, "dash": "dash", "width": 2},
            marker={"symbol": "circle-open", "size": 7},
            customdata=[point.predictions for point in known],
            hovertemplate="Estimated %{y:.2f} m · %{customdata:,d} predictions<extra></extra>",
        )
    )
    seen = [point for point in found.points if point.observed_ade_m is not None]
    figure.add_trace(
        go.Scatter(
            x=[naive_utc(point.at) for point in seen],
            y=[point.observed_ade_m for point in seen],
            mode="markers",
            name="Observed since",
            marker={"symbol": "x", "size": 8, "color": palette.ok},
            customdata=[point.scored for point in seen],
            hovertemplate="Observed %{y:.2f} m · %{customdata:,d} scored<extra></extra>",
        )
    )
    if found.validation_ade_m is not None:
        figure.add_hline(
            y=found.validation_ade_m,
            line={"color": palette.muted, "dash": "dot", "width": 1},
            annotation={"text": "validation", "font": {"color": palette.muted, "size": 11}},
            annotation_position="bottom left",
        )
    time_axis(figure)
    at_least_a_minute(figure, [point.at for point in (*known, *seen)])
    figure.update_yaxes(title_text="ADE (m)", rangemode="tozero")
    return finished(figure, palette, height=280, unified=True)


def _whiskers(points: Sequence[EstimatePoint], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [(point.high or 0.0) - (point.estimated_ade_m or 0.0) for point in points],
        "arrayminus": [(point.estimated_ade_m or 0.0) - (point.low or 0.0) for point in points],
        "thickness": 2,
        "width": 5,
        "color": colour,
    }


def _nominal(figure: go.Figure, palette: Palette, nominal: float, *, is_vertical: bool) -> None:
    line = {"color": palette.muted, "dash": "dot", "width": 1}
    note = {"text": f"nominal {100 * nominal:.0f} %", "font": {"color": palette.muted, "size": 11}}
    if is_vertical:
        figure.add_vline(x=100 * nominal, line=line, annotation=note, annotation_position="top")
    else:
        figure.add_hline(y=100 * nominal, line=line, annotation=note, annotation_position="top left")


def _row(one: SliceOut, by: SliceBy, has_several: bool) -> str:
    name = value_words(by, one.value)
    return f"{name} · v{one.model_version}" if has_several and by != "model_version" else name


def _margin(metric: Metric, found: FigureOut, end: float | None) -> float:
    mean, other = percent(metric, found.mean), percent(metric, end)
    return 0.0 if mean is None or other is None else abs(other - mean)


def _hover(found: FigureOut) -> str:
    text = metric_text(found.metric, found.mean)
    if found.low is not None and found.high is not None:
        text += f" ({metric_text(found.metric, found.low)} to {metric_text(found.metric, found.high)})"
    return text if found.verdict is None else f"{text} · {figure_mark(found.verdict).word.lower()}"
