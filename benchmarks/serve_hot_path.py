"""What `/predict` costs with every feature on, as a share of a constant-body ASGI app on the same server.

Features: authentication, validation, variant assignment, the champion network with covariance, track buffer, metrics, and
telemetry on disk before the answer leaves. The two are loaded in turn, several times, by the same closed loop; the value is
the median over the rounds of (CPU per constant answer) / (CPU per prediction), of all threads of the server process.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.product import api, free_port, prepare, process
from benchmarks.record import Measurement

ROUNDS, REQUESTS, WARM_UP, CONNECTIONS = 5, 4_000, 1_000, 16


def body() -> bytes:
    """One agent's 8 positions, as a client sends them."""
    history = np.cumsum(np.full((8, 2), [0.5, 0.1]), axis=0).round(3).tolist()
    return json.dumps({"agent_id": "walker-1", "scene_id": "plaza", "history": history, "observed_at_s": 1.7e9}).encode()


def run() -> Measurement:
    """Measure both in one run."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder))
        port, limit_port = free_port(), free_port()
        limit = [
            sys.executable,
            "-m",
            "uvicorn",
            "benchmarks.constant_body:app",
            "--port",
            str(limit_port),
            "--no-access-log",
            "--log-level",
            "error",
        ]
        request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
        with (
            process(*api(product, port)) as (server, _),
            process(limit, product.environment(limit_port), f"http://127.0.0.1:{limit_port}/") as (constant, _),
        ):
            for target in (port, limit_port):
                load.closed_loop("127.0.0.1", target, request, requests=WARM_UP, connections=CONNECTIONS)
            rounds = [(_cost(limit_port, constant.pid, request), _cost(port, server.pid, request)) for _ in range(ROUNDS)]
    ratios = [constant_us["cpu_us"] / predict_us["cpu_us"] for constant_us, predict_us in rounds]
    details: dict[str, Any] = {
        "ratios": [round(ratio, 3) for ratio in ratios],
        "constant_cpu_us": round(statistics.median(c["cpu_us"] for c, _ in rounds), 1),
        "predict_cpu_us": round(statistics.median(p["cpu_us"] for _, p in rounds), 1),
        "predict_per_s": round(statistics.median(p["per_s"] for _, p in rounds)),
        "predict_p50_ms": round(statistics.median(p["p50_ms"] for _, p in rounds), 2),
        "predict_p99_ms": round(statistics.median(p["p99_ms"] for _, p in rounds), 2),
        "connections": CONNECTIONS,
    }
    return Measurement(statistics.median(ratios), details)


def _cost(port: int, pid: int, request: bytes) -> dict[str, float]:
    before = load.cpu_ns(pid)
    done = load.closed_loop("127.0.0.1", port, request, requests=REQUESTS, connections=CONNECTIONS)
    if done.refusals or done.failures:
        raise RuntimeError(f"{done.refusals + done.failures} of {REQUESTS} answers were not 200")
    cpu_us = (load.cpu_ns(pid) - before) / 1e3 / done.answers
    return {"cpu_us": cpu_us, "per_s": done.answers / done.wall_s, "p50_ms": done.quantile_ms(0.5), "p99_ms": done.quantile_ms(0.99)}
