"""`python -m api` as a process of its own, with a deployed model and a key."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from api.wiring import Parts
from data.models.cache import VersionInfo, publish
from data.models.mlflow_store import save_model
from data.models.package import Package
from tests.builders import a_history
from tests.conftest import free_port
from tests.running_api import REASON, a_body
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings
from trajops.trajectories import DEFAULT_WINDOW
from workers.training.candidates import files_of
from workers.training.export import to_onnx

ROOT = Path(__file__).resolve().parents[1]


class Server:
    """An API that is started at once, and may be ended and started again on its port.

    Args:
        folder: its state.
        arguments: of the command.
        key: of a folder in which a model is deployed already; made here by default.
        environment: further variables.
    """

    def __init__(self, folder: Path, *arguments: str, key: str | None = None, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"api-{self.port}.log"
        self.key = key or deploy(Settings(var_dir=folder, environment="test", mlflow_url="http://127.0.0.1:9"))
        own = {"TRAJOPS_VAR_DIR": str(folder), "TRAJOPS_API_PORT": str(self.port), "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9"}
        self._command = [sys.executable, "-m", "api", *arguments]
        self._environment = {**os.environ, **own, **environment}
        self.start()

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    @property
    def headers(self) -> dict[str, str]:
        """What lets a request in."""
        return {"Authorization": f"Bearer {self.key}"}

    def ready(self) -> int:
        """Status of one `/readyz` on a connection of its own; 0: nobody answered."""
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code
        except httpx.HTTPError:
            return 0

    def wait_until(self, status: int, timeout_s: float = 60) -> None:
        """Return once `/readyz` has this status."""
        deadline = time.monotonic() + timeout_s
        while self.ready() != status:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def who_answers(self) -> str:
        """The mark of the process that answers a `/predict` on a new connection."""
        answer = httpx.post(f"{self.url}/predict", json=a_body(), headers=self.headers, trust_env=False, timeout=10)
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

    def wait_until_asked(self, times: int) -> None:
        """Return once the supervisor, which writes nothing else, has asked its processes so often whether they live."""
        path = Path(f"/proc/{self.process.pid}/io")

        def written() -> int:
            return int(path.read_text().partition("syscw: ")[2].split()[0])

        before, deadline = written(), time.monotonic() + 60
        while written() < before + times:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask the process to end, and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it and what it has started, whatever it is doing."""
        if self.process.poll() is None:
            for pid in [self.process.pid, *self.children()]:
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


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
