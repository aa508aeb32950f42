"""What the figures of an experiment say, by its plan: pure, so that the same figures always say the same.

Health comes first: where the split, the truth or its age are not right, no effect is shown and nothing but harm is acted on. Then
guardrails and harm, which are acted on early; then the effect, once there are units and time enough; then the horizon.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import ceil, isfinite, log, sqrt

from trajops.contracts.experiments import (
    ArmOut,
    EffectOut,
    ExperimentPlan,
    GuardrailIn,
    GuardrailOut,
    HealthOut,
    Metric,
    VerdictKind,
    VerdictOut,
)
from trajops.contracts.figures import signed
from trajops.experiments.evidence import log_harm, log_mismatch
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.overdue import is_beyond_chance
from trajops.experiments.statistics import Estimate, compare, compare_pairs, detectable, tuning, units_needed

SRM_ALPHA = 0.01
# Units in several arms spoil both; a few come from a change of the routes that they stood in.
MOST_JUMPERS = 0.01
# Agents that are gone before truth can come are no fault of the truth: fewer than this, or as many as chance explains.
LEAST_OVERDUE = 3
# Of fewer units each counts as often as it comes: of a few scenes, no more than a few can ever be overdue. Of more, and where less than
# half of the few are overdue, as at night, a unit counts once a stay: one that nobody follows is one and the same for a while, but where
# few are awake there would never be enough.
MANY_UNITS = 100
METRICS: dict[Metric, str] = {"ade_m": "ADE", "fde_m": "FDE", "miss_rate": "miss rate"}
_WORST_FIRST: tuple[VerdictKind, ...] = ("guardrail", "worse", "better", "no_worse", "inconclusive", "collecting")


def judge(
    plan: ExperimentPlan,
    figures: Figures,
    started_at: datetime,
    closed: Sequence[str] = (),
    before: VerdictOut | None = None,
    *,
    is_paused: bool = False,
    has_won: bool = False,
    every_s: float = 60.0,
) -> VerdictOut:
    """The verdict on an experiment.

    Args:
        plan: fixed before the start.
        figures: of now.
        started_at: when it was launched.
        closed: arms that were rolled back already; they are not judged again.
        before: the verdict at the last look.
        is_paused: whether nobody is enrolled for now. No truth comes then, so that for how long the data have been invalid is counted from
            its end, as from that of the kill switch: otherwise who resumes would be paused again before the first truth.
        has_won: whether a treatment was recommended. The horizon ends nothing then: a decision was reached.
        every_s: interval of the looks. Where one was left out, for longer than data may be invalid, nobody knows how they were meanwhile.
    """
    control = figures.arms[0]
    treatments = [arm for arm in figures.arms[1:] if arm.variant not in closed]
    health = list(_health(plan, figures, closed))
    is_valid = all(one.is_ok for one in health)
    passed_s = (figures.at - started_at).total_seconds()
    rho, alpha = tuning(plan.tuned_units, plan.alpha), plan.alpha / max(1, len(plan.arms) - 1)
    guardrails = [_guardrail(plan, rule, control, arm) for arm in treatments for rule in plan.guardrails]
    wins_below = plan.margin if plan.stop.aim == "no_worse" else 0.0
    effects, estimates, is_early = [], [], False
    for arm in treatments:
        estimate = _estimate(control, arm)
        is_tripped = any(one.is_tripped for one in guardrails if one.variant == arm.variant)
        units = _least_units(control, arm)
        has_units, has_time = units >= plan.stop.min_units, passed_s >= plan.stop.min_s
        is_early |= has_units and not has_time and float(estimate.interval(rho, alpha)[1]) < wins_below
        kind = _kind(plan, estimate, rho, alpha, has_time=has_units and has_time, may_harm=units >= plan.stop.min_harmed_units)
        effects.append(_effect(arm, estimate, rho, alpha, "guardrail" if is_tripped else kind, is_shown=is_valid))
        estimates.append(estimate)
    total = _total(plan, figures)
    kinds = {one.verdict for one in effects}
    kind = next((one for one in _WORST_FIRST if one in kinds), "collecting")
    # A pause does not stop the clock: nothing is in the way of others for ever. Data that stay invalid pause it first.
    has_passed = passed_s >= plan.stop.horizon_s and not has_won
    is_harmed = kind in {"guardrail", "worse"}
    if not is_harmed and is_paused and has_passed:
        kind = "inconclusive"
    elif not is_harmed and not is_valid:
        # With a handful of units, a lack of truth is only a beginning.
        kind = "invalid" if min(arm.units for arm in figures.arms) >= plan.stop.min_units else "collecting"
        kind = "inconclusive" if kind == "collecting" and has_passed else kind
    elif not has_won and kind in _short_of_winning(plan) and _is_over(plan, passed_s, total):
        kind = "inconclusive"
    begins_anew = is_paused or (before is not None and _is_anew(plan, figures, before, every_s))
    spread = max((float(one.variance) for one in estimates if isfinite(float(one.variance))), default=None)
    scored = min((float(one.units) for one in estimates), default=0.0)
    return VerdictOut(
        at=figures.at,
        since=figures.at if before is None or before.kind != kind or (kind == "invalid" and begins_anew) else before.since,
        kind=kind,
        sentence=_sentence(plan, kind, effects, guardrails, health, total, is_early=is_early),
        units=total,
        counted_since=figures.counted_since,
        effects=effects,
        arms=[_arm(plan, arm, is_closed=arm.variant in closed) for arm in figures.arms],
        guardrails=guardrails,
        health=health,
        detectable_change=None if spread is None or not is_valid else round(detectable(scored, spread, rho, alpha=alpha), 6),
        expected_units=None if spread is None else _whole(units_needed(plan.expected_change, spread, rho, alpha=alpha)),
    )


def _health(plan: ExperimentPlan, figures: Figures, closed: Sequence[str]) -> Iterator[HealthOut]:
    counts, weights = [arm.units for arm in figures.arms], [arm.weight for arm in plan.arms]
    evidence = float(log_mismatch(counts, weights)) if not plan.is_beside else 0.0
    shares = " / ".join(f"{100 * count / max(1, sum(counts)):.1f} %" for count in counts)
    wanted = " / ".join(f"{100 * weight:.1f} %" for weight in weights)
    is_split = evidence < -log(SRM_ALPHA)
    yield HealthOut(
        name="split",
        is_ok=is_split,
        detail=f"{shares} of the units, planned {wanted}" + ("" if is_split else ": more than chance; find out what drops units of an arm"),
    )
    judged = [arm for arm in figures.arms if arm.variant not in closed]
    rates = [arm.join_rate for arm in judged]
    known, lacking = [rate for rate in rates if rate is not None], [arm.variant for arm in judged if arm.join_rate is None]
    most_apart = plan.max_join_gap + _chance_gap(judged)
    is_joined = len(known) == len(rates) and min(known) >= plan.min_join_rate and max(known) - min(known) <= most_apart
    said = " / ".join(f"{100 * rate:.1f} %" for rate in known)
    need = (
        f"at least {100 * plan.min_join_rate:.0f} % each, and at most {100 * most_apart:.0f} points apart, of which chance may be all but "
    )
    need += f"{100 * plan.max_join_gap:.0f}"
    detail = f"{said} of the predictions get truth" + ("" if is_joined else f"; {need}")
    if lacking:
        whose = f" of {' and '.join(lacking)}" if known else ""
        detail = f"no prediction{whose} is old enough yet to have truth"
    yield HealthOut(name="join_rate", is_ok=is_joined, detail=detail)
    age_s = None if figures.last_outcome_at is None else (figures.at - figures.last_outcome_at).total_seconds()
    # At night, and in a pause, hardly anybody asks: that no truth comes then is no fault of the truth.
    is_young = age_s is not None and age_s <= plan.max_stale_s
    is_fresh = age_s is not None and (is_young or not _is_overdue(plan, figures))
    # Rounded up, so that what is too old does not read as if it were at the limit.
    detail = "no outcome yet" if age_s is None else f"the newest outcome is {ceil(age_s)} s old"
    detail += f", and {_asked_since(plan, figures.overdue_units)}" if is_fresh and not is_young else ""
    limit = "" if is_fresh or age_s is None else f"; at most {plan.max_stale_s:.0f} s"
    yield HealthOut(name="freshness", is_ok=is_fresh, detail=detail + limit)
    most = MOST_JUMPERS * (sum(counts) + figures.jumpers)
    is_pure = figures.jumpers <= most
    detail = f"{figures.jumpers} units were answered in several arms, and left out"
    yield HealthOut(name="jumpers", is_ok=is_pure, detail=detail + ("" if is_pure else f"; at most {100 * MOST_JUMPERS:g} % of all"))


def _is_anew(plan: ExperimentPlan, figures: Figures, before: VerdictOut, every_s: float) -> bool:
    """Whether what was found at the look before says nothing about the time since: it is too long ago, or nobody was enrolled meanwhile."""
    has_gone_on = figures.enrolled_since is None or before.at >= figures.enrolled_since
    return not has_gone_on or (figures.at - before.at).total_seconds() > max(plan.invalid_for_s, 2 * every_s)


def _is_overdue(plan: ExperimentPlan, figures: Figures) -> bool:
    """Whether more units lack truth since the newest outcome than chance explains: some agents are gone before any can come."""
    most = max(arm.units for arm in figures.arms)
    if figures.overdue_units < min(LEAST_OVERDUE, max(1, most)):  # of two scenes, no more than two can be overdue
        return False
    total = _total(plan, figures)
    run = figures.overdue_visits if total < MANY_UNITS and 2 * figures.overdue_units >= total else figures.overdue_stays
    return is_beyond_chance(run, figures.visits, figures.known_visits, figures.hours, _waited_s(figures))


def _waited_s(figures: Figures) -> float:
    """Since when truth is waited for: the newest outcome, or since units are enrolled."""
    begins = [at for at in (figures.last_outcome_at, figures.enrolled_since) if at is not None]
    return max(0.0, (figures.at - max(begins)).total_seconds()) if begins else 0.0


def _total(plan: ExperimentPlan, figures: Figures) -> int:
    """Units of all arms; in a shadow each unit is in every arm."""
    return figures.arms[0].units if plan.is_beside else sum(arm.units for arm in figures.arms)


def _asked_since(plan: ExperimentPlan, overdue: int) -> str:
    if not overdue:
        return "nobody has asked since"
    return f"{overdue} {plan.unit if overdue == 1 else f'{plan.unit}s'} asked since without truth, which may be chance"


def _chance_gap(arms: Sequence[ArmFigures]) -> float:
    """How far apart join rates of equal arms may lie: three standard errors, as if all predictions of a unit got truth or none."""
    due = sum(arm.due for arm in arms)
    if not due or not all(arm.units for arm in arms):
        return 1.0
    rate = sum(arm.joined for arm in arms) / due
    return 3 * sqrt(rate * (1 - rate) * sum(1 / arm.units for arm in arms))


def _guardrail(plan: ExperimentPlan, rule: GuardrailIn, control: ArmFigures, arm: ArmFigures) -> GuardrailOut:
    """α is split over guardrails and treatments."""
    name = "failed_units" if rule.kind == "errors" else "slow_units"
    weights = {one.variant: one.weight for one in plan.arms}
    harmed, treated = getattr(control, name), getattr(arm, name)
    level = -log(plan.alpha / (len(plan.guardrails) * (len(plan.arms) - 1)))
    split = (weights[control.variant], weights[arm.variant]) if not plan.is_beside else (0.5, 0.5)
    evidence = float(log_harm(harmed, treated, split, rule.tolerance)) / level
    return GuardrailOut(
        variant=arm.variant,
        kind=rule.kind,
        control_units=harmed,
        treatment_units=treated,
        evidence=round(max(0.0, evidence), 4),
        is_tripped=evidence >= 1,
    )


def _estimate(control: ArmFigures, arm: ArmFigures) -> Estimate:
    return compare(control.sums, arm.sums) if arm.pairs is None else compare_pairs(arm.pairs)


def _least_units(control: ArmFigures, arm: ArmFigures) -> float:
    return float(min(control.sums.units, arm.sums.units) if arm.pairs is None else arm.pairs.units)


def _kind(plan: ExperimentPlan, estimate: Estimate, rho: float, alpha: float, *, has_time: bool, may_harm: bool) -> VerdictKind:
    low, high = map(float, estimate.interval(rho, alpha))
    if (may_harm and float(estimate.at_least(rho, alpha)) > 0) or (has_time and low > 0):
        return "worse"
    if has_time and high < 0:
        return "better"
    return "no_worse" if has_time and high < plan.margin else "collecting"


def _effect(arm: ArmFigures, estimate: Estimate, rho: float, alpha: float, kind: VerdictKind, *, is_shown: bool) -> EffectOut:
    low, high = estimate.interval(rho, alpha)
    ends = (estimate.change, low, high, estimate.at_least(rho, alpha)) if is_shown or kind == "worse" else (None,) * 4
    change, low, high, harm_low = (None if end is None or not isfinite(float(end)) else round(float(end), 6) for end in ends)
    return EffectOut(variant=arm.variant, change=change, low=low, high=high, harm_low=harm_low, verdict=kind)


def _arm(plan: ExperimentPlan, arm: ArmFigures, *, is_closed: bool) -> ArmOut:
    """Its figures; once it was rolled back while others go on, only how many came: the control's version answers them since."""
    ade_m, fde_m, miss_rate, coverage = (None,) * 4 if is_closed else arm.means
    p50, p95, p99 = (None,) * 3 if is_closed else arm.latency_ms
    return ArmOut(
        variant=arm.variant,
        model_version=next(one.model_version for one in plan.arms if one.variant == arm.variant),
        units=arm.units,
        scored_units=int(arm.sums.units),
        units_since=arm.units_since,
        predictions=arm.predictions,
        ade_m=ade_m,
        fde_m=fde_m,
        miss_rate=miss_rate,
        coverage=coverage,
        failed_units=arm.failed_units,
        slow_units=arm.slow_units,
        join_rate=arm.join_rate,
        label_delay_s=arm.label_delay_s,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
    )


def _short_of_winning(plan: ExperimentPlan) -> set[VerdictKind]:
    """What decides nothing, however long it is so: no worse is not what a plan hopes for that aims at better."""
    return {"collecting"} if plan.stop.aim == "no_worse" else {"collecting", "no_worse"}


def _is_over(plan: ExperimentPlan, passed_s: float, units: int) -> bool:
    return passed_s >= plan.stop.horizon_s or (plan.stop.horizon_units is not None and units >= plan.stop.horizon_units)


def _whole(units: float) -> int | None:
    return round(units) if isfinite(units) and units < 1e9 else None


# Words


def _sentence(
    plan: ExperimentPlan,
    kind: VerdictKind,
    effects: Sequence[EffectOut],
    guardrails: Sequence[GuardrailOut],
    health: Sequence[HealthOut],
    units: int,
    *,
    is_early: bool,
) -> str:
    """In words; `is_early`: the plan does not listen yet to what the sequence says already."""
    metric = METRICS[plan.metric]
    if kind == "guardrail":
        tripped = next(one for one in guardrails if one.is_tripped)
        what = "had to be answered by the baseline" if tripped.kind == "errors" else "were answered slowly"
        return (
            f"More units of {tripped.variant} {what} than of {plan.arms[0].variant}: {tripped.treatment_units} against "
            f"{tripped.control_units}, more than chance."
        )
    if kind == "invalid":
        return "Data invalid: " + "; ".join(one.detail for one in health if not one.is_ok) + "."
    alike = [effect for effect in effects if effect.verdict == kind and effect.change is not None]
    # Of several that win, the one that is decided for.
    said = alike[0] if alike and kind == "worse" else min(alike, key=lambda effect: effect.high or 0.0, default=None)
    if said is not None and kind in {"better", "worse"}:
        way = "lower" if said.change is not None and said.change < 0 else "higher"
        if kind == "worse" and said.harm_low is not None and (said.low is None or said.low <= 0):
            level = 100 * (1 - plan.alpha / max(1, len(plan.arms) - 1))
            bound = f"at least {signed(said.harm_low)} by the one-sided {level:.3g} % sequence"
            return f"{metric} of {said.variant} is {_percent(said.change)} {way}, {bound}. Valid however often you look."
        return f"{metric} of {said.variant} is {_percent(said.change)} {way} ({_sequence(plan, said)}). Valid however often you look."
    if said is not None and kind == "no_worse":
        return f"{said.variant} is no worse than {plan.arms[0].variant} by more than {_percent(plan.margin)} ({_sequence(plan, said)})."
    bad = [one.detail for one in health if not one.is_ok]
    if kind == "inconclusive":
        last = f" The data are not right: {'; '.join(bad)}." if bad and units else ""
        return f"The horizon is reached without a decision: the control stays. This does not mean that the models are equal.{last}"
    more = f" Not right yet: {'; '.join(bad)}." if bad and units else ""
    if is_early:
        return f"Too early to decide, with {units} units: nothing wins within the first {plan.stop.min_s / 60:g} minutes.{more}"
    return f"Not enough evidence yet, with {units} units. This does not mean that the models are equal.{more}"


def _sequence(plan: ExperimentPlan, effect: EffectOut) -> str:
    level = 100 * (1 - plan.alpha / max(1, len(plan.arms) - 1))
    return f"{level:.3g} % sequence {' to '.join('no bound' if end is None else signed(end) for end in (effect.low, effect.high))}"


def _percent(change: float | None) -> str:
    return f"{100 * abs(change or 0.0):.1f} %"
