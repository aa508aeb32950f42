"""An experiment taken apart: where an effect is larger or smaller. Exploratory: nothing is decided by it.

Each interval is that of the verdict, and holds for its slice by itself. Of twenty slices without any effect one will leave zero out sooner
or later, so whoever finds something here plans the next experiment on it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from trajops.contracts.experiments import ArmErrorsOut, ExperimentOut, ExperimentPlan, ExperimentSliceOut, VerdictOut
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.statistics import Estimate, compare, compare_pairs, tuning
from trajops.experiments.sums import ArmSums, PairSums

LABEL = "Exploratory: not corrected for looking at many; decides nothing."
ERRORS_LABEL = "Exploratory: describes the units that were met, without an interval; decides nothing."
# Of units, in the empirical distribution of their errors.
SHARES = tuple(number / 50 for number in range(51))


@dataclass(frozen=True, slots=True)
class Slice:
    """Sums of one part of the traffic.

    Attributes:
        value: which part.
        arms: live, sums of the arms that were answered in it, by variant.
        pairs: in shadow, sums of the treatments' pairs, by variant.
    """

    value: str
    arms: Mapping[str, ArmSums]
    pairs: Mapping[str, PairSums]


@dataclass(frozen=True, slots=True)
class Slices:
    """Of one experiment.

    Attributes:
        since: begin of what was read.
        found: the slices.
        left_out: how many more there are, with fewer units.
    """

    since: datetime
    found: Sequence[Slice]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class UnitErrors:
    """Of one arm.

    Attributes:
        units: with an outcome.
        at_shares: quantiles of their mean errors, one for each of `SHARES`.
    """

    units: int
    at_shares: Sequence[float]


@dataclass(frozen=True, slots=True)
class ErrorSpread:
    """Of one experiment.

    Attributes:
        since: begin of what was read.
        arms: by variant; an arm without outcomes is not among them.
    """

    since: datetime
    arms: Mapping[str, UnitErrors]


def hidden_because(experiment: ExperimentOut, at: datetime) -> str | None:
    """Why an experiment may not be taken apart now; None: it may.

    Args:
        experiment: with its newest verdict.
        at: now.
    """
    verdict = experiment.verdict
    if verdict is None:
        return "nobody has looked at it yet"
    if bad := [one.detail for one in verdict.health if not one.is_ok]:
        return f"the data are not valid: {'; '.join(bad)}"
    if experiment.ended_at is None and _age_s(verdict, at) > experiment.plan.max_stale_s:
        return f"nobody has looked at it for {_age_s(verdict, at):.0f} s, so that nobody knows whether the data are valid"
    return None


def comparable(experiment: ExperimentOut) -> list[str]:
    """The treatments whose units were answered by their own version all along: of those that were rolled back, only the last one's."""
    closed = experiment.closed_arms
    if experiment.state == ExperimentState.ROLLED_BACK:
        closed = closed[:-1]
    return [arm.variant for arm in experiment.plan.arms[1:] if arm.variant not in closed]


def explore(plan: ExperimentPlan, slices: Sequence[Slice], variants: Collection[str]) -> list[ExperimentSliceOut]:
    """Effects in slices, each with the interval of the verdict.

    Args:
        plan: fixed before the start.
        slices: of it.
        variants: treatments to compare.

    Returns:
        A row for each slice and treatment; without an effect where an arm has fewer units than the plan asks for a decision.
    """
    control = plan.arms[0].variant
    rows = []
    for one in slices:
        for arm in plan.arms[1:]:
            if arm.variant not in variants:
                continue
            if arm.variant in one.pairs:
                rows.append(_paired(plan, one.value, arm.variant, one.pairs[arm.variant]))
            elif control in one.arms and arm.variant in one.arms:
                rows.append(_apart(plan, one.value, arm.variant, one.arms[control], one.arms[arm.variant]))
    return rows


def spread(plan: ExperimentPlan, arms: Mapping[str, UnitErrors], variants: Collection[str]) -> list[ArmErrorsOut]:
    """Errors of the control's units and of the treatments', in the order of the plan.

    Args:
        plan: fixed before the start.
        arms: by variant.
        variants: treatments to compare.

    Returns:
        One entry an arm with an outcome; without errors where it has fewer units than the plan asks for a decision.
    """
    shown = [arm.variant for place, arm in enumerate(plan.arms) if place == 0 or arm.variant in variants]
    return [
        ArmErrorsOut(
            variant=name,
            units=arms[name].units,
            errors=[round(error, 6) for error in arms[name].at_shares] if arms[name].units >= plan.stop.min_units else [],
        )
        for name in shown
        if name in arms
    ]


def confidence(plan: ExperimentPlan) -> float:
    """Of each interval; α is split over the treatments as for the verdict."""
    return 1 - plan.alpha / max(1, len(plan.arms) - 1)


def _apart(plan: ExperimentPlan, value: str, variant: str, control: ArmSums, treatment: ArmSums) -> ExperimentSliceOut:
    units = (int(control.units), int(treatment.units))
    return _row(plan, value, variant, units, (float(control.mean), float(treatment.mean)), compare(control, treatment))


def _paired(plan: ExperimentPlan, value: str, variant: str, pairs: PairSums) -> ExperimentSliceOut:
    units = int(pairs.units)
    means = (float(pairs.a) / max(units, 1), float(pairs.b) / max(units, 1))
    return _row(plan, value, variant, (units, units), means, compare_pairs(pairs))


def _row(
    plan: ExperimentPlan, value: str, variant: str, units: tuple[int, int], means: tuple[float, float], estimate: Estimate
) -> ExperimentSliceOut:
    low, high = estimate.interval(tuning(plan.tuned_units, plan.alpha), 1 - confidence(plan))
    is_enough = min(units) >= plan.stop.min_units
    change, low, high = (round(float(end), 6) if is_enough and isfinite(float(end)) else None for end in (estimate.change, low, high))
    return ExperimentSliceOut(
        value=value,
        variant=variant,
        control_units=units[0],
        treatment_units=units[1],
        control_mean=round(means[0], 6),
        treatment_mean=round(means[1], 6),
        change=change,
        low=low,
        high=high,
    )


def _age_s(verdict: VerdictOut, at: datetime) -> float:
    return (at - verdict.at).total_seconds()
