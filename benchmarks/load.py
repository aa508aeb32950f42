"""A closed-loop HTTP load over raw keep-alive sockets, and what it costs the server in CPU time.

The client is deliberately plain, because it runs beside the server: it sends one fixed request again and again and
reads each answer to its end.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """One finished load: how much was answered and how fast."""

    answers: int
    failures: int
    wall_s: float
    latencies_ms: tuple[float, ...]

    def quantile_ms(self, q: float) -> float:
        """Latency quantile, milliseconds."""
        return sorted(self.latencies_ms)[min(len(self.latencies_ms) - 1, int(q * len(self.latencies_ms)))]


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all threads of a process have spent on a processor."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


async def _connection(host: str, port: int, request: bytes, stop_at: int, done: list[float], failures: list[int]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while len(done) < stop_at:
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = head.lower().split(b"content-length:", 1)
        await reader.readexactly(int(fields[1].split(b"\r\n", 1)[0]))
        done.append((time.perf_counter() - start) * 1e3)
        if b" 200 " not in head[:16]:
            failures.append(1)
    writer.close()


def closed_loop(host: str, port: int, request: bytes, *, requests: int, connections: int = 16) -> Load:
    """Send `requests` requests over `connections` sockets, each waiting for its answer before the next."""

    async def drive() -> Load:
        done: list[float] = []
        failures: list[int] = []
        start = time.perf_counter()
        await asyncio.gather(*(_connection(host, port, request, requests, done, failures) for _ in range(connections)))
        return Load(len(done), len(failures), time.perf_counter() - start, tuple(done))

    return asyncio.run(drive())


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST request."""
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    return f"POST {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + body
