"""`/batch_predict`: many agents at once."""

from typing import Any

from api.batch import Batches
from api.bulk_endpoint import Asked, BulkEndpoint, BulkRoute, Reply
from api.errors import DOCUMENTED, Rendered, render, render_unexpected
from api.fast_route import FastApi
from api.named_rows import NamedRows
from api.wiring import Parts
from trajops.contracts.predictions import BatchColumnsIn, BatchColumnsOut, BatchPredictIn, BatchPredictOut
from trajops.errors import TrajOpsError

PATH = "/batch_predict"
DESCRIPTION = """\
Forecast up to `TRAJOPS_MAX_BATCH` agents at once: as a list of items, or as columns (one list a field), which cost a third.

The answers have the form of the request and keep its order. A bad trajectory spoils only itself: it is answered with a code and a
sentence. Trajectories that name an agent are recorded before their answers leave; columns without `agent_id` are counted only, and
answered by the champion or `model_version`. A version that is not warm is loaded while columns wait, and not while items do.

A large answer streams: items and Arrow leave as they are made; JSON columns when the last trajectory is answered, because a column has
the entries of all. When the client hangs up no further trajectory is answered; those that were are recorded.

For bulk there is `application/vnd.apache.arrow.stream`: the same columns as an Arrow IPC stream, `history` as fixed-size lists of 16
floats, `model_version` and `source` in the schema's metadata; compressed columns (LZ4, ZSTD) may unpack to `TRAJOPS_MAX_BODY_BYTES`. The
answer is a stream with one row a trajectory. Its schema says how many `modes` each row has, filled up with modes of weight zero, and the
`epoch` of its first rows; should a version with more modes begin to answer in the middle, its rows are
`unavailable` and may be sent again."""
ARROW_MEDIA: dict[str, Any] = {"application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}}}


def _render(error: TrajOpsError | None, request_id: str) -> Rendered:
    return render_unexpected(request_id) if error is None else render(error, request_id)


def install(app: FastApi, parts: Parts) -> None:
    """Register the route."""
    named = NamedRows(parts.service, parts.spool, parts.meters, lambda: parts.host, parts.track_sync)
    batches = Batches(parts.bulk, named, parts.settings.max_body_bytes)

    async def use(asked: Asked) -> Reply:
        return await batches(asked)

    endpoint = BulkEndpoint(use, _render, parts.gate, parts.meters.route(PATH), parts.settings.max_body_bytes)
    takes: dict[str, Any] = {"body": BatchPredictIn | BatchColumnsIn}
    route = BulkRoute(
        PATH,
        endpoint,
        takes,
        name="batch_predict",
        summary="Batch Predict",
        description=DESCRIPTION,
        tags=["predict"],
        response_model=BatchPredictOut | BatchColumnsOut,
        responses={200: {"content": ARROW_MEDIA}, **{status: DOCUMENTED[status] for status in (401, 403, 404, 413, 422, 429, 503)}},
        openapi_extra={"requestBody": {"content": ARROW_MEDIA}},
    )
    app.add_bulk_route(route)
