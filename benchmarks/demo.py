"""The whole demo as an operator has it, on ports of its own: MLflow, API, workers, console, and a match as live traffic."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks.product import ROOT, free_port, process
from deploy.demo.memory import Memory

COMMAND = [sys.executable, "-m", "deploy.demo", "--headless"]
SERVICES = ("API", "CONSOLE", "MLFLOW", "WORKERS")


@dataclass(frozen=True)
class Demo:
    """Where a demo keeps its state, and where it answers."""

    folder: Path
    ports: Mapping[str, int]

    @classmethod
    def on_free_ports(cls, folder: Path) -> "Demo":
        """One that is not started yet."""
        return cls(folder, {name: free_port() for name in SERVICES})

    @property
    def environment(self) -> dict[str, str]:
        """What its command is started with."""
        return {
            **os.environ,
            **{f"TRAJOPS_{name}_PORT": str(port) for name, port in self.ports.items()},
            "TRAJOPS_VAR_DIR": str(self.folder),
        }

    def url(self, service: str) -> str:
        """Address of one of `SERVICES`."""
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def memory(self) -> Memory:
        """How to sign in; once it has been started."""
        memory = Memory.load(self.folder)
        assert memory is not None
        return memory

    def cookie(self) -> tuple[str, str]:
        """Name and value of the session cookie that the console gives to who signs in."""
        fields = {"username": self.memory.username, "password": self.memory.password, "next": "/"}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.url('CONSOLE')}/session/sign-in", data=fields, allow_redirects=False, timeout=30)
            answer.raise_for_status()
            [cookie] = answer.cookies
            return cookie.name, str(cookie.value)

    def until_healthy(self) -> None:
        """Start it, wait until truth has scored predictions, and stop it: models are trained then.

        Raises:
            RuntimeError: if it does not become healthy.
        """
        done = subprocess.run([*COMMAND, "--until-healthy"], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """It runs until the end of the block."""
        running = subprocess.Popen(COMMAND, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield running
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=60)

    @contextmanager
    def serving(self, module: str, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """One of its parts alone, until the end of the block: nothing replays, checks or learns.

        Args:
            module: `python -m` which.
            service: one of `SERVICES`.
        """
        with process([sys.executable, "-m", module], self.environment, f"{self.url(service)}/readyz") as (running, _):
            yield running
