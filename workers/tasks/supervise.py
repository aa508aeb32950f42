"""One task from its begin to its end: start its process, write down what it tells, and end it with all that it has started."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import SecretStr

from data.tasks.files import LOG, OUTCOME, PROGRESS, TaskFiles
from trajops.contracts.tasks import TaskKind, TaskOut, TaskOutcomeOut
from trajops.errors import Conflict, TrajOpsError, Unavailable
from trajops.services.tasks import TaskRuns
from trajops.settings import Settings
from trajops.tasks.lifecycle import TaskState
from trajops.tasks.rules import TaskRules

LOOK_S = 0.25
NOTE_S = 1.0
# From SIGTERM until SIGKILL.
GRACE_S = 2.0
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs the tasks that wait, one after the other.

    Args:
        runs: what is on record.
        files: of tasks.
        rules: bounds.
        settings: which the processes get.
        ended: told of each task that has ended: kind, state, seconds.
        alive: called now and then while one runs.
    """

    def __init__(
        self,
        runs: TaskRuns,
        files: TaskFiles,
        rules: TaskRules,
        settings: Settings,
        ended: Callable[[TaskKind, str, float], None],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._runs, self._files, self._rules, self._settings = runs, files, rules, settings
        self._ended, self._alive = ended, alive
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """End what runs, and let it be begun anew by the next worker."""
        self._is_stopping.set()

    def run(self) -> dict[str, Any]:
        """Run the task that has waited longest, if one does; what came of it."""
        recovered = [one.task_id for one in self._runs.recover()]
        task = None if self._is_stopping.is_set() else self._runs.take()
        if task is None:
            return {"recovered": recovered} if recovered else {}
        began_s = time.monotonic()
        done = self._run(task)
        if done is not None:
            self._ended(done.asked.kind, done.state.value, time.monotonic() - began_s)
        return {"task": task.task_id, "state": None if done is None else done.state.value, "recovered": recovered}

    def _run(self, task: TaskOut) -> TaskOut | None:
        """The task after its end; None where it was put back, or is not this worker's any more."""
        folder = self._files.of(task.task_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for told in (PROGRESS, OUTCOME):
                (folder / told).unlink(missing_ok=True)
            with (folder / LOG).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "workers.tasks", task.task_id],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment(self._settings),
                    start_new_session=True,
                )
        except OSError as error:
            return self._runs.finish(task.task_id, TaskState.FAILED, error=f"its process could not be started: {error}")
        logger.info("the task begins", extra={"task": task.task_id, "kind": task.asked.kind, "pid": process.pid})
        try:
            state, said = self._watched(task, process)
        finally:
            _end(process)
        if state is None:
            return None
        outcome = None
        if state is TaskState.DONE:
            state, outcome, said = self._outcome(task.task_id, process.returncode)
        logger.info("the task has ended", extra={"task": task.task_id, "state": state.value, "reason": said})
        for pause_s in PAUSES_S:  # what is done is not done again because the database is away for a moment
            try:
                return self._runs.finish(task.task_id, state, outcome=outcome, error=said)
            except Unavailable as away:
                logger.warning("the end of the task could not be noted", extra={"task": task.task_id, "reason": away.message})
                self._is_stopping.wait(pause_s)
        return self._runs.finish(task.task_id, state, outcome=outcome, error=said)

    def _watched(self, task: TaskOut, process: "subprocess.Popen[bytes]") -> tuple[TaskState | None, str | None]:
        """Look after the process until it has ended or must; the state that the task goes to, and why."""
        began_s, noted_s = time.monotonic(), 0.0
        while process.poll() is None:
            time.sleep(LOOK_S)
            now_s = time.monotonic()
            if self._is_stopping.is_set():
                self._runs.put_back(task.task_id)
                return None, None
            if now_s - began_s > self._rules.timeout_s:
                return TaskState.FAILED, f"it took longer than {self._rules.timeout_s:g} s (timeout_s in configs/tasks.yaml) and was ended"
            if now_s - noted_s < NOTE_S:
                continue
            noted_s = now_s
            try:
                known = self._note(task.task_id)
                self._alive()
            except Conflict as error:
                logger.warning("the task could not be noted", extra={"task": task.task_id, "reason": error.message})
                if "lost the lease" in error.message:
                    return None, None
                continue
            except TrajOpsError as error:  # the database may be back before the task is done
                logger.warning("the task could not be noted", extra={"task": task.task_id, "reason": error.message})
                continue
            if known.cancelled is not None:
                return TaskState.CANCELLED, None
            if known.state is not TaskState.RUNNING:
                return None, None
        return TaskState.DONE, None

    def _note(self, task_id: str) -> TaskOut:
        told = self._files.read(task_id, PROGRESS) or {}
        return self._runs.note(task_id, float(told.get("progress", 0.0)), str(told.get("stage", "Starts")), told.get("eta_s"))

    def _outcome(self, task_id: str, code: int) -> tuple[TaskState, TaskOutcomeOut | None, str | None]:
        told = self._files.read(task_id, OUTCOME)
        if told is None:
            by = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            hint = "; signal 9 often means that the machine has run out of memory" if code == -signal.SIGKILL else ""
            return TaskState.FAILED, None, f"its process has ended {by} and said nothing{hint}; its log may say more"
        if "error" in told:
            return TaskState.FAILED, None, str(told["error"])
        return TaskState.DONE, TaskOutcomeOut.model_validate(told["outcome"]), None


def environment(settings: Settings) -> Mapping[str, str]:
    """The environment of a process with the same settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    shown = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given.items()}
    return {**os.environ, **{f"TRAJOPS_{name.upper()}": str(value) for name, value in shown.items() if value is not None}}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and whatever it has started; it leads a group of its own."""
    for kind, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
