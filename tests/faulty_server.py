"""A real TCP server that speaks HTTP by a script: it answers, drops connections, hangs, stops in the middle, or trickles."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx


class Received(NamedTuple):
    """One request as it came in."""

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: Any


# Does something with a connection whose request has been read; True: the connection can take another request.
Step = Callable[["FaultyServer", socket.socket], bool]


@dataclass
class FaultyServer:
    """Meets each request with the next step of the script; the last one is repeated.

    Attributes:
        script: what is done.
        received: the requests, in the order in which they came.
        connections: how many were accepted.
        tls: of an https server.
    """

    script: list[Step] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def listen(self) -> None:
        """Accept connections; before this they are refused."""
        self._listener.listen(128)
        self._start(self._accept)

    def close(self) -> None:
        self.is_over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.is_over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except OSError:
                return
        connection.settimeout(0.05)
        with connection, suppress(ConnectionError):
            while (request := self._read(connection, number)) is not None:
                with self._lock:
                    self.received.append(request)
                    step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if not step(self, connection):
                    return

    def _read(self, connection: socket.socket, number: int) -> Received | None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += (part := self._part(connection))
            if not part:
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self._part(connection)
        method, path, _ = first.split(" ")
        is_json = headers.get("content-type") == "application/json"
        return Received(number, method, path, headers, json.loads(body) if is_json else body or None)

    def _part(self, connection: socket.socket) -> bytes:
        while not self.is_over.is_set():
            with suppress(TimeoutError):
                return connection.recv(65_536)
        return b""


def answer(status: int, body: Any = "", **headers: str) -> Step:
    """Answer, and keep the connection unless a header says otherwise."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {"Content-Length": str(len(content)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in named.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def step(_server: FaultyServer, connection: socket.socket) -> bool:
        connection.sendall(head + content)
        return named.get("Connection") != "close"

    return step


def problem(status: int, code: str, **headers: str) -> Step:
    """Answer with a problem document of the API."""
    body = {"type": f"/docs/errors#{code}", "title": "t", "status": status, "code": code, "detail": f"it is {code}"}
    return answer(status, body, **headers)


def drop(_server: FaultyServer, connection: socket.socket) -> bool:
    """Close without a word, after the request was read."""
    return False


def reset(_server: FaultyServer, connection: socket.socket) -> bool:
    """Break the connection, after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def stop_in_the_middle(_server: FaultyServer, connection: socket.socket) -> bool:
    """Close before the body is whole."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"status":')
    return False


def stop_in_a_chunk(_server: FaultyServer, connection: socket.socket) -> bool:
    """Close before the last chunk, as the API does when it fails in the middle of a streamed answer."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n{"status":"alive"}\r\n')
    return False


def hang(server: FaultyServer, connection: socket.socket) -> bool:
    """Say nothing until the client has gone or the test is over."""
    while not server.is_over.is_set():
        with suppress(TimeoutError):
            if not connection.recv(1):
                break
    return False


def trickle(server: FaultyServer, connection: socket.socket) -> bool:
    """Send a long body byte by byte, so that no wait for the next part is long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not server.is_over.wait(0.02):
        connection.sendall(b" ")
    return False


@contextmanager
def faulty_server(*script: Step, is_listening: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[FaultyServer]:
    """A server until the end of the block."""
    server = FaultyServer(list(script), tls)
    if is_listening:
        server.listen()
    try:
        yield server
    finally:
        server.close()


def headers_of(received: list[Received], name: str) -> list[str | None]:
    """One header of each request."""
    return [request.headers.get(name) for request in received]


def relayed(api_url: str, *, is_lost: bool = False) -> Step:
    """Hand the request to an API and its answer back; or lose the answer on the way."""

    def step(server: FaultyServer, connection: socket.socket) -> bool:
        request = server.received[-1]
        headers = {name: value for name, value in request.headers.items() if name not in {"host", "content-length", "connection"}}
        body = None if request.body is None else json.dumps(request.body)
        answered = httpx.request(request.method, api_url + request.path, headers=headers, content=body, timeout=20, trust_env=False)
        return False if is_lost else answer(answered.status_code, answered.content)(server, connection)

    return step
