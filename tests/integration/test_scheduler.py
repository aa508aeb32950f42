"""Jobs over a real database: one runner among several, failures that stay alone, requests, and an end that leaves nothing behind."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from data.stubs import SetClock
from tests.job_runs import WAIT_S, Gate, a_runner, a_schedule, at_work, fails, in_thread, runs, sample, skips, wait_for, works
from trajops.clock import SystemClock, now
from trajops.errors import Unavailable
from trajops.jobs import RELIED_ON
from workers.lease import fenced
from workers.runner import Job
from workers.scheduler import Scheduler


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'trajops.db'}")
    database.migrate()
    yield database
    database.close()


# --- one run ------------------------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_with_its_result(database: Database) -> None:
    run = a_runner(database, Job("j", a_schedule(), works)).run("j")
    assert run is not None
    assert (run.state, run.result, run.error, run.holder) == ("succeeded", {"rows": 3}, None, "w1")
    assert run.duration_s is not None
    assert runs(database, "j") == [run]


def test_a_failing_job_is_recorded_with_its_error(database: Database) -> None:
    run = a_runner(database, Job("j", a_schedule(), fails)).run("j")
    assert run is not None
    assert (run.state, run.error) == ("failed", "ZeroDivisionError: by zero")


def test_what_the_product_relies_on_and_nobody_runs_is_logged_at_the_start(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = [Job(name, a_schedule(), works) for name in RELIED_ON if name not in {"validate_versions", "probe"}]
    a_runner(database, *elsewhere, holder="w2")
    with at_work(a_runner(database, Job("probe", a_schedule(), works))):
        pass
    [told] = [record for record in caplog.records if "named in no schedules.yaml" in record.message]
    assert (told.levelname, told.__dict__["jobs"]) == ("WARNING", {"validate_versions": RELIED_ON["validate_versions"]})


def test_what_fails_in_the_same_way_again_is_logged_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    clock, faults = SetClock(), [Unavailable("away"), Unavailable("away"), ZeroDivisionError("by zero"), None, ZeroDivisionError("by zero")]

    def fail() -> Mapping[str, Any]:
        if (fault := faults.pop(0)) is not None:
            raise fault
        return {}

    runner = a_runner(database, Job("j", a_schedule(every_s=60), fail), clock=clock)
    while faults:
        runner.run("j")
        clock.advance(60)
    told = [record.levelname for record in caplog.records if record.message == "the job failed" and record.levelno > logging.INFO]
    assert told == ["WARNING", "ERROR", "ERROR"]
    assert [run.state for run in reversed(runs(database, "j"))] == ["failed", "failed", "failed", "succeeded", "failed"]


def test_a_result_that_json_does_not_know_is_still_recorded(database: Database) -> None:
    run = a_runner(database, Job("j", a_schedule(), lambda: {"path": Path("x"), "nan": float("nan")})).run("j")
    assert run is not None
    assert run.result == {"path": "x", "nan": None}


def test_a_job_that_is_not_due_is_left_alone(database: Database) -> None:
    clock = SetClock()
    runner = a_runner(database, Job("j", a_schedule(every_s=60), works), clock=clock)
    assert runner.run("j") is not None
    clock.advance(50)
    assert runner.run("j") is None
    clock.advance(5)
    assert runner.run("j") is not None
    assert len(runs(database, "j")) == 2


def test_a_job_with_times_runs_once_at_each_on_one_of_two_workers(database: Database) -> None:
    clock = SetClock()
    minute_s = now(clock).timestamp() % 3_600
    clock.advance(3_600 - minute_s + 1)  # a second after the full hour
    job = Job("j", a_schedule(every_s=None, cron="0,30 * * * *"), works)
    workers = [a_runner(database, job, holder=name, clock=clock) for name in ("w1", "w2")]
    done = []
    for _ in range(10):
        done += [run.holder for worker in workers if (run := worker.run("j")) is not None]
        clock.advance(600)
    assert done == ["w1"] * 4, "at 0, 30, 60 and 90 minutes; the other one came a moment later"
    clock.advance(86_400)  # nobody worked for a day
    assert [worker.run("j") is not None for worker in workers] == [True, False], "what was missed is made up for once"


@pytest.mark.parametrize(("overlap", "is_run_again"), [("queue", True), ("skip", False)])
def test_a_time_that_comes_during_a_run(database: Database, overlap: str, is_run_again: bool) -> None:
    gate = Gate()
    schedule = a_schedule(every_s=4, overlap=overlap)
    runner = a_runner(database, Job("j", schedule, gate))
    scheduler = Scheduler(runner, watch_s=0.05)
    scheduler.start()
    try:
        assert gate.has_begun.wait(WAIT_S)
        reason = "queued" if overlap == "queue" else "overlap"
        wait_for(lambda: skips(runner, "j", reason) == 1, "the next time of the schedule")
        gate.has_begun.clear()
        gate.may_end.set()
        wait_for(lambda: runs(database, "j")[-1].finished_at, "the end of the first run")
        first = runs(database, "j")[-1].finished_at
        assert first is not None
        wait_for(lambda: len(runs(database, "j")) > 1, "the second run")
        waited_s = (runs(database, "j")[-2].started_at - first).total_seconds()
        assert (waited_s < 2.0) is is_run_again
    finally:
        assert scheduler.stop(WAIT_S) == []


def test_a_request_is_answered_once_before_its_time(database: Database) -> None:
    runner = a_runner(database, Job("j", a_schedule(), works))
    assert runner.run("j") is not None
    with database.unit_of_work() as work:
        work.jobs.request("j", now(SystemClock()))
    assert [name for name, record in runner.records().items() if record.requested_at is not None] == ["j"]
    assert runner.run("j") is not None
    assert [name for name, record in runner.records().items() if record.requested_at is not None] == []
    assert runner.run("j") is None


def test_while_one_worker_runs_a_job_the_other_does_not(database: Database) -> None:
    gate = Gate()
    first, second = (a_runner(database, Job("j", a_schedule(), gate), holder=holder) for holder in ("w1", "w2"))
    thread, found = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    assert second.run("j") is None
    assert first.run("j") is None
    gate.may_end.set()
    thread.join(WAIT_S)
    assert found[0] is not None
    assert found[0].state == "succeeded"
    assert len(runs(database, "j")) == 1


def test_a_killed_worker_is_succeeded_when_its_lease_is_over(database: Database) -> None:
    clock = SetClock()
    with database.unit_of_work() as work:
        work.jobs.describe("j", "does what a test needs", 3600)
        assert work.leases.acquire("j", "killed", now(clock), now(clock) + timedelta(seconds=30)) == 1
        work.jobs.record_start("j", "killed", now(clock))
    successor = a_runner(database, Job("j", a_schedule(lease_s=30), works), clock=clock)
    assert successor.run("j") is None
    clock.advance(31)
    run = successor.run("j")
    assert run is not None
    assert run.state == "succeeded"
    dead = runs(database, "j")[1]
    assert (dead.state, dead.error) == ("failed", "worker killed disappeared during the run")


def test_a_living_worker_keeps_its_lease(database: Database) -> None:
    clock, gate = SetClock(), Gate()
    first, second = (a_runner(database, Job("j", a_schedule(lease_s=30), gate), holder=holder, clock=clock) for holder in ("w1", "w2"))
    thread, found = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    for _ in range(8):
        clock.advance(11)
        first.renew()
    assert second.run("j") is None
    gate.may_end.set()
    thread.join(WAIT_S)
    assert found[0] is not None
    assert found[0].state == "succeeded"


def test_a_run_whose_lease_was_lost_does_not_count(database: Database) -> None:
    clock, gate = SetClock(), Gate()
    first = a_runner(database, Job("j", a_schedule(lease_s=30), gate), clock=clock)
    second = a_runner(database, Job("j", a_schedule(lease_s=30), works), holder="w2", clock=clock)
    thread, found = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    clock.advance(31)
    assert second.run("j") is not None
    gate.may_end.set()
    thread.join(WAIT_S)
    assert found == [None]
    assert [(run.holder, run.state) for run in runs(database, "j")] == [("w2", "succeeded"), ("w1", "failed")]


def test_a_job_writes_nothing_once_another_worker_has_its_lease(database: Database) -> None:
    clock, gate = SetClock(), Gate()
    unit_of_work = fenced(database.unit_of_work)

    def write() -> Mapping[str, Any]:
        gate()
        with unit_of_work() as work:
            work.jobs.describe("written", "by a worker that was late", 1)
        return {}

    first = a_runner(database, Job("j", a_schedule(lease_s=30), write), clock=clock)
    second = a_runner(database, Job("j", a_schedule(lease_s=30), works), holder="w2", clock=clock)
    thread, _ = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    clock.advance(31)
    assert second.run("j") is not None
    gate.may_end.set()
    thread.join(WAIT_S)
    with database.unit_of_work(read_only=True) as work:
        assert [row.job for row in work.jobs.schedules()] == ["j"]


def test_a_run_that_outlived_its_lease_counts_if_nobody_took_its_place(database: Database) -> None:
    clock = SetClock()

    def sleep() -> Mapping[str, Any]:  # as a machine does, with all that runs on it
        clock.advance(3600)
        return {}

    record = a_runner(database, Job("j", a_schedule(lease_s=30), sleep), clock=clock).run("j")
    assert record is not None
    assert (record.state, record.error) == ("succeeded", None)


def test_a_run_that_takes_too_long_is_given_up(database: Database) -> None:
    clock, gate, passed_s = SetClock(), Gate(), [0.0]
    runner = a_runner(database, Job("j", a_schedule(timeout_s=60), gate), clock=clock)
    runner.stopwatch = lambda: passed_s[0]
    thread, found = in_thread(runner, "j")
    assert gate.has_begun.wait(WAIT_S)
    clock.advance(3600)  # the clock was set, or the machine slept: no time has passed for the job
    runner.renew()
    assert runner.hanging == []
    passed_s[0] = 61
    runner.renew()
    [run] = runs(database, "j")
    assert run.state == "failed"
    assert "60 s" in str(run.error)
    assert a_runner(database, Job("j", a_schedule(every_s=10), works), holder="w2", clock=clock).run("j") is not None
    assert runner.hanging == ["j"]
    gate.may_end.set()
    thread.join(WAIT_S)
    assert found == [None]
    assert runner.hanging == []


def test_at_the_end_a_hanging_run_is_given_up_and_its_lease_freed(database: Database) -> None:
    gate = Gate()
    runner = a_runner(database, Job("j", a_schedule(every_s=0.001), gate))
    thread, _ = in_thread(runner, "j")
    assert gate.has_begun.wait(WAIT_S)
    assert runner.stop(0.05) == ["j"]
    assert runs(database, "j")[0].error == "the worker was stopped during the run"
    assert a_runner(database, Job("j", a_schedule(every_s=0.001), works), holder="w2").run("j") is not None
    gate.may_end.set()
    thread.join(WAIT_S)


# --- the scheduler ------------------------------------------------------------------------------------------------------------------


def test_jobs_repeat_and_a_failing_one_stops_none(database: Database) -> None:
    schedule = a_schedule(every_s=0.2, jitter_s=0.02)
    scheduler = Scheduler(a_runner(database, Job("bad", schedule, fails), Job("good", schedule, works)))
    scheduler.start()
    try:
        wait_for(lambda: len(runs(database, "good")) >= 3 and len(runs(database, "bad")) >= 3, "three runs each")
        assert scheduler.is_well
    finally:
        assert scheduler.stop(WAIT_S) == []
    assert {run.state for run in runs(database, "good")} == {"succeeded"}
    assert {run.state for run in runs(database, "bad")} == {"failed"}
    assert not scheduler.is_well


def test_a_failed_run_is_tried_again_before_its_turn(database: Database) -> None:
    attempts: list[int] = []

    def fails_once() -> Mapping[str, Any]:
        attempts.append(1)
        if len(attempts) == 1:
            raise Unavailable("not yet")
        return {}

    impatient = Job("retried", a_schedule(retry_s=0.2), fails_once)
    patient = Job("waits", a_schedule(), fails)
    scheduler = Scheduler(a_runner(database, impatient, patient), watch_s=0.1)
    scheduler.start()
    try:
        wait_for(lambda: [run.state for run in runs(database, "retried")] == ["succeeded", "failed"], "a second attempt")
        assert len(runs(database, "waits")) <= 1
    finally:
        scheduler.stop(WAIT_S)


def test_a_request_starts_a_run_within_two_seconds(database: Database) -> None:
    scheduler = Scheduler(a_runner(database, Job("j", a_schedule(), works)))
    scheduler.start()
    try:
        wait_for(lambda: [run.state for run in runs(database, "j")] == ["succeeded"], "the first run")
        asked = now(SystemClock())
        with database.unit_of_work() as work:
            work.jobs.request("j", asked)
        wait_for(lambda: len(runs(database, "j")) == 2, "the requested run")
        assert runs(database, "j")[0].started_at - asked < timedelta(seconds=2)
    finally:
        scheduler.stop(WAIT_S)


def test_two_schedulers_run_a_job_once_and_keep_its_pace(database: Database) -> None:
    overlap: list[int] = []
    inside = threading.Semaphore(1)

    def alone() -> Mapping[str, Any]:
        if not inside.acquire(blocking=False):
            overlap.append(1)
            return {}
        time.sleep(0.05)  # the work itself: long enough for the other worker to come by
        inside.release()
        return {}

    schedule = a_schedule(every_s=0.5)
    schedulers = [Scheduler(a_runner(database, Job("j", schedule, alone), holder=holder)) for holder in ("w1", "w2")]
    began = time.monotonic()
    for scheduler in schedulers:
        scheduler.start()
    try:
        wait_for(lambda: len(runs(database, "j")) >= 6, "six runs")
        took_s = time.monotonic() - began
    finally:
        for scheduler in schedulers:
            scheduler.stop(WAIT_S)
    assert not overlap
    assert took_s >= 5 * 0.9 * 0.5, "two workers must not double the pace"


# --- health and metrics of each job ---------------------------------------------------------------------------------------------------


def test_what_was_missed_is_counted_and_made_up_for_once(database: Database) -> None:
    clock = SetClock()
    runner = a_runner(database, Job("j", a_schedule(every_s=60), works), clock=clock)
    assert runner.run("j") is not None
    clock.advance(600)  # nobody worked for ten minutes
    assert runner.run("j") is not None
    assert sample(runner, "trajops_job_misfires_total", job="j") == 9
    assert sample(runner, "trajops_job_catch_ups_total", job="j") == 1
    assert sample(runner, "trajops_job_queue_delay_seconds_sum", job="j") == pytest.approx(540)
    clock.advance(60)
    assert runner.run("j") is not None
    assert sample(runner, "trajops_job_misfires_total", job="j") == 9, "a run in time misses nothing"
    assert sample(runner, "trajops_job_queue_delay_seconds_count", job="j") == 3
    assert skips(runner, "j", "not_due") == 0
    assert runner.run("j") is None
    assert skips(runner, "j", "not_due") == 1


def test_times_that_are_passed_over_are_counted_once(database: Database) -> None:
    clock = SetClock()
    job = Job("j", a_schedule(every_s=None, cron="0 * * * *", missed="skip"), works)
    runner = a_runner(database, job, clock=clock)
    clock.advance(3 * 3_600 + 600 - now(clock).timestamp() % 3_600)  # ten past, hours later
    assert [runner.run("j"), runner.run("j")] == [None, None]
    assert sample(runner, "trajops_job_misfires_total", job="j") == 3
    assert sample(runner, "trajops_job_catch_ups_total", job="j") == 0
    with database.unit_of_work(read_only=True) as work:
        due_at = work.jobs.schedule("j").next_due_at
    assert due_at is not None
    assert 0 < (due_at - now(clock)).total_seconds() <= 3_600


def test_a_job_that_runs_elsewhere_is_counted_as_such(database: Database) -> None:
    gate = Gate()
    first, second = (a_runner(database, Job("j", a_schedule(), gate), holder=name) for name in ("w1", "w2"))
    thread, _ = in_thread(first, "j")
    assert gate.has_begun.wait(WAIT_S)
    assert second.run("j") is None
    assert skips(second, "j", "elsewhere") == 1
    gate.may_end.set()
    thread.join()


def test_a_paused_job_runs_by_hand_only_until_it_is_resumed(database: Database) -> None:
    clock = SetClock()
    runner = a_runner(database, Job("j", a_schedule(every_s=60), works), clock=clock)
    with database.unit_of_work() as work:
        work.jobs.pause("j", at=now(clock), by="ada", reason="the disk is full")
    assert runner.run("j") is None
    assert skips(runner, "j", "paused") == 1
    assert sample(runner, "trajops_job_paused", job="j") == 1
    with database.unit_of_work() as work:
        work.jobs.request("j", now(clock))
    assert runner.run("j") is not None
    clock.advance(3_600)
    assert runner.run("j") is None
    with database.unit_of_work() as work:
        work.jobs.resume("j")
    assert runner.run("j") is not None
    assert sample(runner, "trajops_job_misfires_total", job="j") == 0, "times that were meant to pass are not missed"
    assert sample(runner, "trajops_job_paused", job="j") == 0


def test_the_series_of_a_job_exist_before_its_first_run_here(database: Database) -> None:
    clock = SetClock()
    assert a_runner(database, Job("j", a_schedule(every_s=60), works), clock=clock).run("j") is not None
    other = a_runner(database, Job("j", a_schedule(every_s=60), works), holder="w2", clock=clock)
    assert sample(other, "trajops_job_last_success_timestamp_seconds", job="j") == pytest.approx(now(clock).timestamp())
    for name in ("trajops_job_misfires_total", "trajops_job_catch_ups_total", "trajops_job_queue_delay_seconds_count"):
        assert other.metrics.registry.get_sample_value(name, {"job": "j"}) == 0
