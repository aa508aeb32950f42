"""Two API processes that share a Redis: what one is told of an agent all know, and each goes on alone when Redis is gone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_process import Server
from tests.builders import CLOCK_S, a_history
from tests.conftest import RedisServer
from tests.running_api import running_api

pytestmark = pytest.mark.slow
HISTORY = a_history()[0].tolist()


class Shared(Server):
    """Two processes behind one port; each request on a connection of its own may reach either."""

    def ask(self, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, trust_env=False, timeout=20, verify=False)

    def by_id(self, agent_id: str, **fields: Any) -> httpx.Response:
        return self.ask("/predict", {"agent_id": agent_id, "scene_id": "s"} | fields)

    def agrees(self, agent_id: str, observed_at_s: float) -> set[str]:
        """Ask until both processes have answered; every answer must be of the agent's newest position. Returns their marks."""
        marks: set[str] = set()
        deadline = time.monotonic() + 60
        while len(marks) < 2:
            assert time.monotonic() < deadline
            answer = self.by_id(agent_id)
            assert answer.status_code == 200, answer.text
            assert answer.json()["observed_at_s"] == observed_at_s
            marks.add(answer.json()["prediction_id"][16:24])
        return marks


@pytest.fixture
def shared(tmp_path: Path, redis_server: RedisServer) -> Iterator[Shared]:
    server = Shared(tmp_path, "--workers", "2", TRAJOPS_REDIS_URL=redis_server.url)
    try:
        server.wait_until(200, timeout_s=180)
        server.everybody(2)
        yield server
    finally:
        try:
            assert server.process.poll() is not None or server.stop() == 0, server.log.read_text()
        finally:
            server.process.kill()
            server.process.wait()


def a_position(agent_id: str, at_s: float, x_m: float) -> dict[str, Any]:
    return {"agent_id": agent_id, "scene_id": "s", "observed_at_s": at_s, "position": (x_m, 0.5)}


def a_walk(agent_id: str, since_s: float = CLOCK_S, count: int = 8) -> dict[str, Any]:
    return {"observations": [a_position(agent_id, since_s + 0.4 * step, 0.6 * step) for step in range(count)]}


def test_what_one_process_is_told_all_know_at_once(shared: Shared, tmp_path: Path) -> None:
    # Uneven, and some late: what comes out depends on every one of them.
    times_s = [CLOCK_S + 0.3 * step + 0.05 * (step % 3) for step in range(30)]
    posts = [[a_position(agent, at_s, 0.1 * step**1.5) for agent in ("a/1", "ä 2")] for step, at_s in enumerate(times_s)]
    posts[12], posts[13] = posts[13], posts[12]
    (tmp_path / "single").mkdir()
    headers = {"Authorization": f"Bearer {shared.key}"}
    with running_api(tmp_path / "single") as single, httpx.Client(base_url=shared.url, headers=headers, trust_env=False) as connection:
        single.promote(1)
        for number, post in enumerate(posts):
            for answer in (
                connection.post("/observations", json={"observations": post}),
                single.post("/observations", {"observations": post}),
            ):
                assert answer.status_code == 200
            for agent in ("a/1", "ä 2"):
                wanted = single.post("/predict", {"agent_id": agent, "scene_id": "s"})
                answer = shared.by_id(agent)
                assert answer.status_code == wanted.status_code, (number, answer.text)
                for field in ("observed_at_s", "modes") if number > 15 else ():
                    assert answer.json()[field] == wanted.json()[field]
        shared.agrees("a/1", times_s[-1])
        rows = [{"agent_id": agent, "scene_id": "s"} for agent in ("a/1", "ä 2", "nobody")]
        for _ in range(8):
            items = shared.ask("/batch_predict", {"items": rows}).json()["items"]
            assert [item["prediction"]["observed_at_s"] for item in items[:2]] == [times_s[-1]] * 2
            assert items[2]["error_code"] == "not_found"
            listed = httpx.get(f"{shared.url}/v1/agents", params={"scene_id": "s"}, headers=headers, trust_env=False).json()["agents"]
            assert {agent["agent_id"]: agent["is_ready"] for agent in listed if agent["agent_id"] != "a"} == {"a/1": True, "ä 2": True}


def test_a_clock_that_was_set_back_is_set_back_for_all(shared: Shared) -> None:
    for start_s in (CLOCK_S, CLOCK_S - 3_600):
        assert shared.ask("/observations", a_walk("b", start_s)).status_code == 200
        shared.agrees("b", start_s + 0.4 * 7)
    body = {"agent_id": "b", "scene_id": "s", "history": HISTORY, "observed_at_s": CLOCK_S - 7_200}
    assert shared.ask("/predict", body).status_code == 200
    # Nobody waits until a history is shared, so that the other process may need some milliseconds.
    deadline = time.monotonic() + 20
    while shared.by_id("b").json()["observed_at_s"] != CLOCK_S - 7_200:
        assert time.monotonic() < deadline
    shared.agrees("b", CLOCK_S - 7_200)


def test_each_process_goes_on_alone_without_redis_and_shares_again_when_it_is_back(shared: Shared, redis_server: RedisServer) -> None:
    assert shared.ask("/observations", a_walk("c")).status_code == 200
    both = shared.agrees("c", CLOCK_S + 0.4 * 7)
    redis_server.kill()
    marks: set[str] = set()
    deadline = time.monotonic() + 60
    number = 0
    while len(marks) < 2 or number < 20:
        assert time.monotonic() < deadline
        number += 1
        answer = shared.ask("/predict", {"agent_id": f"d{number}", "history": HISTORY})
        assert answer.status_code == 200, answer.text
        marks.add(answer.json()["prediction_id"][16:24])
        began_s = time.monotonic()
        assert shared.ask("/observations", a_walk(f"e{number}")).status_code == 200
        assert time.monotonic() - began_s < 2.0, "50 ms, and what a busy machine adds"
        assert shared.by_id("c").status_code == 200, "both have taken it over before"
        answer = shared.by_id(f"e{number}")
        assert answer.status_code in {200, 404}
        assert answer.status_code == 200 or answer.json()["code"] == "not_found"
    assert marks == both

    redis_server.start()
    deadline = time.monotonic() + 30
    for number in range(10_000):
        assert time.monotonic() < deadline, "sharing did not begin again"
        assert shared.ask("/observations", a_walk(f"f{number}")).status_code == 200
        answers = [shared.by_id(f"f{number}") for _ in range(8)]
        # Each process tries Redis again in its own time, and eight answers may all come from one of them.
        told = {answer.json()["prediction_id"][16:24] for answer in answers if answer.status_code == 200}
        if told == both and all(answer.status_code == 200 for answer in answers):
            break
    shared.agrees(f"f{number}", CLOCK_S + 0.4 * 7)
    shared.agrees("e1", CLOCK_S + 0.4 * 7)  # told during the outage
