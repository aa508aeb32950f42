"""One body for the unit of work in memory, over SQLite and over PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data.sql.route_source import SqlRouteSource
from data.stubs import MemoryDatabase, MemoryRouteSource
from trajops.contracts.calibrations import CalibrationOut
from trajops.contracts.drift import (
    DriftCheckOut,
    DriftColumn,
    DriftMute,
    DriftReportOut,
    DriftScene,
    DriftSettings,
    QualityFinding,
    ReferenceChoice,
)
from trajops.contracts.performance import FigureOut, PerformanceCheckOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.objectives import Minutes, minute_of
from trajops.records import ApiKey, ModelVersion, Remembered, User

AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
REF = ModelRef("trajectory", 1)
CHAMPION = RouteTable(epoch=1, champion=REF)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def version(number: int, **changes: Any) -> ModelVersion:
    base = ModelVersion("trajectory", number, "kalman", f"run{number}", {"val_ade_m": 0.5}, {"seed": "1"}, "d" * 64, AT)
    return replace(base, **changes)


def user(name: str) -> User:
    return User(f"id-{name}", name, "hash", "viewer", AT)


def key(number: int) -> ApiKey:
    return ApiKey(f"key{number}", "replay", f"{number:08x}", f"{number:064x}", "operator", later(number), later(3600))


def check(check_id: str, at: datetime) -> DriftCheckOut:
    column = DriftColumn(
        column="speed_mps",
        kind="input",
        method="wasserstein",
        score=0.2,
        threshold=0.1,
        is_drifted=True,
        reference_mean=1.0,
        current_mean=2.0,
        bins=[0.0, 1.0, 2.0],
        reference_share=[0.5, 0.5],
        current_share=[0.1, 0.9],
    )
    return DriftCheckOut(
        check_id=check_id,
        at=at,
        verdict="drift",
        sentence="speed_mps has moved.",
        reference_since=None,
        reference_until=None,
        current_since=at,
        current_until=at,
        reference_agents=10,
        current_agents=5,
        columns=[column],
        has_report=False,
        scenes=[
            DriftScene(
                scene=scene,
                agents=5,
                verdict="drift",
                sentence="It has moved.",
                columns=[column, column.model_copy(update={"column": "dt_s", "is_drifted": False})],
            )
            for scene in ("square", "hall")
        ],
        quality=[QualityFinding(kind="frozen", scene=None, verdict="warning", value=0.2, limit=0.1, sentence="Some stand.")],
    )


# Transactions


def test_a_clean_exit_commits(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.by_name("ada") == user("ada")


def test_an_error_rolls_everything_back(database: Any) -> None:
    def write_and_fail() -> None:
        with database.unit_of_work() as uow:
            uow.users.add(user("ada"))
            uow.routes.append(CHAMPION, at=AT, actor="ada", reason="first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.all() == []
        assert uow.routes.epoch() == 0


def test_what_is_not_committed_is_invisible(database: Any) -> None:
    with database.unit_of_work() as writing:
        writing.users.add(user("ada"))
        with database.unit_of_work(read_only=True) as reading:
            assert reading.users.by_name("ada") is None


def test_a_reader_cannot_write(database: Any) -> None:
    with pytest.raises(RuntimeError, match="read_only"), database.unit_of_work(read_only=True) as uow:
        uow.users.add(user("ada"))
    with database.unit_of_work() as uow:  # and its connection can be written through again
        assert uow.users.all() == []
        uow.users.add(user("ada"))


# Deployments


def test_a_deployment_starts_with_version_1(database: Any) -> None:
    with database.unit_of_work() as uow:
        added = uow.deployments.add(REF, State.REGISTERED, AT)
    assert (added.version, added.state, added.created_at, added.updated_at) == (1, State.REGISTERED, AT, AT)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.deployments.get(added.deployment_id) == added
        assert uow.deployments.of_model(REF) == added
        assert uow.deployments.of_model(ModelRef("trajectory", 2)) is None


def test_a_model_version_is_deployed_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.deployments.add(REF, State.REGISTERED, AT)
    with database.unit_of_work() as uow:
        with pytest.raises(Conflict):
            uow.deployments.add(REF, State.REGISTERED, AT)
        assert len(uow.deployments.all()) == 1  # the transaction is still usable


def test_deployments_are_listed_newest_first(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number in (2, 1, 3):
            uow.deployments.add(ModelRef("trajectory", number), State.REGISTERED, later(number // 3))
        assert [row.model_version for row in uow.deployments.all()] == [3, 2, 1]


def test_moving_counts_the_version_up(database: Any) -> None:
    with database.unit_of_work() as uow:
        added = uow.deployments.add(REF, State.REGISTERED, AT)
        moved = uow.deployments.move(added.deployment_id, 1, State.STAGED, later(5))
    assert (moved.version, moved.state, moved.created_at, moved.updated_at) == (2, State.STAGED, AT, later(5))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.deployments.get(added.deployment_id) == moved


def test_moving_a_version_that_has_passed_is_refused(database: Any) -> None:
    with database.unit_of_work() as uow:
        added = uow.deployments.add(REF, State.REGISTERED, AT)
        uow.deployments.move(added.deployment_id, 1, State.STAGED, AT)
        with pytest.raises(StaleVersion) as refused:
            uow.deployments.move(added.deployment_id, 1, State.LIVE, AT)
        assert refused.value.details == {"present_version": 2}
        assert uow.deployments.get(added.deployment_id).state is State.STAGED


def test_an_unknown_deployment_is_not_found(database: Any) -> None:
    with database.unit_of_work() as uow:
        with pytest.raises(NotFound):
            uow.deployments.get("nobody")
        with pytest.raises(NotFound):
            uow.deployments.move("nobody", 1, State.STAGED, AT)


def test_of_many_who_move_the_same_version_one_succeeds(database: Any) -> None:
    with database.unit_of_work() as uow:
        deployment_id = uow.deployments.add(REF, State.REGISTERED, AT).deployment_id
    together = threading.Barrier(6)

    def move(_: int) -> bool:
        together.wait()
        try:
            with database.unit_of_work() as uow:
                uow.deployments.move(deployment_id, 1, State.STAGED, AT)
        except StaleVersion:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(move, range(6))) == [False] * 5 + [True]
    with database.unit_of_work(read_only=True) as uow:
        assert uow.deployments.get(deployment_id).version == 2


# Routes


def test_before_the_first_route_the_table_is_empty(database: Any) -> None:
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 0
        assert uow.routes.table() == RouteTable(epoch=0)
        assert uow.routes.current().epoch == 0
        assert uow.routes.history() == []


def test_a_route_comes_back_as_it_was_written(database: Any) -> None:
    second = CHAMPION.next(challenger=ModelRef("trajectory", 2), coverage=0.25, seed="s", previous=ModelRef("other", 7))
    with database.unit_of_work() as uow:
        uow.routes.append(CHAMPION, at=AT, actor="ada", reason="first")
        shown = uow.routes.append(second, at=later(1), actor="ben", reason="second")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 2
        assert uow.routes.table() == second
        assert uow.routes.current() == shown
        assert [route.epoch for route in uow.routes.history()] == [2, 1]
        assert uow.routes.history(limit=1) == [shown]
    assert (shown.challenger and shown.challenger.model_version, shown.coverage, shown.actor) == (2, 0.25, "ben")


def test_an_epoch_is_written_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.routes.append(CHAMPION, at=AT, actor="ada", reason="first")
        with pytest.raises(StaleVersion) as refused:
            uow.routes.append(CHAMPION, at=AT, actor="ben", reason="also first")
        assert refused.value.details == {"present_epoch": 1}
        assert uow.routes.current().actor == "ada"


def test_of_many_who_append_the_same_epoch_one_succeeds(database: Any) -> None:
    together = threading.Barrier(6)

    def append(number: int) -> bool:
        together.wait()
        try:
            with database.unit_of_work() as uow:
                uow.routes.append(CHAMPION, at=AT, actor=str(number), reason="race")
        except StaleVersion:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(append, range(6))) == [False] * 5 + [True]


def test_the_route_source_follows_the_newest_epoch(database: Any) -> None:
    source = MemoryRouteSource(database) if isinstance(database, MemoryDatabase) else SqlRouteSource(database)
    assert (source.epoch(), source.table()) == (0, RouteTable(epoch=0))
    with database.unit_of_work() as uow:
        uow.routes.append(CHAMPION, at=AT, actor="ada", reason="first")
    assert (source.epoch(), source.table()) == (1, CHAMPION)


# Audit, idempotency, model versions


def test_audit_entries_come_back_newest_first(database: Any) -> None:
    with database.unit_of_work() as uow:
        for second, subject in enumerate(["a", "b", "a"]):
            uow.audit.append(
                at=later(second),
                actor="ada",
                action="x",
                subject=subject,
                reason="r",
                before={"n": second},
                after={"deep": [1, {"y": None}]},
            )
    with database.unit_of_work(read_only=True) as uow:
        entries = uow.audit.newest()
        assert [entry.before["n"] for entry in entries] == [2, 1, 0]
        assert entries[0].after == {"deep": [1, {"y": None}]}
        assert entries[0].at == later(2)
        assert [entry.before["n"] for entry in uow.audit.newest(subject="a")] == [2, 0]
        assert len(uow.audit.newest(limit=1)) == 1


def test_an_answer_is_remembered_once_for_each_actor(database: Any) -> None:
    answer = Remembered("f" * 64, {"epoch": 3})
    with database.unit_of_work() as uow:
        assert uow.idempotency.find("ada", "k") is None
        uow.idempotency.remember("ada", "k", answer, AT)
        with pytest.raises(Conflict):
            uow.idempotency.remember("ada", "k", Remembered("0" * 64, {}), AT)
        uow.idempotency.remember("ben", "k", Remembered("0" * 64, {}), AT)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.idempotency.find("ada", "k") == answer


def test_a_model_version_can_be_written_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.model_versions.put(version(1))
        uow.model_versions.put(version(2))
        uow.model_versions.put(version(1, metrics={"val_ade_m": 0.4}, run_id=None))
        uow.model_versions.put(version(9, model_name="other"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.model_versions.get(REF) == version(1, metrics={"val_ade_m": 0.4}, run_id=None)
        assert [row.model_version for row in uow.model_versions.all("trajectory")] == [2, 1]
        with pytest.raises(NotFound):
            uow.model_versions.get(ModelRef("trajectory", 3))


# Accounts


def test_a_name_is_taken_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
        with pytest.raises(Conflict):
            uow.users.add(replace(user("ada"), user_id="another"))
        uow.users.add(user("abe"))
        assert [row.username for row in uow.users.all()] == ["abe", "ada"]


def test_a_user_can_be_changed(database: Any) -> None:
    changed = replace(user("ada"), password_hash="new", role="admin", disabled_at=later(1))
    with database.unit_of_work() as uow:
        uow.users.add(user("ada"))
        uow.users.replace(changed)
        with pytest.raises(NotFound):
            uow.users.replace(user("nobody"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.by_name("ada") == changed


def test_keys_are_found_by_hash_and_revoked_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.add(key(2))
        assert uow.api_keys.by_hash(key(1).key_hash) == key(1)
        assert uow.api_keys.by_hash("0" * 64) is None
        assert uow.api_keys.all() == [key(2), key(1)]
        assert uow.api_keys.revoke("key1", later(60)).revoked_at == later(60)
        assert uow.api_keys.revoke("key1", later(90)).revoked_at == later(60)
        with pytest.raises(NotFound):
            uow.api_keys.revoke("key3", AT)


def test_what_a_key_is_restricted_to_comes_back(database: Any) -> None:
    restricted = replace(key(1), scopes=("predict", "read"), rate_per_s=2.5, burst=10**12, series_id="key0")
    with database.unit_of_work() as uow:
        uow.api_keys.add(restricted)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.api_keys.get("key1") == restricted
        with pytest.raises(NotFound):
            uow.api_keys.get("key2")


def test_the_last_use_of_a_key_is_kept(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.touch("key1", later(60))
        uow.api_keys.touch("key2", later(60))
        assert uow.api_keys.all() == [replace(key(1), last_used_at=later(60))]


def test_a_key_is_replaced_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        replaced = uow.api_keys.replace("key1", "key2", later(90))
        assert (replaced.successor_id, replaced.expires_at) == ("key2", later(90))
        with pytest.raises(Conflict):
            uow.api_keys.replace("key1", "key3", later(120))
        with pytest.raises(NotFound):
            uow.api_keys.replace("key9", "key3", later(120))
        assert uow.api_keys.get("key1") == replaced


def test_a_revoked_key_is_not_replaced(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
        uow.api_keys.revoke("key1", later(60))
        with pytest.raises(Conflict):
            uow.api_keys.replace("key1", "key2", later(90))


def test_of_many_who_replace_the_same_key_one_succeeds(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.api_keys.add(key(1))
    together = threading.Barrier(4)

    def rotate(number: int) -> bool:
        together.wait()
        try:
            with database.unit_of_work() as uow:
                uow.api_keys.replace("key1", f"key{number}", later(90))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rotate, range(2, 6))) == [False] * 3 + [True]


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
        found = uow.jobs.last_success("compact")
    assert found is not None
    assert found.result == {"files": 10}


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
        assert not uow.leases.renew("compact", "a", 1, later(15), later(25))
        assert not uow.leases.release("compact", "b", 1, later(6))
        assert uow.leases.release("compact", "a", 1, later(6))
        assert uow.leases.acquire("compact", "b", later(6), later(16)) == 2


# Drift checks


def test_what_is_chosen_for_drift_is_kept(database: Any) -> None:
    chosen = DriftSettings(
        reference=ReferenceChoice(kind="range", since=later(-9), until=later(-3)), mutes=[DriftMute(column="dt_s", until=later(60))]
    )
    with database.unit_of_work() as uow:
        assert uow.drift_settings.get() == DriftSettings()
        uow.drift_settings.put(chosen.model_copy(update={"mutes": []}))
        uow.drift_settings.put(chosen)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.drift_settings.get() == chosen


def test_drift_checks_come_back_newest_first(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.drift_checks.latest() is None
        assert uow.drift_checks.last_report() is None
        uow.drift_checks.add(check("c0", later(-1)), "drift/c0.html")
        uow.drift_checks.add(check("c1", AT), "drift/c1.html")
        uow.drift_checks.add(check("c2", later(1)))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.drift_checks.latest() == check("c2", later(1))
        assert uow.drift_checks.last_report() == DriftReportOut(check_id="c1", at=AT, verdict="drift")
        history = uow.drift_checks.history()
        assert [(row.check_id, row.has_report, row.columns[0].score, row.columns[0].bins) for row in history] == [
            ("c2", False, 0.2, []),
            ("c1", True, 0.2, []),
            ("c0", True, 0.2, []),
        ]
        assert uow.drift_checks.history(limit=1) == history[:1]
        [named] = uow.drift_checks.history(limit=1, scene="hall")
        assert [[column.column for column in scene.columns] for scene in history[0].scenes] == [["speed_mps"], ["speed_mps"]]
        assert [[column.column for column in scene.columns] for scene in named.scenes] == [["speed_mps"], ["speed_mps", "dt_s"]]
        assert [scene.columns[0].bins for scene in named.scenes] == [[], []]
        assert uow.drift_checks.report_path("c1") == "drift/c1.html"
        for unknown in ("c2", "c3"):
            with pytest.raises(NotFound):
                uow.drift_checks.report_path(unknown)


# Performance


def performance_check(check_id: str, at: datetime, number: int = 1, verdict: Any = "warning") -> PerformanceCheckOut:
    figure = FigureOut(metric="ade_m", mean=0.5, low=0.4, high=None, validation=0.4, champion_validation=None, verdict="unclear")
    return PerformanceCheckOut(
        check_id=check_id,
        at=at,
        model_name="trajectory",
        model_version=number,
        since=AT,
        until=at,
        verdict=verdict,
        sentence="v1 may be as validated.",
        flagged=["ade_m"],
        confirmed=[],
        predictions=100,
        agents=9,
        ade_ratio=1.25,
        ade_ratio_low=1.0,
        ade_ratio_high=None,
        estimated_ade_m=None,
        figures=[figure],
    )


def test_performance_checks_come_back_newest_first_and_the_newest_of_each_version(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.performance_checks.latest() == []
        for check_id, second, number in (("a", 0, 1), ("b", 1, 2), ("c", 2, 1), ("d", -5, 3)):
            uow.performance_checks.add(performance_check(check_id, later(second), number))
    with database.unit_of_work(read_only=True) as uow:
        assert [one.check_id for one in uow.performance_checks.latest()] == ["d", "b", "c"]
        assert uow.performance_checks.latest()[2] == performance_check("c", later(2))
        assert [one.check_id for one in uow.performance_checks.history()] == ["c", "b", "a", "d"]
        assert [one.check_id for one in uow.performance_checks.history(REF)] == ["c", "a"]
        assert [one.check_id for one in uow.performance_checks.history(REF, limit=1)] == ["c"]


# Calibrations


def calibration(number: int = 0, version_number: int = 1, state: Any = "proposed") -> CalibrationOut:
    return CalibrationOut(
        number=number,
        model_name="trajectory",
        model_version=version_number,
        state=state,
        factors=[1.25] * 12,
        made_at=AT,
        since=later(-60),
        until=AT,
        fitted_agents=80,
        holdout_agents=30,
        nominal_coverage=0.9,
        coverage_before=0.86,
        coverage_after=0.9,
        sentence="v1: narrow.",
        changed_at=AT,
        changed_by="worker",
    )


def test_calibrations_are_numbered_in_order(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.calibrations.in_force() == []
        assert [uow.calibrations.add(calibration(version_number=version)).number for version in (1, 2, 1)] == [1, 2, 3]
    with database.unit_of_work(read_only=True) as uow:
        assert uow.calibrations.get(2) == calibration(2, 2)
        assert [one.number for one in uow.calibrations.newest()] == [3, 2, 1]
        assert [one.number for one in uow.calibrations.newest(1, REF)] == [3]
        assert [one.number for one in uow.calibrations.newest(ref=REF)] == [3, 1]
        with pytest.raises(NotFound):
            uow.calibrations.get(4)


def test_a_calibration_is_moved_by_whoever_has_seen_its_state(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.calibrations.add(calibration())
        moved = uow.calibrations.move(1, "proposed", "applied", later(5), "ada")
        assert (moved.state, moved.changed_at, moved.changed_by) == ("applied", later(5), "ada")
    with database.unit_of_work() as uow:
        assert uow.calibrations.in_force() == [moved]
        with pytest.raises(StaleVersion) as caught:
            uow.calibrations.move(1, "proposed", "reverted", later(6), "bob")
        assert caught.value.details == {"present_state": "applied"}
        with pytest.raises(NotFound):
            uow.calibrations.move(9, "proposed", "applied", later(6), "bob")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.calibrations.get(1) == moved


def test_what_nothing_has_superseded_comes_in_the_order_of_its_changes(database: Any) -> None:
    with database.unit_of_work() as uow:
        for version in (1, 1, 2, 1):
            uow.calibrations.add(calibration(version_number=version))
        uow.calibrations.move(2, "proposed", "reverted", later(5), "ada")
        uow.calibrations.move(1, "proposed", "applied", later(6), "ada")
        uow.calibrations.move(4, "proposed", "superseded", later(7), "worker")
    with database.unit_of_work(read_only=True) as uow:
        assert [(one.number, one.state) for one in uow.calibrations.standing(REF)] == [(1, "applied"), (2, "reverted")]


def test_the_source_of_routes_tells_the_calibrations_in_force(database: Any) -> None:
    source = MemoryRouteSource(database) if isinstance(database, MemoryDatabase) else SqlRouteSource(database)
    assert dict(source.in_force()) == {}
    with database.unit_of_work() as uow:
        uow.calibrations.add(calibration())
        uow.calibrations.add(calibration(version_number=2))
        uow.calibrations.move(2, "proposed", "applied", AT, "ada")
    assert dict(source.in_force()) == {ModelRef("trajectory", 2): (2, (1.25,) * 12)}


# Probes


def test_probes_are_counted_in_their_minute(database: Any) -> None:
    probes = [  # (seconds, is it good, latency, failure)
        (0, True, 12.0, None),
        (5, False, 1500.0, "slow"),
        (10, False, None, "does not answer"),
        (15, True, 9.0, None),
        (60, True, 8.0, None),
        (180, False, None, "away"),
    ]
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(0, 10**9) == Minutes()
        assert (uow.probes.first_minute(), uow.probes.last_probe_at(), uow.probes.last_failure()) == (None, None, None)
        assert uow.probes.buckets(0, 60, 5) == {}
    for seconds, is_good, latency_ms, failure in probes:
        with database.unit_of_work() as uow:
            uow.probes.add(later(seconds), is_good=is_good, latency_ms=latency_ms, failure=failure)
    first = minute_of(AT)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(first, first + 1) == Minutes(1, pytest.approx(0.5), 4, 1500.0)
        assert uow.probes.summed(first, first + 10) == Minutes(3, pytest.approx(1.5), 6, 1500.0)
        assert uow.probes.summed(first + 3, first + 4) == Minutes(1, pytest.approx(1.0), 1, None)
        assert uow.probes.summed(first + 1, first + 3).known == 1, "a range holds its begin and not its end"
        assert {begin: m.known for begin, m in uow.probes.buckets(first - 1, first + 10, 2).items()} == {
            first - 1: 1,
            first + 1: 1,
            first + 3: 1,
        }
        assert uow.probes.buckets(first, first + 1, 1) == {first: Minutes(1, pytest.approx(0.5), 4, 1500.0)}
        assert uow.probes.first_minute() == first
        assert uow.probes.last_probe_at() == later(180)
        assert uow.probes.last_failure() == (datetime.fromtimestamp(60 * (first + 3), UTC), "away")


def test_probes_of_two_workers_in_one_minute_all_count(database: Any) -> None:
    def probe(number: int) -> None:
        with database.unit_of_work() as uow:
            uow.probes.add(later(number), is_good=number % 2 == 0, latency_ms=float(number), failure=None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(probe, range(20)))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(minute_of(AT), minute_of(AT) + 1) == Minutes(1, pytest.approx(0.5), 20, 19.0)
