"""Tasks."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from trajops.contracts.tasks import TaskOut
from trajops.tasks.lifecycle import TaskState


class TaskStore(Protocol):
    """Tasks, changed by compare-and-set on their version."""

    def get(self, task_id: str) -> TaskOut:
        """One task.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def newest(self, *, states: Collection[TaskState] | None = None, limit: int = 100) -> list[TaskOut]:
        """Newest first; only of some states, where they are given."""
        ...

    def add(self, task: TaskOut) -> None:
        """Write a new task."""
        ...

    def save(self, task: TaskOut, expected_version: int) -> None:
        """Write all of a known task, if its version is still the expected one; the new version is the caller's affair.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def forget(self, before: datetime) -> list[str]:
        """Delete what was over before a time; the ids."""
        ...
