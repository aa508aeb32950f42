"""The short way inside the server: a request that can be answered at once takes no task, no scope and no messages.

`DirectProtocol` is uvicorn's protocol. It collects the body of a POST to a path that has a door, and hands it over. Whatever the
door cannot answer at once (a credential that has to be looked up, a body that the documented model has to judge, a client over its
limit) and whatever is unusual in a request becomes an ordinary request, answered through ASGI as if nothing had been tried.
"""

import asyncio
import select
import time
from collections.abc import Collection
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import PROTOCOL_ERRORS, render_protocol

# Where the application's lifespan state has its doors: a dictionary of `Door` by request target.
DOORS = "trajops.doors"
# A larger body is read by the ordinary way, which can tell the client to wait.
LARGEST_BYTES = 64 * 1024
# The largest head of a request, and how long a client may take for it, and for the next byte of a body that has begun, seconds.
LARGEST_HEAD_BYTES = 64 * 1024
HEAD_S, BODY_S = 20.0, 30.0
# What a client offers to go on with instead of HTTP/1.1; nothing of it is spoken here.
_OFFERS = {b"upgrade", b"connection", b"http2-settings"}
# How soon a connection with a request that is not wholly read is looked at again when the server leaves, seconds.
_AGAIN_S = 0.01
# How long a connection may be new, and nothing be asked on it yet, before the server that leaves closes it, seconds.
_NEW_S = 1.0

Header = tuple[bytes, bytes]


class Door(Protocol):
    """Answers the requests to one path."""

    def begin(self, exchange: "Exchange") -> bool:
        """Take a whole request, and have it answered by `exchange.answer` now or soon; False: it has to go the ordinary way."""
        ...


class _Unread:
    """Stands for the event by which uvicorn wakes who reads a request's body: nobody does here."""

    def set(self) -> None:
        """Nothing to wake."""


class Exchange:
    """A request that is answered directly; it stands where uvicorn keeps its own request and response.

    Attributes:
        headers: names in lower case, and values.
        body: all of it, once the door sees it.
        started_s: when its head was complete, monotonic clock.
    """

    __slots__ = ("_protocol", "body", "disconnected", "door", "headers", "keep_alive", "response_complete", "started_s")
    message_event = _Unread()

    def __init__(self, protocol: "DirectProtocol", door: Door, headers: list[Header], keep_alive: bool) -> None:
        self._protocol = protocol
        self.door = door
        self.headers = headers
        self.body: bytes | bytearray = b""
        self.started_s = time.perf_counter()
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def elapsed_s(self) -> float:
        """Seconds since its head was complete."""
        return time.perf_counter() - self.started_s

    def answer(self, status: int, fields: bytes, content: bytes) -> None:
        """Send the whole answer; does nothing where there was one already, or the client has hung up.

        Args:
            status: of the answer.
            fields: further header lines, each ended by CR LF; without Content-Length.
            content: the body.
        """
        if self.response_complete:
            return
        self.response_complete = True
        self._protocol.finish(self, status, fields, content)


class _Flow(FlowControl):
    """Reads no further while requests of the connection wait for their turn, so that who never hears an answer fills no memory."""

    def __init__(self, transport: asyncio.Transport, waiting: Collection[object]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, if nothing that was read already has to wait."""
        if not self._waiting:
            super().resume_reading()


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's protocol with doors. One connection; the arguments are uvicorn's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        is_plain = not self.root_path and self.limit_concurrency is None
        self._doors: dict[bytes, Door] = self.app_state.get(DOORS, {}) if is_plain else {}
        self._receiving: Exchange | None = None
        # The timer of an idle connection is set once and looks again, instead of being set and cancelled for each request.
        self._idle_since_s: float | None = None
        self._heard_s = 0.0
        # Since when a head is on its way, and its bytes of the parts that did not complete it.
        self._head_since_s: float | None = None
        self._heads = self._head_bytes = 0
        self._is_offering = self._is_half_closed = self._is_broken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._idle_since_s = self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(min(HEAD_S, self.timeout_keep_alive), self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._is_broken:
            return
        self._idle_since_s, self._heard_s, heads = None, self.loop.time(), self._heads
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse_rest()
        if self._head_since_s is not None and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD_BYTES and not self.transport.is_closing():
                self._refuse_connection(431)

    def _decline(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 with a request that offers to go on in something else: as if it had not, which RFC 9110 7.8 allows."""
        self._is_offering = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse_rest()
            return
        fields = [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name not in _OFFERS]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            fields.append(b"connection: close\r\n")
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(fields)) + rest)

    def _refuse_rest(self) -> None:
        """What follows is no HTTP: the request before it is still answered."""
        self._is_broken, self._head_since_s = True, None
        if self._is_answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self._refuse_connection(400)

    def _refuse_connection(self, status: int) -> None:
        """Say why this is no request, and close."""
        refusal = render_protocol(status)
        self.logger.warning("%s: %s", refusal.status, PROTOCOL_ERRORS[status][1])
        fields = b"".join([b"%s: %s\r\n" % (name.lower().encode(), value.encode()) for name, value in refusal.headers.items()])
        rest = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(refusal.content)
        self.transport.write(b"".join((STATUS_LINE[status], self._default_lines(), fields, rest, refusal.content)))
        self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it may still be listening, or it has left.

        What is answered at the end of this turn still leaves. Whoever waits for longer has left, as for any server: nobody should
        go on working for it.
        """
        self._is_half_closed = hasattr(self.cycle, "door") and self._is_answering()
        return self._is_half_closed

    def _is_answering(self) -> bool:
        """Whether a request has wholly come in, and its answer has not wholly left."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not self._is_receiving()

    def _is_receiving(self) -> bool:
        """Whether the body of a request is on its way."""
        return self._receiving is not None or getattr(self.cycle, "more_body", False)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Put off what only an ordinary request needs."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._head_since_s, self._head_bytes = self._heard_s, 0
        self._heads += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head; one that follows a body is nothing that decides anything, and is dropped."""
        if self._head_since_s is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Choose the way."""
        self._head_since_s = None
        if self.parser.should_upgrade():
            self._is_offering = True
            return
        door, parser, cycle = self._doors.get(self.url), self.parser, self.cycle
        if (
            door is None
            or parser.get_method() != b"POST"
            or (cycle is not None and not cycle.response_complete)
            or self.expect_100_continue
            or self.flow.write_paused
            or parser.get_http_version() != "1.1"
        ):
            self._go_on_ordinarily()
            return
        self._receiving = Exchange(self, door, self.headers, parser.should_keep_alive())
        self.cycle = self._receiving  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Collect a part."""
        exchange = self._receiving
        if exchange is None:
            if not self._is_offering:
                super().on_body(body)
            return
        if exchange.body:
            if type(exchange.body) is bytes:
                exchange.body = bytearray(exchange.body)  # so that many small parts are not copied again and again
            exchange.body += body
        else:
            exchange.body = body
        if len(exchange.body) > LARGEST_BYTES:
            self._turn_back(exchange)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        exchange = self._receiving
        if exchange is None:
            if not self._is_offering:
                super().on_message_complete()
            return
        self._receiving = None
        exchange.body = bytes(exchange.body)
        if not exchange.door.begin(exchange):
            self._turn_back(exchange)
            super().on_message_complete()

    def _turn_back(self, exchange: Exchange) -> None:
        """Make an ordinary request of what has come in of one."""
        self._receiving = self.cycle = None  # type: ignore[assignment]
        self._go_on_ordinarily()
        super().on_body(bytes(exchange.body))

    def _go_on_ordinarily(self) -> None:
        """What uvicorn does from a message's begin to the end of its head, with what the parser has said since."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        self._head_since_s = None
        super().on_headers_complete()

    # What ends a request

    def finish(self, exchange: Exchange, status: int, fields: bytes, content: bytes) -> None:
        """Write an answer, and go on with the connection."""
        transport = self.transport
        if not exchange.disconnected and not transport.is_closing():
            close = b"" if exchange.keep_alive else b"connection: close\r\n"
            length = b"content-length: %d\r\n\r\n" % len(content)
            transport.write(b"".join((STATUS_LINE[status], self._default_lines(), fields, close, length, content)))
            if not exchange.keep_alive:
                transport.close()
        self.on_response_complete()

    def _default_lines(self) -> bytes:
        """The header lines of every answer; made anew when the server has made them anew, which is once a second."""
        global _defaults  # noqa: PLW0603 - one for all connections
        headers = self.server_state.default_headers
        if headers is not _defaults[0]:
            _defaults = (headers, b"".join([b"%s: %s\r\n" % (name, value) for name, value in headers]))
        return _defaults[1]

    def on_response_complete(self) -> None:
        """Go on with a request that waits, or wait for one."""
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._is_half_closed:
            self.transport.close()
            return
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection whose client owes us something, and has not sent it in time."""
        self.timeout_keep_alive_task = None
        if self._is_answering() or (self._is_receiving() and self.flow.read_paused):
            # It is our turn; when the answer has left, the timer is set again.
            self.timeout_keep_alive_task = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)
            return
        now_s = self.loop.time()
        if self._is_receiving():
            left_s = self._heard_s + BODY_S - now_s
        elif self._head_since_s is not None:
            left_s = self._head_since_s + HEAD_S - now_s
        else:
            if self._idle_since_s is None:
                self._idle_since_s = now_s  # the rest of a body that was refused
            left_s = self._idle_since_s + self.timeout_keep_alive - now_s
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(min(left_s, HEAD_S), self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    # What ends a connection

    def shutdown(self) -> None:
        """Close it now if nothing is asked on it, or about to be.

        uvicorn would also close it on a request that has come in, in whole or in part, and on a client that has just connected to ask.
        """
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not self.transport.is_closing() and not is_answering and self._is_owed():
            self.loop.call_later(_AGAIN_S, self.shutdown)
            return
        super().shutdown()

    def _is_owed(self) -> bool:
        """Whether a request is on its way, or may be; only an open connection can tell."""
        has_begun = self.headers is not None and self._idle_since_s is None
        return has_begun or self._is_new() or self._has_unread()

    def _is_new(self) -> bool:
        return self._heads == 0 and self._idle_since_s is not None and self.loop.time() - self._idle_since_s < _NEW_S

    def _has_unread(self) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None


_defaults: tuple[list[Header] | None, bytes] = (None, b"")
