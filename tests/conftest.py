"""Real servers for the tests that need one: skipped where it is not installed, failed where CI=true."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.alertmanager_server import alertmanager  # noqa: F401 - fixtures
from tests.installed import free_port, miss
from tests.mlflow_server import mlflow_url, start_mlflow  # noqa: F401
from tests.prometheus_server import prometheus  # noqa: F401


def _postgres_bin() -> Path | None:
    found = [Path(initdb).resolve().parent for initdb in [shutil.which("initdb")] if initdb]
    return next(iter(found + sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """SQLAlchemy URL, without a database's name, of a server that lives as long as the session."""
    binaries = _postgres_bin()
    if binaries is None:
        miss("PostgreSQL", "postgresql")
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


@contextmanager
def a_redis(folder: Path) -> Iterator[RedisServer]:
    """A running, empty Redis, until the end of the block."""
    if shutil.which("redis-server") is None:
        miss("Redis", "redis-server")
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running, empty Redis."""
    with a_redis(tmp_path) as server:
        yield server


class Haproxy:
    """HAProxy with the configuration that users get, in front of API servers on ports of this machine.

    Args:
        folder: for its socket and log.
        ports: of one or two servers.
    """

    CONFIGURATION = Path(__file__).resolve().parents[1] / "deploy/haproxy/haproxy.cfg"

    def __init__(self, folder: Path, *ports: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._socket, self.log = folder / "haproxy.sock", folder / "haproxy.log"
        first, second = (*ports, free_port())[:2]
        own = {"BIND": self.url.removeprefix("http://"), "SOCKET": str(self._socket)}
        variables = {f"TRAJOPS_HAPROXY_{name}": value for name, value in own.items()}
        variables |= {"TRAJOPS_API_1": f"127.0.0.1:{first}", "TRAJOPS_API_2": f"127.0.0.1:{second}"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-W", "-db", "-f", self.CONFIGURATION], env={**os.environ, **variables}, stdout=log, stderr=log
            )

    def wait_until(self, **statuses: str) -> None:
        """Return once servers have the statuses that are given by their name: `api1="UP"`."""
        deadline = time.monotonic() + 60
        while not all(self.counters(name)["status"].startswith(status) for name, status in statuses.items()):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, (statuses, self.log.read_text())
            time.sleep(0.05)

    def counters(self, server: str = "BACKEND") -> dict[str, str]:
        """What HAProxy says of one server, or of all: `show stat`."""
        with socket.socket(socket.AF_UNIX) as asked:
            while asked.connect_ex(str(self._socket)):
                assert self._process.poll() is None, self.log.read_text()
                time.sleep(0.02)
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return next(row for row in rows if row["pxname"] == "api" and row["svname"] == server)

    def stop(self) -> None:
        """End it at once."""
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[..., Haproxy]]:
    """Starts HAProxy in front of the servers on some ports."""
    if shutil.which("haproxy") is None:
        miss("HAProxy", "haproxy")
    running: list[Haproxy] = []

    def start(*ports: int) -> Haproxy:
        running.append(Haproxy(tmp_path, *ports))
        return running[-1]

    yield start
    for one in running:
        one.stop()
