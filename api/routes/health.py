"""Whether the process lives, whether it can answer, and its counters."""

import ipaddress

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool

from api.deps import PartsOf
from trajops.contracts.status import Liveness, Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Liveness:
    """Alive, whatever else is away."""
    return Liveness(status="alive")


@router.get("/readyz", summary="Can it answer?", responses={503: {"model": Readiness, "description": "Not ready"}})
async def readyz(parts: PartsOf, response: Response) -> Readiness:
    """200 while it can. 503 before there is a champion and every version that may answer is warm, and when the process is about to end.

    Says what is missing, and why; and as `stand_in` who answers where a routed version cannot be loaded and nothing answered before.
    """
    readiness = parts.host.readiness()
    if parts.drain.is_draining:
        readiness = readiness.model_copy(update={"status": "not_ready", "detail": "this process is about to end; ask another one"})
    response.status_code = 200 if readiness.status == "ready" else 503
    return readiness


@router.get("/metrics", summary="Counters", response_class=Response, responses={200: {"content": {CONTENT_TYPE_PLAIN_0_0_4: {}}}})
async def metrics(parts: PartsOf, request: Request) -> Response:
    """Metrics of all API processes of this machine in the Prometheus text format, whichever of them is asked.

    Open to this machine; from elsewhere it takes a bearer credential.
    """
    if not _is_local(request):
        header = request.headers.get("authorization")
        client = await parts.gate.admit(None if header is None else header.encode("latin-1"))
        client.require_scope("read")
    return Response(await run_in_threadpool(parts.exposition.text), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_local(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
