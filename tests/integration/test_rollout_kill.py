"""A rollout over PostgreSQL, two API processes and two workers, of each of which one is killed on the way."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.product import Product, prepare
from data.lake.queries import Lake
from data.sql.engine import Database
from tests.alert_receivers import wait_for
from tests.answered_agents import Agents, coming
from tests.conftest import free_port
from tests.whole_product import Edits, configure, running
from trajops.client import TrajOpsClient
from trajops.contracts.rollouts import RolloutOut
from trajops.rollouts.lifecycle import ACTIVE, RolloutState, Stage
from trajops.settings import Settings

pytestmark = pytest.mark.slow
REASON = "because of the test"
AGENTS_S, PATIENCE_S, SWITCHED_S = 24.0, 60.0, 2.0
# Gates as shipped; waits are seconds, and a killed worker is missed for three.
JOBS: dict[str, Any] = dict.fromkeys(
    (
        "check_drift",
        "check_performance",
        "recalibrate",
        "reconcile_aliases",
        "retrain",
        "answer_alerts",
        "probe",
        "roll_up",
        "validate_versions",
    )
)
PACE = {"every_s": 1, "jitter_s": 0.1, "lease_s": 3}
POLICY: dict[str, Any] = {
    "name": "test",
    "shadow": {"min_units": 20, "min_s": 1},
    "canary": [{"coverage": coverage, "min_units": 20, "min_s": 1} for coverage in (0.5, 1.0)],
    "bake": {"min_units": 20, "min_s": 1},
    "margin": 0.5,
    "approval": [],
}
QUICK: Edits = {
    "schedules": {"jobs": JOBS | dict.fromkeys(("join_truth", "judge_experiments", "advance_rollouts", "shadow"), PACE)},
    "rollouts": {"default": "test", "policies": [POLICY]},
}


class Floor:
    """The running product; what is killed is killed with SIGKILL."""

    def __init__(self, folder: Path, database_url: str, made: Product, stack: ExitStack) -> None:
        self.made, self.database = made, Database(database_url)
        stack.callback(self.database.close)
        own = {
            "TRAJOPS_VAR_DIR": str(folder / "var"),
            "TRAJOPS_CONFIGS_DIR": str(folder / "configs"),
            "TRAJOPS_DATABASE_URL": database_url,
            "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9",
            "TRAJOPS_SPOOL_ROTATE_S": "3",
            "OMP_NUM_THREADS": "1",
        }
        ports = [free_port() for _ in range(4)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports[:2]]
        apis = [running(folder, "api", f"{url}/readyz", **own, TRAJOPS_API_PORT=url.rsplit(":")[-1]) for url in self.urls]
        workers = [
            running(folder, "workers", f"http://127.0.0.1:{port}/healthz", **own, TRAJOPS_WORKERS_PORT=str(port)) for port in ports[2:]
        ]
        # They start at once: what takes longest is to import.
        with ThreadPoolExecutor(4) as pool:
            self.processes = {process.pid: process for process in pool.map(stack.enter_context, (*apis, *workers))}
        self.apis = list(self.processes)[:2]
        self.client = TrajOpsClient(self.urls[1], made.operator_key)

    def kill(self, pid: int) -> None:
        """End one of the processes at once."""
        os.kill(pid, signal.SIGKILL)
        self.processes[pid].wait()

    def rollout(self) -> RolloutOut:
        with self.database.unit_of_work(read_only=True) as uow:
            [found] = uow.rollouts.newest()
        return found

    def until(self, *stages: Stage) -> None:
        """Until it has come to one of these stages; it must not be over by then."""

        def is_there() -> bool:
            found = self.rollout()
            assert found.state in ACTIVE, found.sentence
            return found.stage in stages

        wait_for(is_there, f"a rollout in {stages[0]}", PATIENCE_S)

    def advancing_worker(self) -> int:
        """Process that has looked at the rollout last."""
        with self.database.unit_of_work(read_only=True) as uow:
            last = uow.jobs.last_success("advance_rollouts", until=datetime.now(UTC))
        assert last is not None
        return int(last.holder.split(":")[1])


@pytest.fixture
def floor(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Floor]:
    monkeypatch.setenv("TRAJOPS_DATABASE_URL", postgres_url)
    # Agents go straight on, which the filter takes for a turn now and then.
    made = prepare(tmp_path / "var", "kalman", "constant_velocity")
    configure(tmp_path, QUICK)
    with ExitStack() as stack:
        yield Floor(tmp_path, postgres_url, made, stack)


def recorded(floor: Floor, tmp_path: Path) -> Counter[str]:
    """How often each served answer stands in the lake."""
    settings = Settings(var_dir=tmp_path / "var", environment="test")
    lake = Lake(settings.lake_dir, settings.spool_dir, floor.database.engine)
    query = "SELECT prediction_id, count(*) FROM predictions WHERE source <> 'shadow' GROUP BY prediction_id"
    try:
        return Counter(dict(lake.read(("predictions",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())))
    finally:
        lake.close()


def test_it_goes_live_once_and_no_answer_is_lost(floor: Floor, tmp_path: Path) -> None:
    staged = floor.client.stage(2, REASON).deployment
    rollout = floor.client.start_rollout(staged.deployment_id, staged.version, REASON).rollout
    agents = Agents(floor.urls, floor.made.api_key)
    with coming(agents, AGENTS_S):
        floor.until(Stage.CANARY)
        floor.kill(floor.apis[0])
        # Whoever has just taken the step before the switch does not come to write the pointer.
        floor.until(Stage.PROMOTING, Stage.BAKING)
        floor.kill(floor.advancing_worker())
        wait_for(lambda: floor.rollout().state not in ACTIVE, "the end of the rollout", PATIENCE_S)
        time.sleep(SWITCHED_S)
    over = floor.rollout()
    assert (over.state, over.stage) == (RolloutState.LIVE, Stage.BAKING), over.sentence

    entries = [entry for entry in reversed(floor.client.audit(500).entries) if entry.subject == f"rollout/{rollout.rollout_id}"]
    places = [entry.after["rollouts"][rollout.rollout_id] for entry in entries]
    assert places == [
        "shadow, running",
        "canary 1/2, running",
        "canary 2/2, running",
        "promoting, running",
        "baking, running",
        "baking, live",
    ]
    champions = [row.champion.model_version for row in reversed(floor.client.routes(200).history) if row.champion is not None]
    assert champions == sorted(champions), "one switch, and no way back"
    assert set(champions) == {1, 2}

    switched_s = entries[4].at.timestamp()
    assert [one for one in agents.answers if one.model_version == 1 and one.asked_s > switched_s + SWITCHED_S] == []
    assert any(one.model_version == 2 for one in agents.answers if one.asked_s > switched_s)
    ids = [one.prediction_id for one in agents.answers]
    assert len(set(ids)) == len(ids)
    assert agents.failed, "the API that was killed had been asked"
    counts = recorded(floor, tmp_path)
    assert {one: counts[one] for one in ids if counts[one] != 1} == {}
