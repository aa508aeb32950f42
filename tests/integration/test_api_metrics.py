"""Metrics of several processes behind one port: whichever is asked tells what all did, through kills and restarts."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics_export import BY_NAME
from api.metrics_slots import EVERY_S, stored
from tests.api_process import Server
from tests.conftest import free_port
from tests.running_api import a_body

pytestmark = pytest.mark.slow
Series = tuple[str, tuple[tuple[str, str], ...]]
OBSERVATIONS = {"observations": [{"agent_id": f"o{number}", "observed_at_s": 1.0, "position": [0, 0]} for number in range(3)]}
# What a busy machine may add to the second between two snapshots.
SLACK_S = 2.0
# A process that starts on a busy machine takes its time, and nothing here promises how long.
PATIENCE_S = 120.0
# Between two questions of those who ask all the while: the processes that start need the processor too.
PAUSE_S = 0.02


class Traffic:
    """Asks on a fresh connection each time, so that all processes answer, and keeps what it was answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answered: Counter[tuple[str, int]] = Counter()
        self.unanswered = 0

    def post(self, path: str, body: Any, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key or self.server.key}"}
        try:
            status = httpx.post(f"{self.server.url}{path}", json=body, headers=headers, trust_env=False, timeout=20).status_code
        except httpx.HTTPError:
            self.unanswered += 1
            time.sleep(0.02)
        else:
            self.answered[path, status] += 1

    def mix(self, rounds: int) -> None:
        for _ in range(rounds):
            for agent in ("a", "b", "c"):
                self.post("/predict", a_body(agent))
            self.post("/predict", a_body(model_version=1))
            self.post("/predict", {"agent_id": ""})
            self.post("/predict", a_body(), key="wrong")
            self.post("/observations", OBSERVATIONS)
            self.post("/batch_predict", {"items": [a_body("d"), a_body("e")]})
        assert self.unanswered == 0

    def counted(self) -> dict[Series, float]:
        """What the counters must say about what was answered."""
        right, direct = self.answered["/predict", 200], self.answered["/predict", 200] // 4
        return {
            **{series("trajops_requests_total", route=path, status=str(status)): n for (path, status), n in self.answered.items()},
            **{
                series("trajops_request_seconds_count", route=route): sum(n for (path, _), n in self.answered.items() if path == route)
                for route in {path for path, _ in self.answered}
            },
            series("trajops_predictions_total", model="trajectory", version="1", variant="champion"): right
            - direct
            + 2 * self.answered["/batch_predict", 200],
            series("trajops_prediction_seconds_count", model="trajectory", version="1", variant="direct"): direct,
            series("trajops_observations_total"): 3 * self.answered["/observations", 200],
            series("trajops_spool_write_seconds_count", table="observations"): self.answered["/observations", 200],
            series("trajops_spool_write_seconds_count", table="predictions"): right + self.answered["/batch_predict", 200],
            series("trajops_turn_predictions_sum"): right,
        }


def series(name: str, **labels: str) -> Series:
    return name, tuple(sorted(labels.items()))


def scrape(server: Server) -> dict[Series, float]:
    """Every sample that one process tells."""
    return {key: value for key, (value, _) in scraped(server).items()}


def scraped(server: Server) -> dict[Series, tuple[float, bool]]:
    """The same, and whether it may only grow."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=20).raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): (sample.value, family.type in {"counter", "histogram"})
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def wait_for(server: Server, expected: Callable[[], dict[Series, float]], found: Callable[[], dict[Series, float]]) -> None:
    """Wait until every expected series is what is expected."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        now, wanted = found(), expected()
        wrong = {key: (now.get(key, 0.0), value) for key, value in wanted.items() if now.get(key, 0.0) != value}
        if not wrong:
            return
        assert time.monotonic() < deadline, (wrong, server.log.read_text())
        time.sleep(0.05)


class Watcher:
    """Scrapes all the while, whichever process answers, and notes every counter that is lower than in the scrape before."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.scrapes = 0
        self.fallen: list[tuple[Series, float, float]] = []

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        highest: dict[Series, float] = {}
        while not self._stop.wait(PAUSE_S):
            try:
                now = scraped(self._server)
            except httpx.HTTPError:
                continue
            self.scrapes += 1
            growing = {key: value for key, (value, grows) in now.items() if grows}
            self.fallen += [(key, value, growing.get(key, 0.0)) for key, value in highest.items() if growing.get(key, 0.0) < value]
            highest = growing


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "--workers", "2")
    try:
        server.wait_until(200)
        wait_for(server, lambda: {series("trajops_api_processes"): 2}, lambda: scrape(server))
        yield server
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0, server.log.read_text()


def saved(folder: Path) -> float:
    """Predictions counted in the files of all processes."""
    rows = stored(folder / "metrics").get(BY_NAME["trajops_predictions"].key, {})
    return sum(count for [count] in rows.values())


def test_a_scrape_of_any_process_is_exact_and_a_killed_one_is_continued(two: Server, tmp_path: Path) -> None:
    traffic = Traffic(two)
    with Watcher(two) as watcher:
        traffic.mix(12)
        assert traffic.answered == {
            ("/predict", 200): 48, ("/predict", 422): 12, ("/predict", 401): 12, ("/observations", 200): 12, ("/batch_predict", 200): 12
        }  # fmt: skip
        wait_for(two, traffic.counted, lambda: scrape(two))
        wait_for(two, lambda: {series("saved"): 48 + 24}, lambda: {series("saved"): saved(tmp_path)})
        starts = {series("trajops_process_starts_total"): 3, series("trajops_api_processes"): 2}
        os.kill(two.children()[0], signal.SIGKILL)
        wait_for(two, lambda: starts | traffic.counted(), lambda: scrape(two))
        traffic.mix(6)
        wait_for(two, lambda: starts | traffic.counted(), lambda: scrape(two))
    assert watcher.fallen == []
    assert watcher.scrapes > 20
    assert sorted(path.name for path in (tmp_path / "metrics").glob("*.json")) == ["0.json", "1.json"]
    state = scrape(two)
    assert state[series("trajops_epoch")] == state[series("trajops_newest_epoch")] == 1
    assert (state[series("trajops_ready_processes")], state[series("trajops_draining_processes")]) == (2, 0)
    assert state[series("trajops_credential_lookups_total", outcome="miss")] >= 3 + 18
    assert two.stop() == 0
    assert saved(tmp_path) == 72 + 36


def test_a_rolling_restart_loses_no_count_and_no_counter_goes_down(two: Server) -> None:
    traffic, stop = Traffic(two), threading.Event()

    def go_on() -> None:
        while not stop.wait(PAUSE_S):
            traffic.post("/predict", a_body())

    load = threading.Thread(target=go_on)
    with Watcher(two) as watcher:
        load.start()
        try:
            two.process.send_signal(signal.SIGHUP)
            replaced = {series("trajops_process_starts_total"): 4, series("trajops_api_processes"): 2}
            wait_for(two, lambda: replaced, lambda: scrape(two))
        finally:
            stop.set()
            load.join()
        right = traffic.answered["/predict", 200]
        expected = {
            series("trajops_requests_total", route="/predict", status="200"): right,
            series("trajops_predictions_total", model="trajectory", version="1", variant="champion"): right,
        }
        wait_for(two, lambda: expected, lambda: scrape(two))
    assert watcher.fallen == []
    assert watcher.scrapes > 20
    assert (set(traffic.answered), traffic.unanswered) == ({("/predict", 200)}, 0)
    assert right > 20


def test_a_process_killed_under_load_takes_only_what_it_counted_since_its_last_snapshot(two: Server, tmp_path: Path) -> None:
    traffic, stop = Traffic(two), threading.Event()

    def go_on() -> None:
        while not stop.wait(PAUSE_S):
            traffic.post("/predict", a_body())

    key = series("trajops_predictions_total", model="trajectory", version="1", variant="champion")
    load = threading.Thread(target=go_on)
    with Watcher(two) as watcher:
        load.start()
        try:
            wait_for(two, lambda: {series("is busy"): True}, lambda: {series("is busy"): saved(tmp_path) > 50})
            before = saved(tmp_path)
            oldest_s = max(time.time() - path.stat().st_mtime for path in (tmp_path / "metrics").glob("*.json"))
            os.kill(two.children()[0], signal.SIGKILL)
            at_risk = max(0.0, traffic.answered["/predict", 200] + 1 - before)
            replaced = {series("trajops_process_starts_total"): 3, series("trajops_api_processes"): 2}
            wait_for(two, lambda: replaced, lambda: scrape(two))
        finally:
            stop.set()
            load.join()
        answered = traffic.answered["/predict", 200]
        settled = {series("is told"): True}
        wait_for(two, lambda: settled, lambda: {series("is told"): scrape(two)[key] >= answered - at_risk})
        told = scrape(two)[key]
    assert oldest_s <= EVERY_S + SLACK_S
    assert before < answered - at_risk <= told <= answered + traffic.unanswered
    assert watcher.fallen == []


def test_two_servers_of_one_folder_add_up(two: Server, tmp_path: Path) -> None:
    url, port = two.url, free_port()
    traffic = Traffic(two)
    traffic.mix(1)
    other = subprocess.Popen(
        [sys.executable, "-m", "api"],
        env={**os.environ, "TRAJOPS_VAR_DIR": str(tmp_path), "TRAJOPS_API_PORT": str(port), "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9"},
    )
    try:
        wait_for(two, lambda: {series("trajops_api_processes"): 3}, lambda: scrape(two))
        two.url = f"http://127.0.0.1:{port}"
        two.wait_until(200)
        traffic.mix(1)
        wait_for(two, traffic.counted, lambda: scrape(two))
        two.url = url
        wait_for(two, traffic.counted, lambda: scrape(two))
    finally:
        other.terminate()
        other.wait(30)
    wait_for(two, lambda: {series("trajops_api_processes"): 2} | traffic.counted(), lambda: scrape(two))
