"""An experiment taken apart: what each interval is, and when nothing may be shown."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from data.stubs import MemoryDatabase
from tests.experiment_builders import STARTED, STOP, a_plan, a_shadow, a_verdict, an_arm, an_experiment, figures, three_arms, two
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan, ExperimentSliceBy
from trajops.errors import NotFound
from trajops.experiments.lifecycle import ExperimentState as S
from trajops.experiments.slices import (
    ERRORS_LABEL,
    LABEL,
    SHARES,
    ErrorSpread,
    Slice,
    Slices,
    UnitErrors,
    comparable,
    explore,
    hidden_because,
    spread,
)
from trajops.experiments.verdict import judge
from trajops.performance.rules import BANDS, SpeedBand
from trajops.services.experiment_slices import ExperimentSlices

AT = STARTED + timedelta(hours=1)
ALL = ("treatment", "wide", "deep")


def test_a_slice_of_everybody_says_what_the_verdict_says() -> None:
    arms = two(600, 620, 0.42)
    [row] = explore(a_plan(), [Slice("all", {one.variant: one.sums for one in arms}, {})], ALL)
    [effect] = judge(a_plan(), figures(*arms), STARTED).effects
    assert (row.change, row.low, row.high) == (effect.change, effect.low, effect.high)
    assert (row.value, row.variant, row.control_units, row.treatment_units) == ("all", "treatment", 600, 620)
    assert row.treatment_mean == pytest.approx(arms[1].sums.mean, abs=1e-6)


def test_of_several_treatments_each_has_its_part_of_alpha() -> None:
    plan = three_arms()
    arms = [an_arm("control", 600), an_arm("wide", 300, mean_m=0.45), an_arm("deep", 300, mean_m=0.4)]
    rows = explore(plan, [Slice("all", {one.variant: one.sums for one in arms}, {})], ALL)
    effects = judge(plan, figures(*arms), STARTED).effects
    assert [(row.variant, row.low, row.high) for row in rows] == [(one.variant, one.low, one.high) for one in effects]


def test_a_shadow_is_compared_by_its_pairs() -> None:
    plan, arm = a_plan(mode="shadow"), a_shadow(200, 0.8)
    assert arm.pairs is not None
    [row] = explore(plan, [Slice("all", {}, {"treatment": arm.pairs})], ALL)
    [effect] = judge(plan, figures(an_arm("control", 200), arm), STARTED).effects
    assert (row.change, row.low, row.high) == (effect.change, effect.low, effect.high)
    assert row.control_units == row.treatment_units == 200


@pytest.mark.parametrize(("units", "is_told"), [((50, 50), True), ((49, 400), False), ((400, 49), False), ((1, 0), False)])
def test_too_few_units_have_no_effect(units: tuple[int, int], *, is_told: bool) -> None:
    arms = two(*units, 0.42)
    [row] = explore(a_plan(), [Slice("yard", {one.variant: one.sums for one in arms}, {})], ALL)
    assert ((row.change is not None), (row.low is not None)) == (is_told, is_told)


def test_a_slice_that_an_arm_was_never_in_is_no_row() -> None:
    control, wide = an_arm("control", 100), an_arm("wide", 100)
    slices = [Slice("a", {"control": control.sums}, {}), Slice("b", {"control": control.sums, "wide": wide.sums}, {})]
    assert [(one.value, one.variant) for one in explore(three_arms(), slices, ALL)] == [("b", "wide")]
    assert explore(three_arms(), slices, ["deep"]) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"verdict": None}, "nobody has looked at it yet", id="no verdict"),
        pytest.param({"verdict": judge(a_plan(), figures(*two(900, 600)), STARTED)}, "the data are not valid: 60.0 %", id="split"),
        pytest.param({"verdict": a_verdict(3000.0)}, "nobody has looked at it for 600 s", id="nobody knows"),
        pytest.param({"verdict": a_verdict(3590.0)}, None, id="of now"),
        pytest.param({"verdict": a_verdict(600.0), "ended_at": STARTED + timedelta(minutes=10)}, None, id="over"),
    ],
)
def test_nothing_is_shown_while_the_data_are_invalid_or_nobody_knows(changes: dict[str, Any], said: str | None) -> None:
    found = hidden_because(an_experiment(**changes), AT)
    assert found is None if said is None else (found or "").startswith(said)


@pytest.mark.parametrize(
    ("state", "closed", "expected"),
    [(S.RUNNING, [], ["wide", "deep"]), (S.RUNNING, ["wide"], ["deep"]), (S.ROLLED_BACK, ["wide", "deep"], ["deep"])],
)
def test_who_was_answered_by_the_control_since_is_not_compared(state: S, closed: list[str], expected: list[str]) -> None:
    assert comparable(an_experiment(plan=three_arms(), state=state, closed_arms=closed)) == expected


def test_an_arm_with_few_units_has_no_line_and_the_control_is_always_first() -> None:
    arms = {"deep": UnitErrors(49, SHARES), "wide": UnitErrors(60, SHARES), "control": UnitErrors(50, SHARES)}
    found = spread(three_arms(), arms, ["wide", "deep"])
    assert [(one.variant, one.units, len(one.errors)) for one in found] == [("control", 50, 51), ("wide", 60, 51), ("deep", 49, 0)]
    assert [one.variant for one in spread(three_arms(), arms, ["deep"])] == ["control", "deep"]
    assert spread(three_arms(), {}, ["deep"]) == []


# The service


class Source:
    """Two scenes, in one of which the treatment is better; it notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, datetime, datetime, str]] = []

    def slices(
        self, experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime, by: ExperimentSliceBy, bands: Sequence[SpeedBand]
    ) -> Slices:
        assert bands == BANDS
        self.asked.append((experiment_id, since, at, by))
        found = [Slice(name, {one.variant: one.sums for one in two(300, 300, mean_m)}, {}) for name, mean_m in (("a", 0.4), ("b", 0.5))]
        return Slices(since, found, 3)

    def errors(self, experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime) -> ErrorSpread:
        self.asked.append((experiment_id, since, at, "errors"))
        return ErrorSpread(since, {arm.variant: UnitErrors(60, SHARES) for arm in plan.arms})


class HandClock:
    def now_ns(self) -> int:
        return int(AT.timestamp() * 1e9)


def served(*experiments: ExperimentOut) -> tuple[ExperimentSlices, Source]:
    database, source = MemoryDatabase(), Source()
    with database.unit_of_work() as work:
        for one in experiments:
            work.experiments.add(one)
            if one.verdict is not None:
                work.experiments.note(one.experiment_id, one.verdict, keep=True)
    return ExperimentSlices(source, database.unit_of_work, BANDS, HandClock()), source


def test_a_running_experiment_is_taken_apart_until_now() -> None:
    service, source = served(an_experiment(verdict=a_verdict(3599.0)))
    found = service.of("e1", "scene")
    assert source.asked == [("e1", STARTED, AT, "scene")]
    assert (found.by, found.label, found.hidden_because, found.left_out) == ("scene", LABEL, None, 3)
    assert (found.since, found.until, found.confidence) == (STARTED, AT, 0.95)
    assert [(one.value, one.high is not None and one.high < 0) for one in found.slices] == [("a", True), ("b", False)]


def test_one_that_is_over_is_taken_apart_until_its_end() -> None:
    ended_at = STARTED + timedelta(minutes=20)
    service, source = served(an_experiment(state=S.STOPPED, ended_at=ended_at, verdict=a_verdict(1200.0)))
    assert service.of("e1", "step").until == ended_at
    assert source.asked == [("e1", STARTED, ended_at, "step")]


def test_the_lake_is_not_asked_for_what_may_not_be_shown() -> None:
    bad = judge(a_plan(stop=STOP), figures(*two(900, 600), passed_s=3599), STARTED)
    service, source = served(an_experiment(verdict=bad), an_experiment("draft", state=S.DRAFT, started_at=None))
    for name in ("e1", "draft"):
        found = service.of(name, "scene")
        assert (found.slices, found.since, found.label) == ([], None, LABEL)
        assert found.hidden_because is not None
    assert source.asked == []


def test_errors_are_of_the_arms_that_are_compared_and_refused_as_slices_are() -> None:
    rolled_back = an_experiment("two", plan=three_arms(), closed_arms=["wide"], verdict=a_verdict(3599.0))
    bad = judge(a_plan(stop=STOP), figures(*two(900, 600), passed_s=3599), STARTED)
    service, source = served(rolled_back, an_experiment("bad", verdict=bad), an_experiment("draft", state=S.DRAFT, started_at=None))
    found = service.errors("two")
    assert (found.label, found.hidden_because, found.metric, found.since, found.until) == (ERRORS_LABEL, None, "ade_m", STARTED, AT)
    assert (found.shares, [one.variant for one in found.arms]) == (list(SHARES), ["control", "deep"])
    known = source.errors("bad", a_plan(), STARTED, AT)
    for name in ("bad", "draft"):
        hidden = service.errors(name, remember=lambda _: known)
        assert (hidden.arms, hidden.since) == ([], None)
        assert hidden.hidden_because == service.of(name, "scene").hidden_because is not None
        service.errors(name)
    assert [asked[0] for asked in source.asked] == ["two", "bad"], "the second by this test"
    with pytest.raises(NotFound):
        service.errors("nobody")


def test_what_is_remembered_is_not_shown_once_the_data_are_invalid() -> None:
    service, source = served(an_experiment(verdict=a_verdict(3599.0)))
    known = source.slices("e1", a_plan(), STARTED, AT, "scene", BANDS)
    assert len(service.of("e1", "scene", remember=lambda _: known).slices) == 2
    assert len(source.asked) == 1
    bad = judge(a_plan(stop=STOP), figures(*two(900, 600), passed_s=3599), STARTED)
    spoilt, _ = served(an_experiment(verdict=bad))
    assert spoilt.of("e1", "scene", remember=lambda _: known).slices == []


def test_an_experiment_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        served()[0].of("e1", "scene")
