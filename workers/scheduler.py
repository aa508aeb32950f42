"""Time: starts jobs when they are due, or when somebody asks. With `workers.triggers` the only module that imports APScheduler.

APScheduler wakes this process; when a job is due stands in SQL, where each run writes it for all workers, and so does which of them runs
it. So each is woken by the record, and follows it when another worker, or somebody's hand, was first.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_EXECUTED, EVENT_JOB_MAX_INSTANCES, JobExecutionEvent, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from trajops.errors import TrajOpsError
from trajops.records import JobSchedule
from workers.runner import JobRunner
from workers.schedules import Schedule
from workers.triggers import cron_trigger

WATCH_S = 0.5
STAGGER_S = 0.5
# A job that is due and could not be begun, because another worker is at it or the database is away, is tried again this soon.
AGAIN_S = 5.0
# A clock that was set by less is not worth a word: a job is early or late by as much, once.
LEAST_SET_S = 1.0

logger = logging.getLogger(__name__)
# A run that is longer than its interval is no news; the runner reports durations.
logging.getLogger("apscheduler").setLevel(logging.ERROR)


class Scheduler:
    """Begins each job in a thread of its own when it is due by the record, and watches leases, requests and the record.

    Args:
        runner: runs a job by name, and knows its record.
        watch_s: how often leases are renewed, and requests and changes of the record looked for, seconds.
    """

    def __init__(self, runner: JobRunner, *, watch_s: float = WATCH_S) -> None:
        self._runner = runner
        self._watch_s = watch_s
        # What the record said of each job when it was last looked at: when it is due, and whether it is paused.
        self._known: dict[str, tuple[datetime | None, bool]] = {}
        self._is_stopping = threading.Event()
        self._watch = threading.Thread(target=self._watching, name="watch", daemon=True)
        self._triggers = {name: _ByRecord(_passing(job.schedule)) for name, job in runner.jobs.items()}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(2 * max(1, len(runner.jobs)))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    @property
    def is_well(self) -> bool:
        """Whether both the intervals and the watch are running, and no job hangs that only a new process could run again."""
        return bool(self._scheduler.running) and self._watch.is_alive() and not self._runner.hanging

    def start(self) -> None:
        """Run every job that is due, one shortly after the other, then each when it is due by the record.

        Raises:
            Unavailable: if the schedules cannot be written to the database.
        """
        self._runner.describe()
        self._runner.retire()
        self._runner.warn_of_unscheduled()
        self._known = {name: _said(record) for name, record in self._runner.records().items()}
        for number, (name, trigger) in enumerate(self._triggers.items()):
            first = datetime.now(UTC) + timedelta(seconds=number * STAGGER_S)  # what was missed is made up for; the runner knows
            self._scheduler.add_job(self._runner.run, trigger, args=[name], id=name, next_run_time=first)
        self._scheduler.add_listener(self._overlapped, EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._ended, EVENT_JOB_EXECUTED)
        self._scheduler.start()
        self._watch.start()

    def stop(self, grace_s: float) -> list[str]:
        """Stop; names of the jobs that did not end within `grace_s` and were given up."""
        self._scheduler.shutdown(wait=False)
        late = self._runner.stop(grace_s)
        self._is_stopping.set()
        self._watch.join()
        return late

    def _overlapped(self, event: JobSubmissionEvent) -> None:
        self._runner.overlapped(event.job_id.partition(":")[0])

    def _ended(self, event: JobExecutionEvent) -> None:
        """A run has ended, or there was none; the record says when the next one begins."""
        if not self._scheduler.running:
            return
        name = event.job_id.partition(":")[0]
        again = datetime.now(UTC) + timedelta(seconds=min(AGAIN_S, self._runner.jobs[name].schedule.every_s or AGAIN_S))
        try:
            due_at = self._runner.due_at(name)
        except TrajOpsError as error:
            logger.warning("when the job is due could not be read", extra={"job": name, "reason": error.message})
            due_at = again
        if due_at is not None:
            self._plan(name, again if event.retval is None and due_at <= datetime.now(UTC) else due_at)

    def _plan(self, name: str, at: datetime) -> None:
        """Wake for a job at a time, moved by its jitter: never before, since it would not be due then."""
        jitter_s = random.uniform(0, self._runner.jobs[name].schedule.jitter_s)  # noqa: S311 - no secret
        at = max(at, datetime.now(UTC)) + timedelta(seconds=jitter_s)
        self._triggers[name].planned = at
        with suppress(JobLookupError):  # it was stopped meanwhile
            self._scheduler.modify_job(name, next_run_time=at)

    def _watching(self) -> None:
        ahead_s = _ahead_s()
        while not self._is_stopping.wait(self._watch_s):
            try:
                before_s, ahead_s = ahead_s, _ahead_s()
                if abs(ahead_s - before_s) > LEAST_SET_S:
                    # What is slept until was reckoned by the clock as it was. Put back, nothing would run before it is as late again; put
                    # forward, times that have come would be waited for as long as they were away.
                    logger.warning("the clock was set, so all jobs are planned anew", extra={"ahead_s": round(ahead_s - before_s, 1)})
                    self._known.clear()
                self._runner.renew()
                records = self._runner.records()
                if lost := self._runner.jobs.keys() - records.keys():
                    logger.warning("another worker, which does not name them, has taken jobs away", extra={"jobs": sorted(lost)})
                    self._runner.describe()
                for name in (name for name, record in records.items() if record.requested_at is not None):
                    self._scheduler.add_job(self._runner.run, args=[name], id=f"{name}:requested", replace_existing=True)
                self._follow(records)
            except TrajOpsError as error:
                logger.warning("leases and requests could not be looked after", extra={"reason": error.message})
            except Exception as error:  # the watch must outlive any single fault, or all leases end
                logger.exception("the watch met an unexpected fault", exc_info=error)

    def _follow(self, records: Mapping[str, JobSchedule]) -> None:
        """Plan anew what the record says otherwise than before: it has begun, here or elsewhere, or somebody has resumed it."""
        for name, record in records.items():
            before, said = self._known.get(name), _said(record)
            if said == before:
                continue
            due_at = self._runner.due_at(name)
            if due_at is not None:
                is_resumed = before is not None and before[1] and not self._runner.is_running(name)
                self._plan(name, datetime.now(UTC) if is_resumed else due_at)  # what a pause has passed over may be due at once
            self._known[name] = said


class _ByRecord(BaseTrigger):  # type: ignore[misc]
    """A time that was planned by the record, as long as it lies ahead; else the times that pass during a run.

    A run may end so soon that the next one is planned before APScheduler asks for the time after this one; what it sets then must be that.
    """

    def __init__(self, passing: BaseTrigger) -> None:
        self.planned: datetime | None = None
        self._passing = passing

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first time after another one."""
        planned = self.planned
        if planned is not None and previous_fire_time is not None and planned > previous_fire_time:
            return planned
        found: datetime | None = self._passing.get_next_fire_time(previous_fire_time, now)
        return found


def _said(record: JobSchedule) -> tuple[datetime | None, bool]:
    return record.next_due_at, record.paused_at is not None


def _ahead_s() -> float:
    """How far the clock on the wall is ahead of one that nobody sets."""
    return time.time() - time.monotonic()


def _passing(schedule: Schedule) -> BaseTrigger:
    if schedule.cron is None:
        return IntervalTrigger(seconds=schedule.interval_s, timezone=UTC, jitter=schedule.jitter_s or None)
    trigger = copy(cron_trigger(schedule.cron))
    trigger.jitter = schedule.jitter_s or None
    return trigger
