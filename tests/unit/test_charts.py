"""Figures: their data, units and limits."""

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import charts, drawing, drift_charts, plane
from console.palette import DARK, LIGHT
from console.viewmodels import LiveSpan
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn
from trajops.contracts.performance import PerformancePoint
from trajops.contracts.predictions import Mode, PredictOut
from trajops.contracts.status import TrafficPoint

START = datetime(2026, 11, 24, 3, tzinfo=UTC)


def point(i: int, version: int = 2, **changes: float | None) -> PerformancePoint:
    values = {"ade_m": 0.5 + 0.01 * i, "fde_m": 1.0, "coverage": 0.9, **changes}
    return PerformancePoint(at=START + timedelta(minutes=i), model_version=version, predictions=10, scored=9, **values)


def forecast(version: int = 2, weights: tuple[float, ...] = (0.7, 0.2, 0.1)) -> PredictOut:
    modes = [
        Mode(weight=w, positions=[(float(k), float(m)) for k in range(1, 13)], covariance=[(0.1 * k, 0.02, 0.05 * k) for k in range(1, 13)])
        for m, w in enumerate(weights)
    ]
    return PredictOut(
        prediction_id="p",
        agent_id="a",
        scene_id="s",
        observed_at_s=0.0,
        dt_s=0.4,
        model_name="trajectory",
        model_version=version,
        variant="champion",
        epoch=1,
        modes=modes,
        model_ms=0.1,
    )


def column(name: str, score: float | None, threshold: float | None = 0.1, method: str = "wasserstein") -> DriftColumn:
    return DriftColumn(
        column=name,
        kind="input",
        method=method,
        score=score,
        threshold=threshold,
        is_drifted=bool(score and score > 0.1),
        reference_mean=1.0,
        current_mean=2.0,
        bins=[0.0, 1.0, 3.0],
        reference_share=[0.25, 0.75],
        current_share=[0.5, 0.5],
    )


def check(i: int, columns: list[DriftColumn]) -> DriftCheckOut:
    at = START + timedelta(minutes=5 * i)
    return DriftCheckOut(
        check_id=f"c{i}",
        at=at,
        verdict="drift",
        sentence="",
        reference_since=None,
        reference_until=None,
        current_since=at,
        current_until=at,
        reference_agents=1,
        current_agents=1,
        columns=columns,
        has_report=False,
    )


# Lines over time


def test_one_line_a_version_in_time_order_without_gaps_of_none() -> None:
    figure = charts.accuracy_over_time([point(2), point(0), point(1, ade_m=None), point(0, version=3)], "ade_m", LIGHT)
    assert [t.name for t in figure.data] == ["v2", "v3"]
    assert list(figure.data[0].y) == [0.5, 0.52]
    assert figure.layout.yaxis.title.text == "ADE (m)"
    assert "UTC" in figure.layout.xaxis.title.text
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_the_first_points_stand_on_an_axis_of_whole_seconds() -> None:
    axis = charts.accuracy_over_time([point(0)], "ade_m", LIGHT).layout.xaxis
    assert axis.range[1] - axis.range[0] == timedelta(minutes=1)
    assert axis.tickformat == "%H:%M:%S"
    axis = charts.accuracy_over_time([point(0), point(5)], "ade_m", LIGHT).layout.xaxis
    assert (axis.range, axis.tickformat) == (None, None), "a longer time finds its own ticks"


def test_coverage_is_in_per_cent_with_the_nominal_line() -> None:
    figure = charts.accuracy_over_time([point(0), point(1)], "coverage", LIGHT, nominal_coverage=0.9)
    assert list(figure.data[0].y) == pytest.approx([90.0, 90.0])
    assert figure.layout.shapes[0].y0 == 90.0
    assert figure.layout.annotations[0].text == "nominal 90 %"


def test_times_are_drawn_in_utc_whatever_their_zone() -> None:
    zoned = point(0).model_copy(update={"at": START.astimezone(timezone(timedelta(hours=5)))})
    assert charts.accuracy_over_time([zoned], "ade_m", LIGHT).data[0].x[0] == START.replace(tzinfo=None)


def test_colour_of_a_version_is_the_same_in_every_figure() -> None:
    line = charts.accuracy_over_time([point(0, version=3)], "ade_m", LIGHT).data[0].line.color
    steps = charts.error_by_step({"3": [0.1]}, LIGHT).data[0].line.color
    bar = charts.live_timeline([LiveSpan("Champion", 3, START, START + timedelta(hours=1), 1.0, "", "")], LIGHT).data[0].marker.color
    assert line == steps == bar


def test_long_series_are_thinned_and_keep_their_extremes() -> None:
    points = [point(i, ade_m=9.0 if i == 12_345 else 0.5) for i in range(30_000)]
    trace = charts.accuracy_over_time(points, "ade_m", LIGHT).data[0]
    assert len(trace.y) <= drawing.MAX_POINTS
    assert max(trace.y) == 9.0


@given(n=st.integers(1, 5_000), seed=st.integers(0, 9))
def test_thinning_gives_increasing_indices_with_both_ends(n: int, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=n)
    keep = drawing.thin(np.arange(n, dtype=float), y, 200)
    assert len(keep) <= max(200, 1)
    assert keep[0] == 0
    assert keep[-1] == n - 1
    assert (np.diff(keep) > 0).all()


def test_traffic_has_counts_above_and_latencies_in_milliseconds_below() -> None:
    points = [
        TrafficPoint(at=START + timedelta(minutes=i), predictions=i, latency_p50_ms=1.0, latency_p95_ms=None if i == 1 else 4.0)
        for i in (2, 0, 1)
    ]
    figure = charts.traffic_over_time(points, DARK)
    assert list(figure.data[0].y) == [0, 1, 2]
    assert list(figure.data[1].y) == [4.0, None, 4.0]
    assert figure.layout.yaxis2.title.text == "Latency (ms)"


def test_error_by_step_stands_over_seconds_ahead() -> None:
    figure = charts.error_by_step({"10": [0.1, None], "2": [0.1, 0.3]}, LIGHT)
    assert [t.name for t in figure.data] == ["v2", "v10"]
    assert list(figure.data[0].x) == [0.4, 0.8]
    assert figure.layout.xaxis.title.text == "Time ahead (s)"


# Plane


@pytest.mark.parametrize(
    ("covariance", "half_x", "half_y"),
    [
        ((4.0, 0.0, 1.0), 2 * 4.605170185988092**0.5, 4.605170185988092**0.5),
        ((1.0, 0.0, 1.0), 4.605170185988092**0.5, 4.605170185988092**0.5),
    ],
    ids=["axis-aligned", "circle"],
)
def test_ellipse_has_the_hand_computed_size(covariance: tuple[float, float, float], half_x: float, half_y: float) -> None:
    outline = plane.ellipse((10.0, -5.0), covariance, n=361)
    assert np.ptp(outline[:, 0]) / 2 == pytest.approx(half_x, rel=1e-3)
    assert np.ptp(outline[:, 1]) / 2 == pytest.approx(half_y, rel=1e-3)
    assert outline.mean(axis=0) == pytest.approx([10.0, -5.0], abs=0.05)


@given(a=st.floats(0.01, 5), b=st.floats(0.01, 5), r=st.floats(-0.95, 0.95), x=st.floats(-1e3, 1e3), y=st.floats(-1e3, 1e3))
def test_every_point_of_an_ellipse_has_the_same_mahalanobis_distance(a: float, b: float, r: float, x: float, y: float) -> None:
    xy = r * (a * b) ** 0.5
    outline = plane.ellipse((x, y), (a, xy, b)) - np.array([x, y])
    distance2 = np.einsum("ni,ij,nj->n", outline, np.linalg.inv([[a, xy], [xy, b]]), outline)
    assert distance2 == pytest.approx(plane.CHI2_2_90, rel=1e-4)


def test_share_of_a_gaussian_inside_the_ellipse_is_nominal() -> None:
    draws = np.random.default_rng(7).multivariate_normal([0, 0], [[2.0, 0.7], [0.7, 0.5]], size=20_000)
    distance2 = np.einsum("ni,ij,nj->n", draws, np.linalg.inv([[2.0, 0.7], [0.7, 0.5]]), draws)
    assert (distance2 <= plane.CHI2_2_90).mean() == pytest.approx(0.9, abs=0.01)


def test_plane_has_equal_axes_history_modes_truth_and_ellipses() -> None:
    history = [(float(i) - 7, 0.0) for i in range(8)]
    figure = plane.plane(history, [plane.Drawn("v2", forecast())], [(1.0, 0.1), None, (3.0, 0.2)], LIGHT)
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.yaxis.scaleratio == 1
    names = [t.name for t in figure.data]
    assert names.count("90 % ellipse") == 2 * 3, "the mode of 10 % draws none"
    truth = next(t for t in figure.data if t.name == "Truth")
    assert list(truth.x) == [1.0, 3.0]
    modes = [t for t in figure.data if t.name.startswith("v2")]
    assert [t.line.width for t in modes] == sorted((t.line.width for t in modes), reverse=True)
    assert len({t.line.dash for t in modes}) == 3
    assert modes[0].text[-1] == "70 %"
    assert (modes[0].x[0], modes[0].y[0]) == history[-1], "a forecast starts where the history ends"
    assert figure.layout.xaxis.title.text == "x (m)"


def test_plane_of_two_versions_tells_them_apart_by_more_than_colour() -> None:
    figure = plane.plane([(0.0, 0.0)], [plane.Drawn("v2", forecast(2, (1.0,))), plane.Drawn("v3", forecast(3, (1.0,)))], [], LIGHT)
    first, second = (next(t for t in figure.data if t.name == name) for name in ("v2", "v3"))
    assert first.line.color != second.line.color
    assert first.marker.symbol != second.marker.symbol


# Timeline


def test_timeline_draws_a_bar_a_span_on_the_row_of_its_role() -> None:
    spans = [
        LiveSpan("Champion", 1, START, START + timedelta(minutes=10), 1.0, "first <b>model</b>", "ada"),
        LiveSpan("Challenger", 2, START, START + timedelta(minutes=5), 0.2, "compare", "ada"),
    ]
    figure = charts.live_timeline(spans, LIGHT)
    assert [(t.y[0], t.text, t.x[0]) for t in figure.data] == [("Champion", "v1", 600_000.0), ("Challenger", "v2", 300_000.0)]
    assert "<b>model" not in figure.data[0].hovertemplate
    assert "20 % of agents" in figure.data[1].hovertemplate


# Drift


def test_heatmap_holds_score_over_threshold_oldest_left() -> None:
    checks = [check(1, [column("speed_mps", 0.2), column("path_m", None)]), check(0, [column("speed_mps", 0.05)])]
    heat = drift_charts.drift_heatmap(checks, LIGHT).data[0]
    assert list(heat.y) == ["mean speed (m/s)", "path length (m)"]
    assert [list(row) for row in heat.z] == [[0.5, 2.0], [None, None]]
    assert [list(row) for row in heat.text] == [["", "✕"], ["", ""]]
    assert "03:00:00 UTC" in heat.customdata[0][0]


def test_heatmap_shows_a_unit_rule_as_far_from_one_in_either_direction() -> None:
    """Half and double are both the threshold; a tenth is no less drift than ten times."""

    def unit(ratio: float) -> DriftColumn:
        threshold, is_drifted = (2.0 if ratio >= 1 else 0.5), not 0.5 < ratio < 2
        return column("speed_mps_ratio", ratio).model_copy(update={"method": UNIT_RULE, "threshold": threshold, "is_drifted": is_drifted})

    heat = drift_charts.drift_heatmap([check(i, [unit(ratio)]) for i, ratio in enumerate((0.1, 0.5, 1.0, 2.0, 10.0))], LIGHT).data[0]
    assert list(heat.z[0]) == pytest.approx([3.32, 1.0, 0.0, 1.0, 3.32], abs=0.01)
    assert list(heat.text[0]) == ["✕", "✕", "", "✕", "✕"]
    assert "0.1 × the reference, healthy above 0.5 ×" in heat.customdata[0][0]
    assert "10 × the reference, healthy below 2 ×" in heat.customdata[0][4]


def test_histogram_is_in_per_cent_over_the_columns_own_edges() -> None:
    figure = drift_charts.reference_against_current(column("speed_mps", 0.2), LIGHT)
    reference, current = figure.data
    assert list(reference.x) == [0.5, 2.0]
    assert list(reference.width) == [1.0, 2.0]
    assert list(reference.y) == [25.0, 75.0]
    assert list(current.y) == [50.0, 50.0]
    assert figure.layout.xaxis.title.text == "mean speed (m/s)"


# Tokens


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


CONFIG = tomllib.loads((Path(__file__).parents[2] / "console" / ".streamlit" / "config.toml").read_text())["theme"]


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_status_tokens_of_theme_and_figures_are_the_same_and_readable(appearance: str) -> None:
    palette, theme = {"light": LIGHT, "dark": DARK}[appearance], CONFIG[appearance]
    assert (palette.ok, palette.warn, palette.bad, palette.info, palette.unknown) == tuple(
        theme[f"{name}Color"] for name in ("green", "orange", "red", "blue", "gray")
    )
    assert palette.surface == theme["backgroundColor"]
    for colour in (palette.text, palette.muted, palette.ok, palette.warn, palette.bad, palette.info, palette.unknown):
        assert contrast(colour, palette.surface) >= 4.5, colour
    for name in ("green", "orange", "red", "blue", "gray"):
        assert contrast(theme[f"{name}TextColor"], theme[f"{name}BackgroundColor"]) >= 4.5, name
    assert contrast("#FFFFFF", theme["primaryColor"]) >= 4.5
    assert len(theme["chartCategoricalColors"]) == 10
    assert all(re.fullmatch(r"#[0-9A-F]{6}", c) for c in theme["chartCategoricalColors"])
