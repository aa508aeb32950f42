"""What the clients' methods about tasks send, and answers of the API's form."""

from typing import Any

from tests.client_calls import REASON
from tests.task_builders import a_task, asked
from trajops.contracts.tasks import TaskIn

ID = "0" * 32
TASK = a_task(ID).model_dump(mode="json")
CHANGE = {"task": TASK, "audit_id": "a1"}
SENT = asked().model_dump(mode="json", exclude_unset=True)
CALLS: dict[str, tuple[Any, ...]] = {
    "start_task": (lambda c: c.start_task(TaskIn.model_validate(SENT)), "POST", "/v1/tasks", SENT, CHANGE),
    "tasks": (
        lambda c: c.tasks(7),
        "GET",
        "/v1/tasks?limit=7",
        None,
        {"tasks": [TASK], "running": 0, "queued": 1, "max_queued": 50, "max_queued_per_person": 5},
    ),
    "task": (lambda c: c.task(ID), "GET", f"/v1/tasks/{ID}", None, TASK),
    "task_log": (lambda c: c.task_log(ID, 9), "GET", f"/v1/tasks/{ID}/log?lines=9", None, {"lines": ["x"], "is_cut": False}),
    "cancel_task": (
        lambda c: c.cancel_task(ID, 3, REASON),
        "POST",
        f"/v1/tasks/{ID}/cancel",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
}
CHANGES = ("start_task", "cancel_task")
