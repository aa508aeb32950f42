"""What the control routes depend on: the parts, and a caller who may."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from starlette.concurrency import run_in_threadpool

from api.bulk_endpoint import bearer
from api.errors import DOCUMENTED
from api.fast_route import BEARER
from api.wiring import Parts
from trajops.clients import Client
from trajops.contracts.session import Scope

# Problems that a control route may answer with, for the OpenAPI document.
READS: dict[int | str, dict[str, Any]] = {status: DOCUMENTED[status] for status in (401, 403, 422, 503)}
CHANGES: dict[int | str, dict[str, Any]] = {status: DOCUMENTED[status] for status in (401, 403, 404, 409, 422, 503)}


def parts_of(request: Request) -> Parts:
    """The parts of the process."""
    parts: Parts = request.app.state.parts
    return parts


async def _anybody(request: Request, _credentials: Annotated[Any, Security(BEARER)]) -> Client:
    """Any valid client."""
    header = request.headers.get("authorization")
    return await parts_of(request).gate.admit(None if header is None else header.encode("latin-1"))


async def _door_reader(request: Request, _credentials: Annotated[Any, Security(BEARER)]) -> Client:
    """A client at the door of a foreign protocol: it may know Basic credentials only, and reads there in order to predict."""
    header = request.headers.get("authorization")
    client = await parts_of(request).gate.admit(bearer(None if header is None else header.encode("latin-1")))
    if "read" not in client.may:
        client.require_scope("predict")
    return client


async def _reader(client: Annotated[Client, Depends(_anybody)]) -> Client:
    """A client that may see what operators see."""
    client.require_scope("read")
    return client


def _who_may(scope: Scope) -> Callable[[Request, Client], Awaitable[Client]]:
    async def check(request: Request, client: Annotated[Client, Depends(_anybody)]) -> Client:
        client.require_scope(scope)
        # A token tells the role of the sign-in; a change needs today's.
        confirmed = await run_in_threadpool(parts_of(request).identity.confirm, client)
        confirmed.require_scope(scope)
        return confirmed

    return check


PartsOf = Annotated[Parts, Depends(parts_of)]
Anybody = Annotated[Client, Depends(_anybody)]
Reader = Annotated[Client, Depends(_reader)]
DoorReader = Annotated[Client, Depends(_door_reader)]
Operator = Annotated[Client, Depends(_who_may("operate"))]
Admin = Annotated[Client, Depends(_who_may("admin"))]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        description="The same request under the same key is done once and answered the same way.",
    ),
]
