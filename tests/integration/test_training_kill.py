"""A training task whose worker is killed at the worst moments, with a real MLflow: the next one ends it, and does nothing twice."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from data.models.registry import MlflowRegistry
from data.models.runs import MlflowRuns
from data.sql.engine import Database
from data.tasks.files import TaskFiles
from tests.alert_receivers import wait_for
from tests.builders import a_crowd
from tests.conftest import free_port
from tests.task_builders import REASON
from tests.whole_product import configure, running
from trajops.contracts.tasks import TaskIn, TaskOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.services.tasks import TASK_PARAM, Tasks
from trajops.settings import Settings
from trajops.tasks.lifecycle import OVER, TaskState
from trajops.tasks.rules import TaskRules
from trajops.training_runs import RunQuery

pytestmark = [pytest.mark.slow, pytest.mark.long]
PATIENCE_S = 120.0
OTHERS = (
    "check_drift", "check_performance", "recalibrate", "reconcile_aliases", "retrain", "answer_alerts", "probe", "roll_up",
    "validate_versions", "join_truth", "judge_experiments", "advance_rollouts", "shadow",
)  # fmt: skip
# In the process of a task: at the call that the file names, the worker is killed as by `kill -9`, and once.
FAULT = """
import functools, importlib.util, operator, os, signal, sys, time
from pathlib import Path

FILE = Path(os.environ["FAULT_FILE"])

def faulty(call):
    @functools.wraps(call)
    def wrapped(*args, **kwargs):
        place, calls = FILE.read_text().split()
        if int(calls) > 1:
            FILE.write_text(f"{place} {int(calls) - 1}")
            return call(*args, **kwargs)
        FILE.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return wrapped

class Finder:
    def __init__(self, module, owner, name):
        self.module, self.owner, self.name = module, owner, name

    def find_spec(self, module, path=None, target=None):
        if module != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(module)
        execute = spec.loader.exec_module
        def with_fault(made):
            execute(made)
            owner = operator.attrgetter(self.owner)(made) if self.owner else made
            setattr(owner, self.name, faulty(getattr(owner, self.name)))
        spec.loader.exec_module = with_fault
        return spec

if "workers.tasks" in sys.orig_argv and FILE.exists():
    module, _, path = FILE.read_text().split()[0].partition(":")
    sys.meta_path.insert(0, Finder(module, *path.rpartition(".")[::2]))
"""


class Floor:
    """One worker, which can be killed and started anew, and what it writes to."""

    def __init__(self, folder: Path, mlflow_url: str, stack: ExitStack) -> None:
        configs = configure(folder, {"schedules": {"jobs": dict.fromkeys(OTHERS) | {"run_tasks": {"lease_s": 2}}}})
        self.settings = Settings(var_dir=folder / "var", configs_dir=configs, mlflow_url=mlflow_url, model_name=f"model-{uuid4().hex}")
        self.database = Database(self.settings.sql_url)
        self.database.migrate()
        self.files = TaskFiles(self.settings.tasks_dir)
        self.tasks = Tasks(self.database.unit_of_work, TaskRules, self.files, model_name=self.settings.model_name)
        self._folder, self._stack = folder, stack
        (folder / "faults").mkdir()
        (folder / "faults" / "sitecustomize.py").write_text(FAULT)
        self.fault = folder / "fault"
        self.worker = self.start_worker()

    def start_worker(self) -> "subprocess.Popen[bytes]":
        port = str(free_port())
        own = {
            "TRAJOPS_VAR_DIR": str(self.settings.var_dir),
            "TRAJOPS_CONFIGS_DIR": str(self.settings.configs_dir),
            "TRAJOPS_MLFLOW_URL": self.settings.mlflow_url,
            "TRAJOPS_MODEL_NAME": self.settings.model_name,
            "TRAJOPS_WORKERS_PORT": port,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self._folder / "faults"),
            "FAULT_FILE": str(self.fault),
        }
        return self._stack.enter_context(running(self._folder, "workers", f"http://127.0.0.1:{port}/healthz", **own))

    def trained(self, *families: str, killed_at: str, calls: int = 1) -> TaskOut:
        """A training task whose worker was killed at such a call, once the next one has ended it."""
        self.fault.write_text(f"{killed_at} {calls}")
        upload = self.files.upload("crowd.csv", 10**7, 1e9)
        upload.write(crowd_csv())
        asked = TaskIn.model_validate(
            {"kind": "train", "families": families, "file_id": upload.finish().file_id, "is_staged": True, "reason": REASON}
        )
        task_id = self.tasks.start(asked, actor="ada").task.task_id
        self.worker.wait(PATIENCE_S)
        assert not self.fault.exists(), "it was killed where it should be"
        self.worker = self.start_worker()
        wait_for(lambda: self.tasks.get(task_id).state in OVER, "the end of the task", PATIENCE_S)
        return self.tasks.get(task_id)

    def registered(self, task: TaskOut) -> list[int]:
        """Versions in MLflow since the task began."""
        registry = MlflowRegistry(self.settings.registry_url)
        rows = registry.versions(self.settings.model_name)
        registry.close()
        return sorted(int(row["version"]) for row in rows if row["created_ns"] > task.created_at.timestamp() * 1e9)

    def states_of_runs(self, task: TaskOut) -> list[str]:
        """How the training runs of a task stand in MLflow."""
        runs = MlflowRuns(self.settings.registry_url)
        found = runs.search(RunQuery(limit=50)).runs
        runs.close()
        return sorted(run.status for run in found if run.params.get(TASK_PARAM) == task.task_id)

    def staged(self) -> list[int]:
        with self.database.unit_of_work(read_only=True) as uow:
            return [one.model_version for one in uow.deployments.all() if one.state is State.STAGED]


def crowd_csv() -> bytes:
    rows = [
        f"{scene.scene_id},{track.agent_id},{time_s:.1f},{x:.4f},{y:.4f}"
        for scene in (a_crowd("north", 1), a_crowd("south", 2))
        for track in scene.tracks
        for time_s, (x, y) in zip(track.times_s, track.positions_m, strict=True)
    ]
    return ("scene,agent,time,x,y\n" + "\n".join(rows) + "\n").encode()


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Floor]:
    with ExitStack() as stack:
        found = Floor(tmp_path_factory.mktemp("training"), mlflow_url, stack)
        yield found
        found.database.close()


def test_killed_between_registering_and_staging_it_stages_what_it_has_registered(floor: Floor) -> None:
    before = floor.staged()
    task = floor.trained("kalman", "constant_velocity", killed_at="workers.training.staging:stage_best")
    assert (task.state, task.attempts) == (TaskState.DONE, 2), task.error
    assert task.outcome is not None
    assert task.outcome.model_versions == floor.registered(task)
    assert len(task.outcome.run_ids) == len(task.outcome.model_versions) == 2
    [staged] = set(floor.staged()) - set(before)
    assert staged == task.outcome.staged_version
    assert f"v{staged} is staged" in task.outcome.sentence
    assert any("begun again" in line for line in floor.files.log(task.task_id, 100).lines)


def test_killed_between_two_versions_it_registers_the_other_one_and_ranks_both(floor: Floor) -> None:
    task = floor.trained("kalman", "constant_velocity", killed_at="data.models.mlflow_store:MlflowStore._register", calls=2)
    assert (task.state, task.attempts) == (TaskState.DONE, 2), task.error
    assert task.outcome is not None
    assert task.outcome.model_versions == floor.registered(task)
    with floor.database.unit_of_work(read_only=True) as uow:
        families = {uow.model_versions.get(ModelRef(task.model_name, one)).family for one in task.outcome.model_versions}
    assert families == {"kalman", "constant_velocity"}
    assert task.outcome.staged_version in floor.staged()
    assert task.outcome.staged_version in task.outcome.model_versions
    assert floor.states_of_runs(task) == ["finished", "finished", "killed"]


def test_killed_before_the_control_state_knows_of_a_version_it_measures_that_one_and_says_what_is_left(floor: Floor) -> None:
    task = floor.trained("kalman", killed_at="workers.training.run:mirror")
    assert (task.state, task.attempts) == (TaskState.DONE, 2), task.error
    assert task.outcome is not None
    [number] = floor.registered(task)
    assert task.outcome.model_versions == [number]
    with floor.database.unit_of_work(read_only=True) as uow:
        validation = uow.validations.newest(ModelRef(task.model_name, number))
    assert validation is not None
    assert validation.dataset == "crowd.csv"
    assert task.outcome.sentence == f"v{number} is registered, and none is staged: the log says why."
    assert any("was not ranked. It may be staged by hand" in line for line in floor.files.log(task.task_id, 100).lines)
