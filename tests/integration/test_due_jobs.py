"""When jobs run, over a real database: by the record, whoever wrote it, and by clocks that are set."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers import base

from data.sql.engine import Database
from data.stubs import SetClock
from tests.job_runs import SOON, WAIT_S, Gate, a_runner, a_schedule, ask_for, at_work, gap_s, in_thread, runs, skips, wait_for, works
from trajops.clock import SystemClock, now, to_ns
from trajops.contracts.jobs import JobRunOut
from trajops.errors import Unavailable
from trajops.stores import UnitOfWork
from workers import scheduler as scheduling
from workers.runner import Job, JobRunner
from workers.scheduler import Scheduler


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'trajops.db'}")
    database.migrate()
    yield database
    database.close()


def until(clock: SetClock, at: datetime | None) -> None:
    """Put a clock forward to a time."""
    assert at is not None
    clock.advance((at - now(clock)).total_seconds())


def pause(database: Database) -> None:
    with database.unit_of_work() as work:
        work.jobs.pause("j", at=now(SystemClock()), by="ada", reason="the disk is full")


def resume(database: Database) -> None:
    with database.unit_of_work() as work:
        work.jobs.resume("j")


def test_a_worker_that_starts_between_two_times_waits_for_the_next_one_only(database: Database) -> None:
    job = Job("j", a_schedule(every_s=4, jitter_s=0.2), works)
    before = now(SystemClock()) - timedelta(seconds=2)  # half an interval: the worker's own would begin here
    with database.unit_of_work() as work:
        work.jobs.describe("j", "does what a test needs", 4)
        work.jobs.record_finish(work.jobs.record_start("j", "w1", before).run_id, before)
        work.jobs.plan("j", before + timedelta(seconds=4))
    with at_work(a_runner(database, job, holder="w2")):
        wait_for(lambda: len(runs(database, "j")) == 2, "the next run")
    assert SOON * 4 <= gap_s(database) <= 4 + 0.2 + 1


@pytest.mark.parametrize("after_s", [1.0, 3.0], ids=["soon after a run", "shortly before the next"])
def test_a_run_by_hand_counts_and_delays_nothing(database: Database, after_s: float) -> None:
    job = Job("j", a_schedule(every_s=4, jitter_s=0.2), works)
    with at_work(*(a_runner(database, job, holder=holder) for holder in ("w1", "w2"))):
        wait_for(lambda: len(runs(database, "j")) == 1, "the first run")
        time.sleep(after_s)
        ask_for(database)
        ask_for(database)
        wait_for(lambda: len(runs(database, "j")) == 4, "the run after it")
    assert SOON * 4 <= gap_s(database) <= 4 + 0.2 + 1


def test_the_worker_that_is_left_keeps_the_pace(database: Database) -> None:
    job = Job("j", a_schedule(every_s=3), works)
    first, second = (a_runner(database, job, holder=holder) for holder in ("w1", "w2"))
    with at_work(first) as [scheduler]:
        wait_for(lambda: len(runs(database, "j")) == 1, "the first run")
        with at_work(second) as [other]:
            wait_for(lambda: other._triggers["j"].planned, "the plan of the second worker, by the record")
            ask_for(database)
            scheduler.stop(WAIT_S)
            wait_for(lambda: len(runs(database, "j")) == 3, "a run of the second worker")
            assert runs(database, "j")[0].holder == "w2"
            assert SOON * 3 <= gap_s(database) <= 3 + 1


def test_a_run_of_a_killed_worker_is_not_waited_for_until_its_next_time(database: Database) -> None:
    job = Job("j", a_schedule(lease_s=1), works)
    present = now(SystemClock())
    with database.unit_of_work() as work:
        work.jobs.describe("j", "does what a test needs", 3600)
        assert work.leases.acquire("j", "killed", present, present + timedelta(seconds=1)) == 1
        work.jobs.record_start("j", "killed", present)
        work.jobs.plan("j", present + timedelta(hours=1))
    with at_work(a_runner(database, job)):
        wait_for(lambda: [run.holder for run in runs(database, "j")] == ["w1", "killed"], "the run of its successor")
    assert gap_s(database) <= 1 + 1 + 1, "it was asked for while the lease was not over, and again afterwards"


@pytest.mark.parametrize("times", [{"every_s": 3}, {"every_s": None, "cron": "* * * * *"}], ids=["interval", "times"])
def test_what_a_pause_has_passed_over_is_run_when_it_is_resumed(database: Database, times: dict[str, Any]) -> None:
    job = Job("j", a_schedule(**times), works)
    before = now(SystemClock()) - timedelta(seconds=70)
    with database.unit_of_work() as work:
        work.jobs.describe("j", "does what a test needs", job.schedule.interval_s, job.schedule.cron)
        work.jobs.record_finish(work.jobs.record_start("j", "w0", before).run_id, before)
    pause(database)
    runner = a_runner(database, job)
    with at_work(runner) as [scheduler]:
        wait_for(lambda: skips(runner, "j", "paused"), "the first look")
        wait_for(lambda: scheduler._known["j"][1], "the watch to have seen that the job is paused")
        resumed_at = now(SystemClock())
        resume(database)
        wait_for(lambda: len(runs(database, "j")) == 2, "the run that was passed over")
    assert (runs(database, "j")[0].started_at - resumed_at).total_seconds() <= 1


def test_while_the_database_is_away_a_job_is_tried_again_and_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("j", a_schedule(every_s=1), works)
    runner, is_away, tries = a_runner(database, job), threading.Event(), list[str]()
    run = JobRunner.run

    def unit_of_work(*, read_only: bool = False) -> AbstractContextManager[UnitOfWork]:
        if is_away.is_set():
            raise Unavailable("the database is away")
        return database.unit_of_work(read_only=read_only)

    def tried(self: JobRunner, name: str) -> JobRunOut | None:
        if is_away.is_set():
            tries.append(name)
        return run(self, name)

    runner.unit_of_work = unit_of_work
    monkeypatch.setattr(JobRunner, "run", tried)
    with at_work(runner):
        wait_for(lambda: runs(database, "j"), "the first run")
        is_away.set()
        wait_for(lambda: len(tries) >= 3, "the third try while it is away")
        count, back_at = len(runs(database, "j")), now(SystemClock())
        is_away.clear()
        wait_for(lambda: len(runs(database, "j")) > count, "a run after it came back")
        began_at = runs(database, "j")[-1 - count].started_at
    assert (began_at - back_at).total_seconds() <= 2


def test_another_interval_counts_from_the_last_run(database: Database) -> None:
    clock = SetClock()
    assert a_runner(database, Job("j", a_schedule(every_s=3600), works), clock=clock).run("j") is not None
    begin = now(clock)
    clock.advance(10)
    for every_s in (60, 600):
        runner = a_runner(database, Job("j", a_schedule(every_s=every_s), works), clock=clock)
        assert runner.due_at("j") == begin + timedelta(seconds=every_s)


def test_a_run_elsewhere_is_looked_after_when_its_lease_could_be_over(database: Database) -> None:
    clock, gate = SetClock(), Gate()
    job = Job("j", a_schedule(every_s=3600, lease_s=30), gate)
    first, second = (a_runner(database, job, holder=holder, clock=clock) for holder in ("w1", "w2"))
    thread, _ = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    assert first.due_at("j") == now(clock) + timedelta(hours=1), "it runs here, and then a time passes"
    assert second.due_at("j") == now(clock) + timedelta(seconds=30)
    gate.may_end.set()
    thread.join(WAIT_S)
    assert first.due_at("j") == second.due_at("j") == now(clock) + timedelta(seconds=3600)


@pytest.mark.parametrize("times", [{"every_s": 60}, {"cron": "* * * * *", "every_s": None}], ids=["interval", "times"])
def test_after_the_clock_was_put_back_jobs_go_on_at_their_pace(database: Database, times: dict[str, Any]) -> None:
    clock = SetClock()
    workers = [a_runner(database, Job("j", a_schedule(**times), works), holder=f"w{number}", clock=clock) for number in (1, 2)]
    clock.advance(3600)
    assert sum(worker.run("j") is not None for worker in workers) == 1
    clock.advance(-3600)
    for _ in range(5):
        clock.advance(60)
        assert sum(worker.run("j") is not None for worker in workers) == 1


def test_a_clock_that_was_put_back_does_not_stop_the_intervals(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Semaphore(0)

    def begin() -> Mapping[str, Any]:
        begun.release()
        return {}

    scheduler = Scheduler(a_runner(database, Job("j", a_schedule(every_s=0.5), begin)), watch_s=0.02)
    scheduler.start()
    try:
        assert begun.acquire(timeout=WAIT_S)
        # What is planned then is an hour away by the clock that was put back.
        scheduler._scheduler.modify_job("j", next_run_time=datetime.now(UTC) + timedelta(hours=1))
        monkeypatch.setattr(scheduling, "_ahead_s", lambda: time.time() - time.monotonic() - 3600)
        while begun.acquire(blocking=False):
            pass
        assert begun.acquire(timeout=WAIT_S)
        assert begun.acquire(timeout=WAIT_S)
    finally:
        assert scheduler.stop(5) == []


def test_a_clock_that_was_put_forward_lets_no_time_pass(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but times of the day is waited for, the next look may lie hours away."""
    ahead = timedelta()

    class Set(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead

    class AsSet:
        def now_ns(self) -> int:
            return to_ns(Set.now(UTC))

    for module in (scheduling, base):
        monkeypatch.setattr(module, "datetime", Set)
    monkeypatch.setattr(scheduling, "_ahead_s", lambda: time.time() - time.monotonic() + ahead.total_seconds())
    runner = a_runner(database, Job("j", a_schedule(every_s=None, cron="0 3 * * *"), works), clock=AsSet())
    with at_work(runner):
        wait_for(lambda: skips(runner, "j", "not_due"), "the first look")
        ahead = timedelta(days=1)
        set_s = time.monotonic()
        wait_for(lambda: runs(database, "j"), "the run")
    assert time.monotonic() - set_s < 5


def test_a_clock_that_was_put_back_a_little_stops_no_interval(database: Database) -> None:
    clock = SetClock()
    workers = [a_runner(database, Job("j", a_schedule(every_s=2), works), holder=f"w{number}", clock=clock) for number in (1, 2)]
    for _ in range(40):
        assert workers[0].run("j") is not None
        clock.advance(2)
    clock.advance(-50)
    for _ in range(40):
        clock.advance(2)
        assert [worker.run("j") is not None for worker in workers] == [True, False]


def test_what_ran_at_a_time_does_not_run_again_when_the_clock_was_put_back_to_before_it(database: Database) -> None:
    clock = SetClock()
    runner = a_runner(database, Job("j", a_schedule(every_s=None, cron="0 3 * * *"), works), clock=clock)
    until(clock, runner.due_at("j"))
    assert runner.run("j") is not None
    clock.advance(-50)
    for _ in range(6):
        assert runner.run("j") is None
        clock.advance(10)


def test_a_run_by_a_clock_that_is_ahead_counts(database: Database) -> None:
    clock, ahead = SetClock(), SetClock()
    ahead.advance(50)
    job = Job("j", a_schedule(every_s=60), works)
    first, second = (a_runner(database, job, holder=holder, clock=of) for holder, of in (("w1", ahead), ("w2", clock)))
    assert first.run("j") is not None
    for _ in range(10):
        assert second.run("j") is None
        clock.advance(10)


def test_a_worker_that_was_killed_before_the_clock_was_put_back_blocks_no_job(database: Database) -> None:
    clock = SetClock()
    with database.unit_of_work() as work:
        work.jobs.describe("j", "does what a test needs", 3600)
        assert work.leases.acquire("j", "killed", now(clock), now(clock) + timedelta(seconds=30)) == 1
        work.jobs.record_start("j", "killed", now(clock))
    clock.advance(-3600)
    assert a_runner(database, Job("j", a_schedule(lease_s=30), works), clock=clock).run("j") is not None


def test_a_living_worker_keeps_its_lease_when_the_clock_is_put_back(database: Database) -> None:
    clock, gate = SetClock(), Gate()
    first, second = (a_runner(database, Job("j", a_schedule(lease_s=30), gate), holder=holder, clock=clock) for holder in ("w1", "w2"))
    thread, found = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    clock.advance(-3600)
    first.renew()
    assert second.run("j") is None
    gate.may_end.set()
    thread.join(WAIT_S)
    assert found[0] is not None
    assert found[0].state == "succeeded"


@pytest.mark.parametrize(("missed", "is_run"), [("run", True), ("skip", False)])
def test_the_first_time_of_a_new_job_is_made_up_for(database: Database, missed: str, is_run: bool) -> None:
    clock = SetClock()
    job = Job("j", a_schedule(every_s=None, cron="0 3 * * *", missed=missed), works)
    until(clock, a_runner(database, job, clock=clock).due_at("j"))
    clock.advance(3600)  # nobody worked at three
    assert (a_runner(database, job, holder="w2", clock=clock).run("j") is not None) is is_run


@pytest.mark.parametrize(("away_s", "is_run"), [(10, True), (120, False)], ids=["soon after it", "after nobody worked for a while"])
def test_a_time_that_came_during_a_run_is_run_after_it_though_what_is_missed_is_passed_over(
    database: Database, away_s: float, is_run: bool
) -> None:
    clock = SetClock()

    def work_long() -> Mapping[str, Any]:
        clock.advance(420)
        return {}

    runner = a_runner(
        database, Job("j", a_schedule(every_s=None, cron="*/5 * * * *", overlap="queue", missed="skip"), work_long), clock=clock
    )
    until(clock, runner.due_at("j"))
    assert runner.run("j") is not None
    clock.advance(away_s)
    assert (runner.run("j") is not None) is is_run


@pytest.mark.parametrize(
    ("hours", "pauses", "is_kept"), [(0.1, False, True), (23.0, False, True), (25.0, False, False), (25.0, True, True)]
)
def test_a_job_that_nobody_names_for_a_day_is_gone_when_a_worker_starts(
    database: Database, hours: float, pauses: bool, is_kept: bool
) -> None:
    clock = SetClock()
    kept, gone = Job("kept", a_schedule(every_s=1), works), Job("gone", a_schedule(every_s=1), works)
    first = a_runner(database, kept, gone, clock=clock)
    first.describe()
    until(clock, first.due_at("gone"))
    assert first.run("gone") is not None
    if pauses:
        with database.unit_of_work() as work:
            work.jobs.pause("gone", at=now(clock), by="ada", reason="it did harm today")
    clock.advance(3600 * hours)
    a_runner(database, kept, holder="w2", clock=clock).retire()
    with database.unit_of_work(read_only=True) as work:
        assert ("gone" in {row.job for row in work.jobs.schedules()}) is is_kept
    assert len(runs(database, "gone")) == 1


def test_a_job_that_another_worker_took_away_is_written_anew(database: Database) -> None:
    with at_work(a_runner(database, Job("j", a_schedule(every_s=1), works))):
        wait_for(lambda: runs(database, "j"), "the first run")
        with database.unit_of_work() as work:
            work.jobs.forget("j")
        wait_for(lambda: len(runs(database, "j")) >= 3, "further runs")
    with database.unit_of_work(read_only=True) as work:
        assert work.jobs.schedule("j").next_due_at is not None
