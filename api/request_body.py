"""A request's body, whole and bounded: the one way in which the short ways ahead of the framework read it; and whether its client waits."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive

from trajops.errors import TooLarge


class ClientGone(Exception):
    """The client has hung up before it had its whole answer."""


class Departure:
    """Tells when the client of a request hangs up. It reads what comes after the body, so watch only when that has been read.

    Args:
        receive: of the request.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._heard: asyncio.Future[MutableMapping[str, Any]] | None = None

    def watch(self) -> None:
        """Begin. A small answer is not worth it."""
        if self._heard is None:
            self._heard = asyncio.ensure_future(self._receive())

    def check(self) -> None:
        """Go on only if somebody waits; from any thread.

        Raises:
            ClientGone: if the client has hung up.
        """
        if self._heard is not None and self._heard.done():
            raise ClientGone

    def close(self) -> None:
        """Watch no more."""
        if self._heard is not None:
            self._heard.cancel()


async def read_body(receive: Receive, max_bytes: int, length: bytes | None = None) -> bytes:
    """Read until the end.

    Args:
        receive: of the request.
        max_bytes: a larger body is refused, where it says so or where it turns out.
        length: what the request's Content-Length says.

    Raises:
        ClientGone: if the client hangs up before the end.
        TooLarge: if there is more than `max_bytes`.
    """
    if length is not None and len(length) > 3 and int(length) > max_bytes:
        raise too_large(max_bytes)
    parts: list[bytes] = []
    size, is_more = 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        is_more = message.get("more_body", False)
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
        if not is_more and not parts:
            return part
        parts.append(part)
    return b"".join(parts)


def too_large(max_bytes: int) -> TooLarge:
    """The refusal of a body that is larger than this."""
    return TooLarge(f"the body is larger than {max_bytes} bytes; send it in parts, or raise TRAJOPS_MAX_BODY_BYTES")


def too_many(rows: int, most: int) -> TooLarge:
    """The refusal of more rows than one request may carry."""
    return TooLarge(f"one request may carry at most {most} trajectories, not {rows}; send them in parts, or raise TRAJOPS_MAX_BATCH")
