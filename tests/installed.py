"""Servers that are programs of the system: skipped where they are not installed, failed where CI=true."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def miss(service: str, package: str) -> NoReturn:
    """Skip or fail the test, because a service is missing."""
    reason = f"{service} is not installed; apt-get install -y --no-install-recommends {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need(program: str, package: str) -> None:
    """Skip or fail the test if a program is missing."""
    if shutil.which(program) is None:
        miss(program, package)


def started(command: Sequence[str | Path], log: Path, is_ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """A process that has begun to answer."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    deadline = time.monotonic() + 30
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            pytest.fail(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
    return process
