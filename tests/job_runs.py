"""Jobs that do what a test needs, the runners and schedulers that run them, and what stands on record of them."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from data.sql.engine import Database
from trajops.clock import SystemClock, now
from trajops.contracts.jobs import JobRunOut
from trajops.ports import Clock
from workers.metrics import WorkerMetrics
from workers.runner import Job, JobRunner
from workers.scheduler import Scheduler
from workers.schedules import Schedule

WAIT_S = 30.0


def a_schedule(**changes: Any) -> Schedule:
    return Schedule.model_validate({"description": "does what a test needs", "every_s": 3600, **changes})


def a_runner(database: Database, *jobs: Job, holder: str = "w1", clock: Clock | None = None) -> JobRunner:
    runner = JobRunner({job.name: job for job in jobs}, database.unit_of_work, holder, clock or SystemClock(), WorkerMetrics())
    runner.describe()
    return runner


def runs(database: Database, job: str) -> list[JobRunOut]:
    with database.unit_of_work(read_only=True) as work:
        return work.jobs.runs(job, 100)


def wait_for(probe: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not probe():
        assert time.monotonic() < deadline, f"{what} did not come within {WAIT_S:g} s"
        time.sleep(0.02)


def works() -> Mapping[str, Any]:
    return {"rows": 3}


def fails() -> Mapping[str, Any]:
    raise ZeroDivisionError("by zero")


class Gate:
    """A job that waits until the test lets it go."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Mapping[str, Any]:
        self.has_begun.set()
        assert self.may_end.wait(WAIT_S)
        return {}


def skips(runner: JobRunner, job: str, reason: str) -> float:
    return sample(runner, "trajops_job_skips_total", job=job, reason=reason)


def sample(runner: JobRunner, name: str, **labels: str) -> float:
    return runner.metrics.registry.get_sample_value(name, labels) or 0.0


def in_thread(runner: JobRunner, job: str) -> tuple[threading.Thread, list[JobRunOut | None]]:
    found: list[JobRunOut | None] = []
    thread = threading.Thread(target=lambda: found.append(runner.run(job)))
    thread.start()
    return thread, found


# A look that comes so much of an interval after a run, less twice the jitter, finds the job due.
SOON = 0.8


@contextmanager
def at_work(*runners: JobRunner) -> Iterator[list[Scheduler]]:
    schedulers = [Scheduler(runner, watch_s=0.1) for runner in runners]
    try:
        for scheduler in schedulers:
            scheduler.start()
        yield schedulers
    finally:
        for scheduler in schedulers:
            if scheduler._scheduler.running:
                scheduler.stop(WAIT_S)


def gap_s(database: Database) -> float:
    """Between the begins of the newest run and the one before it."""
    newest, before = runs(database, "j")[:2]
    return (newest.started_at - before.started_at).total_seconds()


def ask_for(database: Database) -> None:
    """Press "Run now", and wait until the run has begun."""
    count = len(runs(database, "j"))
    with database.unit_of_work() as work:
        work.jobs.request("j", now(SystemClock()))
    wait_for(lambda: len(runs(database, "j")) > count, "the requested run")
