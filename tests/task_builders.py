"""Tasks with readable defaults."""

from datetime import UTC, datetime
from typing import Any

from trajops.contracts.tasks import TaskIn, TaskOut
from trajops.tasks.lifecycle import TaskState

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
REASON = "the coach wants to see it"
FILE = "0123456789abcdef" * 2


def asked(kind: str = "batch_predict", **changes: Any) -> TaskIn:
    given: dict[str, Any] = {"kind": kind, "reason": REASON, "file_id": FILE}
    if kind == "train":
        given["families"] = ["kalman"]
    return TaskIn.model_validate(given | changes)


def a_task(task_id: str = "t1", **changes: Any) -> TaskOut:
    given: dict[str, Any] = {
        "task_id": task_id,
        "asked": asked(),
        "state": TaskState.QUEUED,
        "version": 1,
        "by": "ada",
        "created_at": AT,
        "updated_at": AT,
        "seen_at": AT,
        "model_name": "trajectory",
        "model_version": 3,
    }
    return TaskOut(**(given | changes))
