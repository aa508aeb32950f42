"""Tasks."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from data.sql.tables import tasks
from trajops.contracts.tasks import TaskOut
from trajops.errors import NotFound, StaleVersion
from trajops.tasks.lifecycle import OVER, TaskState


class SqlTasks:
    """Implements `trajops.stores.TaskStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, task_id: str) -> TaskOut:
        """One task; NotFound if there is none with that id."""
        body = self._connection.execute(select(tasks.c.body).where(tasks.c.task_id == task_id)).scalar_one_or_none()
        if body is None:
            raise NotFound(f"there is no task {task_id!r}; list them with GET /v1/tasks")
        return TaskOut.model_validate(body)

    def newest(self, *, states: Collection[TaskState] | None = None, limit: int = 100) -> list[TaskOut]:
        """Newest first; only of some states, where they are given."""
        found = select(tasks.c.body).order_by(tasks.c.created_at.desc(), tasks.c.task_id).limit(limit)
        if states is not None:
            found = found.where(tasks.c.state.in_([state.value for state in states]))
        return [TaskOut.model_validate(body) for body in self._connection.execute(found).scalars()]

    def add(self, task: TaskOut) -> None:
        """Write a new task."""
        self._connection.execute(insert(tasks).values(**_row(task)))

    def save(self, task: TaskOut, expected_version: int) -> None:
        """Write all of a known task, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        is_expected = (tasks.c.task_id == task.task_id, tasks.c.version == expected_version)
        if not self._connection.execute(update(tasks).where(*is_expected).values(**_row(task))).rowcount:
            present = self.get(task.task_id)
            raise StaleVersion(
                f"the task {task.task_id} has version {present.version}, not {expected_version}: it has changed; read it again and repeat",
                present_version=present.version,
            )

    def forget(self, before: datetime) -> list[str]:
        """Delete what was over before a time; the ids."""
        is_old = (tasks.c.state.in_([state.value for state in OVER]), tasks.c.updated_at < before)
        return list(self._connection.execute(delete(tasks).where(*is_old).returning(tasks.c.task_id)).scalars())


def _row(task: TaskOut) -> dict[str, Any]:
    names = ("task_id", "version", "created_at", "updated_at")
    return {name: getattr(task, name) for name in names} | {
        "kind": task.asked.kind,
        "state": task.state.value,
        "body": task.model_dump(mode="json"),
    }
