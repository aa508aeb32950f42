"""Trajectories per CPU-second of the server, in each bulk format, and what `/predict` feels of it.

The model is constant velocity, so that the formats are measured and not a network. A bulk has 10,000 trajectories; CPU time is that
of all threads of the server and of its JSON workers. The value is the smallest ratio, over the formats, of what was measured (best
of several rounds: a shared machine only ever adds) to what is required. Rows that name agents are recorded, whatever their format, and
have no such requirement. Beside it: the 99th percentile of a steady `/predict` load
alone, while a client sends bulks to the same process without pause, and while it sends them to another process of the API: the
difference between the last two is what the event loop is held up, the rest is a processor that is shared.
"""

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.batch_bodies import FORMATS, NAMED, ROWS, send
from benchmarks.product import ROOT, Product, api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body

REQUIRED_PER_S = {"oip_binary": 1_000_000, "arrow": 500_000, "oip_json": 140_000, "columns_json": 60_000}
ROUNDS, BULKS, WARM_UP = 5, 6, 4
PACE_S, PACED = 0.005, 400


def run() -> Measurement:
    """Measure each format, then `/predict` alone and beside each of them."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder), "constant_velocity")
        port, other_port = free_port(), free_port()
        with process(*api(product, port)) as (server, _), process(*api(product, other_port)):
            per_s = {name: _throughput(port, server.pid, product, name) for name in FORMATS}
            request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
            load.closed_loop("127.0.0.1", port, request, requests=500)
            p99_ms = {"alone": _p99_ms(port, request)}
            for name in (*FORMATS, *NAMED):
                for kind, target in ((f"beside_{name}", other_port), (f"with_{name}", port)):
                    with _bulks(target, product, name):
                        p99_ms[kind] = _p99_ms(port, request)
            p99_ms["alone_again"] = _p99_ms(port, request)
    ratios = {name: per_s[name] / REQUIRED_PER_S[name] for name in FORMATS}
    details: dict[str, Any] = {
        **{f"{name}_per_cpu_s": round(value) for name, value in per_s.items()},
        **{f"{name}_ratio": round(value, 2) for name, value in ratios.items()},
        **{f"predict_p99_ms_{name}": round(value, 2) for name, value in p99_ms.items()},
        "rows": ROWS,
    }
    return Measurement(min(ratios.values()), details)


def _throughput(port: int, pid: int, product: Product, name: str) -> float:
    bulk = FORMATS[name]()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(WARM_UP):
        send(connection, bulk, product.api_key)
    costs_s = []
    for _ in range(ROUNDS):
        before = load.tree_cpu_ns(pid)
        for _ in range(BULKS):
            send(connection, bulk, product.api_key)
        costs_s.append((load.tree_cpu_ns(pid) - before) / 1e9)
    connection.close()
    return BULKS * ROWS / min(costs_s)


@contextmanager
def _bulks(port: int, product: Product, name: str) -> Iterator[None]:
    """A client of its own that sends bulks without pause."""
    command = [sys.executable, "-m", "benchmarks.batch_bodies", str(port), product.api_key, name]
    client = subprocess.Popen(command, cwd=ROOT)
    try:
        time.sleep(1.0)
        yield
        if client.poll() is not None:
            raise RuntimeError(f"the client of {name} has ended")
    finally:
        client.terminate()
        client.wait()


def _p99_ms(port: int, request: bytes) -> float:
    """Median over three loads of the 99th percentile, of one request every few milliseconds."""
    return statistics.median(load.paced("127.0.0.1", port, request, requests=PACED, pace_s=PACE_S).quantile_ms(0.99) for _ in range(3))
