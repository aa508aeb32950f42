"""One body for jobs and leases in memory, over SQLite and over PostgreSQL."""

from typing import Any

import pytest

from tests.record_builders import AT, later
from trajops.errors import Conflict, NotFound

# Jobs


def test_a_schedule_keeps_its_request_when_it_is_described_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 10)
        uow.jobs.request("compact", AT)
        uow.jobs.describe("compact", "Compact.", 20, "*/10 * * * *")
        (schedule,) = uow.jobs.schedules()
    assert (schedule.description, schedule.every_s, schedule.cron, schedule.requested_at) == ("Compact.", 20, "*/10 * * * *", AT)


def test_a_pause_outlives_a_new_description_and_ends_when_it_is_resumed(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("j", "does what it does", 5.0)
        uow.jobs.plan("j", later(5))
        uow.jobs.plan("unknown", later(5))
        uow.jobs.pause("j", at=AT, by="ada", reason="the disk is full")
        uow.jobs.describe("j", "does it better", 6.0)
    with database.unit_of_work(read_only=True) as uow:
        paused = uow.jobs.schedule("j")
        assert (paused.paused_at, paused.paused_by, paused.pause_reason, paused.next_due_at) == (AT, "ada", "the disk is full", later(5))
        [shown] = uow.jobs.overview(later(60))
        assert (shown.paused_by, shown.next_due_at, shown.is_late) == ("ada", None, False)
    with database.unit_of_work() as uow:
        uow.jobs.resume("j")
        uow.jobs.resume("j")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.jobs.schedule("j").paused_at is None
        assert uow.jobs.overview(later(60))[0].next_due_at == later(5)
        with pytest.raises(NotFound):
            uow.jobs.schedule("x")


@pytest.mark.parametrize("change", [lambda jobs: jobs.pause("x", at=AT, by="ada", reason="r"), lambda jobs: jobs.resume("x")])
def test_an_unknown_job_is_neither_paused_nor_resumed(database: Any, change: Any) -> None:
    with pytest.raises(NotFound), database.unit_of_work() as uow:
        change(uow.jobs)


def test_a_schedule_that_is_taken_away_leaves_its_runs(database: Any) -> None:
    with database.unit_of_work() as uow:
        for job in ("compact", "prune"):
            uow.jobs.describe(job, "does what it does", 5.0)
            uow.jobs.record_start(job, "w", AT)
        uow.jobs.forget("prune")
        uow.jobs.forget("unknown")
    with database.unit_of_work(read_only=True) as uow:
        assert [row.job for row in uow.jobs.schedules()] == ["compact"]
        assert [job.job for job in uow.jobs.overview(later(60))] == ["compact"]
        assert len(uow.jobs.runs("prune")) == 1


def test_a_request_is_taken_by_one(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 10)
        assert not uow.jobs.take_request("compact")
        uow.jobs.request("compact", AT)
    with database.unit_of_work() as uow:
        assert [uow.jobs.take_request("compact") for _ in range(2)] == [True, False]
        assert not uow.jobs.take_request("nothing")
        with pytest.raises(NotFound):
            uow.jobs.request("nothing", AT)


def test_a_long_run_can_say_that_it_works(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("prune", "Forgets what is old.", 60)
        uow.jobs.note_progress("no such job", later(3))
        uow.jobs.note_progress("prune", later(3))
        assert [(row.job, row.last_success_at) for row in uow.jobs.schedules()] == [("prune", later(3))]


def test_a_run_is_recorded_from_start_to_end(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 10)
        started = uow.jobs.record_start("compact", "worker-1", AT)
    with database.unit_of_work() as uow:
        assert uow.jobs.runs("compact") == [started]
        ended = uow.jobs.record_finish(started.run_id, later(2.5), result={"files": 3})
        with pytest.raises(Conflict):
            uow.jobs.record_finish(started.run_id, later(3))
        with pytest.raises(NotFound):
            uow.jobs.record_finish("nothing", AT)
    assert (ended.state, ended.duration_s, ended.result, ended.finished_at) == ("succeeded", 2.5, {"files": 3}, later(2.5))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.jobs.runs("compact") == [ended]
        assert uow.jobs.schedules()[0].last_success_at == later(2.5)


def test_a_failed_run_is_no_success(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 10)
        ended = uow.jobs.record_finish(uow.jobs.record_start("compact", "w", AT).run_id, later(1), error="disk full")
        assert (ended.state, ended.error) == ("failed", "disk full")
        assert uow.jobs.schedules()[0].last_success_at is None
        assert uow.jobs.last_success("compact") is None


def test_the_last_success_outlives_failures_and_runs_in_progress(database: Any) -> None:
    with database.unit_of_work() as uow:
        for second in (0, 10):
            run_id = uow.jobs.record_start("compact", "w", later(second)).run_id
            uow.jobs.record_finish(run_id, later(second + 1), result={"files": second})
        uow.jobs.record_finish(uow.jobs.record_start("compact", "w", later(20)).run_id, later(21), error="disk full")
        uow.jobs.record_start("compact", "w", later(30))
        uow.jobs.record_finish(uow.jobs.record_start("other", "w", later(40)).run_id, later(41))
    with database.unit_of_work(read_only=True) as uow:
        found, earlier = uow.jobs.last_success("compact"), uow.jobs.last_success("compact", until=later(9))
        assert uow.jobs.last_success("compact", until=later(-1)) is None
    assert found is not None
    assert earlier is not None
    assert (found.result, earlier.result) == ({"files": 10}, {"files": 0})


@pytest.mark.parametrize(
    ("runs", "now_s", "is_late"),
    [
        pytest.param([], 1000, False, id="never started"),
        pytest.param([(0, None)], 30, False, id="succeeded three intervals ago"),
        pytest.param([(0, None)], 31, True, id="succeeded longer ago"),
        pytest.param([(0, "e"), (20, "e")], 31, True, id="failing since the first start"),
        pytest.param([(0, "e"), (20, None)], 31, False, id="mended"),
    ],
)
def test_the_overview_tells_who_is_late(database: Any, runs: list[tuple[int, str | None]], now_s: int, is_late: bool) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 10)
        for second, error in runs:
            uow.jobs.record_finish(uow.jobs.record_start("compact", "w", later(second)).run_id, later(second), error=error)
        (job,) = uow.jobs.overview(later(now_s))
    assert job.is_late is is_late
    assert (job.last_run and job.last_run.started_at) == (later(runs[-1][0]) if runs else None)


# Leases


def test_a_lease_has_one_holder_until_it_expires(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.leases.acquire("compact", "a", AT, later(10)) == 1
        assert uow.leases.acquire("compact", "b", later(9), later(19)) is None
        assert uow.leases.acquire("compact", "a", later(9), later(19)) is None
        assert uow.leases.acquire("other", "b", AT, later(10)) == 1
        assert uow.leases.acquire("compact", "b", later(10), later(20)) == 2


def test_a_lease_from_before_the_clock_was_put_back_is_over(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.leases.acquire("compact", "a", AT, later(10))
        assert uow.leases.acquire("compact", "b", later(-60), later(-50)) is None, "the clocks of two workers may differ by so much"
        assert uow.leases.acquire("compact", "b", later(-61), later(-51)) == 2
        assert not uow.leases.is_held("compact", "a", 1)


def test_a_lease_lasts_as_its_holder_was_promised_not_as_the_taker_is_set(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.leases.acquire("compact", "a", AT, later(300))
        assert uow.leases.acquire("compact", "b", later(10), later(20)) is None
        assert uow.leases.renew("compact", "a", 1, later(100), later(400))
        assert uow.leases.acquire("compact", "b", later(399), later(409)) is None
        assert uow.leases.acquire("compact", "b", later(39), later(49)) == 2, "renewed by a clock that was put back by more than a minute"
        assert uow.leases.acquire("compact", "a", later(49), later(349)) == 3


def test_the_holder_of_a_lease_is_told_until_it_expires(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.leases.acquire("j", "w1", AT, later(30))
    with database.unit_of_work(read_only=True) as uow:
        assert [uow.leases.holder("j", later(s)) for s in (0, 29, 30)] == ["w1", "w1", None]
        assert uow.leases.holder("x", AT) is None


def test_only_the_holder_renews_and_releases(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.leases.acquire("compact", "a", AT, later(10))
        assert not uow.leases.renew("compact", "b", 1, later(5), later(15))
        assert not uow.leases.renew("compact", "a", 2, later(5), later(15))
        assert uow.leases.renew("compact", "a", 1, later(5), later(15))
        assert uow.leases.acquire("compact", "b", later(12), later(22)) is None
        assert not uow.leases.release("compact", "b", 1, later(6))
        assert uow.leases.is_held("compact", "a", 1)
        assert uow.leases.release("compact", "a", 1, later(6))
        assert not uow.leases.is_held("compact", "a", 1)
        assert not uow.leases.renew("compact", "a", 1, later(6), later(16))
        # Even by a clock that was put back meanwhile.
        assert uow.leases.holder("compact", later(-3600)) is None
        assert uow.leases.acquire("compact", "b", later(-3600), later(-3590)) == 2


def test_a_lease_that_was_overslept_is_lost_only_to_somebody(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.leases.acquire("compact", "a", AT, later(10))
        assert uow.leases.renew("compact", "a", 1, later(15), later(25))
        assert uow.leases.acquire("compact", "b", later(25), later(35)) == 2
        assert not uow.leases.is_held("compact", "a", 1)
        assert not uow.leases.renew("compact", "a", 1, later(26), later(36))
        assert not uow.leases.release("compact", "a", 1, later(26))
