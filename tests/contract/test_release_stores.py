"""One body for deployments, routes, the audit and model versions in memory, over SQLite and over PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from data.sql.route_source import SqlRouteSource
from data.stubs import MemoryDatabase, MemoryRouteSource
from tests.record_builders import AT, CHAMPION, REF, later, version
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.experiments.routed import canary

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
    second = CHAMPION.next(experiments=(canary("e", REF, ModelRef("trajectory", 2), 0.25, "s"),), previous=ModelRef("other", 7))
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


def test_it_is_known_since_when_units_are_enrolled_without_a_break(database: Any) -> None:
    def since(experiment_id: str) -> Any:
        with database.unit_of_work(read_only=True) as uow:
            return uow.routes.enrolled_since(experiment_id)

    def written(table: RouteTable, after_s: int) -> RouteTable:
        with database.unit_of_work() as uow:
            uow.routes.append(table, at=later(after_s), actor="ada", reason="a change")
        return table

    one, other = canary("e", REF, ModelRef("trajectory", 2), 0.25, "s"), canary("f", REF, ModelRef("trajectory", 3), 0.5, "t")
    assert since("e") is None
    table = written(CHAMPION, 0)
    assert since("e") is None
    table = written(table.next(experiments=(one,)), 1)
    for n in range(50):  # other changes, among them of its coverage
        table = written(table.next(experiments=(one.with_coverage(0.3 + n / 100), other)), 2 + n)
    assert (since("e"), since("f"), since("g")) == (later(1), later(2), None)
    table = written(table.next(experiments=(one.with_coverage(0.0), other)), 60)
    assert (since("e"), since("f")) == (None, later(2))
    table = written(table.next(experiments=(one, other)), 61)
    assert (since("e"), since("f")) == (later(61), later(2))
    table = written(table.next(is_stopped=True), 62)
    assert (since("e"), since("f")) == (None, None)
    table = written(table.next(is_stopped=False), 63)
    assert (since("e"), since("f")) == (later(63), later(63))


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


# Audit, model versions


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


def test_a_deleted_version_is_kept_but_neither_listed_nor_found(database: Any) -> None:
    gone = version(1, deleted_at=later(5))
    with database.unit_of_work() as uow:
        for one in (gone, version(2), version(9, model_name="other", deleted_at=later(1))):
            uow.model_versions.put(one)
    with database.unit_of_work(read_only=True) as uow:
        assert [row.model_version for row in uow.model_versions.all("trajectory")] == [2]
        assert uow.model_versions.deleted("trajectory") == [gone]
        with pytest.raises(NotFound, match="was deleted"):
            uow.model_versions.get(REF)


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
