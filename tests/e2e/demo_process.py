"""The demo as a process: started on free ports and a state folder of its own, stopped with Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("API", "CONSOLE", "MLFLOW", "WORKERS")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass
class Demo:
    """One state folder and one set of ports; started as often as a test likes."""

    var_dir: Path
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(SERVICES, free_ports(4), strict=True)))

    @property
    def environment(self) -> dict[str, str]:
        """What `make demo` is started with."""
        ports = {f"TRAJOPS_{name}_PORT": str(port) for name, port in self.ports.items()}
        return {**os.environ, **ports, "TRAJOPS_VAR_DIR": str(self.var_dir)}

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['API']}"

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.ports['CONSOLE']}"

    @property
    def memory(self) -> dict[str, str]:
        """Sign-in and key that the demo made."""
        memory: dict[str, str] = json.loads((self.var_dir / "demo.json").read_text())
        return memory

    def run(self, *arguments: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
        """Run the demo to its end."""
        command = [sys.executable, "-m", "deploy.demo", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False)

    def logs(self) -> str:
        """The last lines of every service, for a failing test's message."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted((self.var_dir / "logs").glob("*.log")))


class Running:
    """A demo that is running, its output read in the background."""

    def __init__(self, demo: Demo, *arguments: str) -> None:
        self.demo = demo
        self.output: list[str] = []
        command = [sys.executable, "-m", "deploy.demo", *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=demo.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output.extend(iter(self.process.stdout.readline, ""))

    def wait_for(self, text: str, timeout_s: float = 240) -> None:
        """Wait until the demo has said `text`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if any(text in line for line in self.output):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        pytest.fail(f"the demo did not say {text!r}:\n{''.join(self.output)}\n{self.demo.logs()}")

    def stop(self) -> int:
        """Press Ctrl-C and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
