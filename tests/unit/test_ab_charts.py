"""Figures of the A/B tests page: their axes, marks and bounds."""

from datetime import timedelta
from typing import Any

import pytest

from console.ab import charts
from console.drawing import MAX_POINTS
from console.palette import DARK, LIGHT
from tests.experiment_builders import STARTED, a_plan, figures, three_arms, two
from trajops.contracts.experiments import ArmErrorsOut, EffectOut, ExperimentSliceOut, VerdictOut
from trajops.experiments.verdict import judge


def judged() -> VerdictOut:
    return judge(a_plan(), figures(*two(600, 600, 0.42)), STARTED)


def invalid() -> VerdictOut:
    return judge(a_plan(), figures(*two(900, 600, 0.42)), STARTED)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_chart_has_zero_the_margin_a_band_and_no_more_points_than_are_seen(palette: Any) -> None:
    base = judged()
    looks = [base.model_copy(update={"at": STARTED + timedelta(seconds=10 * k)}) for k in range(5000)]
    looks[7] = invalid()
    figure = charts.effect_over_time(a_plan(), looks, palette)
    assert {len(trace.x) for trace in figure.data} == {MAX_POINTS}
    assert [trace.name for trace in figure.data if trace.name] == ["B · treatment (v2)"]
    assert sorted(shape.y0 for shape in figure.layout.shapes) == [0, 2]
    assert "UTC" in figure.layout.xaxis.title.text
    low, high = figure.layout.yaxis.range
    assert low < 100 * (base.effects[0].low or 0) < 0
    assert high > 2


def test_each_treatment_is_within_the_axis() -> None:
    def effect(name: str, change: float) -> EffectOut:
        return EffectOut(variant=name, change=change, low=change - 0.1, high=change + 0.1, harm_low=None, verdict="collecting")

    both = judged().model_copy(update={"effects": [effect("wide", 0.4), effect("deep", -0.3)]})
    looks = [both.model_copy(update={"at": STARTED + timedelta(minutes=k)}) for k in range(40)]
    looks[20:] = [one.model_copy(update={"effects": one.effects[1:]}) for one in looks[20:]]
    figure = charts.effect_over_time(three_arms(), looks, LIGHT)
    low, high = figure.layout.yaxis.range
    assert low < -40
    assert high > 50
    assert [trace.name for trace in figure.data if trace.name] == ["B · wide (v2)", "C · deep (v3)"]


def test_a_chart_of_looks_that_know_nothing_is_empty() -> None:
    assert not charts.effect_over_time(a_plan(), [invalid()], LIGHT).data
    endless = EffectOut(variant="treatment", change=0.1, low=None, high=None, harm_low=None, verdict="collecting")
    figure = charts.effect_over_time(a_plan(), [judged().model_copy(update={"effects": [endless]})], LIGHT)
    assert [one.text for one in figure.layout.annotations if "beyond" in one.text] == ["beyond the axis: no bound"] * 2


def looks_of(*effects: tuple[float, float, float]) -> list[VerdictOut]:
    """One look a minute, each with a change and the ends of its sequence."""
    return [
        judged().model_copy(
            update={
                "at": STARTED + timedelta(minutes=minute),
                "effects": [EffectOut(variant="treatment", change=change, low=low, high=high, harm_low=None, verdict="collecting")],
            }
        )
        for minute, (change, low, high) in enumerate(effects)
    ]


def test_what_was_far_wider_than_any_effect_is_marked_at_the_end_of_the_axis() -> None:
    looks = looks_of((0.4, -0.9, 6.47), (0.1, -0.5, 1.2), (-0.05, -0.12, 0.03))
    figure = charts.effect_over_time(a_plan(), looks, LIGHT)
    low, high = figure.layout.yaxis.range
    assert -25 < low < -15
    assert 15 < high < 25
    up, down = (trace for trace in figure.data if trace.mode == "markers")
    assert (up.marker.symbol, down.marker.symbol) == ("triangle-up", "triangle-down")
    assert len(up.x) == len(down.x) == 2
    assert all(low < y < high for trace in (up, down) for y in trace.y)
    said = [one.text for one in figure.layout.annotations if "beyond" in one.text]
    assert said == ["beyond the axis: to +647.0 %", "beyond the axis: to −90.0 %"]


def test_what_is_said_of_several_arms_at_one_end_of_the_axis_stands_in_several_lines() -> None:
    wide = {"low": -0.9, "high": 6.4, "harm_low": None, "verdict": "collecting"}
    told = [EffectOut(variant=name, change=0.1, **wide) for name in ("wide", "deep")]
    narrow = [one.model_copy(update={"low": -0.05, "high": 0.2}) for one in told]
    looks = [judged().model_copy(update={"at": STARTED + timedelta(minutes=k), "effects": one}) for k, one in enumerate((told, narrow))]
    said = [one for one in charts.effect_over_time(three_arms(), looks, LIGHT).layout.annotations if "beyond" in one.text]
    assert sorted((one.yanchor, one.yshift) for one in said) == [("bottom", 6), ("bottom", 20), ("top", -20), ("top", -6)]


def test_the_newest_sequence_is_within_the_axis_and_nothing_is_marked() -> None:
    figure = charts.effect_over_time(a_plan(), looks_of((0.2, -0.2, 0.7)), LIGHT)
    assert figure.layout.yaxis.range[1] > 70
    assert not [trace for trace in figure.data if trace.mode == "markers"]


def a_slice(value: str, change: float | None, variant: str = "treatment", **ends: Any) -> ExperimentSliceOut:
    known = {"low": None, "high": None} if change is None else {"low": change - 0.1, "high": change + 0.1}
    return ExperimentSliceOut(
        value=value, variant=variant, control_units=90, treatment_units=80, control_mean=0.5, treatment_mean=0.4, change=change,
        **(known | ends),
    )  # fmt: skip


def test_slices_stand_one_below_the_other_with_their_intervals() -> None:
    figure = charts.slice_effects(a_plan(), [a_slice("north", -0.2), a_slice("south", 0.1), a_slice("yard", None)], LIGHT, "ADE")
    [trace] = figure.data
    assert (list(trace.x), list(trace.y)) == ([-20, 10], [0, 1])
    assert list(trace.error_x.array) == pytest.approx([10, 10])
    assert list(figure.layout.yaxis.ticktext) == ["north", "south"]
    assert figure.layout.xaxis.range[0] == -figure.layout.xaxis.range[1] < -30
    assert "of each by itself" in figure.layout.xaxis.title.text


def test_slices_of_several_treatments_stand_beside_each_other() -> None:
    rows = [a_slice("north", -0.2, "wide"), a_slice("north", 0.3, "deep", high=None)]
    figure = charts.slice_effects(three_arms(), rows, DARK, "ADE")
    wide, deep = figure.data
    assert wide.y[0] < 0 < deep.y[0]
    assert deep.error_x.array[0] == pytest.approx(70)
    assert figure.layout.showlegend


def test_errors_of_units_are_a_line_an_arm_and_few_units_have_none() -> None:
    shares = [0.0, 0.5, 0.98, 1.0]
    arms = [
        ArmErrorsOut(variant="control", units=90, errors=[0.1, 0.5, 2.0, 40.0]),
        ArmErrorsOut(variant="wide", units=80, errors=[0.1, 0.4, 1.5, 9.0]),
        ArmErrorsOut(variant="deep", units=8, errors=[]),
    ]
    figure = charts.unit_errors(three_arms(), shares, arms, LIGHT)
    assert [(trace.name, list(trace.y)) for trace in figure.data] == [
        (name, [0, 50, 98, 100]) for name in ("A · control (v1)", "B · wide (v2)")
    ]
    assert list(figure.data[0].x) == arms[0].errors
    assert figure.layout.xaxis.range == (0, pytest.approx(2.1)), "the largest lies beyond"
    assert figure.layout.xaxis.title.text == "ADE of a unit (m)"
    missed = charts.unit_errors(
        three_arms(metric="miss_rate"), shares, [ArmErrorsOut(variant="wide", units=80, errors=[0.0, 0.2, 1.0, 1.0])], DARK
    )
    assert list(missed.data[0].x) == [0, 20, 100, 100]
    assert missed.layout.xaxis.title.text.endswith("(%)")


def test_a_version_beside_itself_has_two_lines_that_can_be_told_apart() -> None:
    arms = [{"variant": name, "model_version": 3, "weight": 0.5} for name in ("control", "treatment")]
    errors = [ArmErrorsOut(variant=name, units=80, errors=[0.1, 1.0]) for name in ("control", "treatment")]
    one, other = charts.unit_errors(a_plan(arms=arms), [0.0, 1.0], errors, LIGHT).data
    assert one.line.color != other.line.color
