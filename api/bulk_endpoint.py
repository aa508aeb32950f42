"""Answers bulk routes: bytes of any media type in, and an answer that leaves in parts.

Like `api.fast_route` this is a small ASGI application ahead of the framework, with the same gate, request ids, limits and meters.
It differs in what it hands to its use: the raw body with the headers of the request. An answer whose length is not known
streams: each part is made when the one before it has been taken by the client's connection, and none for a client that has hung up.
"""

import asyncio
import base64
import inspect
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from api.auth import Gate
from api.errors import Rendered
from api.fast_route import BEARER, Call, checked_request_id, new_request_id
from api.metrics import RouteMeter
from api.rate_limits import ClientBucket
from api.request_body import ClientGone, Departure, read_body, too_large
from trajops.errors import InvalidInput, TrajOpsError

Part = bytes | bytearray | memoryview
# zlib's window sizes: with a gzip header, or with zlib's own.
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}

# Bytes that are sent in one go.
SLICE_BYTES = 128 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """One bulk request, its body uncompressed.

    Attributes:
        call: who asks, and under which id.
        path: parameters of the path.
        headers: by lower-case name.
        body: all of it.
        departure: tells when the client hangs up; is watched once an answer streams, or earlier if the use begins to.
    """

    call: Call
    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes
    departure: Departure


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its parts are sent one by one; their iterator may still make them.

    Attributes:
        parts: what the body consists of.
        media_type: of the body.
        headers: further ones.
    """

    parts: Iterable[Part] | AsyncGenerator[Part, None]
    media_type: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


Use = Callable[[Asked], Awaitable[Reply]]
# The error as the door's protocol writes it; None stands for a fault of ours.
RenderError = Callable[[TrajOpsError | None, str], Rendered]


class BulkEndpoint:
    """Answers one bulk route.

    Args:
        use: turns a request into a reply.
        render: writes errors as the clients of the route expect them.
        gate: knows the clients.
        meter: counts the answers.
        max_body_bytes: larger bodies are refused, also after they are uncompressed.
    """

    def __init__(self, use: Use, render: RenderError, gate: Gate, meter: RouteMeter, max_body_bytes: int) -> None:
        self.use = use
        self._render = render
        self._gate = gate
        self._meter = meter
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        started_s = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = checked_request_id(headers.get(b"x-request-id", b"")) or new_request_id()
        departure = Departure(receive)
        try:
            status = await self._answer(scope, receive, send, headers, request_id, departure)
        except ClientGone:
            logger.info("%s: the client has hung up before it had its whole answer", scope["path"], extra={"request_id": request_id})
            return
        finally:
            departure.close()
        self._meter.observe(status, time.perf_counter() - started_s)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], request_id: str, departure: Departure
    ) -> int:
        bucket, path = None, scope["path"]
        try:
            client = await self._gate.admit(bearer(headers.get(b"authorization")))
            client.require_scope("predict")
            bucket = client.bucket
            body = await read_body(receive, self._max_body_bytes, headers.get(b"content-length"))
            encoding = headers.get(b"content-encoding", b"identity")
            if encoding != b"identity":
                body = await asyncio.to_thread(self._uncompressed, body, encoding)
            reply = await self.use(Asked(Call(client, request_id), scope.get("path_params", {}), headers, body, departure))
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            return await self._refuse(error, bucket, path, request_id, send)
        return await self._send(reply, bucket, request_id, path, departure, send)

    async def _send(self, reply: Reply, bucket: ClientBucket | None, request_id: str, path: str, departure: Departure, send: Send) -> int:
        parts = reply.parts
        headers = [(b"content-type", reply.media_type), *reply.headers, (b"x-request-id", request_id.encode())]
        if bucket is not None:
            headers += (bucket.policy, bucket.remaining())
        if isinstance(parts, list):
            headers.append((b"content-length", b"%d" % sum(map(len, parts))))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if isinstance(parts, AsyncGenerator):
            departure.watch()
            try:
                async with aclosing(parts):
                    async for part in parts:
                        await self._send_part(part, send)
                        departure.check()
            except ClientGone:
                raise
            except Exception:
                # The status has left. A body that ends without its last chunk tells the client that it is not whole.
                logger.exception("%s failed in the middle of its answer", path, extra={"request_id": request_id})
                raise
        else:
            for part in parts:
                await self._send_part(part, send)
        await send({"type": "http.response.body", "body": b""})
        return 200

    @staticmethod
    async def _send_part(part: Part, send: Send) -> None:
        """Send one part; between slices of a large one the event loop sees to others, which `send` alone does not let it."""
        if len(part) <= SLICE_BYTES:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            return
        whole = memoryview(part)
        for first in range(0, len(whole), SLICE_BYTES):
            await send({"type": "http.response.body", "body": whole[first : first + SLICE_BYTES], "more_body": True})
            await asyncio.sleep(0)

    async def _refuse(self, error: Exception, bucket: ClientBucket | None, path: str, request_id: str, send: Send) -> int:
        if isinstance(error, TrajOpsError):
            rendered = self._render(error, request_id)
            if rendered.status >= 500:
                logger.warning("%s: %s", path, error.message, extra={"request_id": request_id, "status": rendered.status})
        else:
            logger.error("%s failed", path, exc_info=error, extra={"request_id": request_id, "status": 500})
            rendered = self._render(None, request_id)
        headers = [(name.lower().encode(), value.encode()) for name, value in rendered.headers.items()]
        if bucket is not None:
            headers += (bucket.policy, bucket.remaining_after_refusal(error))
        headers += [(b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(rendered.content))]
        await send({"type": "http.response.start", "status": rendered.status, "headers": headers})
        await send({"type": "http.response.body", "body": rendered.content})
        return rendered.status

    def _uncompressed(self, body: bytes, encoding: bytes) -> bytes:
        bits = _WINDOW_BITS.get(encoding)
        if bits is None:
            raise InvalidInput("this takes Content-Encoding gzip or deflate, or none")
        try:
            inflate = zlib.decompressobj(bits)
            whole = inflate.decompress(body, self._max_body_bytes)
        except zlib.error as error:
            raise InvalidInput(f"the body is not what its Content-Encoding says: {error}") from error
        if inflate.unconsumed_tail:
            raise too_large(self._max_body_bytes)
        if not inflate.eof:
            raise InvalidInput("the compressed body ends too early")
        return whole


class BulkRoute(APIRoute):
    """Documents a bulk route, and is answered by its endpoint.

    Args:
        path: may have parameters.
        endpoint: answers.
        takes: annotations by name: those of the path, and `body`.
        documentation: further arguments of a route; `name` and `response_model` among them.
    """

    def __init__(self, path: str, endpoint: BulkEndpoint, takes: Mapping[str, Any], **documentation: Any) -> None:
        super().__init__(
            path,
            _documented(takes),
            methods=["POST"],
            dependencies=[Depends(BEARER)],
            generate_unique_id_function=lambda route: route.name,
            **documentation,
        )
        self.app = endpoint


def _documented(takes: Mapping[str, Any]) -> Callable[..., Any]:
    """A function that is never called: FastAPI reads its signature."""

    def document() -> None:
        raise AssertionError("a bulk route is answered by its endpoint")

    document.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for name, kind in takes.items()]
    )
    return document


def bearer(authorization: bytes | None) -> bytes | None:
    """An Authorization header as the gate knows it.

    Clients that know only user and password (MLflow's, or a URL of the form `http://user:password@host`) send an API key or
    token as the password; the user may be anything.
    """
    if authorization is None or authorization[:6].lower() != b"basic ":
        return authorization
    try:
        _, _, password = base64.b64decode(authorization[6:], validate=True).partition(b":")
    except ValueError:
        return authorization
    return b"Bearer " + password
