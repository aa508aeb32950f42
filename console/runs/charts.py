"""Figures of training runs: error against latency, all figures side by side, error by step, calibration. No Streamlit here."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from console.drawing import DASHES, SYMBOLS, finished, pick, short
from console.palette import Palette
from console.runs.parts import Kind, about, parts_of
from console.runs.words import FIGURES, data_words, is_comparable, label
from trajops.contracts.runs import RunDetailOut, RunOut

DT_S = 0.4
ERROR, LATENCY, SLOW = "val_ade_m", "val_latency_ms", "val_latency_p95_ms"
# Beyond this ratio of the slowest to the fastest, most points would lie at the edge.
WIDE = 20.0
AXES = ("val_ade_m", "val_fde_m", "val_miss_rate", "val_nll", "val_coverage_90", "val_latency_ms", "fit_s")


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both coordinates, by the first; less is better."""
    found: list[int] = []
    least = math.inf
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if points[i][1] < least:
            found.append(i)
            least = points[i][1]
    return found


def places_of(runs: Sequence[RunOut]) -> dict[str, int]:
    """The place of each run among colours, dashes and symbols: that of its version, as everywhere; of the others one that is free."""
    places = {run.run_id: run.model_versions[-1] - 1 for run in runs if run.model_versions}
    free = iter(sorted(set(range(2 * len(runs))) - set(places.values())))
    return {run.run_id: places[run.run_id] if run.run_id in places else next(free) for run in runs}


def error_against_latency(runs: Sequence[RunOut], chosen: Sequence[str], reference: RunOut, palette: Palette) -> go.Figure:
    """Validation error against the time of one forecast; the front is of the runs on the same data as `reference`.

    Every point carries the id of its run. Runs on other data are hollow and stand in no front.
    """
    figure = go.Figure()
    by_id = {run.run_id: run for run in runs}
    places = places_of([by_id[one] for one in chosen if one in by_id])
    shown = [run for run in runs if ERROR in run.metrics and run.metrics.get(LATENCY, 0.0) > 0]
    same = [run for run in shown if is_comparable(run, reference)]
    best = [same[i] for i in front([(run.metrics[LATENCY], run.metrics[ERROR]) for run in same])]
    if len(best) > 1:
        figure.add_trace(
            go.Scatter(
                x=[run.metrics[LATENCY] for run in best],
                y=[run.metrics[ERROR] for run in best],
                mode="lines",
                line={"color": palette.ok, "width": 1.5, "dash": "dot", "shape": "hv"},
                name="front: none is both faster and better",
                hoverinfo="skip",
            )
        )
    at_front = {run.run_id for run in best}
    others = [run for run in shown if not is_comparable(run, reference)]
    for name, group, symbol in (("on the same data", same, "circle"), ("on other data", others, "circle-open")):
        if not group:
            continue
        figure.add_trace(
            go.Scatter(
                x=[run.metrics[LATENCY] for run in group],
                y=[run.metrics[ERROR] for run in group],
                customdata=[[run.run_id] for run in group],
                mode="markers+text",
                text=[short(label(run), 28) if run.run_id in at_front or run.run_id in chosen else "" for run in group],
                textposition=[_beside(run, shown) for run in group],
                textfont={"color": palette.text, "size": 11},
                name=name,
                showlegend=bool(others),
                marker={
                    "symbol": symbol,
                    "size": [14 if run.run_id in chosen else 9 for run in group],
                    "color": [_colour(places[run.run_id], palette) if run.run_id in chosen else palette.muted for run in group],
                    "line": {"color": palette.text, "width": [2 if run.run_id in chosen else 0 for run in group]}
                    if symbol == "circle"
                    else {"width": 2},
                },
                hovertext=[_hover(run, runs) for run in group],
                hovertemplate="%{hovertext}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    latencies = [run.metrics[LATENCY] for run in shown]
    is_wide = bool(latencies) and max(latencies) > WIDE * min(latencies)
    figure.update_xaxes(title_text="Time of one forecast (ms)", rangemode="tozero", type="log" if is_wide else "linear")
    if is_wide:
        low, high = math.log10(min(latencies)), math.log10(max(latencies))
        margin = 0.12 * (high - low)
        figure.update_xaxes(range=[low - margin, high + margin], dtick=1)
    elif latencies:
        figure.update_xaxes(range=[0, 1.2 * max(latencies)])
    figure.update_yaxes(title_text="ADE at validation (m)")
    return finished(figure, palette, height=340)


def side_by_side(runs: Sequence[RunOut], palette: Palette) -> go.Figure:
    """Each figure is an axis of its own from its least to its largest value, each run a line across them."""
    figure = go.Figure()
    axes = [one for one in FIGURES if one.key in AXES and sum(one.key in run.metrics for run in runs) > 1]
    spans = {one.key: _span([run.metrics[one.key] for run in runs if one.key in run.metrics]) for one in axes}
    titles = [one.title for one in axes]
    places = places_of(runs)
    for run in runs:
        i = places[run.run_id]
        heights = [
            None if one.key not in run.metrics else (run.metrics[one.key] - spans[one.key][0]) / (spans[one.key][1] - spans[one.key][0])
            for one in axes
        ]
        values = [f"{run.metrics[one.key]:.{one.digits}f}" if one.key in run.metrics else "" for one in axes]
        figure.add_trace(
            go.Scatter(
                x=titles,
                y=heights,
                customdata=values,
                mode="lines+markers",
                name=short(label(run), 28),
                line=_line(i, palette),
                marker={"symbol": pick(SYMBOLS, i), "size": 8},
                hovertemplate=f"{short(label(run))}<br>%{{x}}: %{{customdata}}<extra></extra>",
            )
        )
    for title, one in zip(titles, axes, strict=True):
        low, high = spans[one.key]
        for height, value in ((-0.06, low), (1.06, high)):
            text = f"{value:.{one.digits}f}"
            figure.add_annotation(x=title, y=height, text=text, showarrow=False, font={"color": palette.muted, "size": 11})
        figure.add_vline(x=titles.index(title), line={"color": palette.grid, "width": 1})
    figure.update_yaxes(visible=False, range=[-0.14, 1.14])
    figure.update_xaxes(showgrid=False, range=[-0.4, max(len(axes), 1) - 0.6])
    return finished(figure, palette, height=300)


def error_by_step(details: Sequence[RunDetailOut], palette: Palette) -> go.Figure:
    """Mean error at each step of the horizon, one line a run."""
    figure = go.Figure()
    places = places_of([detail.run for detail in details])
    for detail in details:
        i = places[detail.run.run_id]
        steps = [step for step in detail.steps if step.ade_m is not None]
        name = short(label(detail.run), 28)
        figure.add_trace(
            go.Scatter(
                x=[step.ahead_s if step.ahead_s is not None else round(step.step * DT_S, 6) for step in steps],
                y=[step.ade_m for step in steps],
                mode="lines+markers",
                name=name,
                line=_line(i, palette),
                marker={"symbol": pick(SYMBOLS, i), "size": 6},
                hovertemplate=f"{name}<br>%{{x:.1f}} s ahead: %{{y:.3f}} m<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="Time ahead (s)", rangemode="tozero")
    figure.update_yaxes(title_text="Mean error (m)", rangemode="tozero")
    return finished(figure, palette, height=320)


def error_by_part(details: Sequence[RunDetailOut], kind: Kind, names: Sequence[str], palette: Palette) -> go.Figure:
    """Mean error in each of the named parts, the first on top; one mark a run."""
    figure = go.Figure()
    places = places_of([detail.run for detail in details])
    ticks = _told_apart(names)
    for detail in details:
        i, parts = places[detail.run.run_id], parts_of(detail, kind)
        known = [name for name in names if name in parts]
        run = short(label(detail.run), 28)
        figure.add_trace(
            go.Scatter(
                x=[parts[name].ade_m for name in known],
                y=[ticks[name] for name in known],
                customdata=[[short(name), about(parts[name])] for name in known],
                mode="markers",
                name=run,
                marker={"symbol": pick(SYMBOLS, i), "size": 9, "color": _colour(i, palette)},
                hovertemplate=f"{run}<br>%{{customdata[0]}}<br>%{{customdata[1]}}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="ADE at validation (m)")
    # The axis runs upwards.
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=[ticks[name] for name in reversed(names)])
    return finished(figure, palette, height=max(320, 120 + 24 * len(names)))


def calibration(details: Sequence[RunDetailOut], palette: Palette) -> go.Figure:
    """Observed share of the truth inside ellipses against what they should hold; on the diagonal they hold what they say."""
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            name="as promised",
            line={"color": palette.muted, "dash": "dot", "width": 1},
            hoverinfo="skip",
        )
    )
    places = places_of([detail.run for detail in details])
    for detail in details:
        i = places[detail.run.run_id]
        name = short(label(detail.run), 28)
        figure.add_trace(
            go.Scatter(
                x=[100 * one.nominal for one in detail.calibration],
                y=[100 * one.observed for one in detail.calibration],
                mode="lines+markers",
                name=name,
                line=_line(i, palette),
                marker={"symbol": pick(SYMBOLS, i), "size": 6},
                hovertemplate=f"{name}<br>promised %{{x:.0f}} %, observed %{{y:.1f}} %<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="Promised share of the truth inside (%)", range=[0, 102])
    figure.update_yaxes(title_text="Observed share (%)", range=[0, 102])
    return finished(figure, palette, height=320)


def _told_apart(names: Sequence[str]) -> dict[str, str]:
    """Names as they fit beside an axis; those that begin alike keep apart."""
    ticks: dict[str, str] = {}
    for name in names:
        tick = short(name, 24)
        ticks[name] = tick if tick not in ticks.values() else f"{tick} {len(ticks) + 1}"
    return ticks


def _line(i: int, palette: Palette) -> dict[str, object]:
    """After as many lines as there are colours, another dash tells them apart."""
    return {"color": _colour(i, palette), "dash": pick(DASHES, i + i // len(palette.series)), "width": 2}


def _colour(i: int, palette: Palette) -> str:
    return pick(palette.series, i)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _beside(run: RunOut, shown: Sequence[RunOut]) -> str:
    """On the side where there is room."""
    middle = math.sqrt(min(one.metrics[LATENCY] for one in shown) * max(one.metrics[LATENCY] for one in shown))
    return "top right" if run.metrics[LATENCY] <= middle else "top left"


def _hover(run: RunOut, runs: Sequence[RunOut]) -> str:
    where = short(data_words(run, runs))
    slow = f", 95 of 100 below {run.metrics[SLOW]:.3f} ms" if SLOW in run.metrics else ""
    return f"<b>{short(label(run))}</b><br>ADE {run.metrics[ERROR]:.3f} m · {run.metrics[LATENCY]:.3f} ms{slow}<br>on {where}"
