"""MLflow's scoring protocol over the one predict service: what `mlflow models serve` would answer for the same signature.

`ScoringServerClient(host, port)` sends no header of its own; with a host of the form `any:API_KEY@host` it sends Basic credentials,
which the bulk doors take. Rows name no agent: they are counted, not remembered, and a bad row refuses the request.
"""

from collections.abc import AsyncGenerator

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

import trajops
from api import mlflow_scoring
from api.bulk import JSON_BYTES_A_ROW, BulkDoors
from api.bulk_endpoint import Asked, BulkEndpoint, BulkRoute, Reply
from api.deps import DoorReader, PartsOf
from api.errors import DOCUMENTED, Rendered, retry_headers, status_of
from api.fast_route import FastApi
from api.json_tasks import unpacked
from api.json_workers import INLINE_BYTES
from api.oip import tensors
from api.wiring import Parts
from trajops.contracts.scoring import InvocationsIn, InvocationsOut, ScoringProblem
from trajops.errors import InvalidInput, TrajOpsError
from trajops.services import bulk
from trajops.services.bulk import BulkForecast, Choice
from trajops.trajectories import FloatArray

DOOR = "mlflow"
TAG = "mlflow scoring"
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    413: "REQUEST_LIMIT_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    503: "TEMPORARILY_UNAVAILABLE",
}
DESCRIPTION = """\
Forecast up to `TRAJOPS_MAX_BATCH` trajectories that name no agent, with the champion or `params.model_version`.

Takes `inputs`, `instances`, `dataframe_records` or `dataframe_split` with the tensor `history` (N, 8, 2). A bad row refuses the
request and is named in the error. Where the model fails, constant velocity answers: `is_baseline` tells the rows."""

router = APIRouter(tags=[TAG])


def render(error: TrajOpsError | None, _request_id: str) -> Rendered:
    """An error as MLflow writes it: a code of its own and a sentence. What the caller sent wrong is a 400."""
    status = 500 if error is None else status_of(type(error))
    status = 400 if status == 422 else status
    headers = {"Content-Type": "application/json"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="trajops"'
    if error is not None:
        headers |= retry_headers(error)
    message = "the server failed on this request; its log names the cause" if error is None else error.message
    return Rendered(status, headers, orjson.dumps({"error_code": CODES.get(status, "INTERNAL_ERROR"), "message": message}))


@router.get("/ping", summary="Can it answer? (MLflow)", response_class=PlainTextResponse)
@router.get("/health", name="scoring_health", summary="The same as /ping", response_class=PlainTextResponse)
async def ping(parts: PartsOf) -> Response:
    """200 once `/readyz` says so; 503 before."""
    is_ready = parts.is_ready
    return PlainTextResponse("\n" if is_ready else "not ready\n", 200 if is_ready else 503)


@router.get("/version", name="scoring_version", summary="Version of the server", response_class=PlainTextResponse)
async def version(_client: DoorReader) -> Response:
    """The release of this product: there is no MLflow in this server."""
    return PlainTextResponse(trajops.__version__)


class Invocations:
    """The use of the scoring route.

    Args:
        doors: choose and forecast.
    """

    def __init__(self, doors: BulkDoors) -> None:
        self._doors = doors

    async def __call__(self, asked: Asked) -> Reply:
        """Answer one invocation; small ones are read and written on the spot."""
        media_type = asked.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise InvalidInput("this takes application/json only, not CSV or Parquet: a trajectory is a tensor")
        doors = self._doors
        model_version, history_m = await self._read(asked.body)
        choice, forecast = await doors.answer(asked, model_version, history_m, DOOR)
        stream = self._stream(choice, forecast)
        if len(history_m) * JSON_BYTES_A_ROW <= INLINE_BYTES:
            return Reply([b"".join([part async for part in stream])])
        return Reply(stream)

    async def _read(self, body: bytes) -> tuple[bulk.Asked | None, FloatArray]:
        if len(body) <= INLINE_BYTES:
            return mlflow_scoring.read(body, self._doors.max_rows)
        meta, [history] = await self._doors.workers.run("read_mlflow", {"most_rows": self._doors.max_rows}, [body])
        return meta["version"], unpacked(meta["history"], history)

    async def _stream(self, choice: Choice, forecast: BulkForecast) -> AsyncGenerator[bytes, None]:
        """The answer in parts, each written when the one before has been sent."""
        opening = b'{"predictions":{'
        for name, array in tensors(forecast).items():
            yield opening + b'"%s":[' % name.encode()
            async for part in self._doors.written("nested", array):
                yield part
            opening = b"],"
        said = {"model_name": choice.model.name, "model_version": choice.model.version, "baseline_rows": int(forecast.is_baseline.sum())}
        yield b"]}," + orjson.dumps(said)[1:]


def install(app: FastApi, parts: Parts) -> None:
    """Register the routes of the protocol."""
    path = "/invocations"
    endpoint = BulkEndpoint(Invocations(parts.bulk), render, parts.gate, parts.meters.route(path), parts.settings.max_body_bytes)
    documented = {status: {**DOCUMENTED[status], "model": ScoringProblem, "content": {}} for status in (401, 403, 404, 413, 429, 503)}
    route = BulkRoute(
        path,
        endpoint,
        {"body": InvocationsIn},
        name="invocations",
        summary="Forecast (MLflow)",
        description=DESCRIPTION,
        tags=[TAG],
        response_model=InvocationsOut,
        responses={400: {"model": ScoringProblem, "description": "Cannot be used"}, **documented},
    )
    app.add_bulk_route(route)
    app.include_router(router)
