"""Batch forecasts, training runs and evaluations."""

from trajops.client.call import Call, at, described, get, post, reader
from trajops.client.retries import Retry
from trajops.contracts.tasks import CancelIn, TaskChangeOut, TaskFileOut, TaskIn, TaskLogOut, TaskOut, TasksOut

PART_BYTES = 4 * 1024 * 1024


class TaskRoutes:
    """Batch forecasts, training runs and evaluations. `wait_for_task` and `save_result`, which call several times: see the clients."""

    @described
    def upload_tracks(self, content: bytes, name: str = "tracks") -> Call[TaskFileOut]:
        """Upload a CSV or Parquet file of tracks; the same content gets the same id."""
        return Call(
            "POST",
            "/v1/tasks/files",
            reader(TaskFileOut),
            TaskFileOut.__name__,
            Retry.READ,
            query={"name": name},
            content=content,
            content_type="application/octet-stream",
        )

    @described
    def start_task(self, body: TaskIn, *, idempotency_key: str | None = None) -> Call[TaskChangeOut]:
        """Queue a batch forecast, a training run or an evaluation."""
        return post("/v1/tasks", TaskChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def tasks(self, limit: int = 50) -> Call[TasksOut]:
        """The newest tasks."""
        return get("/v1/tasks", TasksOut, limit=limit)

    @described
    def task(self, task_id: str) -> Call[TaskOut]:
        """One task."""
        return get(at("/v1/tasks/{}", task_id), TaskOut)

    @described
    def task_log(self, task_id: str, lines: int = 200) -> Call[TaskLogOut]:
        """The last lines of a task's log."""
        return get(at("/v1/tasks/{}/log", task_id), TaskLogOut, lines=lines)

    @described
    def cancel_task(self, task_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[TaskChangeOut]:
        """End a task."""
        body = CancelIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/tasks/{}/cancel", task_id), TaskChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def task_result(self, task_id: str, start: int = 0, count: int = PART_BYTES) -> Call[bytes]:
        """So many bytes of a task's result, from byte `start` on; fewer at its end."""
        last = start + count - 1
        headers = {"Range": f"bytes={start}-{last}"}
        return Call("GET", at("/v1/tasks/{}/result", task_id), bytes, "a file", Retry.READ, accept="*/*", headers=headers)
