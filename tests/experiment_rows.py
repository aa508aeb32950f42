"""Answers, shadows and outcomes of an experiment at random, and what its figures are, made by hand from these events."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.builders import CLOCK_NS, a_prediction_event, an_outcome_event
from tests.lake_house import House
from trajops.clock import utc
from trajops.contracts.experiments import ExperimentPlan
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.sums import ArmSums, PairSums
from trajops.telemetry import OutcomeEvent, PredictionEvent

S = 10**9
SINCE, AT = utc(CLOCK_NS), utc(CLOCK_NS + 600 * S)
SLOW_MS = 0.8
# Half of the answers are of the step that is counted apart.
STEP_NS = CLOCK_NS + 300 * S
DUE_NS = CLOCK_NS + 600 * S - 6_800_000_000
EXPERIMENT = "e1"


# What is asked, by hand


def unit_of(plan: ExperimentPlan, event: PredictionEvent) -> Any:
    return {"agent": (event.scene_id, event.agent_id), "client": event.client_id, "scene": event.scene_id}[plan.unit]


def best_complete(outcomes: Sequence[OutcomeEvent]) -> dict[str, OutcomeEvent]:
    """Of each prediction the best outcome, if it has a whole one."""

    def better(one: OutcomeEvent) -> Any:
        interpolated_s = np.inf if one.interpolated_s is None else one.interpolated_s
        return -one.steps_scored, interpolated_s, -one.scored_ns, one.ade_m

    found: dict[str, OutcomeEvent] = {}
    for one in sorted(outcomes, key=better, reverse=True):
        found[one.prediction_id] = one
    return {name: one for name, one in found.items() if one.is_complete}


def value_of(plan: ExperimentPlan, outcome: OutcomeEvent) -> float:
    return float({"ade_m": outcome.ade_m, "fde_m": outcome.fde_m, "miss_rate": outcome.is_miss}[plan.metric])  # type: ignore[arg-type]


def by_unit(pairs: Sequence[tuple[Any, float]]) -> dict[Any, float]:
    values = defaultdict(list)
    for unit, value in pairs:
        values[unit].append(value)
    return {unit: float(np.mean(of_unit)) for unit, of_unit in values.items()}


def an_arm_by_hand(plan: ExperimentPlan, variant: str, mine: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent]) -> ArmFigures:
    best, scored = best_complete(outcomes), {one.prediction_id for one in outcomes}
    whole = [(unit_of(plan, one), best[one.prediction_id]) for one in mine if one.prediction_id in best]
    figures = {
        name: by_unit([(unit, float(getattr(one, name))) for unit, one in whole])
        for name in ("ade_m", "fde_m", "is_miss", "inside_share", "cv_ade_m")
    }
    y = by_unit([(unit, value_of(plan, one)) for unit, one in whole])
    due = [one for one in mine if one.received_ns <= DUE_NS]
    latency_ms = np.array([one.latency_ms for one in mine])
    first_ns: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.is_complete:
            first_ns[outcome.prediction_id] = min(outcome.scored_ns, first_ns.get(outcome.prediction_id, outcome.scored_ns))
    delays_s = [(first_ns[one.prediction_id] - one.received_ns) / 1e9 for one in mine if one.prediction_id in first_ns]
    return ArmFigures(
        variant,
        units=len({unit_of(plan, one) for one in mine}),
        sums=ArmSums.of(np.array([*y.values()]), np.array([figures["cv_ade_m"][unit] for unit in y])),
        predictions=len(mine),
        due=len(due),
        joined=sum(one.prediction_id in scored for one in due),
        failed_units=len({unit_of(plan, one) for one in mine if one.model_name == "baseline"}),
        slow_units=len({unit_of(plan, one) for one in mine if np.float32(one.latency_ms) > np.float32(SLOW_MS)}),
        means=tuple(  # type: ignore[arg-type]
            float(np.mean([*figures[name].values()])) if whole else None for name in ("ade_m", "fde_m", "is_miss", "inside_share")
        ),
        latency_ms=tuple(np.quantile(latency_ms, [0.5, 0.95, 0.99])) if mine else (None, None, None),  # type: ignore[arg-type]
        units_since=len({unit_of(plan, one) for one in mine if one.received_ns >= STEP_NS and one.prediction_id in best}),
        label_delay_s=pytest.approx(np.median(delays_s), rel=1e-9) if delays_s else None,
    )


def since_truth(plan: ExperimentPlan, mine: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent], newest_ns: int | None) -> Any:
    """Units and visits that lack truth since the newest outcome, visits before, how many of those got any, stays, and visits by hour."""
    if newest_ns is None:
        return 0, 0, 0, 0, 0, ()
    scored, visits = {one.prediction_id for one in outcomes}, defaultdict(list)
    for one in mine:
        if one.received_ns <= DUE_NS:
            visits[one.received_ns > newest_ns, unit_of(plan, one), one.received_ns // (180 * S)].append(one.prediction_id in scored)
    before, hours = [any(truths) for (is_after, *_), truths in visits.items() if not is_after], defaultdict(list)
    for (is_after, _, number), truths in visits.items():
        if not is_after:
            hours[number // 20].append(any(truths))
    after = [unit for is_after, unit, _ in visits if is_after]
    late = [one for one in mine if newest_ns < one.received_ns <= DUE_NS]
    stays = {(unit_of(plan, one), (one.received_ns - newest_ns) // (1200 * S)) for one in late}
    by_hour = tuple((len(hours[hour]), sum(hours[hour])) for hour in sorted(hours))
    return len(set(after)), len(after), len(before), sum(before), len(stays), by_hour


def in_range(event: Any) -> bool:
    return CLOCK_NS <= event.received_ns < CLOCK_NS + 600 * S


def counted_live(plan: ExperimentPlan, predictions: Sequence[PredictionEvent]) -> tuple[list[PredictionEvent], int]:
    """Those in an arm, without units that were in several; and how many units those are."""
    names = [arm.variant for arm in plan.arms]
    shown = [
        one
        for one in predictions
        if in_range(one) and one.experiment_id == EXPERIMENT and one.source in {"live", "replay"} and one.variant in names
    ]
    met = defaultdict(set)
    for one in shown:
        met[unit_of(plan, one)].add(one.variant)
    jumpers = {unit for unit, variants in met.items() if len(variants) > 1}
    return [one for one in shown if unit_of(plan, one) not in jumpers], len(jumpers)


def live_by_hand(plan: ExperimentPlan, predictions: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent]) -> Figures:
    kept, jumpers = counted_live(plan, predictions)
    arms = tuple(an_arm_by_hand(plan, arm.variant, [one for one in kept if one.variant == arm.variant], outcomes) for arm in plan.arms)
    newest_ns = max((one.scored_ns for one in outcomes if in_range(one) and one.experiment_id == EXPERIMENT), default=None)
    newest_at = None if newest_ns is None else utc(newest_ns)
    return Figures(AT, arms, jumpers, newest_at, utc(STEP_NS), None, *since_truth(plan, kept, outcomes, newest_ns))


def counted_shadow(
    plan: ExperimentPlan, predictions: Sequence[PredictionEvent]
) -> tuple[dict[str, PredictionEvent], list[PredictionEvent]]:
    """Answers of the control by id, and what was predicted beside any of them."""
    control, *treatments = plan.arms
    answers = {
        one.prediction_id: one
        for one in predictions
        if in_range(one)
        and one.source in {"live", "replay"}
        and one.variant != "override"
        and (one.model_name == "baseline" or one.model_version == control.model_version)
    }
    shadows = [
        one
        for one in predictions
        if in_range(one)
        and one.source == "shadow"
        and one.experiment_id == EXPERIMENT
        and one.variant in {arm.variant for arm in treatments}
        and one.shadow_of in answers
    ]
    return answers, shadows


def shadow_by_hand(plan: ExperimentPlan, predictions: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent]) -> Figures:
    control, *treatments = plan.arms
    answers, shadows = counted_shadow(plan, predictions)
    paired = {one.shadow_of for one in shadows}
    best = best_complete(outcomes)
    arms = [an_arm_by_hand(plan, control.variant, [answers[name] for name in sorted(paired)], outcomes)]  # type: ignore[type-var, index]
    for arm in treatments:
        mine = [one for one in shadows if one.variant == arm.variant]
        both = [(unit_of(plan, one), one.shadow_of, one.prediction_id) for one in mine if {one.shadow_of, one.prediction_id} <= best.keys()]
        a = by_unit([(unit, value_of(plan, best[answer])) for unit, answer, _ in both])
        b = by_unit([(unit, value_of(plan, best[own])) for unit, _, own in both])
        pairs = PairSums.of(np.array([*a.values()]), np.array([b[unit] for unit in a]))
        recent = {one.prediction_id for one in mine if one.received_ns >= STEP_NS}
        since = len({unit for unit, _, own in both if own in recent})
        arms.append(dataclasses.replace(an_arm_by_hand(plan, arm.variant, mine, outcomes), pairs=pairs, units_since=since))
    newest_ns = max(
        (one.scored_ns for one in outcomes if in_range(one) and (one.experiment_id == EXPERIMENT or one.prediction_id in paired)),
        default=None,
    )
    newest_at, mine = None if newest_ns is None else utc(newest_ns), [*shadows, *(answers[name] for name in paired if name is not None)]
    return Figures(AT, tuple(arms), 0, newest_at, utc(STEP_NS), None, *since_truth(plan, mine, outcomes, newest_ns))


# Traffic at random


def some_outcomes(rng: np.random.Generator, prediction: PredictionEvent) -> list[OutcomeEvent]:
    """None, a partial one, a whole one, several, in any order."""
    kinds: list[tuple[int, float | None]] = [
        [],
        [(5, 0.0)],
        [(12, 0.0)],
        [(4, 0.0), (12, 0.8)],
        [(12, 0.8), (7, 0.0), (12, 0.2)],
        [(12, None), (12, 1.5)],
        [(12, 0.3), (12, 0.3)],
    ][rng.integers(7)]
    shared = {
        name: getattr(prediction, name)
        for name in (
            "received_ns",
            "observed_at_s",
            "scene_id",
            "agent_id",
            "model_name",
            "model_version",
            "variant",
            "source",
            "experiment_id",
            "shadow_of",
        )
    }
    return [
        an_outcome_event(
            prediction.prediction_id,
            **shared,
            scored_ns=prediction.received_ns + int(rng.integers(S, 60 * S)),
            steps_scored=steps,
            is_complete=steps == 12,
            ade_m=float(rng.lognormal(-0.6, 0.5)),
            fde_m=float(rng.lognormal(0.1, 0.5)) if steps == 12 else None,
            is_miss=bool(rng.random() < 0.3) if steps == 12 else None,
            inside_share=float(rng.random()),
            cv_ade_m=float(rng.lognormal(-0.4, 0.5)),
            interpolated_s=interpolated_s,
            # As a float of 32 bits has them too.
            step_error_m=[float(rng.integers(1, 200)) / 64 if step < steps else None for step in range(12)],
            speed_mps=[0.25, 1.0, 3.0, 8.0, None][rng.integers(5)],
        )
        for steps, interpolated_s in kinds
    ]


def an_answer(rng: np.random.Generator, number: int, plan: ExperimentPlan, units: int) -> PredictionEvent:
    """Somebody is answered, mostly in the arm of the unit."""
    names, unit = [arm.variant for arm in plan.arms], int(rng.integers(units))
    arm = int(rng.integers(len(names))) if rng.random() < 0.01 else unit % len(names)
    variant = rng.choice([names[arm], "override", "champion"], p=[0.9, 0.05, 0.05])
    # Whichever kind the unit is of, it has an arm; of a finer kind it then has one too.
    return a_prediction_event(
        f"p{number}",
        received_ns=CLOCK_NS + int(rng.integers(-20 * S, 620 * S)),
        scene_id=f"s{unit % 12}" if plan.unit == "scene" else f"s{unit % 3}",
        agent_id=f"a{unit // 3}",
        client_id=f"c{unit % 18}" if plan.unit == "client" else f"c{unit % 7}",
        model_name="baseline" if (is_failed := rng.random() < 0.05) else "trajectory",
        model_version=0 if is_failed else plan.arms[arm].model_version,
        variant=str(variant),
        latency_ms=float(rng.lognormal(-1.5, 0.8)),
        source=str(rng.choice(["live", "replay", "backfill", "probe", "shadow"], p=[0.7, 0.2, 0.04, 0.03, 0.03])),
        experiment_id=[EXPERIMENT, "e2", None][rng.choice(3, p=[0.9, 0.05, 0.05])],
    )


def shadows_of(rng: np.random.Generator, plan: ExperimentPlan, answer: PredictionEvent) -> list[PredictionEvent]:
    return [
        dataclasses.replace(
            answer,
            prediction_id=f"{answer.prediction_id}-{arm.variant}",
            model_name="baseline" if rng.random() < 0.05 else "trajectory",
            model_version=arm.model_version,
            variant=arm.variant,
            latency_ms=float(rng.lognormal(-1.2, 0.8)),
            source="shadow",
            experiment_id=EXPERIMENT if rng.random() < 0.95 else "e2",
            shadow_of=answer.prediction_id if rng.random() < 0.97 else "nobody",
        )
        for arm in plan.arms[1:]
        if rng.random() < 0.9
    ]


def write_mixed(house: House, seed: int, predictions: Sequence[PredictionEvent], outcomes: Sequence[OutcomeEvent], where: str) -> None:
    """Into Parquet, into the spool, or some into each."""
    rng = np.random.default_rng(seed + 100)
    for events, table in ((predictions, "predictions"), (outcomes, "outcomes")):
        order = rng.permutation(len(events))
        first = [events[n] for n in order[: len(order) // 2]]
        rest = [events[n] for n in order[len(order) // 2 :]]
        house.write(*first, table=table)
        if where != "spool":
            house.compact()
        house.write(*rest, table=table, close=where == "parquet")
    if where == "parquet":
        house.compact()
