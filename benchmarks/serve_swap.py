"""A hot swap every second under load: nothing fails, no answer names a model that did not make it, and what it costs.

Three versions of the champion network take turns by the API's own routes, two promotions and then a rollback; the process keeps as few
warm as it can, so that a promotion loads its version anew while the others are being answered. Each connection is an agent of its own,
with its own history; its answers are held against what each version says to that history (`swap_ledger`). One wrong or failed
answer among them (at least 100,000 while versions are swapped, and 20 swaps: rounds are added until there were so many) ends the
benchmark with an error.

The value is the CPU time of an answer while versions are swapped, over that while none is, in turn and in the same run: loading,
warming and the releases themselves are in it. Beside it the 99th percentile of both.
"""

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.product import CHAMPION, Product, api, free_port, prepare, process
from benchmarks.record import Measurement
from benchmarks.swap_ledger import Change, SwapLedger, expected_answers

VERSIONS = (CHAMPION, CHAMPION, CHAMPION)
CONNECTIONS, PERIOD_S, POLL_S = 16, 1.0, 1.0


class Releases:
    """An operator who promotes and rolls back through the API."""

    def __init__(self, port: int, product: Product, ledger: SwapLedger) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {product.operator_key}", "Content-Type": "application/json"}
        self._versions, self._ledger = product.versions, ledger
        route = self._ask("GET", "/v1/routes")["current"]
        self._epoch, self._champion, self._previous = route["epoch"], route["champion"]["model_version"], None
        staged = {row["model_version"] for row in self._ask("GET", "/v1/deployments")["deployments"]}
        for version in product.versions:
            if version not in staged:
                self._ask("POST", "/v1/deployments", {"model_version": version, "reason": "to be swapped in later"})
        self.count = 0

    def swap(self) -> None:
        """Two promotions, then a rollback, and so on; tells the ledger."""
        begun_s = time.perf_counter()
        if self.count % 3 == 2:
            change = self._ask("POST", "/v1/routes/rollback", {"expected_epoch": self._epoch, "reason": "swapped back again"})
        else:
            number = self._champion % len(self._versions) + 1
            rows = self._ask("GET", "/v1/deployments")["deployments"]
            row = next(row for row in rows if row["model_version"] == number)
            body = {"expected_version": row["version"], "reason": "swapped in by the clock"}
            change = self._ask("POST", f"/v1/deployments/{row['deployment_id']}/promote", body)
        self.count += 1
        self._epoch, self._champion = change["route"]["epoch"], change["route"]["champion"]["model_version"]
        self._ledger.changed(self._epoch, Change(self._champion, begun_s, time.perf_counter()))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        # The server closes a connection that was idle for some seconds, so each request has its own.
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} answered {answer.status}: {content[:300].decode(errors='replace')}")
        return json.loads(content)


@contextmanager
def swapping(releases: Releases, period_s: float) -> Iterator[None]:
    """A swap every period until the end of the block; an error of one is raised there."""
    stop = threading.Event()
    errors: list[Exception] = []

    def run() -> None:
        due_s = time.monotonic() + period_s / 2
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            try:
                releases.swap()
            except Exception as error:  # noqa: BLE001 - it is raised where the block ends
                errors.append(error)
                return
            due_s += period_s

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def histories_m(agents: int) -> np.ndarray:
    """(N, 8, 2) walks, each its own."""
    steps = np.random.default_rng(0).normal(loc=(0.4, 0.1), scale=0.1, size=(agents, 8, 2))
    return np.cumsum(steps, axis=1).round(3)


def requests_of(product: Product, histories: np.ndarray) -> list[bytes]:
    """One `/predict` for each history, of an agent of its own."""
    headers = {"Authorization": f"Bearer {product.api_key}"}
    return [
        load.post(
            "/predict", json.dumps({"agent_id": f"walker-{n}", "history": history.tolist(), "observed_at_s": 1.7e9}).encode(), headers
        )
        for n, history in enumerate(histories)
    ]


def run(
    families: tuple[str, ...] = VERSIONS,
    *,
    rounds: int = 5,
    swaps: int = 20,
    requests: int = 60_000,
    quiet_requests: int = 10_000,
    period_s: float = PERIOD_S,
) -> Measurement:
    """Load with and without swaps in turn, for at least so many rounds and swaps, and judge every answer."""
    with tempfile.TemporaryDirectory() as folder:
        product = prepare(Path(folder), *families)
        histories = histories_m(CONNECTIONS)
        models = {version: product.forecaster(version) for version in product.versions}
        ledger = SwapLedger((1, 1), expected_answers(models, histories), POLL_S)
        port, asked = free_port(), requests_of(product, histories)
        with process(*api(product, port, TRAJOPS_MODEL_SLOTS="2", TRAJOPS_EPOCH_POLL_S=str(POLL_S))) as (server, _):
            releases = Releases(port, product, ledger)
            load.closed_loop("127.0.0.1", port, asked, requests=2_000)
            found = []
            while len(found) < rounds or releases.count < swaps:
                quiet = _cost(port, server.pid, asked, quiet_requests, ledger)
                with swapping(releases, period_s):
                    swapped = _cost(port, server.pid, asked, requests, ledger)
                found.append((quiet, swapped))
    faults = ledger.faults()
    if faults:
        raise RuntimeError(f"of {len(ledger.heard)} answers, {faults.total()} were wrong: {dict(faults)}")
    ratios = [swapped[0] / quiet[0] for quiet, swapped in found]
    counts = _counts(ledger, releases, len(found) * requests)
    return Measurement(statistics.median(ratios), {"wrong": 0, **_details(found, ratios), **counts})


def _cost(port: int, pid: int, asked: list[bytes], requests: int, ledger: SwapLedger) -> tuple[float, load.Load]:
    before = load.cpu_ns(pid)
    done = load.closed_loop("127.0.0.1", port, asked, requests=requests, connections=CONNECTIONS, watch=ledger.watch)
    return (load.cpu_ns(pid) - before) / 1e3 / requests, done


def _details(found: list[tuple[tuple[float, load.Load], tuple[float, load.Load]]], ratios: list[float]) -> dict[str, Any]:
    median = statistics.median
    return {
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_us": round(median(quiet[0] for quiet, _ in found), 1),
        "cpu_us_swapping": round(median(swapped[0] for _, swapped in found), 1),
        "p99_ms": round(median(quiet[1].quantile_ms(0.99) for quiet, _ in found), 2),
        "p99_ms_swapping": round(median(swapped[1].quantile_ms(0.99) for _, swapped in found), 2),
        "p99_ratio": round(median(swapped[1].quantile_ms(0.99) / quiet[1].quantile_ms(0.99) for quiet, swapped in found), 2),
        "slowest_ms_swapping": round(max(swapped[1].quantile_ms(1.0) for _, swapped in found), 1),
    }


def _counts(ledger: SwapLedger, releases: Releases, under_swaps: int) -> dict[str, Any]:
    return {
        "answers_under_swaps": under_swaps,
        "swaps": releases.count,
        "epochs_seen": len({one.epoch for one in ledger.heard}),
        "longest_change_ms": round(max((one.done_s - one.begun_s) * 1e3 for one in ledger.changes.values()), 1),
        "followed_within_ms": round(ledger.slowest_ms(), 1),
    }
