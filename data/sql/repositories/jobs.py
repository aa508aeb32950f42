"""Schedules and runs of the workers' jobs."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import job_runs, job_schedules, new_id
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.errors import Conflict, NotFound
from trajops.jobs import job_out
from trajops.records import JobSchedule


class SqlJobs:
    """Implements `trajops.ports.JobStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def describe(self, job: str, description: str, every_s: float, cron: str | None = None) -> None:
        """Write or replace a schedule; requests and successes stay."""
        said = {"description": description, "every_s": every_s, "cron": cron}
        written = insert_or(self._connection, job_schedules).values(job=job, **said)
        self._connection.execute(written.on_conflict_do_update(index_elements=["job"], set_=said))

    def forget(self, job: str) -> None:
        """Take a schedule away; its runs stay, and an unknown job is no error."""
        self._connection.execute(delete(job_schedules).where(job_schedules.c.job == job))

    def schedules(self) -> list[JobSchedule]:
        """All schedules by name."""
        return [JobSchedule(**row) for row in self._connection.execute(select(job_schedules).order_by(job_schedules.c.job)).mappings()]

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule; NotFound if there is no such job."""
        self._change(job, requested_at=at)

    def take_request(self, job: str) -> bool:
        """Whether a run was asked for; the request is taken away, so that one caller only gets True."""
        is_requested = (job_schedules.c.job == job, job_schedules.c.requested_at.is_not(None))
        change = update(job_schedules).where(*is_requested).values(requested_at=None).returning(job_schedules.c.job)
        return self._connection.execute(change).first() is not None

    def schedule(self, job: str) -> JobSchedule:
        """One schedule; NotFound if there is no such job."""
        row = self._connection.execute(select(job_schedules).where(job_schedules.c.job == job)).mappings().first()
        if row is None:
            raise NotFound(f"there is no job {job!r}; list them with GET /v1/jobs")
        return JobSchedule(**row)

    def note_progress(self, job: str, at: datetime) -> None:
        """Say that a long run does what it should, so that the job is not late; an unknown job is no error."""
        self._connection.execute(update(job_schedules).where(job_schedules.c.job == job).values(last_success_at=at))

    def plan(self, job: str, due_at: datetime) -> None:
        """Write when a job is due next; an unknown job is no error."""
        self._connection.execute(update(job_schedules).where(job_schedules.c.job == job).values(next_due_at=due_at))

    def pause(self, job: str, *, at: datetime, by: str, reason: str) -> None:
        """Let a job run by hand only; NotFound if there is no such job."""
        self._change(job, paused_at=at, paused_by=by, pause_reason=reason)

    def resume(self, job: str) -> None:
        """Let a paused job run by its schedule again; NotFound if there is no such job."""
        self._change(job, paused_at=None, paused_by=None, pause_reason=None)

    def record_start(self, job: str, holder: str, at: datetime) -> JobRunOut:
        """A new run in state `running`."""
        run = JobRunOut(
            run_id=new_id(),
            job=job,
            state="running",
            holder=holder,
            started_at=at,
            finished_at=None,
            duration_s=None,
            result={},
            error=None,
        )
        self._connection.execute(insert(job_runs), dict(run))
        return run

    def record_finish(self, run_id: str, at: datetime, *, result: dict[str, Any] | None = None, error: str | None = None) -> JobRunOut:
        """End a run; NotFound if there is no such run, Conflict if it has ended already."""
        row = self._connection.execute(select(job_runs).where(job_runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no job run {run_id!r}")
        started = JobRunOut(**row)
        ended = {
            "state": "succeeded" if error is None else "failed",
            "finished_at": at,
            "duration_s": (at - started.started_at).total_seconds(),
            "result": result or {},
            "error": error,
        }
        is_running = (job_runs.c.run_id == run_id, job_runs.c.state == "running")
        if self._connection.execute(update(job_runs).where(*is_running).values(**ended).returning(job_runs.c.run_id)).first() is None:
            raise Conflict(f"the job run {run_id!r} has ended already")
        if error is None:
            self._connection.execute(update(job_schedules).where(job_schedules.c.job == started.job).values(last_success_at=at))
        return started.model_copy(update=ended)

    def runs(self, job: str, limit: int = 20, *, until: datetime | None = None) -> list[JobRunOut]:
        """Runs of one job, newest first; only those that began by `until`, where it is given."""
        newest = select(job_runs).where(job_runs.c.job == job).order_by(job_runs.c.started_at.desc(), job_runs.c.run_id).limit(limit)
        if until is not None:
            newest = newest.where(job_runs.c.started_at <= until)
        return [JobRunOut(**row) for row in self._connection.execute(newest).mappings()]

    def last_success(self, job: str, *, until: datetime | None = None) -> JobRunOut | None:
        """The newest run of one job that succeeded and is still on record; of those that began by `until`, where it is given."""
        found = select(job_runs).where(job_runs.c.job == job, job_runs.c.state == "succeeded")
        if until is not None:
            found = found.where(job_runs.c.started_at <= until)
        row = self._connection.execute(found.order_by(job_runs.c.started_at.desc()).limit(1)).mappings().first()
        return None if row is None else JobRunOut(**row)

    def overview(self, now: datetime) -> list[JobOut]:
        """All jobs with their last run; late after three intervals without a success."""
        firsts = select(job_runs.c.job, func.min(job_runs.c.started_at).label("at")).group_by(job_runs.c.job)
        first_at = {row.job: row.at for row in self._connection.execute(firsts)}
        return [
            job_out(schedule, next(iter(self.runs(schedule.job, 1)), None), first_at.get(schedule.job), now)
            for schedule in self.schedules()
        ]

    def _change(self, job: str, **values: Any) -> None:
        change = update(job_schedules).where(job_schedules.c.job == job).values(**values).returning(job_schedules.c.job)
        if self._connection.execute(change).first() is None:
            raise NotFound(f"there is no job {job!r}; list them with GET /v1/jobs")
