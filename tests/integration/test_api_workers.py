"""Several processes behind one port: all answer, one that dies is replaced, and a process that leaves says so first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from api.wiring import Parts
from data.models.cache import VersionInfo, publish
from data.models.mlflow_store import save_model
from data.models.package import Package
from tests.builders import a_history
from tests.conftest import free_port
from tests.running_api import REASON, a_body
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings
from trajops.trajectories import DEFAULT_WINDOW
from workers.training.candidates import files_of
from workers.training.export import to_onnx

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


class Server:
    """`python -m api` with a deployed model and a key."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = folder / "api.log"
        settings = Settings(var_dir=folder, environment="test", mlflow_url="http://127.0.0.1:9")
        self.key = deploy(settings)
        own = {"TRAJOPS_VAR_DIR": str(folder), "TRAJOPS_API_PORT": str(port), "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api", *arguments], cwd=ROOT, env={**os.environ, **own, **environment}, stdout=log, stderr=log
            )

    def ready(self) -> int:
        """Status of one `/readyz` on a connection of its own; 0: nobody answered."""
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code
        except httpx.HTTPError:
            return 0

    def wait_until(self, status: int, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while self.ready() != status:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def who_answers(self) -> str:
        """The mark of the process that answers a `/predict` on a new connection."""
        answer = httpx.post(
            f"{self.url}/predict", json=a_body(), headers={"Authorization": f"Bearer {self.key}"}, trust_env=False, timeout=10
        )
        assert answer.status_code == 200, answer.text
        mark: str = answer.json()["prediction_id"][16:24]
        return mark

    def everybody(self, processes: int, besides: frozenset[str] = frozenset()) -> set[str]:
        """Ask until so many processes have answered that are not among `besides`."""
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while len(seen - besides) < processes:
            assert time.monotonic() < deadline, (seen, self.log.read_text())
            try:
                seen.add(self.who_answers())
            except httpx.HTTPError:
                time.sleep(0.05)
        return seen

    def children(self) -> list[int]:
        """Processes that serve."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in tasks if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def stop(self) -> int:
        """Ask the process to end, and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def deploy(settings: Settings) -> str:
    """A champion in the local cache and in the routes; returns an API key."""
    parts = Parts(settings)
    assert parts.is_prepared
    ref, model = ModelRef(settings.model_name, 1), ConstantVelocity()
    package = Package(
        family=model.family,
        graph=to_onnx(model).SerializeToString(),
        files=files_of(model),
        window=DEFAULT_WINDOW,
        example_m=a_history(2),
    )

    def save(folder: Path) -> None:
        folder.rmdir()
        save_model(folder, package)

    publish(settings.models_dir, VersionInfo(ref.name, ref.version, "test", None, {}, time.time_ns()), save)
    with parts.unit_of_work() as uow:
        uow.routes.append(RouteTable(1, ref), at=datetime.now(UTC), actor="test", reason=REASON)
    secret, _ = parts.identity.create_api_key("test", "viewer", actor="test", reason=REASON)
    parts.database.close()
    return secret


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "--workers", "2")
    try:
        server.wait_until(200)
        yield server
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0, server.log.read_text()


def test_all_processes_answer_and_one_that_is_killed_is_replaced(two: Server) -> None:
    before = two.everybody(2)
    assert len(before) == len(two.children()) == 2
    os.kill(two.children()[0], signal.SIGKILL)
    after = two.everybody(1, besides=frozenset(before))
    assert len(after - before) == 1
    assert len(two.children()) == 2


def test_all_processes_are_replaced_one_after_another(two: Server) -> None:
    before = frozenset(two.everybody(2))
    two.process.send_signal(signal.SIGHUP)
    two.everybody(2, besides=before)


def test_a_process_that_leaves_says_so_and_answers_until_then(tmp_path: Path) -> None:
    server = Server(tmp_path, TRAJOPS_DRAIN_S="2")
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        assert server.who_answers()
        assert server.process.wait(30) == -signal.SIGTERM
    finally:
        server.process.kill()
        server.process.wait()


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    server = Server(tmp_path, TRAJOPS_DRAIN_S="300")
    try:
        server.wait_until(200)
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == -signal.SIGTERM
    finally:
        server.process.kill()
        server.process.wait()
