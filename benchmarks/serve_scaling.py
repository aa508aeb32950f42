"""What two processes make of an open-loop load that one could serve, and whether a processor second buys as much with two.

Two processes are asked 1,000 requests a second; what they answer, and when, is judged by `limits`. The value is the CPU time of an
answer with one process at half of that rate, over that with two processes at the whole: as many requests for each process, so that
nothing but their number differs. One process at the whole rate is beside it: with more requests in each turn of its event loop it
has more to share. All three are loaded in turn, several times, and the value is the median of the paired ratios; CPU time is that of the
whole process tree.

Latencies are medians over the rounds of each round's quantile, with the worst round beside it. The generator needs the same cores: where
`generator_late_p99_ms` is not far below `p99_ms`, the machine was too busy for either.

`connections` says how the generator's connections came to lie over the two processes: they are opened at once and kept.
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

RATE_PER_S, CONNECTIONS, WARM_UP = 1_000, 64, 2_000


def run(rounds: int = 7, seconds: float = 6.0) -> Measurement:
    """Load one process and two in turn."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder))
        request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
        ports = {1: free_port(), 2: free_port()}
        with process(*api(product, ports[1])) as (one, _), process(*api(product, ports[2], "--workers", "2")) as (two, _):
            pids = {1: one.pid, 2: two.pid}
            for port in ports.values():
                load.closed_loop("127.0.0.1", port, request, requests=WARM_UP)
            found = []
            for _ in range(rounds):
                cases = {"half": (1, RATE_PER_S // 2), "one": (1, RATE_PER_S), "two": (2, RATE_PER_S)}
                found.append({name: _cost(ports[n], pids[n], request, rate, seconds) for name, (n, rate) in cases.items()})
    return Measurement(statistics.median(r["half"][0] / r["two"][0] for r in found), _details(found))


def _details(found: list[dict[str, tuple[float, OpenLoad]]]) -> dict[str, Any]:
    cpu_us = {name: statistics.median(r[name][0] for r in found) for name in found[0]}
    two = [r["two"][1] for r in found]
    return {
        "ratios": [round(r["half"][0] / r["two"][0], 2) for r in found],
        "ratio_at_the_same_rate": round(statistics.median(r["one"][0] / r["two"][0] for r in found), 2),
        "cpu_us_one_process_at_half": round(cpu_us["half"], 1),
        "cpu_us_one_process": round(cpu_us["one"], 1),
        "cpu_us_two_processes": round(cpu_us["two"], 1),
        "p50_ms": round(statistics.median(one.quantile_ms(0.5) for one in two), 2),
        "p99_ms": round(statistics.median(one.quantile_ms(0.99) for one in two), 2),
        "p99_ms_worst": round(max(one.quantile_ms(0.99) for one in two), 2),
        "p99_ms_one_process": round(statistics.median(r["one"][1].quantile_ms(0.99) for r in found), 2),
        "not_answered": sum(load.refusals + load.failures for r in found for _, load in r.values()),
        "answered_per_s": round(statistics.median(one.answers / one.wall_s for one in two)),
        "starved": sum(one.starved for one in two),
        "generator_late_p99_ms": round(statistics.median(one.late_quantile_ms(0.99) for one in two), 2),
        "generator_cpu_us": round(statistics.median(one.generator_cpu_us for one in two), 1),
        "connections": [list(one.processes) for one in two],
    }


def _cost(port: int, pid: int, request: bytes, rate_per_s: int, seconds: float) -> tuple[float, OpenLoad]:
    """Microseconds of CPU for an answer, and the load."""
    before = load.tree_cpu_ns(pid)
    done = open_loop(port, request, rate_per_s=rate_per_s, requests=round(rate_per_s * seconds), connections=CONNECTIONS)
    return (load.tree_cpu_ns(pid) - before) / 1e3 / done.answers, done
