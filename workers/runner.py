"""One run of one job: lease, record, work, record. A job that fails fails alone.

Lease and start are written in one transaction, result and release in another, so that a worker that was killed leaves
either nothing or a run that its successor can tell is dead.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from trajops.clock import MOST_APART, now
from trajops.contracts.jobs import JobRunOut
from trajops.errors import Conflict, NotFound, TrajOpsError, Unavailable
from trajops.jobs import unscheduled
from trajops.ports import Clock
from trajops.records import JobSchedule
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from workers.lease import Held, under
from workers.metrics import WorkerMetrics
from workers.schedules import Schedule

# Successes of jobs that run more often than this are logged at debug level only; metrics and SQL have them all.
OFTEN_S = 10.0
# A job that nobody names has not run for so long.
FORSAKEN_S = 86_400.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What is run, and how often. `run` is idempotent and returns what an operator wants to know about it."""

    name: str
    schedule: Schedule
    run: Callable[[], Mapping[str, Any]]


@dataclass(slots=True, eq=False)
class _Running:
    """A run in progress in this process. `record` is None while the lease is being asked for, and after it was given up."""

    fence: int = 0
    record: JobRunOut | None = None
    renewed_at: datetime | None = None
    is_given_up: bool = False
    began_s: float = 0.0


@dataclass(slots=True, eq=False)
class JobRunner:
    """Runs jobs under leases. Safe to call from several threads.

    Attributes:
        jobs: by name.
        unit_of_work: opens a transaction.
        holder: name of this worker, unique among all.
        clock: what time it is.
        metrics: told of each run.
        stopwatch: seconds on a clock that nobody sets, and that stands still while the machine sleeps.
    """

    jobs: Mapping[str, Job]
    unit_of_work: UnitOfWorkFactory
    holder: str
    clock: Clock
    metrics: WorkerMetrics
    stopwatch: Callable[[], float] = time.monotonic
    _running: dict[str, _Running] = field(default_factory=dict)
    _planned: dict[str, datetime] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _failures: dict[str, str] = field(default_factory=dict)
    _is_stopping: bool = False

    def describe(self) -> None:
        """Write the schedules, so that API and console know every job before its first run."""
        present = now(self.clock)
        with self.unit_of_work() as work:
            before = {row.job: row for row in work.jobs.schedules()}
            for job in self.jobs.values():
                work.jobs.describe(job.name, job.schedule.description, job.schedule.interval_s, job.schedule.cron)
            known = {row.job: row for row in work.jobs.schedules()}
            for name, job in self.jobs.items():
                is_same = name in before and (before[name].every_s, before[name].cron) == (known[name].every_s, known[name].cron)
                if known[name].next_due_at is None or not is_same:
                    last = _last_run(work, name, present)
                    work.jobs.plan(name, job.schedule.next_due(None if last is None else last.started_at, present))
        for name, job in self.jobs.items():
            self.metrics.scheduled(name, job.schedule.interval_s, known[name].last_success_at)

    def retire(self) -> None:
        """Take away the schedules that nobody names any more, lest they be late for ever.

        That is told by a day, and three intervals, without a run: what another worker names runs meanwhile. What somebody has paused or
        asked for stays.
        """
        present = now(self.clock)
        with self.unit_of_work() as work:
            for row in work.jobs.schedules():
                if row.job not in self.jobs and _is_forsaken(row, _last_run(work, row.job, present), present):
                    logger.info("the job is scheduled no more", extra={"job": row.job})
                    work.jobs.forget(row.job)

    def warn_of_unscheduled(self) -> None:
        """Log what the product relies on and neither this worker nor another one has been told to run."""
        with self.unit_of_work(read_only=True) as work:
            missing = unscheduled(row.job for row in work.jobs.schedules())
        if missing:
            logger.warning("jobs that the product relies on are named in no schedules.yaml, so they never run", extra={"jobs": missing})

    def run(self, name: str) -> JobRunOut | None:
        """Run a job if it is this worker's turn; never raises for what the job or the database does.

        Returns:
            The finished run; None if it runs elsewhere, is not due yet, or the database is away.
        """
        job, running = self.jobs[name], _Running()
        with self._changed:
            if self._is_stopping or name in self._running:
                return None
            self._running[name] = running
        try:
            if not self._begin(job, running):
                return None
            self.metrics.began(name)
            with under(Held(name, self.holder, running.fence)):
                done = self._work(job)
            return self._finish(job, running, *done)
        except TrajOpsError as error:
            logger.warning("the job could not be recorded", extra={"job": name, "reason": error.message})
            return None
        finally:
            with self._changed:
                del self._running[name]
                self._changed.notify_all()

    def overlapped(self, name: str) -> None:
        """It was time for a job that still runs here."""
        self.metrics.skipped(name, "queued" if self.jobs[name].schedule.overlap == "queue" else "overlap")

    @property
    def hanging(self) -> list[str]:
        """Jobs whose run was given up and has not ended nevertheless: this worker cannot run them until it is started anew."""
        return sorted(name for name, running in self._in_progress() if running.is_given_up)

    def records(self) -> dict[str, JobSchedule]:
        """What is on record about the jobs of this worker: when they are due, whether somebody asked for them or paused them."""
        with self.unit_of_work(read_only=True) as work:
            return {row.job: row for row in work.jobs.schedules() if row.job in self.jobs}

    def due_at(self, name: str) -> datetime | None:
        """When a job is to be tried next, by the record; None while it is paused.

        While it runs here, that is when a time passes during the run. A run elsewhere is looked after when its lease would be over, so
        that one that was killed is not waited for until its next time.

        Raises:
            NotFound: if the job was not described.
            Unavailable: if the database is away.
        """
        present, schedule = now(self.clock), self.jobs[name].schedule
        with self.unit_of_work(read_only=True) as work:
            row = work.jobs.schedule(name)
            last = _last_run(work, name, present)
        if row.paused_at is not None:
            return None
        # A record from before the clock was put back lies too far ahead.
        due_at = min(row.next_due_at or present, schedule.next_due(present, present))
        is_elsewhere = last is not None and last.state == "running" and not self.is_running(name)
        return min(due_at, present + timedelta(seconds=schedule.lease_s)) if is_elsewhere else due_at

    def is_running(self, name: str) -> bool:
        """Whether a run of a job is in progress in this process."""
        with self._changed:
            return name in self._running

    def renew(self) -> None:
        """Extend the leases of the runs in progress where a third of their life is over; give up runs that take too long."""
        present = now(self.clock)
        for name, running in self._in_progress():
            schedule = self.jobs[name].schedule
            if running.record is None or running.renewed_at is None:
                continue
            if self.stopwatch() - running.began_s > schedule.timeout_s:
                self._give_up(name, running, f"took longer than {schedule.timeout_s:g} s (timeout_s) and was given up")
            elif not timedelta(0) <= present - running.renewed_at < timedelta(seconds=schedule.lease_s / 3):  # or the clock was put back
                expires_at = present + timedelta(seconds=schedule.lease_s)
                with self.unit_of_work() as work:
                    is_held = work.leases.renew(name, self.holder, running.fence, present, expires_at)
                running.renewed_at = present
                if not is_held:
                    logger.error("the lease was lost during the run", extra={"job": name})

    def stop(self, grace_s: float) -> list[str]:
        """Begin no run any more, wait for those in progress, and give up those that do not end in time.

        Returns:
            Names of the jobs that were given up; their leases are free.
        """
        with self._changed:
            self._is_stopping = True
            self._changed.wait_for(lambda: not self._running, grace_s)
        late = self._in_progress()
        for name, running in late:
            self._give_up(name, running, "the worker was stopped during the run")
        return [name for name, _ in late]

    def _in_progress(self) -> Sequence[tuple[str, _Running]]:
        with self._changed:
            return list(self._running.items())

    def _begin(self, job: Job, running: _Running) -> bool:
        present, schedule = now(self.clock), job.schedule
        with self.unit_of_work() as work:
            fence = work.leases.acquire(job.name, self.holder, present, present + timedelta(seconds=schedule.lease_s))
            if fence is None:
                self.metrics.skipped(job.name, "elsewhere")
                return False
            row = work.jobs.schedule(job.name)
            is_requested = work.jobs.take_request(job.name)
            last = _last_run(work, job.name, present)
            self.metrics.paused(job.name, is_paused=row.paused_at is not None)
            if last is not None and last.state == "running":
                work.jobs.record_finish(last.run_id, present, error=f"worker {last.holder} disappeared during the run")
                is_due = True
            else:
                is_due = self._is_put_back(schedule, row, present) or _is_due(schedule, row.next_due_at, last, present)
            if not is_requested and (row.paused_at is not None or not is_due):
                work.leases.release(job.name, self.holder, fence, present)
                self._pass_over(job, row, present, work)
                return False
            record = work.jobs.record_start(job.name, self.holder, present)
            self._plan(work, job.name, schedule.next_due(present, present))
        if row.next_due_at is not None and is_due and row.paused_at is None:
            self._measure(job, row.next_due_at, present)
        running.fence, running.renewed_at, running.began_s, running.record = fence, present, self.stopwatch(), record
        return True

    def _plan(self, work: UnitOfWork, name: str, due_at: datetime) -> None:
        self._planned[name] = due_at
        work.jobs.plan(name, due_at)

    def _is_put_back(self, schedule: Schedule, row: JobSchedule, present: datetime) -> bool:
        """Whether the clock was put back since this worker wrote when a job is due, by however little; then an interval begins anew.

        What another worker wrote may be by a clock that is ahead, and what ran at a time of the day does not run at that time again.
        """
        due_at = row.next_due_at
        if due_at is None or due_at != self._planned.get(row.job) or schedule.cron is not None:
            return False
        return due_at > schedule.next_due(present, present)

    def _pass_over(self, job: Job, row: JobSchedule, present: datetime, work: UnitOfWork) -> None:
        """It is not run now. What the schedule passes over (missed: skip) is counted and planned anew."""
        self.metrics.skipped(job.name, "not_due" if row.paused_at is None else "paused")
        due_at = row.next_due_at
        if due_at is not None and job.schedule.is_missed(due_at, present):
            self._plan(work, job.name, job.schedule.next_due(None, present))
            if row.paused_at is None:
                self.metrics.missed(job.name, 1 + job.schedule.missed_times(due_at, present))

    def _measure(self, job: Job, due_at: datetime, present: datetime) -> None:
        """How late a run is, and how many times of the schedule it stands for."""
        missed = job.schedule.missed_times(due_at, present)
        if missed:
            self.metrics.missed(job.name, missed)
        self.metrics.due(
            job.name, max(0.0, (present - due_at).total_seconds()), is_catch_up=missed > 0 or job.schedule.is_missed(due_at, present)
        )

    def _work(self, job: Job) -> tuple[dict[str, Any], str | None]:
        """Result and error of the job itself. Whatever a job raises is its own affair."""
        try:
            result: dict[str, Any] = orjson.loads(orjson.dumps(dict(job.run()), default=str, option=orjson.OPT_SERIALIZE_NUMPY))
        except TrajOpsError as error:
            level = logging.WARNING if self._is_news(job.name, error.message) else logging.DEBUG
            logger.log(level, "the job failed", extra={"job": job.name, "reason": error.message, "code": error.code})
            return {}, error.message
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            level = logging.ERROR if self._is_news(job.name, reason) else logging.DEBUG
            logger.log(level, "the job failed", exc_info=error, extra={"job": job.name})
            return {}, reason
        self._failures.pop(job.name, None)
        return result, None

    def _is_news(self, job: str, reason: str) -> bool:
        """Whether a job failed otherwise than the last time; what repeats itself every few seconds is on record, and would fill the log."""
        before, self._failures[job] = self._failures.get(job), reason
        return before != reason

    def _finish(self, job: Job, running: _Running, result: dict[str, Any], error: str | None) -> JobRunOut | None:
        record, present = running.record, now(self.clock)
        if record is None:
            return None
        duration_s = (present - record.started_at).total_seconds()
        try:
            with self.unit_of_work() as work:
                if not work.leases.release(job.name, self.holder, running.fence, present):
                    error = error or "the lease was lost during the run, so another worker may have run the job as well"
                record = work.jobs.record_finish(record.run_id, present, result=result, error=error)
                self._plan(work, job.name, job.schedule.due_after(record.started_at, present, is_failed=error is not None))
        finally:
            self.metrics.ended(job.name, present.timestamp(), duration_s, is_success=error is None)
        if error is None:
            level = logging.INFO if job.schedule.interval_s >= OFTEN_S else logging.DEBUG
            logger.log(level, "the job succeeded", extra={"job": job.name, "duration_s": round(duration_s, 3), "result": result})
        return record

    def _give_up(self, name: str, running: _Running, error: str) -> None:
        record, running.record = running.record, None
        if record is None:
            return
        running.is_given_up = True
        present = now(self.clock)
        logger.error("the run was given up", extra={"job": name, "reason": error})
        self.metrics.ended(name, present.timestamp(), (present - record.started_at).total_seconds(), is_success=False)
        try:
            with self.unit_of_work() as work:
                work.leases.release(name, self.holder, running.fence, present)
                work.jobs.record_finish(record.run_id, present, error=error)
                self._plan(work, name, self.jobs[name].schedule.due_after(record.started_at, present, is_failed=True))
        except (Conflict, NotFound, Unavailable) as problem:
            logger.warning("the end of a run could not be recorded", extra={"job": name, "reason": problem.message})


def _last_run(work: UnitOfWork, name: str, present: datetime) -> JobRunOut | None:
    return next(iter(work.jobs.runs(name, 1, until=present + MOST_APART)), None)


def _is_due(schedule: Schedule, due_at: datetime | None, last: JobRunOut | None, present: datetime) -> bool:
    if due_at is not None and schedule.has_come(due_at, None if last is None else last.finished_at, present):
        return True
    if last is not None and last.state == "failed" and schedule.retry_s is not None:
        return present - last.started_at >= timedelta(seconds=0.9 * schedule.retry_s)
    return schedule.is_due(None if last is None else last.started_at, present)


def _is_forsaken(row: JobSchedule, last: JobRunOut | None, present: datetime) -> bool:
    if row.paused_at is not None or row.requested_at is not None:
        return False
    unused_s = max(FORSAKEN_S, 3 * row.every_s)
    since = row.next_due_at if last is None else last.started_at
    return since is not None and (present - since).total_seconds() > unused_s
