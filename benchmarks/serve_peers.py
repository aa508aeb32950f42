"""The champion network behind TrajOps with everything on, and behind other model servers bare: CPU time for an answer.

`mlflow models serve`, MLServer and BentoML are installed into environments of their own, serve the same model, and are asked for the
same forecast; before anything is measured, their numbers are held against ours. All servers run; one at a time is loaded by the
same closed loop, in turn with TrajOps and with the constant-body app, several times. CPU time is that of the whole
process tree. The value is the smallest, over the peers, of how many times as much a peer takes as TrajOps, over what is required.
"""

import contextlib
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from benchmarks import load
from benchmarks.peers.environments import versions
from benchmarks.peers.servers import PEERS, Peer
from benchmarks.product import Product, api, constant_body, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.serve_hot_path import body

# How many times as much CPU as TrajOps each peer must take.
REQUIRED = {"mlflow": 12.0, "mlserver": 5.0, "bentoml": 8.0}
CONNECTIONS, WARM_UP = 16, 300
LIMIT, OURS = "constant_body", "trajops"
# Our answers are rounded to tenths of a millimetre and its square; ONNX works in single precision.
NEAR_M, NEAR_M2 = 1e-3, 1e-3


class Target(NamedTuple):
    """Something to load."""

    port: int
    pid: int
    request: bytes
    requests: int


class Cost(NamedTuple):
    """What one load found."""

    cpu_us: float
    per_s: float
    p50_ms: float
    p99_ms: float


def run(rounds: int = 9, requests: int = 4_000, peer_requests: int = 1_000) -> Measurement:
    """Install, start, compare the numbers, measure."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        product = prepare(Path(folder))
        history = orjson.loads(body())["history"]
        peers = {name: make(product, history, _made(Path(folder, name))) for name, make in PEERS.items()}
        targets = _own(product, running, requests)
        for name, peer in peers.items():
            server, _ = running.enter_context(process(peer.command, peer.environment, peer.ready_url, timeout_s=180))
            targets[name] = Target(peer.port, server.pid, peer.request, peer_requests)
        differences = _compare(targets, peers)
        for target in targets.values():
            load.closed_loop("127.0.0.1", target.port, target.request, requests=WARM_UP, connections=CONNECTIONS)
        found = [{name: _cost(target) for name, target in targets.items()} for _ in range(rounds)]
        rows = {name: _row(name, found) for name in targets}
        for name, peer in peers.items():
            rows[name] |= {"title": peer.title, "how": peer.how, "versions": versions(peer.bin_folder), "difference_m": differences[name]}
    factors = {name: rows[name]["times_trajops"] / required for name, required in REQUIRED.items()}
    details: dict[str, Any] = {
        **{f"{name}_times": rows[name]["times_trajops"] for name in REQUIRED},
        "connections": CONNECTIONS,
        "rows": rows,
    }
    return Measurement(min(factors.values()), {**details, "required": REQUIRED})


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _own(product: Product, running: contextlib.ExitStack, requests: int) -> dict[str, Target]:
    limit_port, port = free_port(), free_port()
    request = load.post("/predict", body(), {"Authorization": f"Bearer {product.api_key}"})
    constant, _ = running.enter_context(process(*constant_body(product, limit_port)))
    ours, _ = running.enter_context(process(*api(product, port)))
    return {LIMIT: Target(limit_port, constant.pid, request, requests), OURS: Target(port, ours.pid, request, requests)}


def _compare(targets: dict[str, Target], peers: dict[str, Peer]) -> dict[str, float]:
    """Ask everybody once; the largest difference of a predicted position to ours, metres.

    Raises:
        RuntimeError: if a peer's numbers are not ours.
    """
    mode = _ask(targets[OURS])["modes"][0]
    mean_m = np.array(mode["positions"])
    covariance_m2 = np.array(mode["covariance"])[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    differences = {}
    for name, peer in peers.items():
        peer_mean_m, peer_covariance_m2 = peer.read(_ask(targets[name]))
        difference_m, difference_m2 = np.abs(peer_mean_m - mean_m).max(), np.abs(peer_covariance_m2 - covariance_m2).max()
        if not (difference_m < NEAR_M and difference_m2 < NEAR_M2):
            raise RuntimeError(f"{peer.title} answers other numbers: {difference_m:.3g} m and {difference_m2:.3g} m² away")
        differences[name] = float(f"{difference_m:.2g}")
    return differences


def _ask(target: Target) -> dict[str, Any]:
    heard: list[bytes] = []
    load.closed_loop("127.0.0.1", target.port, target.request, requests=1, connections=1, watch=lambda *one: heard.append(one[3]))
    head, _, content = heard[0].partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"a prediction was answered with {head[:60]!r}: {content[:300].decode(errors='replace')}")
    answer: dict[str, Any] = orjson.loads(content)
    return answer


def _cost(target: Target) -> Cost:
    before = load.tree_cpu_ns(target.pid)
    done = load.closed_loop("127.0.0.1", target.port, target.request, requests=target.requests, connections=CONNECTIONS)
    if done.answers != target.requests:
        raise RuntimeError(f"{target.requests - done.answers} of {target.requests} answers were not 200")
    cpu_us = (load.tree_cpu_ns(target.pid) - before) / 1e3 / done.answers
    return Cost(cpu_us, done.answers / done.wall_s, done.quantile_ms(0.5), done.quantile_ms(0.99))


def _row(name: str, found: list[dict[str, Cost]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are paired within a round."""
    costs = Cost(*(statistics.median(column) for column in zip(*(one[name] for one in found), strict=True)))
    return {
        "cpu_us": round(costs.cpu_us, 1),
        "of_the_limit": round(statistics.median(one[LIMIT].cpu_us / one[name].cpu_us for one in found), 3),
        "times_trajops": round(statistics.median(one[name].cpu_us / one[OURS].cpu_us for one in found), 2),
        "times_rounds": [round(one[name].cpu_us / one[OURS].cpu_us, 1) for one in found],
        "per_s": round(costs.per_s),
        "p50_ms": round(costs.p50_ms, 2),
        "p99_ms": round(costs.p99_ms, 2),
    }
