"""The process of the workers: its health, its end by a signal, a port in use."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from data.sql.engine import Database
from tests.conftest import free_port
from tests.job_runs import WAIT_S, wait_for
from trajops.clock import SystemClock, now
from workers.health import HealthServer
from workers.metrics import WorkerMetrics
from workers.schedules import JobName


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_health_tells_whether_time_is_kept() -> None:
    alive = True
    metrics = WorkerMetrics()
    metrics.scheduled("j", 5)
    metrics.began("j")
    metrics.ended("j", 1234.0, 0.5, is_success=True)
    with HealthServer("127.0.0.1", 0, metrics.registry, lambda: alive, lambda: {"holder": "w1"}) as server:
        assert ask(server.port, "/healthz") == (200, '{"status":"alive","holder":"w1"}')
        status, text = ask(server.port, "/metrics")
        assert status == 200
        assert 'trajops_job_runs_total{job="j",outcome="succeeded"} 1.0' in text
        assert 'trajops_job_last_success_timestamp_seconds{job="j"} 1234.0' in text
        assert ask(server.port, "/else")[0] == 404
        alive = False
        assert ask(server.port, "/healthz")[0] == 503


def start_workers(var_dir: Path, port: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "TRAJOPS_VAR_DIR": str(var_dir),
        "TRAJOPS_WORKERS_PORT": str(port),
        "TRAJOPS_MLFLOW_PORT": str(free_port()),
    }
    return subprocess.Popen([sys.executable, "-m", "workers"], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_process_works_and_ends_cleanly(tmp_path: Path, signal_number: signal.Signals) -> None:
    """Every job has run once, though no MLflow answers yet; after the signal the exit code is 0 and every lease is free."""
    port = free_port()
    process = start_workers(tmp_path / "var", port)
    try:
        wait_for(lambda: ask(port, "/healthz")[0] == 200, "health")
        database = Database(f"sqlite:///{tmp_path / 'var' / 'trajops.db'}")

        ended: dict[str, str] = {}

        def states() -> dict[str, str]:
            with database.unit_of_work(read_only=True) as work:
                overview = work.jobs.overview(now(SystemClock()))
            ended.update({job.job: job.last_run.state for job in overview if job.last_run is not None and job.last_run.state != "running"})
            return ended

        wait_for(lambda: states().keys() == set(get_args(JobName)), "a run of each job")
        assert set(ended.values()) == {"succeeded"}
        assert "trajops_drift_verdict -1.0" in ask(port, "/metrics")[1]
        process.send_signal(signal_number)
        lines = [json.loads(line) for line in process.communicate(timeout=WAIT_S)[0].splitlines()]
        assert process.returncode == 0
        assert {line["service.name"] for line in lines} == {"workers"}
        assert lines[-1]["message"] == "the worker has ended"
        with database.unit_of_work() as work:
            present = now(SystemClock())
            fences = [work.leases.acquire(job, "test", present, present + timedelta(seconds=1)) for job in states()]
        assert None not in fences
        database.close()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.slow
def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    with HealthServer("127.0.0.1", 0, WorkerMetrics().registry, lambda: True, dict) as server:
        process = start_workers(tmp_path / "var", server.port)
        out = process.communicate(timeout=WAIT_S)[0]
    assert process.returncode == 1
    last = json.loads(out.splitlines()[-1])
    assert last["log.level"] == "critical"
    assert str(server.port) in last["message"]
    assert "TRAJOPS_WORKERS_PORT" in last["message"]
