"""The Open Inference Protocol v2 over the one predict service: it only translates. Its health checks are open, as `/healthz` is.

Rows name no agent here, so the champion answers them (or the version in the path), and they are counted, not remembered. A tensor
has no place for the error of one row: a bad row refuses the request with a sentence that names it.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

import trajops
from api import oip
from api.bulk import JSON_BYTES_A_ROW, BulkDoors, version_asked
from api.bulk_endpoint import Asked, BulkEndpoint, BulkRoute, Part, Reply
from api.deps import DoorReader, PartsOf
from api.errors import Rendered, retry_headers, status_of
from api.fast_route import FastApi
from api.json_tasks import unpacked
from api.json_workers import INLINE_BYTES
from api.wiring import Parts
from trajops.contracts.inference import (
    InferIn,
    InferOut,
    InferProblem,
    IsLive,
    IsModelReady,
    IsReady,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
)
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, NotFound, TrajOpsError
from trajops.services.bulk import BulkForecast, Choice
from trajops.trajectories import FloatArray

DOOR = "oip"
TAG = "open inference protocol"
EXTENSIONS = ["binary_tensor_data"]
DESCRIPTION = """\
Forecast up to `TRAJOPS_MAX_BATCH` trajectories that name no agent: with the champion, or the version in the path.

Tensors are JSON, or raw behind the JSON (binary tensor extension, the fastest way). A bad row refuses the request and is named in
the error. Where the model fails, constant velocity answers: `is_baseline` tells the rows, `baseline_rows` their number."""
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": InferProblem, "description": what}
    for status, what in (
        (400, "Cannot be used"),
        (401, "No valid credential"),
        (403, "Not allowed"),
        (404, "No such model"),
        (413, "Too large"),
        (429, "Beyond the client's limit"),
        (503, "Not now"),
    )
}


def render(error: TrajOpsError | None, _request_id: str) -> Rendered:
    """An error as the protocol writes it: one sentence. What the caller sent wrong is a 400 here, never a 422."""
    status = 500 if error is None else status_of(type(error))
    status = 400 if status == 422 else status
    headers = {"Content-Type": "application/json"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="trajops"'
    if error is not None:
        headers |= retry_headers(error)
    message = "the server failed on this request; its log names the cause" if error is None else error.message
    return Rendered(status, headers, orjson.dumps({"error": message}))


class OipRoute(APIRoute):
    """A route whose errors are those of the protocol."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the errors caught that the application would make problems of."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except TrajOpsError as error:
                rendered = render(error, "")
            except RequestValidationError as error:
                rendered = render(InvalidInput(str(error.errors()[0]["msg"])), "")
            return Response(rendered.content, rendered.status, rendered.headers)

        return handler


router = APIRouter(prefix="/v2", tags=[TAG], route_class=OipRoute)
Name = Annotated[str, Path(description="The registered model.")]
Version = Annotated[str, Path(description="A version's number, or an alias.")]
NOT_READY: dict[int | str, dict[str, Any]] = {400: {"model": IsReady, "description": "Not ready"}}
READS: dict[int | str, dict[str, Any]] = {status: _DOCUMENTED[status] for status in (401, 403, 404)}


@router.get("/health/live", summary="Is the process alive?")
async def server_live() -> IsLive:
    """Alive, whatever else is away."""
    return IsLive(live=True)


@router.get("/health/ready", summary="Can it answer?", responses=NOT_READY)
async def server_ready(parts: PartsOf, response: Response) -> IsReady:
    """200 once `/readyz` says so; 400 before, as the protocol wants it."""
    is_ready = parts.is_ready
    response.status_code = 200 if is_ready else 400
    return IsReady(ready=is_ready)


@router.get("", summary="Server metadata", responses={status: _DOCUMENTED[status] for status in (401, 403)})
async def server_metadata(_client: DoorReader) -> ServerMetadata:
    """Who serves, and which extensions it knows."""
    return ServerMetadata(name="trajops", version=trajops.__version__, extensions=EXTENSIONS)


@router.get("/models/{name}", summary="Model metadata", responses=READS)
@router.get("/models/{name}/versions/{version}", name="version_metadata", summary="Metadata of one version", responses=READS)
async def model_metadata(name: Name, parts: PartsOf, _client: DoorReader, version: str | None = None) -> ModelMetadata:
    """The tensors of the model, the same for every version; and which versions are warm."""
    _check_name(parts.bulk, name)
    if version is not None:
        _ref(parts, version)
    tensors = [TensorMetadata(name=key, datatype=oip.OUTPUTS[key], shape=oip.SHAPES[key]) for key in oip.OUTPUTS]
    return ModelMetadata(
        name=name,
        versions=[str(ref.version) for ref in sorted(parts.host.warm) if ref.name == name],
        platform="trajops",
        inputs=[TensorMetadata(name=oip.INPUT, datatype="FP32", shape=oip.SHAPES[oip.INPUT])],
        outputs=tensors,
    )


@router.get("/models/{name}/ready", summary="Can the model answer?", responses=NOT_READY | READS)
@router.get(
    "/models/{name}/versions/{version}/ready",
    name="version_ready",
    summary="Can one version answer at once?",
    responses=NOT_READY | READS,
)
async def model_ready(name: Name, parts: PartsOf, _client: DoorReader, response: Response, version: str | None = None) -> IsModelReady:
    """200 when it is warm, 400 otherwise. A version that is not warm is loaded when an inference asks for it."""
    _check_name(parts.bulk, name)
    is_ready = parts.service.snapshot.leader is not None if version is None else _ref(parts, version) in parts.host.warm
    response.status_code = 200 if is_ready else 400
    return IsModelReady(name=name, ready=is_ready)


def _check_name(doors: BulkDoors, name: str) -> None:
    if name != doors.bulk.model_name:
        raise NotFound(f"there is no model {name!r}; this serves {doors.bulk.model_name!r}")


def _ref(parts: Parts, version: str) -> ModelRef:
    asked = version_asked(version)
    return parts.service.snapshot.direct(parts.bulk.bulk.model_name, asked).model


class Infer:
    """The use of both inference routes.

    Args:
        doors: choose and forecast.
    """

    def __init__(self, doors: BulkDoors) -> None:
        self._doors = doors

    async def __call__(self, asked: Asked) -> Reply:
        """Answer one inference request; small ones are read and written on the spot."""
        doors = self._doors
        _check_name(doors, asked.path["name"])
        version = asked.path.get("version")
        model_version = None if version is None else version_asked(version)
        request, history_m = await self._read(asked)
        wanted = request.wanted()
        choice, forecast = await doors.answer(asked, model_version, history_m, DOOR)
        outputs = oip.tensors(forecast)
        head = _head(request, choice, forecast)
        if any(wanted.values()):
            return await self._raw(head, outputs, wanted)
        return await self._json(head, outputs, wanted)

    async def _read(self, asked: Asked) -> tuple[oip.InferRequest, FloatArray]:
        content, raw = oip.split(asked.body, asked.headers.get(oip.HEADER_LENGTH))
        if len(raw) or len(content) <= INLINE_BYTES:
            request = oip.read_request(content)
            return request, oip.history_of(request, raw)
        meta, [history] = await self._doors.workers.run("read_oip", None, [content])
        return msgspec.convert(meta["request"], oip.InferRequest), unpacked(meta["history"], history)

    async def _raw(self, head: dict[str, Any], outputs: Mapping[str, FloatArray], wanted: Mapping[str, bool]) -> Reply:
        """JSON, then the raw tensors in the order of the outputs; numbers that are wanted as JSON stand in it."""
        entries = oip.described(outputs, wanted)
        for entry in entries:
            if not wanted[entry["name"]]:
                pieces = [piece async for piece in self._doors.written("numbers", outputs[entry["name"]])]
                entry["data"] = orjson.Fragment(b"".join([b"[", *pieces, b"]"]))
        content = orjson.dumps({**head, "outputs": entries})
        raw: list[Part] = [outputs[name].data.cast("B") for name, is_raw in wanted.items() if is_raw]
        headers = [(oip.HEADER_LENGTH, b"%d" % len(content))]
        return Reply([content, *raw], b"application/octet-stream", headers)

    async def _json(self, head: dict[str, Any], outputs: Mapping[str, FloatArray], wanted: Mapping[str, bool]) -> Reply:
        stream = self._stream(head, outputs, wanted)
        if len(outputs["mean"]) * JSON_BYTES_A_ROW <= INLINE_BYTES:
            return Reply([b"".join([part async for part in stream])])
        return Reply(stream)

    async def _stream(
        self, head: dict[str, Any], outputs: Mapping[str, FloatArray], wanted: Mapping[str, bool]
    ) -> AsyncGenerator[bytes, None]:
        """The answer in parts, each written when the one before has been sent."""
        opening = orjson.dumps(head)[:-1] + b',"outputs":['
        for entry in oip.described(outputs, wanted):
            yield opening + orjson.dumps(entry)[:-1] + b',"data":['
            async for part in self._doors.written("numbers", outputs[entry["name"]]):
                yield part
            opening = b"]},"
        yield b"]}]}"


def _head(request: oip.InferRequest, choice: Choice, forecast: BulkForecast) -> dict[str, Any]:
    """What an answer says beside its outputs."""
    parameters = {"epoch": choice.epoch, "variant": choice.assignment.variant, "baseline_rows": int(forecast.is_baseline.sum())}
    named = {"id": request.id} if request.id else {}
    return {"model_name": choice.model.name, "model_version": str(choice.model.version), **named, "parameters": parameters}


def install(app: FastApi, parts: Parts) -> None:
    """Register the routes of the protocol."""
    infer = Infer(parts.bulk)
    for path, name, takes in (
        ("/v2/models/{name}/infer", "infer", {"name": Name}),
        ("/v2/models/{name}/versions/{version}/infer", "infer_version", {"name": Name, "version": Version}),
    ):
        endpoint = BulkEndpoint(infer, render, parts.gate, parts.meters.route(path), parts.settings.max_body_bytes)
        route = BulkRoute(
            path,
            endpoint,
            takes | {"body": InferIn},
            name=name,
            summary="Forecast" if name == "infer" else "Forecast with one version",
            description=DESCRIPTION,
            tags=[TAG],
            response_model=InferOut,
            responses=_DOCUMENTED,
        )
        app.add_bulk_route(route)
    app.include_router(router)
