"""Tasks in memory."""

from collections.abc import Collection
from datetime import datetime

from data.stubs.tables import Repository
from trajops.contracts.tasks import TaskOut
from trajops.errors import NotFound, StaleVersion
from trajops.tasks.lifecycle import OVER, TaskState


class MemoryTasks(Repository):
    """Implements `trajops.stores.TaskStore`."""

    def get(self, task_id: str) -> TaskOut:
        """One task; NotFound if there is none with that id."""
        found = self._tables.tasks.get(task_id)
        if found is None:
            raise NotFound(f"there is no task {task_id!r}")
        return found

    def newest(self, *, states: Collection[TaskState] | None = None, limit: int = 100) -> list[TaskOut]:
        """Newest first; only of some states, where they are given."""
        found = [one for one in self._tables.tasks.rows() if states is None or one.state in states]
        ordered = sorted(sorted(found, key=lambda one: one.task_id), key=lambda one: one.created_at, reverse=True)
        return ordered[:limit]

    def add(self, task: TaskOut) -> None:
        """Write a new task."""
        self._tables.tasks.put(task.task_id, task)

    def save(self, task: TaskOut, expected_version: int) -> None:
        """Write all of a known task, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        present = self.get(task.task_id)
        if present.version != expected_version:
            raise StaleVersion(f"the task has version {present.version}", present_version=present.version)
        self._tables.tasks.put(task.task_id, task)

    def forget(self, before: datetime) -> list[str]:
        """Delete what was over before a time; the ids."""
        old = [one.task_id for one in self._tables.tasks.rows() if one.state in OVER and one.updated_at < before]
        for task_id in old:
            self._tables.tasks.drop(task_id)
        return old
