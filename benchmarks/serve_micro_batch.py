"""What answering a turn's requests together saves, and where it costs: CPU time for an answer with `TRAJOPS_TURN_BATCH` 1 and 64.

Three model families, three numbers of connections; both settings run side by side and are loaded in turn, several times. Each
figure is the median of the paired ratios, alone / together: above one, answering together is cheaper. The value is that of the champion
network at 16 connections. At one connection both settings run the same code, and the ratio shows how far noise goes. Nobody is
refused for having to wait: it is the cost that is compared, and 64 who never pause wait for longer than is promised where each is
answered alone.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.product import CHAMPION, api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body

FAMILIES = (CHAMPION, "gradient_boosting", "constant_velocity")
CONNECTIONS = (1, 16, 64)
ALONE, TOGETHER = "1", "64"
PATIENT = {"TRAJOPS_MAX_WAIT_S": "10"}


def run(rounds: int = 7, requests: int = 2_000) -> Measurement:
    """Measure each family with each number of connections."""
    details: dict[str, Any] = {}
    for family in FAMILIES:
        for connections, pairs in _family(family, rounds, requests).items():
            name = f"{family}_{connections}"
            details[f"{name}_ratio"] = round(statistics.median(alone / together for alone, together in pairs), 3)
            details[f"{name}_cpu_us"] = [round(statistics.median(costs), 1) for costs in zip(*pairs, strict=True)]
    return Measurement(details[f"{CHAMPION}_16_ratio"], details)


def _family(family: str, rounds: int, requests: int) -> dict[int, list[tuple[float, float]]]:
    """Connections → microseconds of CPU for an answer (alone, together), one pair a round."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder), family)
        request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
        ports = free_port(), free_port()
        with (
            process(*api(product, ports[0], TRAJOPS_TURN_BATCH=ALONE, **PATIENT)) as (alone, _),
            process(*api(product, ports[1], TRAJOPS_TURN_BATCH=TOGETHER, **PATIENT)) as (together, _),
        ):
            pids = alone.pid, together.pid
            for port in ports:
                load.closed_loop("127.0.0.1", port, request, requests=requests)
            return {connections: [_pair(ports, pids, request, connections, requests) for _ in range(rounds)] for connections in CONNECTIONS}


def _pair(ports: tuple[int, int], pids: tuple[int, int], request: bytes, connections: int, requests: int) -> tuple[float, float]:
    alone, together = (_cpu_us(port, pid, request, connections, requests) for port, pid in zip(ports, pids, strict=True))
    return alone, together


def _cpu_us(port: int, pid: int, request: bytes, connections: int, requests: int) -> float:
    before = load.cpu_ns(pid)
    done = load.closed_loop("127.0.0.1", port, request, requests=requests, connections=connections)
    if done.failures or done.refusals:
        raise RuntimeError(f"{done.failures + done.refusals} of {requests} answers were not 200")
    return (load.cpu_ns(pid) - before) / 1e3 / requests
