"""From a warm `make demo` (models trained on an earlier start) to the first live prediction that truth has scored."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.product import ROOT, free_port
from benchmarks.record import Measurement
from deploy.demo.memory import Memory
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient

TIMEOUT_S = 240.0


def run() -> Measurement:
    """Start the demo once to train, then again with the clock running."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("API", "CONSOLE", "MLFLOW", "WORKERS")
        ports = {f"TRAJOPS_{name}_PORT": str(free_port()) for name in names}
        environment = {**os.environ, **ports, "TRAJOPS_VAR_DIR": folder}
        command = [sys.executable, "-m", "deploy.demo", "--headless"]
        start = time.perf_counter()
        first = subprocess.run([*command, "--until-healthy"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if first.returncode:
            raise RuntimeError(first.stdout + first.stderr)
        cold_s = time.perf_counter() - start
        start, since = time.perf_counter(), datetime.now(UTC)
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            value = _first_scored(Path(folder), f"http://127.0.0.1:{ports['TRAJOPS_API_PORT']}", since, start)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=60)
    return Measurement(value, {"cold_start_to_healthy_s": round(cold_s, 1)})


def _first_scored(var_dir: Path, url: str, since: datetime, start: float) -> float:
    memory = Memory.load(var_dir)
    assert memory is not None
    client: TrajOpsClient | None = None
    while time.perf_counter() - start < TIMEOUT_S:
        try:
            client = client or TrajOpsClient(url, TrajOpsClient(url, attempts=1).sign_in(memory.username, memory.password).access_token)
            rows = client.performance(since=since, until=datetime.now(UTC) + timedelta(seconds=1)).rows
            if any(row.scored for row in rows):
                return time.perf_counter() - start
        except (ApiUnavailable, ApiProblem):
            pass
        time.sleep(0.2)
    raise TimeoutError(f"no prediction was scored within {TIMEOUT_S} s")
