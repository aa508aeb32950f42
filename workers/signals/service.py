"""Whether the service does its work: availability, jobs, the lake, truth."""

from collections.abc import Iterator, Sequence

from trajops.alerts.signals import Signal
from trajops.clock import utc
from trajops.contracts.jobs import job_title
from trajops.services.availability import burning
from workers.jobs.join_truth import SILENT_SINCE
from workers.signals.sources import View, source

MOST_PATHS = 3


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
