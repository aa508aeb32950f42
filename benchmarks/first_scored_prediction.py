"""From a warm `make demo` (models trained on an earlier start) to the first live prediction that truth has scored."""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.demo import Demo
from benchmarks.record import Measurement
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient

TIMEOUT_S = 240.0


def run() -> Measurement:
    """Start the demo once to train, then again with the clock running."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo.on_free_ports(Path(folder))
        start = time.perf_counter()
        demo.until_healthy()
        cold_s = time.perf_counter() - start
        start, since = time.perf_counter(), datetime.now(UTC)
        with demo.running():
            value = _first_scored(demo, since, start)
    return Measurement(value, {"cold_start_to_healthy_s": round(cold_s, 1)})


def _first_scored(demo: Demo, since: datetime, start: float) -> float:
    url, memory = demo.url("API"), demo.memory
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
