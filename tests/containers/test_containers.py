"""The Containerfile builds, and the four services start from podman-compose.yml and work together."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
API_PORT, MLFLOW_PORT, CONSOLE_PORT = (free_port() for _ in range(3))
API, MLFLOW, CONSOLE = (f"http://127.0.0.1:{port}" for port in (API_PORT, MLFLOW_PORT, CONSOLE_PORT))
SERVICES = ("mlflow", "api", "workers", "console")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trajops"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """podman as it runs without systemd, and what the compose file asks for."""
    if shutil.which("podman") is None:
        if os.environ.get("CI"):
            pytest.fail("podman is missing; make test-long installs it")
        pytest.skip("podman is not installed; make test-long installs it as root")
    return {
        **os.environ,
        "CONTAINERS_CONF": str(HERE / "containers.conf"),
        "DISABLE_HC_SYSTEMD": "true",
        "TRAJOPS_TOKEN_SECRET": secrets.token_hex(32),
        "COMPOSE_PROJECT_NAME": "trajops-test",
        "TRAJOPS_API_PORT": str(API_PORT),
        "TRAJOPS_MLFLOW_PORT": str(MLFLOW_PORT),
        "TRAJOPS_CONSOLE_PORT": str(CONSOLE_PORT),
    }


def podman(environment: dict[str, str], *arguments: str, timeout_s: float = 600, stdin: str | None = None) -> str:
    """Run podman and return what it printed."""
    done = subprocess.run(
        ["podman", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, input=stdin, check=False
    )
    assert done.returncode == 0, f"podman {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def compose(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run podman-compose on the committed file, its output in a file because its children keep a pipe open."""
    log = CACHE / "compose.log"
    with log.open("w") as output:
        done = subprocess.run(
            [Path(sys.executable).with_name("podman-compose"), "-f", ROOT / "podman-compose.yml", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
    return subprocess.CompletedProcess(done.args, done.returncode, log.read_text(), "")


@pytest.fixture(scope="module")
def images(environment: dict[str, str]) -> None:
    """All four targets, built from the committed Containerfile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([HERE / "base_image.sh", CACHE], env=environment, check=True, timeout=900)
    for service in SERVICES:
        podman(environment, "build", "--format", "docker", "--target", service, "-t", f"trajops-{service}", ".", timeout_s=900)


@pytest.fixture(scope="module")
def stack(environment: dict[str, str], images: None) -> Iterator[None]:
    """The compose file's services, until the end of the module."""
    up = compose(environment, "up", "-d", "--no-build")
    try:
        assert up.returncode == 0, up.stdout[-4000:]
        yield
    finally:
        compose(environment, "down", "-v")


def fetch(url: str, *, token: str | None = None, body: dict[str, Any] | None = None, timeout_s: float = 120) -> Any:
    """Ask until the service answers with a success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with opener.open(request, timeout=5) as answer:
                text = answer.read().decode()
                return json.loads(text) if text.startswith("{") else text
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                pytest.fail(f"{url}: {error}")
            time.sleep(0.5)


def test_the_api_image_carries_no_other_service(environment: dict[str, str], images: None) -> None:
    packages = podman(
        environment,
        "run",
        "--rm",
        "trajops-api",
        "python",
        "-c",
        "import importlib.metadata as m; print(*[d.name for d in m.distributions()])",
    )
    assert "fastapi" in packages
    assert not {"mlflow", "streamlit", "evidently", "lightgbm", "dask"} & set(packages.lower().split())


def test_images_run_as_a_user_without_rights(environment: dict[str, str], images: None) -> None:
    for service in SERVICES:
        assert podman(environment, "run", "--rm", f"trajops-{service}", "id", "-u").strip() == "10001"


def test_the_compose_file_holds_with_monitoring(environment: dict[str, str]) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    shown = compose(environment, "--profile", "monitoring", "config")
    assert shown.returncode == 0, shown.stdout
    assert {"prometheus", "alertmanager", "grafana", *SERVICES} <= set(yaml.safe_load(shown.stdout)["services"])


def test_the_services_work_together(environment: dict[str, str], stack: None) -> None:
    assert fetch(f"{API}/healthz")["status"] == "alive"
    assert "OK" in fetch(f"{MLFLOW}/health")
    fetch(f"{CONSOLE}/readyz")
    names = podman(environment, "ps", "--format", "{{.Names}}").split()
    api, workers = (next(name for name in names if service in name) for service in ("api", "workers"))
    podman(environment, "exec", "-i", api, "python", "-m", "api.people", "add", "ada", "--role", "admin", stdin="correct horse\n")
    token = fetch(f"{API}/v1/token", body={"username": "ada", "password": "correct horse"})["access_token"]

    trained = podman(environment, "exec", workers, "python", "-m", "workers.training", "--family", "kalman", timeout_s=300)
    assert "registered trajectory/1" in trained
    assert "staged trajectory/1" in trained
    [deployment] = fetch(f"{API}/v1/deployments", token=token)["deployments"]
    fetch(
        f"{API}/v1/deployments/{deployment['deployment_id']}/promote",
        token=token,
        body={"expected_version": deployment["version"], "reason": "test of the containers"},
    )
    fetch(f"{API}/readyz")
    walk = {"agent_id": "walker", "history": [[0.5 * step, 0.0] for step in range(8)]}
    answer = fetch(f"{API}/predict", token=token, body=walk)
    assert answer["model_version"] == 1
    deadline = time.monotonic() + 60
    while not fetch(f"{API}/v1/predictions?limit=5", token=token)["predictions"]:
        assert time.monotonic() < deadline, "the prediction never appeared in the lake"
        time.sleep(0.5)
