"""How far the 99th percentile lies from the median while one process is asked 80 % of what it can answer.

What it can answer is found in the same round and on the same cores: 16 connections that never pause, driven by a client that takes
its processor time as the generator will. Then independent clients (Poisson arrivals over 64 connections) ask 80 % of that for some
seconds, and latencies count from when each request was due. A closed loop fills every turn of the event loop, which makes an answer
cheaper than arrivals at random ever do; so the process is busier than 80 %, and `busy` says how busy. The value is the
median over the rounds of p99 / p50; the generator's own lateness is in the latencies, and reported.

A process that falls behind makes everybody wait alike, which would flatter the ratio: so `limits` holds that few requests find all
connections waiting (`starved_share`). More do where others take the cores between calibration and load.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.open_loop import OpenLoad, open_loop
from benchmarks.product import api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body

SHARE, CONNECTIONS = 0.8, 64


def run(rounds: int = 9, seconds: float = 4.0, calibration: int = 6_000) -> Measurement:
    """Calibrate and load, several times."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder))
        port = free_port()
        request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
        with process(*api(product, port)) as (server, _):
            load.closed_loop("127.0.0.1", port, request, requests=calibration)
            found = [_round(port, server.pid, request, seconds, calibration) for _ in range(rounds)]
    loads = [done for _, _, done in found]
    details: dict[str, Any] = {
        "ratios": [round(_ratio(one), 2) for one in loads],
        "capacity_per_s": [round(capacity) for capacity, _, _ in found],
        "asked_per_s": round(SHARE * statistics.median(capacity for capacity, _, _ in found)),
        "busy": round(statistics.median(busy for _, busy, _ in found), 2),
        "p50_ms": round(statistics.median(one.quantile_ms(0.5) for one in loads), 2),
        "p99_ms": round(statistics.median(one.quantile_ms(0.99) for one in loads), 2),
        "not_answered": sum(one.refusals + one.failures for one in loads),
        "starved_share": round(statistics.median(one.starved / one.answers for one in loads), 3),
        "generator_late_p50_ms": round(statistics.median(one.late_quantile_ms(0.5) for one in loads), 2),
        "generator_late_p99_ms": round(statistics.median(one.late_quantile_ms(0.99) for one in loads), 2),
        "generator_cpu_us": round(statistics.median(one.generator_cpu_us for one in loads), 1),
        "connections": CONNECTIONS,
    }
    return Measurement(statistics.median(_ratio(one) for one in loads), details)


def _ratio(done: OpenLoad) -> float:
    return done.quantile_ms(0.99) / done.quantile_ms(0.5)


def _round(port: int, pid: int, request: bytes, seconds: float, calibration: int) -> tuple[float, float, OpenLoad]:
    """Capacity per second, share of a processor that the server took, and the load."""
    full = load.closed_loop("127.0.0.1", port, request, requests=calibration)
    capacity = full.answers / full.wall_s
    before = load.cpu_ns(pid)
    done = open_loop(port, request, rate_per_s=SHARE * capacity, requests=round(SHARE * capacity * seconds), connections=CONNECTIONS)
    return capacity, (load.cpu_ns(pid) - before) / 1e9 / done.wall_s, done
