"""Batch and training jobs of the stub API."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from console_stub.refusal import Refused
from trajops.contracts.tasks import (
    CancelOut,
    TaskChangeOut,
    TaskFileOut,
    TaskIn,
    TaskLogOut,
    TaskOut,
    TaskOutcomeOut,
    TasksOut,
)
from trajops.tasks.lifecycle import OVER, TaskState

RUNS, DONE, FAILED, TRAINED = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)
RESULT = "scene,agent,step,x,y\ns,a,1,0.5,0.1\n"
FILE = TaskFileOut(file_id="a" * 32, name="match.csv", bytes=812_345, rows=21_000, agents=22, scenes=1)
FIGURES = {"val_ade_m": 0.41, "val_fde_m": 0.92, "val_coverage_90": 0.897, "val_miss_rate": 0.08, "val_nll": 0.3, "val_latency_ms": 0.2}
REASON = "the coach wants to see it"


class StubTasks:
    """One job that runs and three that are over; none for a product that has just been installed."""

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.known: dict[str, TaskOut] = {}
        self.is_refused = False
        if is_empty:
            return
        asked = {"kind": "batch_predict", "file_id": FILE.file_id, "reason": REASON}
        training = {"kind": "train", "file_id": FILE.file_id, "families": ["kalman"], "reason": REASON, "dataset": "training days"}
        forecast = TaskOutcomeOut(
            sentence="Forecast 22 of 22 agents.", filename="result.csv", media_type="text/csv", bytes=len(RESULT), rows=1
        )
        trained = TaskOutcomeOut(sentence="v4 is registered.", model_versions=[4], run_ids=["04" * 16], figures=FIGURES)
        self.add(TRAINED, training, TaskState.DONE, 180, outcome=trained, model_version=None)
        self.add(FAILED, asked, TaskState.FAILED, 120, error="match.csv, row 12, column x: the value is 'east'; write a number")
        self.add(DONE, asked, TaskState.DONE, 60, outcome=forecast)
        self.add(RUNS, asked, TaskState.RUNNING, 1, progress=0.42, stage="Predicts: 420 of 1000", eta_s=95.0)

    def add(self, task_id: str, asked: dict[str, Any], state: TaskState, minutes: float, **changes: Any) -> TaskOut:
        at = self.started - timedelta(minutes=minutes)
        given: dict[str, Any] = {
            "task_id": task_id,
            "asked": TaskIn.model_validate(asked),
            "state": state,
            "version": 2,
            "by": "ada",
            "created_at": at,
            "updated_at": at,
            "seen_at": at,
            "started_at": None if state is TaskState.QUEUED else at,
            "finished_at": at + timedelta(seconds=20) if state in OVER else None,
            "attempts": 1,
            "model_name": "trajectory",
            "model_version": 2,
            "file": FILE,
        }
        self.known[task_id] = TaskOut(**(given | changes))
        return self.known[task_id]

    def read(self, path: str) -> BaseModel | str:
        if path == "/v1/tasks":
            found = list(reversed(self.known.values()))
            states = [one.state for one in found]
            queued, running = states.count(TaskState.QUEUED), states.count(TaskState.RUNNING)
            return TasksOut(tasks=found, running=running, queued=queued, max_queued=50, max_queued_per_person=5)
        _, _, _, task_id, *what = path.split("/")
        if task_id not in self.known:
            raise Refused(404, "not_found", f"there is no task {task_id!r}")
        if what == ["log"]:
            return TaskLogOut(lines=["12:00:01 read 22 agents in 1 scenes of match.csv", "12:00:02 loaded trajectory/2"], is_cut=False)
        return RESULT if what == ["result"] else self.known[task_id]

    def post(self, path: str, body: Any, username: str) -> BaseModel:
        if path == "/v1/tasks/files":
            if b"east" in body:
                raise Refused(422, "invalid_input", "match.csv, row 2, column x: the value is 'east'; write a number")
            return FILE
        if path == "/v1/tasks":
            made = self.add(f"{len(self.known) + 5:x}" * 32, body, TaskState.QUEUED, 0, by=username, version=1, attempts=0)
            return TaskChangeOut(task=made, audit_id="aud-0099")
        task = self.known[path.split("/")[3]]
        if self.is_refused or body["expected_version"] != task.version:
            raise Refused(409, "stale_version", "the task has changed; read it again and repeat")
        said = CancelOut(at=self.started, by=username, reason=body["reason"])
        self.known[task.task_id] = task.model_copy(update={"cancelled": said, "version": task.version + 1})
        return TaskChangeOut(task=self.known[task.task_id], audit_id="aud-0100")
