"""Files of tasks, in a folder that API and workers share: uploads by their content, and one folder a task for its log and result.

```
uploads/FILE_ID, uploads/FILE_ID.json    what somebody has uploaded, and its name
TASK_ID/log.txt                          what the task has said
TASK_ID/progress.json, outcome.json      what its process tells the worker
TASK_ID/result.csv …                     what is downloaded
```
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from trajops.contracts.tasks import TaskFileOut, TaskLogOut
from trajops.errors import EnvironmentProblem, InvalidInput, NotFound, TooLarge

LOG, PROGRESS, OUTCOME = "log.txt", "progress.json", "outcome.json"
TAIL_BYTES = 64 * 1024


class TaskFiles:
    """Files of tasks.

    Args:
        folder: shared by API and workers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, task_id: str) -> Path:
        """Folder of one task."""
        return self._folder / task_id

    def upload(self, name: str, max_bytes: int, total_bytes: float) -> "Upload":
        """Begin to write an uploaded file.

        Raises:
            TooLarge: if all uploads together have reached their bound.
            EnvironmentProblem: if the folder cannot be written.
        """
        folder = self._folder / "uploads"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = sum(path.stat().st_size for path in folder.iterdir())
            if held >= total_bytes:
                raise TooLarge(f"uploaded files hold {held / 1e6:.0f} MB, which is as much as may be; older ones are deleted within a day")
            return Upload(folder, name, max_bytes)
        except OSError as error:
            raise EnvironmentProblem(f"{folder} cannot be written ({error}); give this user the right to, or make room") from error

    def path(self, file_id: str) -> Path:
        """Where an uploaded file lies.

        Raises:
            NotFound: if it is not there.
        """
        found = self._folder / "uploads" / file_id
        if not found.is_file():
            raise NotFound(f"there is no uploaded file {file_id} here, or no longer; upload it anew with POST /v1/tasks/files")
        return found

    def described(self, file_id: str) -> TaskFileOut:
        """What was uploaded; it is kept for a while from now on.

        Raises:
            NotFound: if there is no such file, or no longer.
        """
        path = self.path(file_id)
        with suppress(OSError):
            path.touch()
        try:
            return TaskFileOut.model_validate_json(_described_in(path).read_bytes())
        except (OSError, ValueError) as error:
            raise NotFound(f"what the uploaded file {file_id} is cannot be read; upload it anew with POST /v1/tasks/files") from error

    def describe(self, file: TaskFileOut) -> None:
        """Write down what a file is."""
        write_whole(_described_in(self.path(file.file_id)), file.model_dump_json().encode())

    def drop(self, file_id: str) -> None:
        """Delete an uploaded file; one that is gone is no error."""
        path = self._folder / "uploads" / file_id
        for gone in (path, _described_in(path)):
            gone.unlink(missing_ok=True)

    def log(self, task_id: str, lines: int) -> TaskLogOut:
        """The last lines of a task's log; none before it has begun."""
        try:
            with (self.of(task_id) / LOG).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return TaskLogOut(lines=[], is_cut=False)
        found = text.splitlines()
        if size > TAIL_BYTES:
            found = found[1:]
        return TaskLogOut(lines=found[-lines:], is_cut=size > TAIL_BYTES or len(found) > lines)

    def read(self, task_id: str, name: str) -> dict[str, Any] | None:
        """One of the small files that a task's process has written; None where it has not."""
        try:
            found = json.loads((self.of(task_id) / name).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def forget(self, task_id: str) -> None:
        """Delete all of a task; what is gone is no error."""
        shutil.rmtree(self.of(task_id), ignore_errors=True)

    def forget_uploads(self, older_than_s: float, needed: Collection[str]) -> int:
        """Delete uploaded files, also unfinished ones, that nobody has named for so long and no task waits for; how many."""
        deleted, oldest = 0, time.time() - older_than_s
        with suppress(FileNotFoundError):
            for path in list((self._folder / "uploads").iterdir()):
                with suppress(OSError):
                    if path.suffix != ".json" and path.name not in needed and path.stat().st_mtime < oldest:
                        self.drop(path.name)
                        deleted += 1
        return deleted


class Upload:
    """An uploaded file in the making; it gets its name when it is whole.

    Args:
        folder: of uploads.
        name: as its owner calls it.
        max_bytes: of the whole file.
    """

    def __init__(self, folder: Path, name: str, max_bytes: int) -> None:
        self._folder, self._name, self._max_bytes = folder, name, max_bytes
        self._part = folder / f"{uuid4().hex}.part"
        self._file: IO[bytes] = self._part.open("wb")
        self._digest, self._bytes = hashlib.sha256(), 0

    def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            TooLarge: if the file has become too large.
        """
        self._bytes += len(chunk)
        if self._bytes > self._max_bytes:
            raise TooLarge(f"the file is larger than {self._max_bytes} bytes; split it, or raise TRAJOPS_MAX_UPLOAD_BYTES")
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> TaskFileOut:
        """The whole file, on the device; the same content gets the same id.

        Raises:
            InvalidInput: if it is empty.
        """
        if not self._bytes:
            raise InvalidInput("the file is empty; send its content as the body of the request")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        file = TaskFileOut(file_id=self._digest.hexdigest()[:32], name=self._name, bytes=self._bytes)
        path = self._folder / file.file_id
        write_whole(_described_in(path), file.model_dump_json().encode())
        self._part.replace(path)
        return file

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that whoever reads it sees all of it, or what was before."""
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    part.write_bytes(content)
    part.replace(path)


def _described_in(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
