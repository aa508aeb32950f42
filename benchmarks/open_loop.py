"""An open-loop load: requests are due at times that nobody's answers move, and a latency counts from when its request was due.

A closed loop waits with a slow server and so hides how long others would have waited (coordinated omission). Here arrivals are
drawn beforehand: `poisson`, as independent clients come, or `even`. A request that is due while all connections wait for
answers is sent late, and its wait counts. So does the generator's own lateness, which is reported beside the latencies: where it is
not small, they say more about the generator than about the server.

The generator is a process of its own: `python -m benchmarks.open_loop PORT RATE REQUESTS CONNECTIONS ARRIVALS`, the request on
standard input, the result as JSON on standard output.
"""

import gc
import json
import random
import select
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.load import Connection, Load, kind

Arrivals = Literal["poisson", "even"]
HOST = "127.0.0.1"
# Not from `product`: that would make every generator import what trains models.
ROOT = Path(__file__).resolve().parents[1]
# Somebody who waits for so long waits for nothing, seconds.
PATIENCE_S = 10.0


@dataclass(frozen=True)
class OpenLoad(Load):
    """One finished open-loop load; latencies count from when a request was due.

    Attributes:
        late_ms: how late each request was sent for which a connection was free.
        starved: requests that were due while every connection waited.
        generator_cpu_us: of the generator, for each request.
        processes: how many connections each process of the server holds, most first.
    """

    late_ms: tuple[float, ...]
    starved: int
    generator_cpu_us: float
    processes: tuple[int, ...]

    def late_quantile_ms(self, q: float) -> float:
        """Quantile of the generator's own lateness, milliseconds."""
        return sorted(self.late_ms)[min(len(self.late_ms) - 1, int(q * len(self.late_ms)))]


def open_loop(
    port: int, request: bytes, *, rate_per_s: float, requests: int, connections: int = 64, arrivals: Arrivals = "poisson"
) -> OpenLoad:
    """Run the generator and read what it found."""
    arguments = [str(port), str(rate_per_s), str(requests), str(connections), arrivals]
    command = [sys.executable, "-m", "benchmarks.open_loop", *arguments]
    done = subprocess.run(command, cwd=ROOT, input=request, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the generator failed: {done.stderr[-2000:].decode()}")
    found = json.loads(done.stdout)
    return OpenLoad(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def due_times_s(rate_per_s: float, requests: int, arrivals: Arrivals) -> list[float]:
    """When each request is due, seconds after the start; the same at every call."""
    if arrivals == "even":
        return [number / rate_per_s for number in range(requests)]
    draw = random.Random(requests)
    due, at_s = [], 0.0
    for _ in range(requests):
        due.append(at_s)
        at_s += draw.expovariate(rate_per_s)
    return due


class _Slot(Connection):
    """A connection that knows when its request was due."""

    due_s = 0.0


def generate(port: int, request: bytes, rate_per_s: float, requests: int, connections: int, arrivals: Arrivals) -> OpenLoad:
    """Send each request when it is due."""
    slots = [_Slot(HOST, port, request) for _ in range(connections)]
    processes = _processes(slots)
    latencies_ms: list[float] = []
    late_ms: list[float] = []
    counts: Counter[str] = Counter()
    starved = ended = sent = 0
    poller = select.epoll()
    by_file = {slot.socket.fileno(): slot for slot in slots}
    for file in by_file:
        poller.register(file, select.EPOLLIN)
    free = deque(slots)
    cpu_s = time.process_time()
    start = time.perf_counter() + 0.05
    due = [start + at_s for at_s in due_times_s(rate_per_s, requests, arrivals)]
    # Until then every connection waited.
    blocked_until_s = 0.0
    while ended < requests:
        now = time.perf_counter()
        while free and sent < requests and due[sent] <= now:
            slot = free.popleft()
            slot.due_s = due[sent]
            slot.send()
            if slot.due_s < blocked_until_s:
                starved += 1
            else:
                late_ms.append((slot.sent_s - slot.due_s) * 1e3)
            sent += 1
        wait_s = max(0.0, due[sent] - time.perf_counter()) if sent < requests and free else PATIENCE_S
        # epoll itself counts in whole milliseconds, which is as long as a server takes.
        if not select.select([poller], [], [], wait_s)[0] and wait_s == PATIENCE_S:
            raise TimeoutError(f"{sent - ended} requests were not answered within {PATIENCE_S:g} s")
        for file, _ in poller.poll(0):
            slot = by_file[file]
            answered = slot.receive()
            if answered is None:
                continue
            found = kind(answered[0])
            counts[found] += 1
            if found == "answers":
                latencies_ms.append((time.perf_counter() - slot.due_s) * 1e3)
            ended += 1
            if not free:
                blocked_until_s = time.perf_counter()
            free.append(slot)
    wall_s = time.perf_counter() - start
    cpu_us = (time.process_time() - cpu_s) / requests * 1e6
    return OpenLoad(
        counts["answers"],
        counts["refusals"],
        counts["failures"],
        wall_s,
        tuple(latencies_ms),
        tuple(late_ms),
        starved,
        cpu_us,
        processes,
    )


def _processes(slots: list[_Slot]) -> tuple[int, ...]:
    """Use each connection once; whose answers carry which process's mark in the prediction's id."""
    marks: Counter[bytes] = Counter()
    # All at once, as clients come: one after another they would find everybody idle.
    for slot in slots:
        slot.send()
    for slot in slots:
        while slot.receive() is None:
            pass
        at = slot.received.find(b'"prediction_id":"') + 17
        marks[slot.received[at + 16 : at + 24]] += 1
    return tuple(count for _, count in marks.most_common())


def main(port: str, rate_per_s: str, requests: str, connections: str, arrivals: Arrivals) -> None:
    """Read the request, generate the load, write the result."""
    request = sys.stdin.buffer.read()
    gc.disable()
    done = generate(int(port), request, float(rate_per_s), int(requests), int(connections), arrivals)
    json.dump(asdict(done), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
