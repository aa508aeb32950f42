"""How far the 99th percentile lies from the median while one process is kept busy for 80 % of the time.

Load is utilisation, as in queueing: the share of a processor that the server takes. A closed loop fills every turn of the event loop,
which makes an answer cheaper than arrivals at random ever do, so that a share of its throughput would be more of a load than its number
says. The rate is therefore found with the arrivals that are measured: independent clients (Poisson over 64 connections), first at half
of the closed loop's throughput, then twice at the rate that what an answer cost just before makes 80 %. Then it is held for some
seconds, and latencies count from when each request was due. The value is the median over the rounds of p99 / p50; the generator's own
lateness is in the latencies, and reported.

A process that falls behind makes everybody wait alike, which would flatter the ratio: so `limits` holds that few requests find all
connections waiting (`starved_share`). More do where others take the cores between calibration and load. A process that is less
busy than it was to be would flatter it too: `busy` is held as well.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

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
    loads = [one.load for one in found]
    details: dict[str, Any] = {
        "ratios": [round(_ratio(one), 2) for one in loads],
        "capacity_per_s": round(statistics.median(one.capacity_per_s for one in found)),
        "asked_per_s": [round(one.rate_per_s) for one in found],
        "busy": round(statistics.median(one.busy for one in found), 2),
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


class _Round(NamedTuple):
    """Throughput of the closed loop, the rate that was held, the share of a processor that it took, and the load."""

    capacity_per_s: float
    rate_per_s: float
    busy: float
    load: OpenLoad


def _ratio(done: OpenLoad) -> float:
    return done.quantile_ms(0.99) / done.quantile_ms(0.5)


def _round(port: int, pid: int, request: bytes, seconds: float, calibration: int) -> _Round:
    full = load.closed_loop("127.0.0.1", port, request, requests=calibration)
    capacity_per_s = full.answers / full.wall_s
    rate_per_s = capacity_per_s / 2
    for _ in range(2):
        busy, done = _held(port, pid, request, rate_per_s, 1.0)
        rate_per_s = min(capacity_per_s, SHARE * done.answers / done.wall_s / busy)
    return _Round(capacity_per_s, rate_per_s, *_held(port, pid, request, rate_per_s, seconds))


def _held(port: int, pid: int, request: bytes, rate_per_s: float, seconds: float) -> tuple[float, OpenLoad]:
    """The share of a processor that the server took, and the load."""
    before = load.cpu_ns(pid)
    done = open_loop(port, request, rate_per_s=rate_per_s, requests=round(rate_per_s * seconds), connections=CONNECTIONS)
    return (load.cpu_ns(pid) - before) / 1e9 / done.wall_s, done
