"""Real worker processes that only look at alert rules and deliver."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from data.sql.engine import Database
from tests.alert_receivers import wait_for
from tests.conftest import free_port
from trajops.contracts.drift import DriftCheckOut, Verdict

ROOT = Path(__file__).parents[1]
JOB = {"description": "what the test needs", "lease_s": 5}
DRIFT = {"name": "drift", "title": "Traffic has drifted", "signal": "drift_verdict", "when": ">= 2", "severity": "critical"}
DRIFT |= {"resolve_when": "< 1", "resolve_after_s": 0}


def configure(folder: Path, receivers: list[dict[str, Any]], **alerts: Any) -> Path:
    """Write the configuration of such workers: drift is critical, and every receiver is told; the folder."""
    configs = folder / "configs"
    shutil.copytree(ROOT / "configs", configs)
    jobs = {"evaluate_alerts": {**JOB, "every_s": 2}, "deliver_alerts": {**JOB, "every_s": 2}}
    (configs / "schedules.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    rules: dict[str, Any] = {"rules": [DRIFT], "receivers": receivers, "routes": [{"receivers": [one["name"] for one in receivers]}]}
    (configs / "alerts.yaml").write_text(yaml.safe_dump({**rules, **alerts}))
    # What ships refers to the rules that ship.
    (configs / "policy.yaml").write_text(yaml.safe_dump({"answers": []}))
    (configs / "rollouts.yaml").write_text(
        yaml.safe_dump({"default": "plain", "policies": [{"name": "plain", "canary": [{"coverage": 1}]}]})
    )
    return configs


@contextmanager
def a_worker(folder: Path, database_url: str, log: str = "worker.log", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """One running worker over the configuration in a folder, until the end of the block."""
    port = free_port()
    own = {
        "TRAJOPS_VAR_DIR": str(folder / "var"),
        "TRAJOPS_CONFIGS_DIR": str(folder / "configs"),
        "TRAJOPS_DATABASE_URL": database_url,
        "TRAJOPS_WORKERS_PORT": str(port),
    }
    with (folder / log).open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers"], cwd=ROOT, env={**os.environ, **own, **environment}, stdout=out, stderr=out
        )
        try:
            wait_for(lambda: "the worker is ready" in (folder / log).read_text() or process.poll() is not None, "the worker")
            assert process.poll() is None, (folder / log).read_text()
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)


def logged(folder: Path, log: str = "worker.log") -> list[dict[str, Any]]:
    """What a worker has written."""
    return [json.loads(line) for line in (folder / log).read_text().splitlines()]


def write_verdict(database: Database, verdict: Verdict) -> datetime:
    """Write a drift check, as the job does, and return when it was committed."""
    at = datetime.now(UTC)
    times = {"at": at, "current_since": at, "current_until": at, "reference_since": None, "reference_until": None}
    said = f"The verdict is {verdict}."
    check = DriftCheckOut(
        check_id=uuid4().hex, verdict=verdict, sentence=said, reference_agents=9, current_agents=9, columns=[], has_report=False, **times
    )
    with database.unit_of_work() as uow:
        uow.drift_checks.add(check)
    return datetime.now(UTC)
