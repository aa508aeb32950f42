"""One body for tasks in memory, over SQLite and over PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest

from tests.task_builders import AT, a_task
from trajops.errors import NotFound, StaleVersion
from trajops.tasks.lifecycle import TaskState


def test_a_task_comes_back_as_it_was_written(database: Any) -> None:
    first, second = a_task("t1"), a_task("t2", created_at=AT + timedelta(seconds=1), state=TaskState.DONE)
    with database.unit_of_work() as uow:
        uow.tasks.add(first)
        uow.tasks.add(second)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.tasks.get("t1") == first
        assert uow.tasks.newest() == [second, first]
        assert uow.tasks.newest(limit=1) == [second]
        assert uow.tasks.newest(states={TaskState.QUEUED}) == [first]
        with pytest.raises(NotFound):
            uow.tasks.get("t3")


def test_a_task_is_changed_by_whoever_has_seen_it(database: Any) -> None:
    changed = a_task("t1", version=2, state=TaskState.RUNNING)
    with database.unit_of_work() as uow:
        uow.tasks.add(a_task("t1"))
        uow.tasks.save(changed, 1)
    with database.unit_of_work() as uow:
        assert uow.tasks.get("t1") == changed
        with pytest.raises(StaleVersion) as caught:
            uow.tasks.save(changed, 1)
        assert caught.value.details == {"present_version": 2}
        with pytest.raises(NotFound):
            uow.tasks.save(a_task("t9"), 1)


def test_what_was_over_long_ago_is_forgotten_and_nothing_else(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.tasks.add(a_task("waits"))
        uow.tasks.add(a_task("old", state=TaskState.FAILED))
        uow.tasks.add(a_task("new", state=TaskState.DONE, updated_at=AT + timedelta(days=2)))
        assert uow.tasks.forget(AT + timedelta(days=1)) == ["old"]
    with database.unit_of_work(read_only=True) as uow:
        assert {one.task_id for one in uow.tasks.newest()} == {"waits", "new"}
