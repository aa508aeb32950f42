"""A real MLflow server, SQLite behind it and artefacts on disk, for the tests of the model registry."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

START_S = 120


@dataclass
class MlflowServer:
    """A server that can be stopped and started again over the same folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--artifacts-destination", str(self.folder / "artifacts")),
        ]
        environment = {**os.environ, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + START_S
        with httpx.Client(trust_env=False) as client:
            while True:
                try:
                    if client.get(f"{self.url}/health").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"MLflow did not start:\n{(self.folder / 'server.log').read_text(errors='replace')}")
                time.sleep(0.1)

    def stop(self) -> None:
        """End the server and its own children: it leads a process group of its own."""
        if self.process is not None:
            os.killpg(self.process.pid, 15)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)
                self.process.wait(timeout=20)
            self.process = None


@pytest.fixture(scope="session")
def start_mlflow() -> Iterator[Callable[[], MlflowServer]]:
    """Starts servers; all of them end with the session."""
    servers: list[MlflowServer] = []
    with tempfile.TemporaryDirectory(prefix="trajops-mlflow-", ignore_cleanup_errors=True) as root:

        def start() -> MlflowServer:
            folder = Path(root, str(len(servers)))
            folder.mkdir()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                servers.append(MlflowServer(folder, probe.getsockname()[1]))
            servers[-1].start()
            return servers[-1]

        try:
            yield start
        finally:
            for server in servers:
                server.stop()


@pytest.fixture(scope="session")
def mlflow_url(start_mlflow: Callable[[], MlflowServer]) -> str:
    """Address of one server for all tests that leave it running."""
    return start_mlflow().url
