"""Batch forecasts, training runs and evaluations: ask for one, follow it, end it, fetch its result."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.errors import DOCUMENTED
from api.wiring import Parts
from trajops.contracts.tasks import CancelIn, TaskChangeOut, TaskFileOut, TaskIn, TaskLogOut, TaskOut, TasksOut
from trajops.contracts.wire import Name
from trajops.errors import InvalidInput, NotFound, TrajOpsError
from trajops.tasks.lifecycle import OVER

ONE: dict[int | str, dict[str, Any]] = {**READS, 404: DOCUMENTED[404]}
TaskId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])
uploads = APIRouter(prefix="/v1/tasks", tags=["tasks"])


def install(app: FastAPI, parts: Parts) -> None:
    """Add the route that takes larger bodies than the others."""
    app.include_router(uploads, max_body_size=parts.settings.max_upload_bytes)


@uploads.post(
    "/files",
    summary="Upload tracks",
    responses={**CHANGES, 413: DOCUMENTED[413]},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_tracks(
    request: Request,
    parts: PartsOf,
    _client: Operator,
    name: Annotated[Name, Query(description="How the file is called, for people.")] = "tracks",
) -> TaskFileOut:
    """Send a CSV or Parquet file with the columns agent, time, x, y and optionally scene as the body; its id starts a task.

    It is written to disk as it comes. A small one is read at once, and refused with row and column where it is no tracks; a larger one is
    read when a task runs. The same content gets the same id, so a lost answer is no harm. What no task names is deleted after a day.
    """
    uploads_rules = parts.task_rules.uploads
    upload = await run_in_threadpool(parts.task_files.upload, name, parts.settings.max_upload_bytes, uploads_rules.total_mb * 1e6)
    try:
        async for chunk in request.stream():
            await run_in_threadpool(upload.write, chunk)
        file = await run_in_threadpool(upload.finish)
    except ClientDisconnect as error:
        raise InvalidInput("the file did not come to its end") from error
    finally:
        await run_in_threadpool(upload.abandon)
    return await run_in_threadpool(_looked_into, parts, file) if file.bytes <= uploads_rules.check_mb * 1e6 else file


@router.post("", summary="Start a task", responses=CHANGES)
def start_task(body: TaskIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> TaskChangeOut:
    """Queue a batch forecast, a training run or an evaluation; the workers run one at a time, the oldest first.

    Its tracks are an uploaded file or recorded traffic. Traffic that training would learn something wrong from is left out, as an answer
    to an alert leaves it out.
    """
    change = parts.tasks.start(body, actor=client.client_id, idempotency_key=key)
    parts.cached.clear()
    return change


@router.get("", summary="Tasks", responses=READS)
def tasks(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> TasksOut:
    """The newest tasks, how many run and wait, and how many may wait."""
    return parts.cached.get(("tasks", limit), lambda: parts.tasks.newest(limit))


@router.get("/{task_id}", summary="One task", responses=ONE)
def task(task_id: TaskId, parts: PartsOf, _client: Reader) -> TaskOut:
    """One task: where it stands, how far it is, what came of it."""
    return parts.tasks.get(task_id)


@router.get("/{task_id}/log", summary="Log of a task", responses=ONE)
def task_log(task_id: TaskId, parts: PartsOf, _client: Reader, lines: Annotated[int, Query(ge=1, le=1000)] = 200) -> TaskLogOut:
    """The last lines that a task has written."""
    return parts.task_files.log(parts.tasks.get(task_id).task_id, lines)


@router.post("/{task_id}/cancel", summary="Cancel a task", responses=CHANGES)
def cancel_task(task_id: TaskId, body: CancelIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> TaskChangeOut:
    """End a task: one that waits at once, one that runs within seconds, with all that it has started."""
    change = parts.tasks.cancel(task_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.cached.clear()
    return change


@router.get(
    "/{task_id}/result",
    summary="Result of a task",
    response_class=FileResponse,
    responses={
        **ONE,
        200: {
            "description": "The file: text/csv, application/vnd.apache.parquet or application/json. With `Range` a part of it (206).",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def task_result(task_id: TaskId, parts: PartsOf, _client: Reader) -> FileResponse:
    """The file that a task has made: forecasts as CSV or Parquet, figures as JSON. `Range` is understood."""
    found = parts.tasks.get(task_id)
    outcome = found.outcome
    if outcome is None or outcome.filename is None:
        said = "has no result to download" if found.state in OVER else "is not done yet"
        raise NotFound(f"task {task_id} {said}: it is {found.state}")
    path = parts.task_files.of(task_id) / outcome.filename
    if not path.is_file():
        raise NotFound(
            f"the result of task {task_id} is not on this machine; API and workers must share {parts.settings.tasks_dir}, and the task ran "
            f"on {found.holder}"
        )
    stem = f"{found.asked.kind}_{task_id[:8]}"
    return FileResponse(path, media_type=outcome.media_type, filename=f"{stem}{path.suffix}")


def _looked_into(parts: Parts, file: TaskFileOut) -> TaskFileOut:
    """The file with what is in it; one that is no tracks is deleted.

    Raises:
        InvalidInput: if it is no tracks; the sentence names row and column.
    """
    from data.datasets import tracks as reader  # noqa: PLC0415 - brings pyarrow

    path = parts.task_files.path(file.file_id)
    try:
        scenes = reader.read(path)
    except TrajOpsError as error:
        parts.task_files.drop(file.file_id)
        raise InvalidInput(error.message.replace(str(path), file.name), **error.details) from error
    counted = {
        "rows": sum(len(track) for scene in scenes.values() for track in scene.tracks),
        "agents": sum(len(scene.tracks) for scene in scenes.values()),
        "scenes": len(scenes),
    }
    known = file.model_copy(update=counted)
    parts.task_files.describe(known)
    return known
