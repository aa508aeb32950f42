"""kill -9 under load: what was answered is in the lake, once; and the process comes back with what it had."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from api.wiring import Parts
from data.lake.compactor import Compactor
from data.lake.queries import Lake
from tests.running_api import REASON, a_body
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.settings import Settings

CONNECTIONS = 12
START_S = 60
SERVE = """
import sys
import uvicorn
from pathlib import Path
from api.main import create_app
from api.wiring import Parts
from data.lake.compactor import Compactor
from data.lake.queries import Lake
from tests.running_api import MemoryLoader
from trajops.settings import Settings

settings = Settings()
parts = Parts(settings)
parts.loader = MemoryLoader()
uvicorn.run(create_app(settings, parts), host="127.0.0.1", port=settings.api_port, access_log=False, log_level="warning")
"""


@contextmanager
def served(settings: Settings, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A real server process; killed at the end if it still lives."""
    environment = {
        **os.environ,
        "TRAJOPS_VAR_DIR": str(settings.var_dir),
        "TRAJOPS_API_PORT": str(settings.api_port),
        "TRAJOPS_ENVIRONMENT": "test",
        "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    with (settings.var_dir / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(settings: Settings, path: str, status: int, process: subprocess.Popen[bytes]) -> httpx.Response:
    """The first answer with that status."""
    deadline = time.monotonic() + START_S
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                answer = client.get(f"{settings.service_url}{path}")
                if answer.status_code == status:
                    return answer
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{path} never answered {status}:\n{(settings.var_dir / 'server.log').read_text(errors='replace')}")
            time.sleep(0.02)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(var_dir=tmp_path, api_port=port, environment="test")


@pytest.fixture
def key(settings: Settings) -> str:
    """An API key, and a champion in the routes."""
    parts = Parts(settings)
    assert parts.is_prepared
    with parts.unit_of_work() as uow:
        uow.routes.append(RouteTable(1, ModelRef("trajectory", 1)), at=datetime.now(UTC), actor="test", reason=REASON)
    secret, _ = parts.identity.create_api_key("load", "viewer", actor="test", reason=REASON)
    parts.database.close()
    return secret


async def load(settings: Settings, key: str, kill_after: int, process: subprocess.Popen[bytes]) -> tuple[list[str], int]:
    """Ids of all answers that arrived before the server was killed amid the load, and positions acknowledged."""
    answered: list[str] = []
    observed = 0
    is_enough = asyncio.Event()

    async def predict(client: httpx.AsyncClient, worker: int) -> None:
        nonlocal observed
        for number in range(100_000):
            try:
                if worker == 0:
                    rows = [{"agent_id": f"o{number}", "observed_at_s": 1.0, "position": [n, 0]} for n in range(3)]
                    answer = await client.post("/observations", json={"observations": rows})
                    observed += answer.json()["accepted"]
                    continue
                if worker == 1:
                    answer = await client.post("/batch_predict", json={"items": [a_body(f"b{n}") for n in range(100)]})
                    assert answer.status_code == 200, answer.text
                    answered.extend(item["prediction"]["prediction_id"] for item in answer.json()["items"])
                    continue
                answer = await client.post("/predict", json=a_body(f"a{worker}"))
            except (httpx.HTTPError, json.JSONDecodeError):
                return
            assert answer.status_code == 200, answer.text
            answered.append(answer.json()["prediction_id"])
            if len(answered) >= kill_after:
                is_enough.set()

    async def kill() -> None:
        await is_enough.wait()
        process.send_signal(signal.SIGKILL)

    limits = httpx.Limits(max_connections=CONNECTIONS)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=settings.service_url, headers=headers, limits=limits, timeout=20, trust_env=False) as client:
        await asyncio.gather(kill(), *(predict(client, worker) for worker in range(CONNECTIONS)))
    return answered, observed


def compact(settings: Settings) -> None:
    """What the workers do each minute."""
    parts = Parts(settings)
    Compactor(settings.lake_dir, settings.spool_dir, parts.database.engine).run()
    parts.database.close()


def recorded(settings: Settings) -> tuple[Counter[str], int]:
    """How often the lake holds each prediction, and how many observations it holds."""
    parts = Parts(settings)
    lake = Lake(settings.lake_dir, settings.spool_dir, parts.database.engine)
    try:
        ids = Counter(one.prediction.prediction_id for one in lake.recent_predictions(1_000_000))
        return ids, lake.counts()["observations"]
    finally:
        lake.close()
        parts.database.close()


@pytest.mark.slow
def test_no_acknowledged_prediction_is_lost_by_kill_9(settings: Settings, key: str) -> None:
    answered: list[str] = []
    observed = 0
    for _ in range(3):
        with served(settings, [sys.executable, "-c", SERVE]) as process:
            wait_for(settings, "/readyz", 200, process)
            ids, positions = asyncio.run(load(settings, key, 600, process))
            answered += ids
            observed += positions
            assert process.wait(10) == -signal.SIGKILL
    assert len(answered) == len(set(answered)) >= 1_800
    for _ in ("as the killed processes left it", "compacted to Parquet", "compacted again"):
        in_lake, observations = recorded(settings)
        assert {prediction_id: in_lake[prediction_id] for prediction_id in answered} == dict.fromkeys(answered, 1)
        assert observations >= observed > 0
        compact(settings)


@pytest.mark.slow
def test_sigterm_lets_requests_finish_and_ends_cleanly(settings: Settings, key: str) -> None:
    with served(settings, [sys.executable, "-m", "api"]) as process:
        wait_for(settings, "/healthz", 200, process)
        ready = wait_for(settings, "/readyz", 200, process).json()
        assert (ready["missing"], ready["stand_in"]) == (["trajectory/1"], "baseline/0")
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM  # uvicorn hands the signal on once everything has ended
        lines = (settings.var_dir / "server.log").read_text().splitlines()
        assert {json.loads(line)["service.name"] for line in lines} == {"api"}
        assert "Application shutdown complete" in lines[-2]


def test_a_machine_that_is_not_as_it_must_be_is_told_in_one_sentence(settings: Settings, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    process = subprocess.run(
        [sys.executable, "-m", "api"],
        env={**os.environ, "TRAJOPS_VAR_DIR": str(in_the_way / "var"), "TRAJOPS_API_PORT": str(settings.api_port)},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("api: ")
    assert "TRAJOPS_VAR_DIR" in process.stderr
    assert len(process.stderr.splitlines()) == 1
