"""The console as a process of its own, on a free port, over whatever API a test gives it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_console(api_url: str, log_file: Path, port: int | None = None, **more: str) -> Iterator[str]:
    """Its address, once pages can be served; stopped at the end."""
    port = port or free_port()
    environment = {**os.environ, **more, "TRAJOPS_API_URL": api_url, "TRAJOPS_CONSOLE_PORT": str(port), "TRAJOPS_HOST": "127.0.0.1"}
    with log_file.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "console"], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(url):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False
