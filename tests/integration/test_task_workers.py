"""Tasks with a real API and a real worker: done, cancelled, killed in the middle, bad, and told of."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from benchmarks.product import Product, prepare
from tests.alert_receivers import wait_for
from tests.conftest import free_port
from tests.task_builders import REASON
from tests.whole_product import configure, running
from trajops.client import ApiProblem, TrajOpsClient
from trajops.contracts.predictions import PredictIn
from trajops.contracts.tasks import TaskIn, TaskOut
from trajops.tasks.lifecycle import TaskState

pytestmark = pytest.mark.slow
PATIENCE_S = 60.0
STEPS = 20
QUIET = (
    "check_drift", "check_performance", "recalibrate", "reconcile_aliases", "retrain", "answer_alerts", "probe", "roll_up",
    "validate_versions", "join_truth", "judge_experiments", "advance_rollouts", "shadow",
)  # fmt: skip


def tracks_csv(agents: int, steps: int = STEPS) -> bytes:
    rng = np.random.default_rng(0)
    rows = []
    for agent in range(agents):
        way = np.cumsum(rng.normal(0.5, 0.1, (steps, 2)), axis=0)
        rows += [f"a{agent},{0.4 * step:.1f},{x:.4f},{y:.4f}" for step, (x, y) in enumerate(way)]
    return ("agent,time,x,y\n" + "\n".join(rows) + "\n").encode()


class Floor:
    """One API and one worker; the worker can be killed and started anew."""

    def __init__(self, folder: Path, made: Product, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._own = {
            "TRAJOPS_VAR_DIR": str(made.var_dir),
            "TRAJOPS_CONFIGS_DIR": str(folder / "configs"),
            "TRAJOPS_MLFLOW_URL": "http://127.0.0.1:9",
            "OMP_NUM_THREADS": "1",
        }
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        stack.enter_context(running(folder, "api", f"{url}/readyz", **self._own, TRAJOPS_API_PORT=str(port)))
        self.client = stack.enter_context(TrajOpsClient(url, made.operator_key))
        self.worker = self.start_worker()

    def start_worker(self) -> "subprocess.Popen[bytes]":
        port = str(free_port())
        self.metrics = f"http://127.0.0.1:{port}/metrics"
        address = f"http://127.0.0.1:{port}/healthz"
        return self._stack.enter_context(running(self.folder, "workers", address, **self._own, TRAJOPS_WORKERS_PORT=port))

    def start(self, content: bytes, **changes: object) -> TaskOut:
        file = self.client.upload_tracks(content, "match.csv")
        body = {"kind": "batch_predict", "file_id": file.file_id, "reason": REASON} | changes
        return self.client.start_task(TaskIn.model_validate(body)).task

    def until(self, task_id: str, *states: TaskState) -> TaskOut:
        wait_for(lambda: self.client.task(task_id).state in states, f"a task in {states[0]}", PATIENCE_S)
        return self.client.task(task_id)

    def busy(self) -> TaskOut:
        """A task that takes long, once it predicts."""
        task = self.start(tracks_csv(3000, 60), windows="all")
        wait_for(lambda: self.client.task(task.task_id).progress > 0.1, "a task that predicts", PATIENCE_S)
        return self.client.task(task.task_id)

    def processes(self, task_id: str) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if task_id.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    folder = tmp_path_factory.mktemp("tasks")
    made = prepare(folder / "var")
    configure(folder, {"schedules": {"jobs": dict.fromkeys(QUIET) | {"run_tasks": {"lease_s": 2}}}})
    with ExitStack() as stack:
        yield Floor(folder, made, stack)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_result_is_what_batch_predict_answers(floor: Floor, tmp_path: Path, form: str) -> None:
    agents = 7
    content = tracks_csv(agents) + b"short,0.0,1,1\n"
    task = floor.client.wait_for_task(floor.start(content, format=form).task_id, timeout_s=PATIENCE_S, every_s=0.2)
    assert (task.state, task.progress, task.attempts) == (TaskState.DONE, 1.0, 1), task.error
    assert task.outcome is not None
    assert task.outcome.sentence == "Forecast 7 of 8 agents; 1 are seen for too short a time."
    path = tmp_path / "result"
    assert floor.client.save_result(task.task_id, path) == path.stat().st_size == task.outcome.bytes
    table = (pacsv.read_csv if form == "csv" else pq.read_table)(path)
    assert len(table) == task.outcome.rows
    lines = content.decode().splitlines()[1:-1]
    history = [[tuple(map(float, line.split(",")[2:])) for line in lines[STEPS * n + 12 : STEPS * (n + 1)]] for n in range(agents)]
    answers = floor.client.batch_predict(
        [PredictIn(agent_id=f"a{n}", scene_id="default", observed_at_s=7.6, history=history[n], model_version=1) for n in range(agents)]
    )
    rows = table.to_pylist()
    for number, answer in enumerate(answers.items):
        assert answer.prediction is not None, answer.error
        for mode, wanted in enumerate(answer.prediction.modes):
            mine = [row for row in rows if row["agent"] == f"a{number}" and row["mode"] == mode]
            assert [row["step"] for row in mine] == list(range(1, 13))
            assert mine[0]["weight"] == pytest.approx(wanted.weight, abs=1e-6)
            assert np.allclose([(row["x"], row["y"]) for row in mine], wanted.positions, atol=1e-4)
            assert np.allclose([(row["var_x"], row["cov_xy"], row["var_y"]) for row in mine], wanted.covariance, atol=1e-4)


def test_a_version_is_measured(floor: Floor, tmp_path: Path) -> None:
    task = floor.client.wait_for_task(floor.start(tracks_csv(12, 30), kind="evaluate", model_version=1).task_id, every_s=0.2)
    assert task.state is TaskState.DONE, task.error
    assert task.outcome is not None
    assert 0 < task.outcome.figures["val_ade_m"] < 5
    floor.client.save_result(task.task_id, tmp_path / "figures.json")
    assert '"windows": 132' in (tmp_path / "figures.json").read_text()


def test_a_running_task_tells_how_far_it_is_and_ends_within_seconds_of_a_cancel(floor: Floor) -> None:
    task = floor.busy()
    assert task.stage.startswith("Predicts: ")
    [process, *_] = floor.processes(task.task_id)
    waiting = floor.start(tracks_csv(2))
    floor.client.cancel_task(task.task_id, task.version, REASON)
    began_s = time.monotonic()
    ended = floor.until(task.task_id, TaskState.CANCELLED)
    assert time.monotonic() - began_s < 10
    assert ended.cancelled is not None
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(ApiProblem, match="has no result"):
        floor.client.task_result(task.task_id)
    assert floor.until(waiting.task_id, TaskState.DONE).error is None


def test_a_task_whose_process_dies_has_failed_with_the_reason(floor: Floor) -> None:
    task = floor.busy()
    os.kill(floor.processes(task.task_id)[0], signal.SIGKILL)
    failed = floor.until(task.task_id, TaskState.FAILED)
    assert "by signal 9" in str(failed.error)


def test_a_worker_that_is_killed_takes_its_process_along_and_the_next_one_runs_the_task_again(floor: Floor) -> None:
    task = floor.busy()
    [process, *_] = floor.processes(task.task_id)
    floor.worker.kill()
    floor.worker.wait()
    wait_for(lambda: not Path(f"/proc/{process}").exists(), "the end of its process", 10)
    assert floor.client.task(task.task_id).state is TaskState.RUNNING
    floor.worker = floor.start_worker()
    done = floor.until(task.task_id, TaskState.DONE, TaskState.FAILED)
    assert (done.state, done.attempts) == (TaskState.DONE, 2), done.error
    assert done.outcome is not None
    assert done.outcome.rows == 3000 * 53 * 12


def test_a_worker_that_is_stopped_puts_its_task_back(floor: Floor) -> None:
    task = floor.busy()
    floor.worker.send_signal(signal.SIGTERM)
    assert floor.worker.wait(20) == 0
    back = floor.client.task(task.task_id)
    assert (back.state, back.attempts) == (TaskState.QUEUED, 0)
    assert not floor.processes(task.task_id)
    floor.worker = floor.start_worker()
    running_again = floor.until(task.task_id, TaskState.RUNNING)
    floor.client.cancel_task(task.task_id, running_again.version, REASON)
    floor.until(task.task_id, TaskState.CANCELLED)


def test_a_bad_file_that_is_too_large_to_be_looked_into_fails_with_row_and_column(floor: Floor) -> None:
    content = tracks_csv(30_000, 20) + b"last,0.0,east,1\n"
    assert len(content) > 8e6
    failed = floor.until(floor.start(content).task_id, TaskState.FAILED)
    assert failed.file is not None
    assert failed.file.rows is None
    assert "match.csv, row 600001, column x: the value is 'east'" in str(failed.error)
    assert any("failed: match.csv" in line for line in floor.client.task_log(failed.task_id).lines)


def test_training_without_a_registry_fails_with_the_reason(floor: Floor) -> None:
    failed = floor.until(floor.start(tracks_csv(60, 30), kind="train", families=["kalman"]).task_id, TaskState.FAILED)
    assert "127.0.0.1:9" in str(failed.error)
