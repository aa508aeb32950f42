"""Availability as it stands: from the probes on record to budget, burn rates and alarms. What alert rules evaluate, too."""

from datetime import UTC, datetime, timedelta

from trajops.contracts.availability import AvailabilityOut, AvailabilityPoint, BurnAlarmOut, BurnOut
from trajops.contracts.figures import near_one
from trajops.contracts.status import Health
from trajops.objectives import AlarmState, Availability, Budget, Minutes, alarm_states, bounds, budget, burn, least_probes, whole_bounds
from trajops.stores import UnitOfWork

BUCKETS = 120
PROBE_JOB = "probe"
# Without a probe for so long, what is known says nothing of now.
SILENT_AFTER = timedelta(minutes=2)


def read_availability(uow: UnitOfWork, objective: Availability, at: datetime, hours: int = 24) -> AvailabilityOut:
    """Budget, burn rates and alarms at a moment, and the last hours as a series.

    Args:
        uow: may be read-only.
        objective: what is promised.
        at: the moment.
        hours: length of the series.
    """
    store = uow.probes
    least = _least(uow)
    sums = {length: store.summed(*whole_bounds(at, length), least=least) for length in objective.windows_s}
    burns = {length: burn(minutes, length, objective.target) for length, minutes in sums.items()}
    states = alarm_states(objective.alarms, burns)
    left = budget(sums[objective.window_s], objective, store.first_minute(), at)
    last_at, failure = store.last_probe_at(), store.last_failure()
    verdict, sentence = _judged(objective, left, states, last_at, at)
    bucket_min, series = _series(uow, at, hours, least)
    return AvailabilityOut(
        at=at,
        verdict=verdict,
        sentence=sentence,
        target=objective.target,
        window_days=objective.window_days,
        availability=left.availability,
        budget_left=left.left,
        allowed_min=left.allowed_min,
        bad_min=left.bad_min,
        known_min=left.known_min,
        unknown_min=left.unknown_min,
        burns=[BurnOut(**one._asdict()) for one in burns.values()],
        alarms=[BurnAlarmOut(**state.alarm.model_dump(), is_burning=state.is_burning) for state in states],
        last_probe_at=last_at,
        last_failure_at=None if failure is None else failure[0],
        last_failure=None if failure is None else failure[1],
        hours=hours,
        bucket_s=60 * bucket_min,
        series=series,
    )


def burning(uow: UnitOfWork, objective: Availability, at: datetime) -> list[AlarmState]:
    """The alarms over two windows, and whether each of them speaks up.

    The running minute is left out: its first probe would speak for all of it, and one slow answer would be a minute's outage.
    """
    lengths = {length for alarm in objective.alarms for length in (alarm.short_s, alarm.long_s)}
    least = _least(uow)
    burns = {length: burn(uow.probes.summed(*whole_bounds(at, length), least=least), length, objective.target) for length in lengths}
    return alarm_states(objective.alarms, burns)


def _least(uow: UnitOfWork) -> int:
    """How many probes a minute needs, by the schedule that the workers have written."""
    return next((least_probes(job.every_s) for job in uow.jobs.schedules() if job.job == PROBE_JOB), 1)


def _series(uow: UnitOfWork, at: datetime, hours: int, least: int) -> tuple[int, list[AvailabilityPoint]]:
    """Width of a bucket in minutes, and the buckets, which begin at its whole multiples, oldest first; none before the first probe."""
    begin, end = bounds(at, 3600 * hours)
    first = uow.probes.first_minute()
    if first is None:
        return 1, []
    begin = max(begin, first)
    bucket_min = max(1, -(-(end - begin) // BUCKETS))
    begin = begin // bucket_min * bucket_min
    found = uow.probes.buckets(begin, end, bucket_min, least=least)
    points = []
    for start in range(begin, end, bucket_min):
        minutes = found.get(start, Minutes())
        share = minutes.bad_share
        points.append(
            AvailabilityPoint(
                at=datetime.fromtimestamp(60 * start, UTC),
                availability=None if share is None else 1.0 - share,
                known_share=min(1.0, minutes.known / min(bucket_min, end - start)),
                slowest_ms=minutes.slowest_ms,
            )
        )
    return bucket_min, points


def _judged(objective: Availability, left: Budget, states: list[AlarmState], last_at: datetime | None, at: datetime) -> tuple[Health, str]:
    """What it amounts to, in one sentence."""
    promised = f"{100 * objective.target:g} % over {objective.window_days} days"
    if last_at is None:
        return "unknown", f"Nobody has probed yet, so nothing is known of the objective of {promised}."
    silent = f"Nobody has probed for {(at - last_at).total_seconds() / 60:.0f} minutes; start the workers."
    if left.left is None or left.availability is None:
        if at - last_at > SILENT_AFTER:
            return "unknown", silent
        return "unknown", f"Probing has just begun: something is known of the objective of {promised} when its first minute is over."
    burning = [state.alarm for state in states if state.is_burning]
    if burning:
        worst = max(burning, key=lambda alarm: alarm.factor)
        health: Health = "bad" if worst.severity == "critical" else "warn"
        days = objective.window_days / worst.factor
        pace = f"{days:.0f} days" if days >= 3 else f"{24 * days:.0f} hours"
        return health, (
            f"The error budget burns at {worst.factor:g} times its pace or faster, which would use all of it up in {pace}; "
            f"{100 * max(0.0, left.left):.0f} % of it is left."
        )
    if left.left < 0:
        return "bad", f"The objective of {promised} is missed: {left.bad_min:.0f} minutes were bad, {left.allowed_min:.0f} were allowed."
    if at - last_at > SILENT_AFTER:
        return "unknown", silent
    return "ok", (
        f"{near_one(left.availability)} of the probed minutes were good; {100 * left.left:.0f} % of the error budget is left ({promised})."
    )
