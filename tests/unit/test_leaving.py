"""A connection is not closed on a request that has come in; uvicorn's own protocol, which does that, is the control."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api import direct
from api.direct import DirectProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
NOTHING = b""


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def told_to_leave(protocol: type[asyncio.Protocol], before: list[bytes], unread: bytes, later: bytes = NOTHING) -> bytes:
    """What a client reads until the end of a connection whose server leaves.

    Args:
        protocol: of the server.
        before: what was sent, and read by the server, beforehand.
        unread: what has come in at that instant, and was not read by the server.
        later: what follows in the next packet.
    """
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None)
    config.load()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, server = await loop.connect_accepted_socket(lambda: protocol(config, ServerState(), {}), ours)  # type: ignore[call-arg, arg-type]
    with theirs:
        answered = b""
        for part in before:
            await loop.sock_sendall(theirs, part)
            await asyncio.sleep(0)
            while part.endswith(b"\r\n\r\n") and not answered.endswith(b"ok"):
                answered += await loop.sock_recv(theirs, 4096)
            while server.headers is None:  # type: ignore[attr-defined]  # noqa: ASYNC110 - nothing tells of half a head
                await asyncio.sleep(0)
        theirs.send(unread)
        server.shutdown()  # type: ignore[attr-defined]
        if later:
            theirs.send(later)
        read = b""
        try:
            while part := await asyncio.wait_for(loop.sock_recv(theirs, 4096), 10):
                read += part
        except ConnectionResetError:
            pass
        return read


@pytest.mark.parametrize("before", [[], [REQUEST]], ids=["fresh connection", "kept-alive connection"])
def test_a_request_that_has_come_in_is_answered(before: list[bytes]) -> None:
    answer = asyncio.run(told_to_leave(DirectProtocol, before, REQUEST))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"ok")
    assert asyncio.run(told_to_leave(HttpToolsProtocol, before, REQUEST)) == NOTHING


def test_a_request_of_which_a_part_was_read_is_answered() -> None:
    head, tail = REQUEST[:20], REQUEST[20:]
    answer = asyncio.run(told_to_leave(DirectProtocol, [head], NOTHING, later=tail))
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_the_first_request_of_a_client_that_has_just_connected_is_answered() -> None:
    answer = asyncio.run(told_to_leave(DirectProtocol, [], NOTHING, later=REQUEST))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert asyncio.run(told_to_leave(HttpToolsProtocol, [], NOTHING, later=REQUEST)) == NOTHING


def test_a_client_that_connects_and_asks_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_NEW_S", 0.02)
    assert asyncio.run(told_to_leave(DirectProtocol, [], NOTHING)) == NOTHING


def test_an_idle_connection_is_closed_at_once() -> None:
    assert asyncio.run(told_to_leave(DirectProtocol, [REQUEST], NOTHING)) == NOTHING


def test_a_client_that_hangs_up_while_it_is_waited_for_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang_up() -> list[Any]:
        loop, faults, gone = asyncio.get_running_loop(), [], asyncio.Event()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        config = uvicorn.Config(app, http=DirectProtocol, lifespan="off", log_config=None)
        config.load()
        ours, theirs = socket.socketpair()
        _, server = await loop.connect_accepted_socket(lambda: DirectProtocol(config, ServerState(), {}), ours)
        lost = server.connection_lost
        looked = asyncio.Event()
        monkeypatch.setattr(server, "connection_lost", lambda error: lost(error) or loop.call_soon(gone.set))
        server.shutdown()
        theirs.close()
        await gone.wait()
        monkeypatch.setattr(direct, "_NEW_S", 0.0)
        loop.call_later(2 * direct._AGAIN_S, looked.set)
        await looked.wait()
        return faults

    assert asyncio.run(hang_up()) == []
