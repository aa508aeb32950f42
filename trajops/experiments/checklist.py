"""What must be so before an experiment is launched, by its plan and the recent traffic."""

from collections.abc import Iterator, Mapping

from trajops.contracts.experiments import CheckOut, CheckState, ExperimentPlan
from trajops.contracts.figures import signed
from trajops.deployments.lifecycle import State
from trajops.experiments.figures import TrafficFigures
from trajops.experiments.statistics import tuning, units_needed

DAY_S = 86_400.0
# Of fewer units nothing can be said about a day, or about their spread.
FEW_UNITS = 20
# Less of the traffic says little about a day.
LEAST_SEEN_S = 3_600.0
# Beyond these nobody waits for it, and figures say nothing any more.
MOST_UNITS, MOST_S = 1e9, 1e10


def spread(plan: ExperimentPlan, traffic: TrafficFigures) -> float | None:
    """Variance of the log effect, times units, if both arms are like the traffic; None where it has too few units.

    Of arms with shares `w` of the units and a coefficient of variation `c` after the covariate, it is `c² (1/w_control + 1/w_treatment)`; a
    treatment is compared with its own share and the control's only.
    """
    sums = traffic.sums
    if sums.units < FEW_UNITS or not sums.mean > 0:
        return None
    yy, xx, xy = map(float, sums.spread())
    left = yy - (xy * xy / xx if xx > 0 else 0.0)
    relative = max(left, 0.0) / (float(sums.units) - 1) / float(sums.mean) ** 2
    control, least = plan.arms[0].weight, min(arm.weight for arm in plan.arms[1:])
    return relative * (control + least) * (1 / control + 1 / least)


def expected_units(plan: ExperimentPlan, traffic: TrafficFigures) -> float | None:
    """Units of all arms until the expected change shows in four of five experiments; None where the traffic says nothing."""
    known = spread(plan, traffic)
    if known is None:
        return None
    alpha = plan.alpha / (len(plan.arms) - 1)
    compared = plan.arms[0].weight + min(arm.weight for arm in plan.arms[1:])
    least = 2 * plan.stop.min_units
    return max(least, units_needed(plan.expected_change, known, tuning(plan.tuned_units, plan.alpha), alpha=alpha)) / compared


def expected_s(plan: ExperimentPlan, traffic: TrafficFigures, held_out: float = 0.0) -> float | None:
    """Seconds until then, if units go on coming as they do, and so large a share of them is held out; None where that is not known."""
    units, per_day = expected_units(plan, traffic), traffic.units_per_day
    if units is None or not per_day:
        return None
    part = (1.0 if plan.namespace is None else plan.namespace.end - plan.namespace.begin) * (1 - _held_out(plan, held_out))
    return max(plan.stop.min_s, DAY_S * units / (per_day * part * plan.coverage))


def checks(
    plan: ExperimentPlan,
    traffic: TrafficFigures,
    states: Mapping[int, State | None],
    warm: Mapping[int, bool],
    obstacle: str | None,
    held_out: float = 0.0,
) -> Iterator[CheckOut]:
    """The lines of the checklist.

    Args:
        plan: that is to be launched.
        traffic: of late.
        states: of the deployments of its versions; None: not deployed.
        warm: whether the process that is asked has them warm.
        obstacle: why it cannot be routed beside what is.
        held_out: share of all units that no experiment enrols.
    """
    yield CheckOut(
        name="units", state="ok" if obstacle is None else "blocked", detail=obstacle or "no other experiment enrols the same units"
    )
    control = plan.arms[0].model_version
    unready = [version for version, state in states.items() if version != control and state != State.STAGED]
    said = ", ".join(f"v{version} is {states[version] or 'not deployed'}" for version in unready)
    yield CheckOut(name="versions", state="blocked" if unready else "ok", detail=f"{said}; stage it first" if unready else "staged")
    cold = [f"v{version}" for version, is_warm in warm.items() if not is_warm]
    yield CheckOut(name="warm", state="warning" if cold else "ok", detail=f"{', '.join(cold)} will be loaded first" if cold else "loaded")
    yield _join_rate(plan, traffic)
    yield _duration(plan, traffic, held_out)


def _join_rate(plan: ExperimentPlan, traffic: TrafficFigures) -> CheckOut:
    rate = traffic.join_rate
    if rate is None:
        return CheckOut(name="join rate", state="warning", detail="no prediction of late is old enough to have truth")
    state: CheckState = "ok" if rate >= plan.min_join_rate else "blocked"
    detail = f"{100 * rate:.1f} % of the predictions get truth, the plan asks for {100 * plan.min_join_rate:g} %"
    return CheckOut(name="join rate", state=state, detail=detail)


def _held_out(plan: ExperimentPlan, share: float) -> float:
    """A shadow, which answers nobody, predicts for those who are held out too."""
    return 0.0 if plan.is_beside else share


def _duration(plan: ExperimentPlan, traffic: TrafficFigures, held_out: float) -> CheckOut:
    seconds, units = expected_s(plan, traffic, held_out), expected_units(plan, traffic)
    if seconds is None or units is None:
        return CheckOut(name="duration", state="warning", detail=f"too few {plan.unit}s of late to say how long it will take")
    if units > MOST_UNITS or seconds > MOST_S:
        least = f"more than {MOST_UNITS:,.0f} {plan.unit}s" if units > MOST_UNITS else f"more than {_span(MOST_S)}"
        detail = f"{signed(plan.expected_change, None)} takes {least}: hope for more, enrol more, or make the smallest arm larger"
        return CheckOut(name="duration", state="blocked", detail=detail)
    seen_s = (traffic.until - traffic.since).total_seconds()
    is_short = seen_s < LEAST_SEEN_S
    rate = f"the rate of the last {_span(seen_s)}, which is all that is known" if is_short else "the present rate"
    said = f"{signed(plan.expected_change, None)} takes about {units:,.0f} {plan.unit}s, {_span(seconds)} at {rate}"
    if share := _held_out(plan, held_out):
        said += f", with {100 * share:g} % held out"
    if seconds > plan.stop.horizon_s:
        mend = "enrol more, hope for more, or let it run for longer"
        return CheckOut(name="duration", state="blocked", detail=f"{said}, and it ends after {_span(plan.stop.horizon_s)}: {mend}")
    return CheckOut(name="duration", state="warning" if is_short else "ok", detail=said)


def _span(seconds: float) -> str:
    for name, unit_s in (("days", DAY_S), ("hours", 3600.0)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.1f} {name}"
    return f"{seconds / 60:.0f} minutes"
