"""What the control routes depend on: the parts, and a caller with a sufficient role."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Security
from starlette.concurrency import run_in_threadpool

from api.errors import DOCUMENTED
from api.fast_route import BEARER
from api.wiring import Parts
from trajops.contracts.session import Role
from trajops.services.identity import Client

# Problems that a control route may answer with, for the OpenAPI document.
READS: dict[int | str, dict[str, Any]] = {status: DOCUMENTED[status] for status in (401, 422, 503)}
CHANGES: dict[int | str, dict[str, Any]] = {status: DOCUMENTED[status] for status in (401, 403, 404, 409, 422, 503)}


def parts_of(request: Request) -> Parts:
    """The parts of the process."""
    parts: Parts = request.app.state.parts
    return parts


async def _reader(request: Request, _credentials: Annotated[Any, Security(BEARER)]) -> Client:
    """Any valid client; viewer is the lowest role."""
    header = request.headers.get("authorization")
    return await parts_of(request).gate.admit(None if header is None else header.encode("latin-1"))


def _at_least(role: Role) -> Callable[[Request, Client], Awaitable[Client]]:
    async def check(request: Request, client: Annotated[Client, Depends(_reader)]) -> Client:
        client.require(role)
        # A token tells the role of the sign-in; a change needs today's.
        confirmed = await run_in_threadpool(parts_of(request).identity.confirm, client)
        confirmed.require(role)
        return confirmed

    return check


PartsOf = Annotated[Parts, Depends(parts_of)]
Reader = Annotated[Client, Depends(_reader)]
Operator = Annotated[Client, Depends(_at_least("operator"))]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        description="The same request under the same key is done once and answered the same way.",
    ),
]
