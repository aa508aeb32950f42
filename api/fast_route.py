"""The hot path: raw bytes in, raw bytes out, and still a documented FastAPI route.

A `FastRoute` stands in the OpenAPI document like any other route. What answers it is a `FastEndpoint`, a small ASGI
application: header scan, remembered client, msgspec decoding, the use case, orjson bytes. `FastApi` looks its endpoints up
before its middleware and router are entered; the router knows them too, so that a mount or a root path changes nothing.
"""

import inspect
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from api.auth import Gate
from api.direct import Door
from api.errors import DOCUMENTED, Rendered, render, render_invalid, render_unexpected, with_problems
from api.metrics import RouteMeter
from api.rate_limits import Admitted, ClientBucket
from api.request_body import ClientGone, read_body
from trajops.contracts.session import Scope
from trajops.errors import TrajOpsError

BEARER = HTTPBearer(description="A token of /v1/token, or an API key.", auto_error=False)
MAX_REQUEST_ID = 128

# What the OpenAPI document says of the header fields of an answer.
_HEADERS = {
    name: {"description": meaning, "schema": {"type": "string"}}
    for name, meaning in {
        "RateLimit": "What the client may still ask for now; only where it is limited.",
        "RateLimit-Policy": "What it may ask for in all; only where it is limited.",
        "X-Request-ID": "The id of the request, if the client gave one.",
    }.items()
}

logger = logging.getLogger(__name__)


class Call(NamedTuple):
    """Who asks, and under which id."""

    client: Admitted
    request_id: str | None


Use = Callable[[Any, Call], Awaitable[bytes]]
Decode = Callable[[bytes], Any]
# What a fast decoder raises on a body that the documented model has to judge.
REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FastEndpoint:
    """Answers one hot route.

    Args:
        use: takes the decoded body and the call, returns the answer as JSON bytes.
        decode: the fast judge of a body; may refuse what `model` accepts, never the reverse.
        model: the documented model, which has the last word on what `decode` refuses.
        gate: knows the clients.
        meter: counts the answers.
        max_body_bytes: larger bodies are refused.
        scope: what a client must be allowed to do.
    """

    def __init__(
        self,
        use: Use,
        decode: Decode,
        model: type[BaseModel],
        gate: Gate,
        meter: RouteMeter,
        max_body_bytes: int,
        *,
        scope: Scope = "predict",
    ) -> None:
        self.use = use
        self.model = model
        self.decode = decode
        self.gate = gate
        self.meter = meter
        self._max_body_bytes = max_body_bytes
        self.scope: Scope = scope
        self._logged_s: dict[str, float] = {}

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        started_s = time.perf_counter()
        authorization = given_id = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-length":
                length = value
            elif name == b"x-request-id":
                given_id = value
        request_id = None if given_id is None else checked_request_id(given_id)
        status, headers, bucket, left = 200, [(b"content-type", b"application/json")], None, None
        try:
            client = self.gate.known(authorization) or await self.gate.admit(authorization)
            if self.scope not in client.may:
                client.require_scope(self.scope)
            bucket = client.bucket
            if bucket is not None and not bucket.take(1, started_s):
                raise bucket.refusal(1)
            query = self._judge(await read_body(receive, self._max_body_bytes, length))
            content = await self.use(query, Call(client, request_id))
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            request_id = request_id or new_request_id()
            status, shown, content = self.problem(error, scope["path"], request_id)
            headers = encoded(shown)
            left = bucket and bucket.remaining_after_refusal(error)
        if bucket is not None:
            headers += (bucket.policy, left or bucket.remaining())
        if request_id is not None:
            headers.append((b"x-request-id", request_id.encode()))
        headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self.meter.observe(status, time.perf_counter() - started_s)

    def _judge(self, body: bytes) -> Any:
        try:
            return self.decode(body)
        except REFUSALS:
            return self.model.model_validate_json(body)

    def problem(self, error: Exception, path: str, request_id: str) -> Rendered:
        """The answer to a request that failed."""
        if isinstance(error, ValidationError):
            found = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors(include_url=False)]
            return render_invalid(found, request_id)
        if isinstance(error, TrajOpsError):
            rendered = render(error, request_id)
            if rendered.status >= 500 and self._is_news(error.code):
                logger.warning("%s: %s", path, error.message, extra={"request_id": request_id, "status": rendered.status})
            return rendered
        logger.error("%s failed", path, exc_info=error, extra={"request_id": request_id, "status": 500})
        return render_unexpected(request_id)

    def _is_news(self, code: str) -> bool:
        """Whether a code was not logged within the last second: a thousand refusals a second are one fact, and counted."""
        now_s = time.monotonic()
        if now_s - self._logged_s.get(code, -1.0) < 1.0:
            return False
        self._logged_s[code] = now_s
        return True


class FastRoute(APIRoute):
    """Documents `takes` → `gives`, and is answered by its endpoint."""

    def __init__(self, path: str, endpoint: FastEndpoint, gives: type[BaseModel], tag: str) -> None:
        super().__init__(
            path,
            _documented(endpoint),
            methods=["POST"],
            response_model=gives,
            tags=[tag],
            dependencies=[Depends(BEARER)],
            responses={200: {"headers": _HEADERS}, **{status: DOCUMENTED[status] for status in (401, 403, 404, 413, 422, 429, 503)}},
            generate_unique_id_function=lambda route: route.name,
        )
        self.app = endpoint


class FastApi(FastAPI):
    """FastAPI with a short way to its hot routes.

    Attributes:
        doors: what the server itself may ask, by request target.
        rest: answers everything else; starts as FastAPI itself, and may be wrapped.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._short: dict[str, ASGIApp] = {}
        self.doors: dict[bytes, Door] = {}
        self._patterns: list[tuple[re.Pattern[str], ASGIApp]] = []
        self.rest: ASGIApp = super().__call__

    def add_fast_route(self, path: str, endpoint: FastEndpoint, gives: type[BaseModel], tag: str) -> None:
        """Register a hot route: documented, routed, and found ahead of both."""
        self.router.routes.append(FastRoute(path, endpoint, gives, tag))
        self._short[path] = endpoint

    def add_bulk_route(self, route: APIRoute) -> None:
        """Register a route that answers by itself, and whose path may have parameters; looked for after the hot routes."""
        self.router.routes.append(route)
        self._patterns.append((route.path_regex, route.app))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = with_problems(super().openapi())
        return self.openapi_schema

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._short.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
            for pattern, bulk in self._patterns:
                match = pattern.match(scope["path"])
                if match is not None:
                    await bulk({**scope, "path_params": match.groupdict()}, receive, send)
                    return
        await self.rest(scope, receive, send)


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI sends them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def take(bucket: ClientBucket, count: int) -> None:
    """Take so many predictions.

    Raises:
        RateLimited: if so many are not there.
    """
    if not bucket.take(count, time.perf_counter()):
        raise bucket.refusal(count)


def _documented(endpoint: FastEndpoint) -> Callable[..., Any]:
    """A function that is never called: FastAPI reads name, text and signature from it."""

    def document() -> None:
        raise AssertionError("a fast route is answered by its endpoint")

    document.__name__ = endpoint.use.__name__
    document.__doc__ = endpoint.use.__doc__
    document.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("body", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=endpoint.model)]
    )
    return document


def checked_request_id(value: bytes) -> str | None:
    """The caller's own request id, if it is short and printable; None otherwise."""
    if not 0 < len(value) <= MAX_REQUEST_ID or not value.isascii():
        return None
    text = value.decode("ascii")
    return text if text.isprintable() else None


def new_request_id() -> str:
    """A fresh request id."""
    return secrets.token_hex(16)
