"""Two API processes that share a Redis: one limit for both, and predictions that go on when Redis is gone."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from api.wiring import Parts
from tests.conftest import RedisServer, free_port
from tests.integration.test_api_kill import SERVE, served, wait_for
from tests.running_api import REASON, a_body
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.rate_limits import Limit
from trajops.settings import Settings

LIMIT = Limit(80.0, 40)
# What a client may get beyond burst + rate * time: what each process gave out before it heard of the other, at most the burst again,
# and the rate over two reports.
EXCESS = LIMIT.burst + LIMIT.rate_per_s * 0.2


class Served:
    """The addresses of two running processes, and a fresh client of theirs for each question."""

    def __init__(self, settings: list[Settings], make_key: Callable[[], str]) -> None:
        self.urls = [one.service_url for one in settings]
        self.new_key = make_key

    def load(self, key: str, processes: list[int], seconds: float) -> Counter[int]:
        """Statuses of predictions asked for as fast as they are answered, with 10 ms after a refusal."""
        return asyncio.run(self._load(key, processes, seconds))

    def up(self, process: int) -> str:
        """What the process says about its shared quota."""
        lines = httpx.get(f"{self.urls[process]}/metrics", trust_env=False).text.splitlines()
        return next(line.split()[1] for line in lines if line.startswith("trajops_shared_quota_up "))

    async def _load(self, key: str, processes: list[int], seconds: float) -> Counter[int]:
        statuses: Counter[int] = Counter()
        until_s = time.monotonic() + seconds

        async def ask(client: httpx.AsyncClient, process: int) -> None:
            while time.monotonic() < until_s:
                answer = await client.post(f"{self.urls[process]}/predict", json=a_body())
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    assert answer.json()["code"] == "rate_limited"
                    assert int(answer.headers["retry-after"]) >= 1
                    await asyncio.sleep(0.01)

        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=20, trust_env=False) as client:
            await asyncio.gather(*(ask(client, process) for process in processes for _ in range(2)))
        return statuses


@pytest.fixture
def two(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("TRAJOPS_REDIS_URL", redis_server.url)
    monkeypatch.setenv("TRAJOPS_API_PROCESSES", "2")
    settings = [Settings(var_dir=tmp_path, api_port=free_port(), environment="test") for _ in range(2)]
    parts = Parts(settings[0])
    assert parts.is_prepared
    with parts.unit_of_work() as uow:
        uow.routes.append(RouteTable(1, ModelRef("trajectory", 1)), at=datetime.now(UTC), actor="test", reason=REASON)
    with ExitStack() as stack:
        for one in settings:
            process = stack.enter_context(served(one, [sys.executable, "-c", SERVE]))
            wait_for(one, "/readyz", 200, process)
        yield Served(settings, lambda: parts.identity.create_api_key("load", "viewer", actor="test", reason=REASON, limit=LIMIT)[0])
    parts.close()


@pytest.mark.slow
def test_two_processes_keep_one_limit(two: Served) -> None:
    for processes in ([0, 1], [0]):
        seconds = 4.0
        statuses = two.load(two.new_key(), processes, seconds)
        assert set(statuses) == {200, 429}, statuses
        allowed = LIMIT.burst + LIMIT.rate_per_s * seconds
        assert 0.85 * allowed <= statuses[200] <= allowed + EXCESS, (processes, statuses)


@pytest.mark.slow
def test_predictions_go_on_without_redis_and_share_again_when_it_is_back(two: Served, redis_server: RedisServer) -> None:
    key = two.new_key()
    two.load(key, [0], 1.5)
    redis_server.kill()
    two.load(key, [0], 1.5)
    assert two.up(0) == "0.0"
    alone = two.load(key, [0], 3.0)
    assert set(alone) == {200, 429}, "nothing fails, and the process keeps to its share"
    assert 0.85 * 3.0 * LIMIT.rate_per_s / 2 <= alone[200] <= LIMIT.burst / 2 + 3.2 * LIMIT.rate_per_s / 2, alone

    redis_server.start()
    deadline = time.monotonic() + 20
    while two.up(0) != "1.0":
        assert time.monotonic() < deadline
        two.load(key, [0], 0.2)
    two.load(key, [0], 1.5)
    again = two.load(key, [0], 3.0)
    assert 0.85 * 3.0 * LIMIT.rate_per_s <= again[200] <= 3.2 * LIMIT.rate_per_s + EXCESS, again
