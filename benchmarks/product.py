"""A deployed product without MLflow: the champion network in the local cache, one API key; and its API as a process."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from api.wiring import Parts
from data.datasets import skillcorner
from data.models.cache import VersionInfo, find, publish
from data.models.mlflow_store import save_model
from data.models.package import Package
from data.models.signature import OUR_FLAVOUR
from data.sql.engine import Database
from trajops.deployments.model_ref import ModelRef
from trajops.forecasters import artifact
from trajops.ports import Forecaster
from trajops.rate_limits import Limit
from trajops.services.deployments import Deployments
from trajops.settings import Settings
from workers.compute import Inline
from workers.training.candidates import Candidate, Fitted, fit_candidate
from workers.training.partitions import Split, split
from workers.training.run import TrainedVersion, mirror
from workers.training.validate import HeldOut, assess_fitted, selection_rules, validation_of

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
    """A prepared state folder.

    Attributes:
        var_dir: the folder.
        api_key: of a client that may predict.
        operator_key: of one that may also release.
        versions: registered; the first is champion.
    """

    var_dir: Path
    api_key: str
    operator_key: str
    versions: tuple[int, ...]

    def environment(self, port: int) -> dict[str, str]:
        """What a process of the product is started with; MLflow is away."""
        return {
            **os.environ,
            "TRAJOPS_VAR_DIR": str(self.var_dir),
            "TRAJOPS_API_PORT": str(port),
            "TRAJOPS_MLFLOW_URL": f"http://127.0.0.1:{free_port()}",
            "OMP_NUM_THREADS": "1",
        }

    def model_dir(self, version: int = 1) -> Path:
        """The MLflow model of a version."""
        settings = Settings(var_dir=self.var_dir, environment="test")
        found = find(settings.models_dir, ModelRef(settings.model_name, version))
        assert found is not None
        return found.model_dir

    def forecaster(self, version: int = 1) -> Forecaster:
        """The model of a version, in this process."""
        return artifact.load(self.model_dir(version) / OUR_FLAVOUR)


class Fit(NamedTuple):
    """A family, and how many of the windows it is fitted on; None: on all of them. Fewer make a worse model."""

    family: str
    windows: int | None = None


def prepare(var_dir: Path, *families: str | Fit, seed: int | None = None) -> Product:
    """Fit a model of each family on the embedded tracks, the champion network without any, and deploy the first.

    Args:
        var_dir: the state folder.
        families: of the versions, in their order.
        seed: of all, so that versions of one family are the same model; None: each has its own.
    """
    settings = Settings(var_dir=var_dir, environment="test")
    parts = Parts(settings)
    parts.database.migrate()
    versions = dict(enumerate(families or (CHAMPION,), start=1))
    for version, family in versions.items():
        fit = Fit(family) if isinstance(family, str) else family
        _register(settings, ModelRef(settings.model_name, version), fit, seed=version - 1 if seed is None else seed)
    who = {"actor": "benchmark", "reason": "the model under test"}
    # Not the process's own deployments: those first make the version warm, and nothing is served here.
    deployments = Deployments(parts.unit_of_work, model_name=settings.model_name)
    staged = deployments.stage(1, **who).deployment
    deployments.promote(staged.deployment_id, staged.version, **who)
    # Limited like everybody, but by more than any machine can answer.
    api_key, _ = parts.identity.create_api_key("benchmark", "viewer", limit=Limit(1e9, 10**12), **who)
    operator_key, _ = parts.identity.create_api_key("benchmark operator", "operator", **who)
    parts.database.close()
    return Product(var_dir, api_key, operator_key, tuple(versions))


def _register(settings: Settings, ref: ModelRef, fit: Fit, seed: int) -> None:
    """What training leaves: the version in the local cache and in SQL."""
    fitted = _fitted(fit, seed, settings.miss_threshold_m)
    package = fitted.package
    info = VersionInfo(ref.name, ref.version, "benchmark", None, {}, time.time_ns())
    publish(settings.models_dir, info, lambda folder: _save(folder, package))
    battery = assess_fitted(fitted, _data().validation, selection_rules(settings).battery, None)
    validation = validation_of(ref, battery, HeldOut("skillcorner_2417/first_half", _data()), cause="training", by="benchmark")
    with contextlib.closing(Database(settings.sql_url)) as database:
        mirror(database, TrainedVersion(ref, fit.family, None, "benchmark", {}, validation), {})


@cache
def _data() -> Split:
    return split([skillcorner.load()["first_half"]], Inline())


@cache
def _fitted(fit: Fit, seed: int, miss_threshold_m: float) -> Fitted:
    data = _data()
    if fit.windows is not None:
        data = dataclasses.replace(data, fit=data.fit.select(np.linspace(0, len(data.fit) - 1, fit.windows).astype(int)))
    return fit_candidate(Candidate(fit.family, data, seed, miss_threshold_m))


def _save(folder: Path, package: Package) -> None:
    folder.rmdir()
    save_model(folder, package)


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str], url: str, *, timeout_s: float = 60
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A process that runs until the end of the block, with all that it starts; and the seconds it took until `url` answered 200."""
    start = time.perf_counter()
    # A file and not a pipe, which nobody would empty while it runs; a session of its own, so that it leaves nobody behind.
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield running, _wait(running, url, start, timeout_s, log)
        finally:
            running.terminate()
            try:
                running.wait(timeout=20)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)


def _wait(running: subprocess.Popen[bytes], url: str, start: float, timeout_s: float, log: IO[bytes]) -> float:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.perf_counter() - start < timeout_s:
        if running.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"the process ended with {running.returncode}: {log.read()[-2000:].decode()}")
        try:
            with opener.open(url, timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - start
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.01)
    raise TimeoutError(f"{url} did not answer within {timeout_s} s")


def api(product: Product, port: int, *arguments: str, **settings: str) -> tuple[list[str], dict[str, str], str]:
    """Command, environment and readiness address of the API; `settings` are environment variables."""
    return [sys.executable, "-m", "api", *arguments], {**product.environment(port), **settings}, f"http://127.0.0.1:{port}/readyz"


def constant_body(product: Product, port: int) -> tuple[list[str], dict[str, str], str]:
    """The same of the ASGI app that is the limit."""
    options = ["--port", str(port), "--no-access-log", "--log-level", "error"]
    command = [sys.executable, "-m", "uvicorn", "benchmarks.constant_body:app", *options]
    return command, product.environment(port), f"http://127.0.0.1:{port}/"
