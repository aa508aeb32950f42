"""When a background job is late, and what its runs add up to."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut
from trajops.records import JobSchedule

LATE_INTERVALS = 3
# One slow run of a job that is due every second makes nobody wait.
LEAST_LATE_S = 6.0
# What stands still where no worker has a job in its schedules.yaml. The others are a matter of choice: drift, what is measured against
# validation, recalibration, and what the policy says.
RELIED_ON: Mapping[str, str] = {
    "join_truth": "no prediction is scored",
    "compact_lake": "the spool grows without end",
    "roll_up": "figures of months take long",
    "evaluate_alerts": "no alert is raised",
    "deliver_alerts": "nobody is told of alerts",
    "judge_experiments": "no experiment is judged or ended",
    "advance_rollouts": "rollouts stand still",
    "shadow": "shadow experiments predict nothing",
    "reconcile_aliases": "the registry's aliases do not follow the routes",
    "validate_versions": "versions from elsewhere cannot be staged",
    "run_tasks": "batch and training jobs wait for ever",
    "probe": "availability is not known",
    "prune": "old records stay for good",
}


def unscheduled(scheduled: Iterable[str]) -> dict[str, str]:
    """Jobs that the product relies on and nobody has scheduled, each with what stands still."""
    known = set(scheduled)
    return {job: effect for job, effect in RELIED_ON.items() if job not in known}


def job_out(schedule: JobSchedule, last_run: JobRunOut | None, first_started_at: datetime | None, now: datetime) -> JobOut:
    """A schedule with its last run, as the API shows it.

    A job is late when its last success, or its first start where it never succeeded, is more than three intervals
    and six seconds ago. One that has never started is not late but without a run, and one that is paused is meant to wait.
    """
    since = schedule.last_success_at or first_started_at
    patience = timedelta(seconds=max(LEAST_LATE_S, LATE_INTERVALS * schedule.every_s))
    is_paused = schedule.paused_at is not None
    return JobOut(
        job=schedule.job,
        description=schedule.description,
        every_s=schedule.every_s,
        cron=schedule.cron,
        last_run=last_run,
        last_success_at=schedule.last_success_at,
        is_late=not is_paused and since is not None and now - since > patience,
        next_due_at=None if is_paused else schedule.next_due_at,
        paused_at=schedule.paused_at,
        paused_by=schedule.paused_by,
        pause_reason=schedule.pause_reason,
    )


def runs_out(job: JobOut, runs: Sequence[JobRunOut], holder: str | None) -> JobRunsOut:
    """The newest runs of a job with their share of successes and their durations."""
    ended = [run for run in runs if run.state != "running"]
    durations_s = sorted(run.duration_s for run in ended if run.duration_s is not None)
    return JobRunsOut(
        job=job,
        holder=holder,
        runs=list(runs),
        success_share=sum(run.state == "succeeded" for run in ended) / len(ended) if ended else None,
        duration_p50_s=_quantile(durations_s, 0.5),
        duration_p95_s=_quantile(durations_s, 0.95),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank of an ordered sequence."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
