"""Jobs and leases in memory."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from data.stubs.tables import Repository
from trajops.clock import MOST_APART
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.errors import Conflict, NotFound
from trajops.jobs import job_out
from trajops.records import JobSchedule


class MemoryJobs(Repository):
    """Implements `trajops.ports.JobStore`."""

    def describe(self, job: str, description: str, every_s: float, cron: str | None = None) -> None:
        """Write or replace a schedule; requests and successes stay."""
        known = self._tables.schedules.get(job) or JobSchedule(job, description, every_s)
        self._tables.schedules.put(job, replace(known, description=description, every_s=every_s, cron=cron))

    def forget(self, job: str) -> None:
        """Take a schedule away; its runs stay, and an unknown job is no error."""
        self._tables.schedules.drop(job)

    def schedules(self) -> list[JobSchedule]:
        """All schedules by name."""
        return sorted(self._tables.schedules.rows(), key=lambda schedule: schedule.job)

    def schedule(self, job: str) -> JobSchedule:
        """One schedule; NotFound if there is no such job."""
        known = self._tables.schedules.get(job)
        if known is None:
            raise NotFound(f"there is no job {job!r}")
        return known

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), requested_at=at))

    def note_progress(self, job: str, at: datetime) -> None:
        """Say that a long run does what it should, so that the job is not late; an unknown job is no error."""
        known = self._tables.schedules.get(job)
        if known is not None:
            self._tables.schedules.put(job, replace(known, last_success_at=at))

    def plan(self, job: str, due_at: datetime) -> None:
        """Write when a job is due next; an unknown job is no error."""
        known = self._tables.schedules.get(job)
        if known is not None:
            self._tables.schedules.put(job, replace(known, next_due_at=due_at))

    def pause(self, job: str, *, at: datetime, by: str, reason: str) -> None:
        """Let a job run by hand only; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), paused_at=at, paused_by=by, pause_reason=reason))

    def resume(self, job: str) -> None:
        """Let a paused job run by its schedule again; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), paused_at=None, paused_by=None, pause_reason=None))

    def take_request(self, job: str) -> bool:
        """Whether a run was asked for; the request is taken away."""
        known = self._tables.schedules.get(job)
        if known is None or known.requested_at is None:
            return False
        self._tables.schedules.put(job, replace(known, requested_at=None))
        return True

    def record_start(self, job: str, holder: str, at: datetime) -> JobRunOut:
        """A new run in state `running`."""
        run = JobRunOut(
            run_id=uuid4().hex,
            job=job,
            state="running",
            holder=holder,
            started_at=at,
            finished_at=None,
            duration_s=None,
            result={},
            error=None,
        )
        self._tables.runs.put(run.run_id, run)
        return run

    def record_finish(self, run_id: str, at: datetime, *, result: dict[str, Any] | None = None, error: str | None = None) -> JobRunOut:
        """End a run; NotFound if there is no such run, Conflict if it has ended already."""
        started = self._tables.runs.get(run_id)
        if started is None:
            raise NotFound(f"there is no job run {run_id!r}")
        if started.state != "running":
            raise Conflict(f"the job run {run_id!r} has ended already")
        ended = started.model_copy(
            update={
                "state": "succeeded" if error is None else "failed",
                "finished_at": at,
                "duration_s": (at - started.started_at).total_seconds(),
                "result": result or {},
                "error": error,
            }
        )
        self._tables.runs.put(run_id, ended)
        schedule = self._tables.schedules.get(started.job)
        if error is None and schedule is not None:
            self._tables.schedules.put(started.job, replace(schedule, last_success_at=at))
        return ended

    def runs(self, job: str, limit: int = 20, *, until: datetime | None = None) -> list[JobRunOut]:
        """Runs of one job, newest first; only those that began by `until`, where it is given."""
        found = [run for run in self._tables.runs.rows() if run.job == job and (until is None or run.started_at <= until)]
        return sorted(found, key=lambda run: run.started_at, reverse=True)[:limit]

    def last_success(self, job: str, *, until: datetime | None = None) -> JobRunOut | None:
        """The newest run of one job that succeeded and is still on record; of those that began by `until`, where it is given."""
        runs = self.runs(job, len(self._tables.runs.rows()), until=until)
        return next((run for run in runs if run.state == "succeeded"), None)

    def overview(self, now: datetime) -> list[JobOut]:
        """All jobs with their last run; late after three intervals without a success."""
        shown = []
        for schedule in self.schedules():
            runs = [run for run in self._tables.runs.rows() if run.job == schedule.job]
            first = min((run.started_at for run in runs), default=None)
            shown.append(job_out(schedule, max(runs, key=lambda run: run.started_at, default=None), first, now))
        return shown


class MemoryLeases(Repository):
    """Implements `trajops.ports.LeaseStore`."""

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one has not expired, unless it is from before the clock was put back."""
        known = self._tables.leases.get(job)
        if known is not None and known[0] and now < known[2] and known[3] <= now + MOST_APART:
            return None
        fence = 1 if known is None else known[1] + 1
        self._tables.leases.put(job, (holder, fence, expires_at, now))
        return fence

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that nobody else has taken since."""
        if not self.is_held(job, holder, fence):
            return False
        self._tables.leases.put(job, (holder, fence, expires_at, now))
        return True

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """Give a lease back that nobody else has taken since; the fence is kept."""
        if not self.is_held(job, holder, fence):
            return False
        self._tables.leases.put(job, ("", fence, now, now))
        return True

    def is_held(self, job: str, holder: str, fence: int) -> bool:
        """Whether a lease was neither lost nor given back."""
        known = self._tables.leases.get(job)
        return known is not None and known[:2] == (holder, fence)

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        known = self._tables.leases.get(job)
        return None if known is None or known[2] <= now else known[0] or None
