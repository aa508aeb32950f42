"""What both clients need in order to wait for a task and to save its result."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trajops.client.errors import ApiUnavailable
from trajops.contracts.tasks import TaskOut
from trajops.errors import InvalidInput


def not_over(task: TaskOut, timeout_s: float) -> ApiUnavailable:
    """The error of a task that has taken longer than somebody would wait."""
    said = f"task {task.task_id} is not over after {timeout_s:g} s: it is {task.state}, {task.stage}; it goes on"
    return ApiUnavailable(said, cause=TimeoutError(said), request_id="", is_unsent=False, tries=1)


def result_bytes(task: TaskOut) -> int:
    """Size of the result of a task.

    Raises:
        InvalidInput: if it has none.
    """
    if task.outcome is None or task.outcome.bytes is None:
        raise InvalidInput(f"task {task.task_id} has no result to save: it is {task.state}; nothing was written")
    return task.outcome.bytes


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole; nothing is left of one that is not."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
