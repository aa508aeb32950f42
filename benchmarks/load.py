"""A closed-loop HTTP load over raw keep-alive sockets, and what it costs the server in CPU time.

The client is deliberately plain, because it must be faster than the server: each connection sends one fixed request again and
again, and no more of an answer is looked at than its status and its length, unless somebody watches.
"""

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Told of each answer: which connection, when it was asked and answered (`perf_counter`), and all its bytes.
Watch = Callable[[int, float, float, bytes], None]


@dataclass(frozen=True)
class Load:
    """One finished load.

    Attributes:
        answers: requests with a 200.
        refusals: requests with a 503 or 429 and a Retry-After.
        failures: all others.
        wall_s: from the first request to the last answer.
        latencies_ms: of the 200s.
    """

    answers: int
    refusals: int
    failures: int
    wall_s: float
    latencies_ms: tuple[float, ...]

    def quantile_ms(self, q: float) -> float:
        """Latency quantile of the 200s, milliseconds."""
        return sorted(self.latencies_ms)[min(len(self.latencies_ms) - 1, int(q * len(self.latencies_ms)))]


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all threads of a process have spent on a processor."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def tree_cpu_ns(pid: int) -> int:
    """The same with all processes that it has started and that still live."""
    children = {child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()}
    return cpu_ns(pid) + sum(tree_cpu_ns(int(child)) for child in children)


class Connection:
    """One socket that waits for its answer before it sends again."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self.received = b""
        self.sent_s = 0.0

    def send(self) -> None:
        """Ask once; the answer to the request before must have been received."""
        self.received = b""
        self.sent_s = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> tuple[bytes, float] | None:
        """Status line and headers, and milliseconds; None while the answer is not complete."""
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("the server has closed the connection")
        self.received += part
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = self.received.lower().find(b"content-length:", 0, head) + 15
        length = int(self.received[at : self.received.index(b"\r", at)])
        if len(self.received) < head + 4 + length:
            return None
        return self.received[:head], (time.perf_counter() - self.sent_s) * 1e3


def kind(head: bytes) -> str:
    """`answers`, `refusals` or `failures`: what an answer with this head is counted as."""
    if head.startswith(b"HTTP/1.1 200"):
        return "answers"
    if head.startswith((b"HTTP/1.1 503", b"HTTP/1.1 429")) and b"retry-after:" in head.lower():
        return "refusals"
    return "failures"


def closed_loop(
    host: str, port: int, request: bytes | Sequence[bytes], *, requests: int, connections: int = 16, watch: Watch | None = None
) -> Load:
    """Send `requests` requests over `connections` sockets, each waiting for its answer before the next; a refusal is no pause.

    `request` is everybody's, or one for each connection. `watch` is told of each answer.

    Connections are made and used one after another before the clock starts: the server's event loop accepts one a turn, so that a
    storm of connections is another thing than a storm of requests.
    """
    latencies_ms: list[float] = []
    refusals = failures = 0
    with selectors.DefaultSelector() as selector:
        own = [request] * connections if isinstance(request, bytes) else request
        open_ones = [Connection(host, port, own[number]) for number in range(min(connections, requests))]
        for number, one in enumerate(open_ones):
            one.send()
            while one.receive() is None:
                pass
            selector.register(one.socket, selectors.EVENT_READ, (number, one))
        start = time.perf_counter()
        for one in open_ones:
            one.send()
        to_send = requests - len(open_ones)
        while len(latencies_ms) + refusals + failures < requests:
            for key, _ in selector.select():
                number, one = key.data
                done = one.receive()
                if done is None:
                    continue
                head, taken_ms = done
                found = kind(head)
                if found == "answers":
                    latencies_ms.append(taken_ms)
                refusals += found == "refusals"
                failures += found == "failures"
                if watch is not None:
                    watch(number, one.sent_s, one.sent_s + taken_ms / 1e3, one.received)
                if to_send:
                    to_send -= 1
                    one.send()
        for one in open_ones:
            one.socket.close()
    return Load(len(latencies_ms), refusals, failures, time.perf_counter() - start, tuple(latencies_ms))


def paced(host: str, port: int, request: bytes, *, requests: int, pace_s: float) -> Load:
    """Send a request every `pace_s` seconds over one socket; one that is due while another waits is sent late, and its wait counts."""
    latencies_ms: list[float] = []
    one = Connection(host, port, request)
    start = time.perf_counter()
    for number in range(requests):
        due = start + number * pace_s
        time.sleep(max(0.0, due - time.perf_counter()))
        one.send()
        while (done := one.receive()) is None:
            pass
        if not done[0].startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {done[0][:40]!r}")
        latencies_ms.append((time.perf_counter() - due) * 1e3)
    one.socket.close()
    return Load(len(latencies_ms), 0, 0, time.perf_counter() - start, tuple(latencies_ms))


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST request."""
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    return f"POST {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + body
