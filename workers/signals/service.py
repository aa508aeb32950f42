"""Whether the service does its work: availability, jobs, the lake, truth."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import get_args

from trajops.alerts.signals import Signal
from trajops.clock import utc
from trajops.contracts.jobs import job_title
from trajops.contracts.tasks import TaskKind, TaskOut, task_title
from trajops.services.availability import burning
from trajops.tasks.lifecycle import ACTIVE, TaskState
from workers.jobs.join_truth import SILENT_SINCE
from workers.signals.sources import View, source

MOST_PATHS = 3
MOST_TASKS = 200
# So long a failed task is news.
LATELY = timedelta(hours=1)


@source("burn_alarm")
def _availability(view: View) -> Iterator[Signal]:
    """1 for each alarm of the objective whose two windows burn the error budget too fast, else 0."""
    for state in burning(view.work, view.objectives().availability, view.at):
        alarm = state.alarm
        spoken = (
            f"{alarm.factor:g} times the pace that the objective allows, over {alarm.long_s // 60} and over {alarm.short_s // 60} minutes"
        )
        about = {"factor": f"{alarm.factor:g}", "urgency": alarm.severity}
        yield Signal("burn_alarm", float(state.is_burning), view.at, about, f"The error budget burns at {spoken}.")


@source("task_failed", "task_hangs")
def _tasks(view: View) -> Iterator[Signal]:
    """Of each kind of task, 1 where the newest one that has ended failed within the hour; and 1 where one hangs; else 0.

    One that runs hangs without a sign of life, one that waits where none is begun.
    """
    rules = view.task_rules()
    over = view.work.tasks.newest(states={TaskState.DONE, TaskState.FAILED}, limit=MOST_TASKS)
    for kind in get_args(TaskKind):
        last = next((one for one in sorted(over, key=lambda one: one.updated_at, reverse=True) if one.asked.kind == kind), None)
        is_failed = last is not None and last.state is TaskState.FAILED and view.at - last.updated_at < LATELY
        said = "" if last is None else f"{_of_task(last)}: {last.error or 'done'}"
        yield Signal("task_failed", float(is_failed), view.at, {"kind": kind}, said[:500])
    active = view.work.tasks.newest(states=ACTIVE, limit=MOST_TASKS)
    runs = [one for one in active if one.state is TaskState.RUNNING]
    silent = [one for one in runs if view.at - one.seen_at > timedelta(seconds=rules.silent_s)]
    waits = [one for one in active if not runs and view.at - one.updated_at > timedelta(seconds=rules.waiting_s)]
    hang = [f"{_of_task(one)} runs without a sign of life since {one.seen_at:%H:%M} UTC." for one in silent]
    hang += [f"{_of_task(one)} waits since {one.updated_at:%H:%M} UTC, and none runs." for one in waits]
    yield Signal("task_hangs", float(len(hang)), view.at, detail=" ".join(hang[:MOST_PATHS]) or "No task hangs.")


def _of_task(task: TaskOut) -> str:
    return f"{task_title(task.asked.kind)} of {task.by}"


@source("job_late", "job_failed")
def _jobs(view: View) -> Iterator[Signal]:
    """1 for each job that has not succeeded for three intervals, and for each whose last run failed; else 0.

    A job of which an alert still tells though nobody schedules it any more is neither.
    """
    jobs = view.work.jobs.overview(view.at)
    told = {alert.labels["job"] for alert in view.work.alerts.unresolved() if alert.origin == "rules" and "job" in alert.labels}
    for name in sorted(told - {job.job for job in jobs}):
        gone = f"The job {name} is scheduled no more."
        yield from (Signal(signal, 0.0, view.at, {"job": name}, gone) for signal in ("job_late", "job_failed"))
    for job in jobs:
        about, title = {"job": job.job}, job_title(job.job)
        since = f"since {job.last_success_at:%d %b %H:%M:%S} UTC" if job.last_success_at else "since its first run"
        late = f"The job {job.job} ({title}) has not succeeded {since}; it should every {job.every_s:g} s."
        yield Signal("job_late", float(job.is_late), view.at, about, late)
        if job.last_run is not None and job.last_run.state != "running":
            failed = f"The job {job.job} ({title}) failed: {job.last_run.error}"
            yield Signal("job_failed", float(job.last_run.state == "failed"), view.at, about, failed)


@source("lake_broken_files")
def _lake(view: View) -> Iterator[Signal]:
    """How many files of the lake cannot be read and were set aside."""
    paths = view.broken_files()
    yield Signal("lake_broken_files", float(len(paths)), view.at, detail=f"Files of the lake that cannot be read: {_named(paths)}.")


@source("spool_quarantine")
def _spool(view: View) -> Iterator[Signal]:
    """How many segments of this machine's spool had lines that are no rows, and were kept aside."""
    names = view.quarantined()
    yield Signal("spool_quarantine", float(len(names)), view.at, detail=f"Lines that are no rows were kept aside: {_named(names)}.")


def _named(paths: Sequence[str]) -> str:
    return ", ".join(paths[:MOST_PATHS]) + (f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else "")


@source("truth_silence_s")
def _truth(view: View) -> Iterator[Signal]:
    """For how long predictions have waited for truth without one being scored; 0 where none wait."""
    last = view.work.jobs.last_success("join_truth", until=view.at)
    if last is None:
        return
    since_ns = last.result.get(SILENT_SINCE)
    silence_s = 0.0 if since_ns is None else (view.at - utc(since_ns)).total_seconds()
    detail = f"{last.result.get('candidates', 0)} predictions wait for truth, and none was scored for {silence_s:.0f} s."
    yield Signal("truth_silence_s", silence_s, view.at, detail=detail)
