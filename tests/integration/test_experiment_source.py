"""Figures of experiments out of the lake, against the same made by hand from the events."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.lake.experiment_source import LakeExperiments
from tests.builders import CLOCK_NS, a_prediction_event, an_outcome_event
from tests.experiment_builders import a_plan, three_arms
from tests.experiment_rows import (
    AT,
    DUE_NS,
    EXPERIMENT,
    SINCE,
    SLOW_MS,
    STEP_NS,
    S,
    an_answer,
    an_arm_by_hand,
    in_range,
    live_by_hand,
    shadow_by_hand,
    shadows_of,
    some_outcomes,
    write_mixed,
)
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.contracts.experiments import ExperimentPlan
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.sums import ArmSums, PairSums
from trajops.experiments.verdict import judge
from trajops.ports import ExperimentSource
from trajops.telemetry import OutcomeEvent, PredictionEvent


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


def asked(house: House, plan: ExperimentPlan, **options: Any) -> Figures:
    source: ExperimentSource = LakeExperiments(house.lake)
    return source.figures(EXPERIMENT, plan, **({"since": SINCE, "at": AT, "slow_ms": SLOW_MS, "counted_since": utc(STEP_NS)} | options))


def waiting(found: Figures) -> tuple[int, int, int, int]:
    return found.overdue_units, found.overdue_visits, found.visits, found.known_visits


def is_told(outcome: OutcomeEvent) -> bool:
    """Some agents get no truth, and in the end nobody does."""
    return outcome.agent_id != "a0" and outcome.scored_ns <= CLOCK_NS + 450 * S


def same(found: Figures, expected: Figures) -> None:
    """Equal, but for the order of additions and for latencies in single precision."""
    for name in (
        "at",
        "jumpers",
        "last_outcome_at",
        "counted_since",
        "enrolled_since",
        "overdue_units",
        "overdue_visits",
        "visits",
        "known_visits",
        "overdue_stays",
        "hours",
    ):
        assert getattr(found, name) == getattr(expected, name), name
    assert [arm.variant for arm in found.arms] == [arm.variant for arm in expected.arms]
    for one, other in zip(found.arms, expected.arms, strict=True):
        for field in dataclasses.fields(ArmFigures):
            left, right = getattr(one, field.name), getattr(other, field.name)
            if dataclasses.is_dataclass(left):
                left, right = dataclasses.astuple(left), dataclasses.astuple(right)  # type: ignore[arg-type]
            if isinstance(right, tuple):
                assert len(left) == len(right)
                for a, b in zip(left, right, strict=True):
                    assert a == (None if b is None else pytest.approx(b, rel=1e-5 if field.name == "latency_ms" else 1e-9)), field.name
            else:
                assert left == right, field.name


@pytest.mark.parametrize("where", ["spool", "parquet", "mixed"])
@pytest.mark.parametrize("unit", ["agent", "client", "scene"])
@pytest.mark.parametrize("arms", [2, 3])
def test_live_figures_are_those_of_the_rows(house: House, where: str, unit: str, arms: int) -> None:
    seed = arms + 10 * len(unit)
    rng = np.random.default_rng(seed)
    metric = str(rng.choice(["ade_m", "fde_m", "miss_rate"]))
    plan = (a_plan if arms == 2 else three_arms)(unit=unit, metric=metric)
    predictions = [an_answer(rng, number, plan, 60) for number in range(900)]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction) if is_told(one)]
    write_mixed(house, seed, predictions, outcomes, where)
    expected = live_by_hand(plan, predictions, outcomes)
    assert min(arm.sums.units for arm in expected.arms) > 1
    assert expected.overdue_units > 2
    assert unit != "agent" or 0.5 < expected.known_visits / expected.visits < 1
    assert unit != "agent" or expected.jumpers > 0
    same(asked(house, plan), expected)


@pytest.mark.parametrize("where", ["spool", "parquet", "mixed"])
@pytest.mark.parametrize("unit", ["agent", "client", "scene"])
@pytest.mark.parametrize("arms", [2, 3])
def test_shadow_figures_are_those_of_the_rows(house: House, where: str, unit: str, arms: int) -> None:
    seed = arms + 20 * len(unit)
    rng = np.random.default_rng(seed)
    metric = str(rng.choice(["ade_m", "fde_m", "miss_rate"]))
    plan = (a_plan if arms == 2 else three_arms)(unit=unit, metric=metric, mode="shadow")
    alone = a_plan()
    answers = [
        dataclasses.replace(
            one, variant="champion" if one.variant != "override" else "override", model_version=int(rng.integers(1, 3)) // 2 + 1
        )
        for number in range(600)
        if (one := an_answer(rng, number, alone, 60)).source != "shadow"
    ]
    predictions = [one for answer in answers for one in (answer, *shadows_of(rng, plan, answer))]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction) if is_told(one)]
    write_mixed(house, seed, predictions, outcomes, where)
    expected = shadow_by_hand(plan, predictions, outcomes)
    assert min(arm.sums.units for arm in expected.arms) > 1
    assert expected.overdue_units > 2
    assert unit != "agent" or 0.5 < expected.known_visits / expected.visits < 1
    same(asked(house, plan), expected)


@pytest.mark.parametrize("where", ["spool", "parquet", "mixed"])
def test_what_two_workers_have_predicted_beside_the_same_answer_counts_once(house: House, where: str) -> None:
    rng = np.random.default_rng(3)
    plan = a_plan(mode="shadow")
    answers = [dataclasses.replace(an_answer(rng, n, a_plan(), 60), variant="champion", model_version=1, source="live") for n in range(300)]
    shadows = [one for answer in answers for one in shadows_of(rng, plan, answer)]
    outcomes = [one for prediction in (*answers, *shadows) for one in some_outcomes(rng, prediction)]
    # The other worker was slower, and so was its truth join.
    late = [dataclasses.replace(one, latency_ms=one.latency_ms + 1.0) for one in shadows[::2]]
    of_late = {one.prediction_id for one in late}
    scored_late = [dataclasses.replace(one, scored_ns=one.scored_ns + 1) for one in outcomes if one.prediction_id in of_late]
    expected = shadow_by_hand(plan, [*answers, *shadows], [*outcomes, *scored_late])
    write_mixed(house, 11, [*answers, *shadows, *late], [*outcomes, *scored_late], where)
    assert expected.arms[1].predictions > 200
    same(asked(house, plan), expected)


@pytest.mark.parametrize("where", ["spool", "parquet", "mixed"])
@pytest.mark.parametrize("unit", ["agent", "client", "scene"])
def test_traffic_is_that_of_the_rows(house: House, where: str, unit: str) -> None:
    rng = np.random.default_rng(len(unit))
    plan = a_plan(unit=unit, metric="fde_m")
    predictions = [an_answer(rng, number, plan, 40) for number in range(300)]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction)]
    write_mixed(house, 7, predictions, outcomes, where)
    served = [one for one in predictions if in_range(one) and one.source in {"live", "replay"}]
    expected = an_arm_by_hand(plan, "", served, outcomes)
    found = LakeExperiments(house.lake).traffic(SINCE, AT, plan.unit, plan.metric)
    # What is in the spool alone has just come: there was nothing before.
    since = utc(min(one.received_ns for one in served)) if where == "spool" else SINCE
    assert (found.since, found.until, found.units, found.predictions) == (since, AT, expected.units, expected.predictions)
    assert (found.due, found.joined, found.join_rate) == (expected.due, expected.joined, expected.join_rate)
    assert dataclasses.astuple(found.sums) == pytest.approx(dataclasses.astuple(expected.sums), rel=1e-9)
    assert found.units_per_day == pytest.approx(expected.units * 86_400 / (AT - since).total_seconds())


@pytest.mark.parametrize("where", ["spool", "parquet"])
def test_what_came_since_a_lake_began_is_no_day_of_traffic(house: House, where: str) -> None:
    """Ten minutes after the first start a day's units are those of ten minutes, 144 times; else no experiment could be launched."""
    asked = [a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * S, agent_id=f"a{n}") for n in range(600)]
    house.write(*asked, close=where == "parquet")
    house.compact()
    found = LakeExperiments(house.lake).traffic(AT - timedelta(days=1), AT, "agent", "ade_m")
    assert (found.since, found.units) == (SINCE, 600)
    assert found.units_per_day == pytest.approx(86_400)
    old = [a_prediction_event(kind, received_ns=CLOCK_NS - 2 * 86_400 * S, source=kind) for kind in ("probe", "backfill", "shadow")]
    house.write(*old)
    house.compact()
    found = LakeExperiments(house.lake).traffic(AT - timedelta(days=1), AT, "agent", "ade_m")
    assert (found.since, found.units) == (SINCE, 600), "these are nobody's traffic"
    house.write(a_prediction_event("old", received_ns=CLOCK_NS - 2 * 86_400 * S, agent_id="old"))
    house.compact()
    found = LakeExperiments(house.lake).traffic(AT - timedelta(days=1), AT, "agent", "ade_m")
    assert (found.since, found.units_per_day) == (AT - timedelta(days=1), 600), "a quiet day is a day"


def test_of_much_traffic_the_newest_is_looked_at(house: House) -> None:
    house.write(*(a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * S, agent_id=f"a{n}") for n in range(600)))
    house.compact()
    found = LakeExperiments(house.lake).traffic(SINCE, AT, "agent", "ade_m", max_rows=100)
    assert found.until == AT
    assert found.since == pytest.approx(AT - timedelta(seconds=100), abs=timedelta(seconds=3))
    assert found.units == found.predictions == pytest.approx(100, abs=3)
    assert found.units_per_day == pytest.approx(86_400, rel=0.05)


# By hand


def exposed(number: int, variant: str = "control", **changes: Any) -> PredictionEvent:
    values = {"agent_id": f"a{number}", "variant": variant, "experiment_id": EXPERIMENT, "received_ns": CLOCK_NS + number * S}
    return a_prediction_event(f"p{number}", **(values | changes))


def scored(prediction: PredictionEvent, **changes: Any) -> OutcomeEvent:
    taken = ("received_ns", "scene_id", "agent_id", "variant", "source", "experiment_id", "shadow_of")
    return an_outcome_event(prediction.prediction_id, **({name: getattr(prediction, name) for name in taken} | changes))


@pytest.mark.parametrize("mode", ["live", "shadow"])
def test_who_asks_in_a_quiet_night_and_gets_no_truth_is_one_unit(house: House, mode: str) -> None:
    """In the evening 12 agents of whom 2 are gone too soon; in the night a stray that asks twice, an old acquaintance, and one just now."""

    def asks(number: int, agent: int, at_s: float) -> list[PredictionEvent]:
        values = {"agent_id": f"a{agent}", "received_ns": CLOCK_NS + round(at_s * S)}
        if mode == "live":
            return [exposed(number, **values)]
        answer = exposed(number, "champion", experiment_id=None, **values)
        return [answer, exposed(100 + number, "treatment", source="shadow", shadow_of=f"p{number}", model_version=2, **values)]

    evening = [asks(n, n, n) for n in range(12)]
    house.write(*(one for both in evening for one in both))
    house.write(*(scored(one, scored_ns=CLOCK_NS + 20 * S) for both in evening[:10] for one in both), table="outcomes")
    found = asked(house, a_plan(mode=mode))
    assert waiting(found) == (0, 0, 12, 10)
    house.write(*asks(20, 20, 400), *asks(21, 20, 401), *asks(22, 0, 402), *asks(23, 23, 599))
    found = asked(house, a_plan(mode=mode))
    assert (found.last_outcome_at, waiting(found)) == (utc(CLOCK_NS + 20 * S), (2, 2, 12, 10))


def test_a_fleet_that_returns_is_counted_by_its_visits(house: House) -> None:
    """Each of 20 robots comes six times, and gets truth each second time, or third; one stays for a while."""
    visits = [
        exposed(20 * n + robot, agent_id=f"a{robot}", received_ns=CLOCK_NS + (200 * n + robot) * S) for n in range(6) for robot in range(20)
    ]
    stays = [exposed(900 + n, agent_id="a0", received_ns=CLOCK_NS + (1005 + n) * S) for n in range(5)]
    house.write(*visits, *stays)
    known = [one for number, one in enumerate(visits) if number // 20 % (2 + number % 2) == 0 or one.agent_id in {"a0", "a19"}]
    house.write(*(scored(one, scored_ns=one.received_ns + 6 * S) for one in known), table="outcomes")
    house.write(*(exposed(1000 + n, agent_id=f"a{n % 3}", received_ns=CLOCK_NS + (1300 + 200 * n) * S) for n in range(5)))
    found = asked(house, a_plan(), at=utc(CLOCK_NS + 3600 * S))
    assert waiting(found) == (3, 5, 120, len(known))
    # After a pause, truth is waited for of those who were answered since; who was before is not forgotten.
    found = asked(house, a_plan(), at=utc(CLOCK_NS + 3600 * S), enrolled_since=utc(CLOCK_NS + 1800 * S))
    assert waiting(found) == (2, 2, 123, len(known))


def test_visits_are_counted_by_the_hour_and_who_stays_without_truth_anew_after_a_while(house: House) -> None:
    """Two agents ask each twenty minutes, but for one hour, and one of them gets truth; then both stay, and neither gets any."""
    begin_s = 3600 - CLOCK_NS // S % 3600
    asks_s = [begin_s + 1200 * n for n in (0, 1, 2, 6, 7, 8, 9, 10)]
    asks = [
        exposed(2 * n + agent, agent_id=f"a{agent}", received_ns=CLOCK_NS + (at_s + agent) * S)
        for n, at_s in enumerate(asks_s)
        for agent in (0, 1)
    ]
    house.write(*asks)
    known = [one for one in asks if one.agent_id == "a0"]
    house.write(*(scored(one, scored_ns=one.received_ns + 6 * S) for one in known), table="outcomes")
    newest_s = asks_s[-1] + 6
    # One stays for a while, the other for three.
    late = [(0, 10), (0, 400), (0, 1190), (1, 100), (1, 500), (1, 1100), (1, 1201), (1, 2300), (1, 2401)]
    house.write(
        *(
            exposed(100 + n, agent_id=f"a{agent}", received_ns=CLOCK_NS + (newest_s + after_s) * S)
            for n, (agent, after_s) in enumerate(late)
        )
    )
    found = asked(house, a_plan(), at=utc(CLOCK_NS + (newest_s + 3000) * S))
    assert found.hours == ((6, 3), (6, 3), (4, 2))
    assert (found.visits, found.known_visits) == (16, 8)
    assert (found.overdue_units, found.overdue_stays, found.overdue_visits) == (2, 4, 9)


@pytest.mark.parametrize("mode", ["live", "shadow"])
def test_an_experiment_that_nobody_has_met_has_arms_of_nothing(house: House, mode: str) -> None:
    plan = three_arms(mode=mode)
    for _ in range(2):
        found = asked(house, plan)
        assert (found.jumpers, found.last_outcome_at, waiting(found)) == (0, None, (0, 0, 0, 0))
        assert [arm.variant for arm in found.arms] == ["control", "wide", "deep"]
        for arm in found.arms:
            assert dataclasses.replace(arm, pairs=None) == ArmFigures(arm.variant)
        assert [arm.pairs for arm in found.arms] == [None, *[None if mode == "live" else PairSums(0, 0, 0, 0, 0, 0)] * 2]
        assert judge(plan, found, SINCE).kind == "collecting"
        house.write(a_prediction_event("somebody"), exposed(1, "override"), exposed(2, experiment_id="e2"))
        house.write(an_outcome_event("somebody"), table="outcomes")
    assert asked(house, plan, at=SINCE).arms[0].units == 0, "and no time has passed"


def test_a_jumper_is_counted_and_left_out_of_everything(house: House) -> None:
    stays, goes, comes = exposed(1), exposed(2, model_name="baseline", latency_ms=50.0), exposed(3, "treatment", agent_id="a2")
    house.write(stays, goes, comes, exposed(4, "treatment"))
    house.write(scored(stays, ade_m=0.25), scored(goes, ade_m=9.0), scored(comes, ade_m=9.0), table="outcomes")
    found = asked(house, a_plan())
    control, treatment = found.arms
    assert found.jumpers == 1
    assert (control.units, control.predictions, control.due, control.joined) == (1, 1, 1, 1)
    assert (control.failed_units, control.slow_units, control.latency_ms[2]) == (0, 0, pytest.approx(0.2))
    assert control.sums == ArmSums(1, 0.25, 0.0625, 0.6, 0.36, 0.15)
    assert (treatment.units, treatment.predictions, treatment.joined, treatment.sums.units) == (1, 1, 0, 0)


def test_who_was_put_into_an_arm_by_hand_is_in_none(house: House) -> None:
    by_hand = exposed(2, "override", agent_id="a1")
    house.write(exposed(1), by_hand)
    house.write(scored(by_hand), table="outcomes")
    found = asked(house, a_plan())
    assert (found.jumpers, found.arms[0].units, found.arms[0].predictions, found.arms[0].joined) == (0, 1, 1, 0)


def test_late_truth_counts_as_soon_as_it_is_there(house: House) -> None:
    young = exposed(594, received_ns=DUE_NS + 1)
    old = exposed(1, received_ns=DUE_NS)
    house.write(young, old)
    house.compact()
    [control, _] = asked(house, a_plan()).arms
    assert (control.predictions, control.due, control.joined, control.sums.units) == (2, 1, 0, 0)
    house.write(scored(old, is_complete=False, steps_scored=5), scored(young), table="outcomes")
    [control, _] = asked(house, a_plan()).arms
    assert (control.due, control.joined, control.sums.units) == (1, 1, 1), "a part of truth is truth, but no value"
    house.write(scored(old, scored_ns=CLOCK_NS + 900 * S), table="outcomes")
    house.compact()
    found = asked(house, a_plan())
    assert (found.arms[0].joined, found.arms[0].sums.units) == (1, 2)
    assert found.last_outcome_at == utc(CLOCK_NS + 900 * S)


def test_an_answer_is_paired_with_what_the_shadow_of_its_arm_said(house: House) -> None:
    plan = a_plan(mode="shadow")
    answers = [exposed(n, "champion", experiment_id=None) for n in range(3)]
    beside = [
        exposed(10 + n, "treatment", agent_id=f"a{n}", source="shadow", shadow_of=f"p{n}", model_version=2, latency_ms=9.0)
        for n in range(2)
    ]
    house.write(*answers, *beside)
    house.write(scored(answers[0], ade_m=0.5), scored(answers[1], ade_m=0.5), scored(beside[0], ade_m=0.25), table="outcomes")
    house.compact()
    control, treatment = asked(house, plan).arms
    assert (control.units, control.predictions, control.joined, control.slow_units) == (2, 2, 2, 0), "the third has no shadow"
    assert (treatment.units, treatment.predictions, treatment.joined, treatment.slow_units) == (2, 2, 1, 2)
    assert (control.pairs, treatment.pairs) == (None, PairSums(1, 0.5, 0.25, 0.25, 0.0625, 0.125))


@pytest.mark.parametrize(
    "changes",
    [{"source": "probe"}, {"model_version": 7}, {"variant": "override"}, {"received_ns": CLOCK_NS - 1}],
    ids=["of a probe", "of another version", "of one put into an arm by hand", "of before it began"],
)
def test_a_shadow_counts_where_its_answer_does(house: House, changes: dict[str, Any]) -> None:
    answer = exposed(1, **({"variant": "champion"} | changes))
    beside = exposed(2, "treatment", agent_id="a1", source="shadow", shadow_of="p1")
    house.write(answer, beside)
    house.write(scored(answer), scored(beside), table="outcomes")
    assert [(arm.units, arm.predictions, arm.sums.units) for arm in asked(house, a_plan(mode="shadow")).arms] == [(0, 0, 0)] * 2


def test_where_the_baseline_answered_for_the_control_it_is_charged(house: House) -> None:
    answer = exposed(1, "champion", model_name="baseline", model_version=0)
    house.write(answer, exposed(2, "treatment", agent_id="a1", source="shadow", shadow_of="p1"))
    control, treatment = asked(house, a_plan(mode="shadow")).arms
    assert (control.units, control.failed_units, treatment.failed_units) == (1, 1, 0)


def test_files_of_before_experiments_were_noted_with_outcomes_are_read(house: House) -> None:
    """They hold traffic of before: none of it is of the experiment, and all of it is traffic."""
    before = [exposed(n, "champion", experiment_id=None) for n in range(4)]
    house.write(*before)
    house.write(*(scored(one, ade_m=0.5) for one in before), table="outcomes")
    house.compact()
    for file in house.files():
        path = house.folder / "lake" / file.path
        new = {"predictions": ["shadow_of"], "outcomes": ["experiment_id", "shadow_of"]}[file.table]
        pq.write_table(pq.ParquetFile(path).read().drop_columns(new), path)
    answer, beside = exposed(10), exposed(11, "treatment", agent_id="a10", source="shadow", shadow_of="p10", model_version=2)
    house.write(answer, beside)
    house.write(scored(answer, ade_m=1.0), scored(beside, ade_m=0.5), table="outcomes")
    for is_merged in (False, True):
        live, shadow = asked(house, a_plan()).arms[0], asked(house, a_plan(mode="shadow")).arms[1]
        assert (live.units, live.joined, live.sums.y) == (1, 1, 1.0)
        assert shadow.pairs == PairSums(1, 1.0, 0.5, 1.0, 0.25, 0.5)
        traffic = LakeExperiments(house.lake).traffic(SINCE, AT, "agent", "ade_m")
        assert (traffic.units, traffic.joined, traffic.sums.y) == (5, 5, 3.0)
        if not is_merged:
            house.clock.ns += 3 * 3600 * S
            assert house.compact()["merged"] == 4


def test_nothing_is_left_on_a_cursor(house: House) -> None:
    house.write(exposed(1))
    asked(house, a_plan())
    LakeExperiments(house.lake).traffic(SINCE, AT, "agent", "ade_m")
    query = "SELECT count(*) FROM duckdb_tables()"
    for _ in range(4):
        assert house.lake.read(("predictions",), lambda cursor, _prefix: cursor.execute(query).fetchall()) == [(0,)]
