"""Time: starts jobs when they are due, or when somebody asks. With `workers.triggers` the only module that imports APScheduler.

APScheduler keeps the intervals inside one process. Which of several processes runs a job is settled in SQL by the runner.
"""

import logging
import threading
import time
from copy import copy
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from trajops.errors import TrajOpsError
from workers.runner import JobRunner
from workers.schedules import Schedule
from workers.triggers import cron_trigger

WATCH_S = 0.5
STAGGER_S = 0.5
# A clock that was put back by less is not worth a word: a job is late by as much, once.
LEAST_BACK_S = 1.0

logger = logging.getLogger(__name__)
# A run that is longer than its interval is no news; the runner reports durations.
logging.getLogger("apscheduler").setLevel(logging.ERROR)


class Scheduler:
    """Keeps the intervals of all jobs, each in a thread of its own, and watches leases and requests.

    Args:
        runner: runs a job by name.
        watch_s: how often leases are renewed and requests looked for, seconds.
    """

    def __init__(self, runner: JobRunner, *, watch_s: float = WATCH_S) -> None:
        self._runner = runner
        self._watch_s = watch_s
        self._is_stopping = threading.Event()
        self._watch = threading.Thread(target=self._watching, name="watch", daemon=True)
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
        """Run every job that is due, one shortly after the other, then each at its interval or times.

        Raises:
            Unavailable: if the schedules cannot be written to the database.
        """
        self._runner.describe()
        for number, (name, job) in enumerate(self._runner.jobs.items()):
            first = datetime.now(UTC) + timedelta(seconds=number * STAGGER_S)  # what was missed is made up for; the runner knows
            self._scheduler.add_job(self._run, _trigger(job.schedule), args=[name], id=name, next_run_time=first)
        self._scheduler.add_listener(self._overlapped, EVENT_JOB_MAX_INSTANCES)
        self._scheduler.start()
        self._watch.start()

    def stop(self, grace_s: float) -> list[str]:
        """Stop; names of the jobs that did not end within `grace_s` and were given up."""
        self._scheduler.shutdown(wait=False)
        late = self._runner.stop(grace_s)
        self._is_stopping.set()
        self._watch.join()
        return late

    def _run(self, name: str) -> None:
        record = self._runner.run(name)
        retry_s = self._runner.jobs[name].schedule.retry_s
        if record is not None and record.state == "failed" and retry_s is not None and not self._is_stopping.is_set():
            again = datetime.now(UTC) + timedelta(seconds=retry_s)
            self._scheduler.add_job(self._run, "date", run_date=again, args=[name], id=f"{name}:retry", replace_existing=True)
        elif record is not None and self._is_due_again(name, record.started_at):
            self._scheduler.add_job(self._run, args=[name], id=f"{name}:queued", replace_existing=True)

    def _overlapped(self, event: JobSubmissionEvent) -> None:
        self._runner.overlapped(event.job_id.partition(":")[0])

    def _is_due_again(self, name: str, started_at: datetime) -> bool:
        schedule = self._runner.jobs[name].schedule
        return schedule.overlap == "queue" and not self._is_stopping.is_set() and schedule.is_due(started_at, datetime.now(UTC))

    def _watching(self) -> None:
        ahead_s = _ahead_s()
        while not self._is_stopping.wait(self._watch_s):
            try:
                before_s, ahead_s = ahead_s, _ahead_s()
                if before_s - ahead_s > LEAST_BACK_S:
                    self._plan_anew(before_s - ahead_s)
                self._runner.renew()
                for name in self._runner.requested():
                    self._scheduler.add_job(self._run, args=[name], id=f"{name}:requested", replace_existing=True)
            except TrajOpsError as error:
                logger.warning("leases and requests could not be looked after", extra={"reason": error.message})
            except Exception as error:  # the watch must outlive any single fault, or all leases end
                logger.exception("the watch met an unexpected fault", exc_info=error)

    def _plan_anew(self, back_s: float) -> None:
        """The next times were planned by a clock that was ahead; without this nothing would run until it is as late again."""
        logger.warning("the clock was put back, so all jobs are planned anew", extra={"back_s": round(back_s, 1)})
        for name, job in self._runner.jobs.items():
            self._scheduler.reschedule_job(name, trigger=_trigger(job.schedule))


def _ahead_s() -> float:
    """How far the clock on the wall is ahead of one that nobody sets."""
    return time.time() - time.monotonic()


def _trigger(schedule: Schedule) -> BaseTrigger:
    if schedule.cron is None:
        return IntervalTrigger(seconds=schedule.interval_s, timezone=UTC, jitter=schedule.jitter_s or None)
    trigger = copy(cron_trigger(schedule.cron))
    trigger.jitter = schedule.jitter_s or None
    return trigger
