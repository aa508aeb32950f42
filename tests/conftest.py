"""A real PostgreSQL and a real Redis for the tests that need one: skipped where it is not installed, failed where CI=true."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest

from tests.mlflow_server import mlflow_url, start_mlflow  # noqa: F401 - fixtures


def _postgres_bin() -> Path | None:
    found = [Path(initdb).resolve().parent for initdb in [shutil.which("initdb")] if initdb]
    return next(iter(found + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _miss(service: str, package: str) -> NoReturn:
    reason = f"{service} is not installed; apt-get install -y --no-install-recommends {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """SQLAlchemy URL, without a database's name, of a server that lives as long as the session."""
    binaries = _postgres_bin()
    if binaries is None:
        _miss("PostgreSQL", "postgresql")
    # Not tmp_path: as root the server must run as another user, who cannot enter pytest's private folders.
    folder = Path(tempfile.mkdtemp(prefix="trajops-postgres-"))
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if account:
        shutil.chown(folder, "postgres", "postgres")
    port = free_port()
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        **account,
    )
    log = (folder / "log").open("wb")
    options = [f"-c{name}" for name in ("unix_socket_directories=", "listen_addresses=127.0.0.1", "fsync=off", "max_connections=50")]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", folder / "data", "-p", str(port), *options], stdout=log, stderr=log, cwd=folder, **account
    )
    try:
        _wait_until_ready(server, binaries, port, folder / "log")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": does not wait for clients
        server.wait(timeout=30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: subprocess.Popen[bytes], binaries: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run([binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh, empty database, dropped after the test."""
    import psycopg

    admin = f"{postgres_server}/postgres".replace("+psycopg", "")
    name = f"t_{uuid4().hex}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class RedisServer:
    """A Redis on a port of its own that can go and come back; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail("Redis did not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running, empty Redis."""
    if shutil.which("redis-server") is None:
        _miss("Redis", "redis-server")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
