"""Words and figures of the Performance page, from wire models."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.palette import LIGHT
from console.performance.charts import by_step, estimated_against_observed, slice_dots
from console.performance.words import coverage_tone, estimate_sentence, factor_words, slice_rows, value_words
from trajops.contracts.performance import EstimatePoint, FigureOut, Metric, SliceOut, VersionEstimateOut

START = datetime(2026, 11, 24, 3, tzinfo=UTC)


def figure(metric: Metric = "ade_m", mean: float | None = 0.5, margin: float | None = 0.1, **changes: Any) -> FigureOut:
    low, high = (None, None) if mean is None or margin is None else (mean - margin, mean + margin)
    values: dict[str, Any] = {"validation": 0.4, "champion_validation": 0.4, "verdict": "as_validated", "low": low, "high": high}
    return FigureOut(metric=metric, mean=mean, **(values | changes))


def slice_of(value: str, version: int = 2, *figures: FigureOut) -> SliceOut:
    return SliceOut(
        value=value, model_version=version, predictions=100, agents=12, verdict="as_validated", figures=list(figures) or [figure()]
    )


def trace(drawn: Any, name: str) -> Any:
    return next(one for one in drawn.data if one.name == name)


def test_a_dot_has_its_interval_and_the_tick_of_validation() -> None:
    drawn = slice_dots([slice_of("walking"), slice_of("running", 3)], "speed_band", "ade_m", LIGHT, nominal=0.9)
    dot = trace(drawn, "v2")
    assert list(dot.x) == [0.5]
    assert (list(dot.error_x.array), list(dot.error_x.arrayminus)) == ([pytest.approx(0.1)], [pytest.approx(0.1)])
    assert list(dot.y) == ["Walking · v2"]
    assert list(trace(drawn, "Validation").x) == [0.4, 0.4]
    assert drawn.layout.xaxis.title.text == "ADE (m)"
    assert trace(drawn, "v2").marker.symbol != trace(drawn, "v3").marker.symbol


def test_coverage_is_in_per_cent_beside_what_it_promises() -> None:
    drawn = slice_dots([slice_of("v2", 2, figure("coverage", 0.87, 0.02))], "model_version", "coverage", LIGHT, nominal=0.9)
    assert list(trace(drawn, "v2").x) == [87.0]
    assert drawn.layout.shapes[0].x0 == 90.0
    assert not [one for one in drawn.data if one.name == "Validation"]


def test_a_figure_without_an_interval_is_a_dot_and_one_without_a_mean_is_left_out() -> None:
    drawn = slice_dots([slice_of("a", 2, figure(margin=None)), slice_of("b", 2, figure(mean=None))], "scene", "ade_m", LIGHT, nominal=0.9)
    assert list(trace(drawn, "v2").y) == ["a"]
    assert list(trace(drawn, "v2").error_x.array) == [0.0]


def test_steps_are_drawn_over_the_time_ahead_in_their_order() -> None:
    drawn = by_step([slice_of(str(step), 2, figure(mean=step / 10)) for step in (12, 1, 2)], "ade_m", LIGHT, nominal=0.9)
    line = trace(drawn, "v2")
    assert list(line.x) == [0.4, 0.8, 4.8]
    assert list(line.y) == [0.1, 0.2, 1.2]
    assert list(trace(drawn, "v2 at validation").y) == [0.4, 0.4, 0.4]
    assert drawn.layout.yaxis.title.text == "Mean error (m)"


def estimate(**changes: Any) -> VersionEstimateOut:
    def point(i: int, estimated: float | None, observed: float | None) -> EstimatePoint:
        ends = (None, None) if estimated is None else (estimated - 0.1, estimated + 0.1)
        return EstimatePoint(
            at=START + timedelta(minutes=5 * i),
            predictions=10,
            scored=9,
            estimated_ade_m=estimated,
            low=ends[0],
            high=ends[1],
            observed_ade_m=observed,
            last_known_ade_m=0.4,
        )

    values: dict[str, Any] = {
        "model_version": 2,
        "unscored": 1234,
        "estimated_ade_m": 0.55,
        "low": 0.5,
        "high": 0.6,
        "validation_ade_m": 0.41,
        "mean_error_m": 0.02,
        "last_known_error_m": 0.09,
        "points": [point(0, None, 0.5), point(1, 0.5, 0.52), point(2, 0.55, None)],
    }
    return VersionEstimateOut(**(values | changes))


def test_an_estimate_stands_beside_what_came_out() -> None:
    drawn = estimated_against_observed(estimate(), LIGHT)
    assert list(trace(drawn, "Estimated before truth").y) == [0.5, 0.55]
    assert list(trace(drawn, "Observed since").y) == [0.5, 0.52]
    assert drawn.layout.shapes[0].y0 == 0.41


def test_a_single_estimate_is_a_dot_with_a_whisker_on_an_axis_of_a_minute() -> None:
    drawn = estimated_against_observed(estimate(points=[estimate().points[1]]), LIGHT)
    dot = trace(drawn, "Estimated before truth")
    assert (dot.mode, list(dot.y)) == ("markers", [0.5])
    assert (list(dot.error_y.array), list(dot.error_y.arrayminus)) == ([pytest.approx(0.1)], [pytest.approx(0.1)])
    assert [one.name for one in drawn.data] == ["Estimated before truth", "Observed since"], "no band"
    begin, end = drawn.layout.xaxis.range
    assert (end - begin, drawn.layout.xaxis.tickformat) == (timedelta(minutes=1), "%H:%M:%S")


def test_an_axis_is_wide_enough_for_the_only_part_that_is_drawn() -> None:
    first, second, _ = estimate().points
    empty = first.model_copy(update={"observed_ade_m": None})
    begin, end = estimated_against_observed(estimate(points=[empty, second]), LIGHT).layout.xaxis.range
    assert (begin, end - begin) == (second.at.replace(tzinfo=None) - timedelta(seconds=30), timedelta(minutes=1))


def test_several_estimates_have_a_band_and_an_axis_of_their_own() -> None:
    drawn = estimated_against_observed(estimate(), LIGHT)
    band = drawn.data[0]
    assert (band.mode, band.fill, list(band.y)) == ("lines", "toself", [pytest.approx(v) for v in (0.6, 0.65, 0.45, 0.4)])
    assert trace(drawn, "Estimated before truth").error_y.array is None
    assert drawn.layout.xaxis.range is None


def test_lines_of_validation_are_grey_and_have_the_dashes_of_their_versions() -> None:
    drawn = by_step([slice_of(str(step), version) for version in (2, 3) for step in (1, 2)], "ade_m", LIGHT, nominal=0.9)
    lines = {version: (trace(drawn, f"v{version}").line, trace(drawn, f"v{version} at validation").line) for version in (2, 3)}
    assert all(live.dash == validation.dash and validation.color == LIGHT.muted for live, validation in lines.values())
    assert lines[2][1].dash != lines[3][1].dash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            (
                "lack truth for their whole horizon; their ADE is estimated at 0.55 m (0.50 m to 0.60 m). "
                "Estimates came out within 0.02 m on average"
            ),
        ),
        ({"estimated_ade_m": None, "unscored": 0}, "Every prediction of this range has its truth."),
        ({"estimated_ade_m": None, "mean_error_m": None}, "Too few predictions have truth to estimate from."),
    ],
)
def test_what_an_estimate_says(changes: dict[str, Any], said: str) -> None:
    assert said in estimate_sentence(estimate(**changes))


def test_rows_name_the_slice_the_version_and_the_verdict() -> None:
    (row,) = slice_rows([slice_of("speed_x", 2, figure(), figure("coverage", 0.9))], "speed_band", "Speed")
    assert row["Speed"] == "Speed x"
    assert row["Verdict"] == "● As validated"
    assert (row["ADE (m)"], row["Steps inside ellipse (%)"], row["FDE (m)"]) == (0.5, 90.0, None)


def test_words() -> None:
    assert factor_words([1.21] * 12) == "axes × 1.10"
    assert factor_words([1.0, 1.44]) == "axes × 1.00 to 1.20"
    assert [coverage_tone(value, 0.9) for value in (0.89, 0.86, 0.8, 0.97)] == ["ok", "warn", "bad", "bad"]
    assert [value_words("calibration", value) for value in ("0", "7")] == ["as trained", "calibration 7"]
