"""A deployed product without MLflow: the champion network in the local cache, one API key; and its API as a process."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.wiring import Parts
from data.datasets import skillcorner
from data.models.cache import VersionInfo, publish
from data.models.mlflow_store import save_model
from data.models.package import Package
from data.sql.engine import Database
from trajops.deployments.routing import ModelRef
from trajops.rate_limits import Limit
from trajops.services.deployments import Deployments
from trajops.settings import Settings
from workers.compute import Inline
from workers.training.candidates import Candidate, fit_candidate
from workers.training.partitions import split
from workers.training.run import TrainedVersion, mirror

ROOT = Path(__file__).resolve().parents[1]
CHAMPION = "gaussian_mlp"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Product:
    """A prepared state folder."""

    var_dir: Path
    api_key: str

    def environment(self, port: int) -> dict[str, str]:
        """What a process of the product is started with; MLflow is away."""
        return {
            **os.environ,
            "TRAJOPS_VAR_DIR": str(self.var_dir),
            "TRAJOPS_API_PORT": str(port),
            "TRAJOPS_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
            "OMP_NUM_THREADS": "1",
        }


def prepare(var_dir: Path, family: str = CHAMPION) -> Product:
    """Fit a model on the embedded tracks and deploy it; the champion network, unless another family is named."""
    settings = Settings(var_dir=var_dir, environment="test")
    parts = Parts(settings)
    parts.database.migrate()
    package = _package(settings, family)
    ref = ModelRef(settings.model_name, 1)
    info = VersionInfo(ref.name, ref.version, "benchmark", None, {}, time.time_ns())
    publish(settings.models_dir, info, lambda folder: _save(folder, package))
    mirror(Database(settings.sql_url), TrainedVersion(ref, family, None, "benchmark", {}), {})
    who = {"actor": "benchmark", "reason": "the model under test"}
    # Not the process's own deployments: those first make the version warm, and nothing is served here.
    deployments = Deployments(parts.unit_of_work, model_name=settings.model_name)
    staged = deployments.stage(1, **who).deployment
    deployments.promote(staged.deployment_id, staged.version, **who)
    # Limited like everybody, but by more than any machine can answer.
    api_key, _ = parts.identity.create_api_key("benchmark", "viewer", limit=Limit(1e9, 10**12), **who)
    parts.database.close()
    return Product(var_dir, api_key)


def _package(settings: Settings, family: str) -> Package:
    data = split([skillcorner.load()["first_half"]], Inline())
    return fit_candidate(Candidate(family, data, 0, settings.miss_threshold_m)).package


def _save(folder: Path, package: Package) -> None:
    folder.rmdir()
    save_model(folder, package)


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str], url: str, *, timeout_s: float = 60
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A process that runs until the end of the block, and the seconds it took until `url` answered 200."""
    start = time.perf_counter()
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield running, _wait(running, url, start, timeout_s)
    finally:
        running.terminate()
        running.wait(timeout=20)
        assert running.stderr is not None
        running.stderr.close()


def _wait(running: subprocess.Popen[bytes], url: str, start: float, timeout_s: float) -> float:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.perf_counter() - start < timeout_s:
        if running.poll() is not None:
            assert running.stderr is not None
            raise RuntimeError(f"the process ended with {running.returncode}: {running.stderr.read()[-2000:].decode()}")
        try:
            with opener.open(url, timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - start
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise TimeoutError(f"{url} did not answer within {timeout_s} s")


def api(product: Product, port: int) -> tuple[list[str], dict[str, str], str]:
    """Command, environment and readiness address of the API."""
    return [sys.executable, "-m", "api"], product.environment(port), f"http://127.0.0.1:{port}/readyz"
