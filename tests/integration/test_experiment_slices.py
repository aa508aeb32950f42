"""An experiment taken apart out of the lake, against the same made by hand from the events."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.experiment_slices import MOST_SLICES, LakeExperimentSlices
from tests.builders import CLOCK_NS, a_prediction_event, an_outcome_event
from tests.experiment_builders import a_plan, three_arms
from tests.experiment_rows import (
    AT,
    EXPERIMENT,
    SINCE,
    S,
    an_answer,
    best_complete,
    by_unit,
    counted_live,
    counted_shadow,
    shadows_of,
    some_outcomes,
    unit_of,
    value_of,
    write_mixed,
)
from tests.lake_house import House, a_house
from trajops.contracts.experiments import ExperimentPlan, ExperimentSliceBy
from trajops.experiments.slices import SHARES, ErrorSpread, Slices
from trajops.experiments.sums import ArmSums, PairSums
from trajops.performance.rules import BANDS
from trajops.ports import ExperimentSliceSource
from trajops.telemetry import OutcomeEvent, PredictionEvent

KINDS: tuple[ExperimentSliceBy, ...] = ("scene", "speed_band", "step", "client")
Sums = dict[tuple[str, str], tuple[float, ...]]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


def asked(house: House, plan: ExperimentPlan, by: ExperimentSliceBy, **options: Any) -> Slices:
    source: ExperimentSliceSource = LakeExperimentSlices(house.lake, **options)
    return source.slices(EXPERIMENT, plan, SINCE, AT, by, BANDS)


def told(slices: Slices) -> Sums:
    return {(one.value, variant): dataclasses.astuple(sums) for one in slices.found for variant, sums in {**one.arms, **one.pairs}.items()}


# By hand


def parts(plan: ExperimentPlan, by: str, event: PredictionEvent, outcome: OutcomeEvent) -> list[tuple[str, float]]:
    """The slices that a prediction is in, each with its value there."""
    if by == "step":
        return [(str(step), error_m) for step, error_m in enumerate(outcome.step_error_m, 1) if error_m is not None]
    bands = {0.25: "standing", 1.0: "walking", 3.0: "running", 8.0: "fast"}
    band = None if outcome.speed_mps is None else bands[outcome.speed_mps]
    name = {"scene": event.scene_id, "client": event.client_id, "speed_band": band}[by]
    return [] if name is None else [(name, value_of(plan, outcome))]


def live_by_hand(plan: ExperimentPlan, by: str, predictions: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent]) -> Sums:
    best, values, covariates = best_complete(outcomes), defaultdict(list), defaultdict(list)
    for one in counted_live(plan, predictions)[0]:
        outcome = best.get(one.prediction_id)
        if outcome is None:
            continue
        for name, value in parts(plan, by, one, outcome):
            values[name, one.variant].append((unit_of(plan, one), value))
            covariates[name, one.variant].append((unit_of(plan, one), outcome.cv_ade_m))
    found = {}
    for key, pairs in values.items():
        y, x = by_unit(pairs), by_unit(covariates[key])
        found[key] = dataclasses.astuple(ArmSums.of(np.array([*y.values()]), np.array([x[unit] for unit in y])))
    return found


def shadow_by_hand(plan: ExperimentPlan, by: str, predictions: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent]) -> Sums:
    best, of_control, of_own = best_complete(outcomes), defaultdict(list), defaultdict(list)
    for one in counted_shadow(plan, predictions)[1]:
        own, control = best.get(one.prediction_id), best.get(str(one.shadow_of))
        if own is None or control is None:
            continue
        beside = dataclasses.replace(control, speed_mps=own.speed_mps)
        for (name, b), (_, a) in zip(parts(plan, by, one, own), parts(plan, by, one, beside), strict=True):
            of_control[name, one.variant].append((unit_of(plan, one), a))
            of_own[name, one.variant].append((unit_of(plan, one), b))
    found = {}
    for key, pairs in of_control.items():
        a, b = by_unit(pairs), by_unit(of_own[key])
        found[key] = dataclasses.astuple(PairSums.of(np.array([*a.values()]), np.array([b[unit] for unit in a])))
    return found


def same(found: Sums, expected: Sums) -> None:
    assert found.keys() == expected.keys()
    for key, sums in expected.items():
        assert found[key] == pytest.approx(sums, rel=1e-9), key


@pytest.mark.parametrize("where", ["spool", "parquet", "mixed"])
@pytest.mark.parametrize("by", KINDS)
def test_live_slices_are_those_of_the_rows(house: House, where: str, by: ExperimentSliceBy) -> None:
    rng = np.random.default_rng(KINDS.index(by))
    plan = three_arms(metric="fde_m")
    predictions = [an_answer(rng, number, plan, 60) for number in range(500)]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction)]
    write_mixed(house, 5, predictions, outcomes, where)
    found = asked(house, plan, by)
    same(told(found), live_by_hand(plan, by, predictions, outcomes))
    assert (found.since, found.left_out) == (SINCE, 0)
    names = [one.value for one in found.found]
    if by == "step":
        assert names == [str(step) for step in range(1, 13)]
    if by == "speed_band":
        assert names == ["standing", "walking", "running", "fast"]


@pytest.mark.parametrize("where", ["spool", "parquet"])
@pytest.mark.parametrize("by", KINDS)
def test_shadow_slices_are_those_of_the_pairs(house: House, where: str, by: ExperimentSliceBy) -> None:
    rng = np.random.default_rng(10 + KINDS.index(by))
    plan, alone = three_arms(mode="shadow"), a_plan()
    answers = [dataclasses.replace(an_answer(rng, n, alone, 60), variant="champion", model_version=1, source="live") for n in range(300)]
    predictions = [one for answer in answers for one in (answer, *shadows_of(rng, plan, answer))]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction)]
    write_mixed(house, 6, predictions, outcomes, where)
    expected = shadow_by_hand(plan, by, predictions, outcomes)
    assert {variant for _, variant in expected} == {"wide", "deep"}
    same(told(asked(house, plan, by)), expected)


@pytest.mark.parametrize("mode", ["live", "shadow"])
@pytest.mark.parametrize("metric", ["ade_m", "miss_rate"])
def test_errors_are_quantiles_of_the_means_of_units(house: House, mode: str, metric: str) -> None:
    rng = np.random.default_rng(20)
    plan = three_arms(mode=mode, metric=metric)
    answers = [an_answer(rng, number, a_plan() if plan.is_beside else plan, 60) for number in range(400)]
    if plan.is_beside:
        answers = [dataclasses.replace(one, variant="champion", model_version=1, source="live") for one in answers]
    predictions = answers + [one for answer in answers if plan.is_beside for one in shadows_of(rng, plan, answer)]
    outcomes = [one for prediction in predictions for one in some_outcomes(rng, prediction)]
    write_mixed(house, 5, predictions, outcomes, "mixed")
    source: ExperimentSliceSource = LakeExperimentSlices(house.lake)
    found = source.errors(EXPERIMENT, plan, SINCE, AT)
    assert (found.since, set(found.arms)) == (SINCE, {"control", "wide", "deep"})
    best = best_complete(outcomes)
    for variant, arm in found.arms.items():
        if plan.is_beside:
            all_answers, shadows = counted_shadow(plan, predictions)
            beside = {one.shadow_of for one in shadows}
            mine = (
                [all_answers[str(name)] for name in beside] if variant == "control" else [one for one in shadows if one.variant == variant]
            )
        else:
            mine = [one for one in counted_live(plan, predictions)[0] if one.variant == variant]
        means = by_unit([(unit_of(plan, one), value_of(plan, best[one.prediction_id])) for one in mine if one.prediction_id in best])
        assert arm.units == len(means)
        assert arm.at_shares == pytest.approx(np.quantile([*means.values()], SHARES), rel=1e-9)


def test_of_many_scenes_those_with_most_units_are_told(house: House) -> None:
    answers = [
        a_prediction_event(f"p{scene}-{n}", received_ns=CLOCK_NS, scene_id=f"s{scene:02d}", agent_id=f"a{n}", variant=variant,
                           experiment_id=EXPERIMENT)
        for scene in range(MOST_SLICES + 3)
        for n, variant in enumerate(("control", "treatment", "control")[: 2 + (scene >= 3)])
    ]  # fmt: skip
    house.write(*answers)
    house.write(
        *(an_outcome_event(one.prediction_id, scene_id=one.scene_id, experiment_id=EXPERIMENT) for one in answers), table="outcomes"
    )
    found = asked(house, a_plan(), "scene")
    assert [one.value for one in found.found] == [f"s{scene:02d}" for scene in range(3, MOST_SLICES + 3)]
    assert found.left_out == 3


def test_of_very_much_the_newest_is_read(house: House) -> None:
    answers = [
        a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * S, agent_id=f"a{n}", variant="control", experiment_id=EXPERIMENT)
        for n in range(400)
    ]
    house.write(*answers)
    given = {"experiment_id": EXPERIMENT, "variant": "control"}
    house.write(*(an_outcome_event(one.prediction_id, received_ns=one.received_ns, **given) for one in answers), table="outcomes")
    house.compact()
    found = asked(house, a_plan(), "scene", max_rows=100)
    assert SINCE < found.since < AT
    assert sum(sums.units for one in found.found for sums in one.arms.values()) == pytest.approx(100, abs=2)
    spread = LakeExperimentSlices(house.lake, max_rows=100).errors(EXPERIMENT, a_plan(), SINCE, AT)
    assert (spread.since, spread.arms["control"].units) == (found.since, pytest.approx(100, abs=2))


def test_nobody_has_met_it(house: House) -> None:
    assert asked(house, a_plan(), "scene") == Slices(SINCE, [], 0)
    assert LakeExperimentSlices(house.lake).errors(EXPERIMENT, a_plan(), SINCE, AT) == ErrorSpread(SINCE, {})


def test_nothing_is_left_on_a_cursor(house: House) -> None:
    for by in KINDS:
        asked(house, a_plan(), by)
    LakeExperimentSlices(house.lake).errors(EXPERIMENT, a_plan(), SINCE, AT)
    tables = "SELECT table_name FROM duckdb_tables() WHERE temporary"
    assert house.lake.read(("predictions",), lambda cursor, _: cursor.execute(tables).fetchall()) == []
