"""Tasks by the record: queued, begun, lost, run again, ended, and by whom."""

from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.task_builders import AT, FILE, REASON, asked
from trajops.contracts.tasks import TaskFileOut, TaskIn, TaskOut, TaskOutcomeOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, IllegalTransition, InvalidInput, NotFound, StaleVersion
from trajops.records import ModelVersion
from trajops.services.tasks import TASK_PARAM, TaskRuns, Tasks
from trajops.tasks.lifecycle import TaskState, check_transition
from trajops.tasks.pace import eta_s
from trajops.tasks.rules import TaskRules

RULES = TaskRules(max_queued=3, max_queued_per_person=2, attempts=2)
DONE = TaskOutcomeOut(sentence="Forecast 3 of 3 agents.")


class Files:
    def described(self, file_id: str) -> TaskFileOut:
        if file_id != FILE:
            raise NotFound("there is no such file")
        return TaskFileOut(file_id=FILE, name="tracks.csv", bytes=10)


class Shop:
    def __init__(self) -> None:
        self.database, self.clock = MemoryDatabase(), SetClock()
        self.tasks = Tasks(self.database.unit_of_work, lambda: RULES, Files(), clock=self.clock)
        self.runs = self.worker("w1")
        with self.database.unit_of_work() as uow:
            uow.model_versions.put(ModelVersion("trajectory", 3, "kalman", None, {}, {}, "", AT))

    def worker(self, holder: str) -> TaskRuns:
        return TaskRuns(self.database.unit_of_work, RULES, holder, self.clock)

    def start(self, actor: str = "ada", key: str | None = None, **changes: Any) -> TaskOut:
        self.clock.advance(1)
        return self.tasks.start(asked(**({"model_version": 3} | changes)), actor=actor, idempotency_key=key).task

    def actions(self) -> list[str]:
        with self.database.unit_of_work(read_only=True) as uow:
            return [entry.action for entry in reversed(uow.audit.newest(50))]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_task_is_queued_once_under_its_key_taken_and_done(shop: Shop) -> None:
    first = shop.start(key="k")
    assert shop.start(key="k") == first
    assert (first.state, first.version, first.by, first.file and first.file.name) == (TaskState.QUEUED, 1, "ada", "tracks.csv")
    taken = shop.runs.take()
    assert taken is not None
    assert (taken.task_id, taken.state, taken.attempts, taken.holder) == (first.task_id, TaskState.RUNNING, 1, "w1")
    noted = shop.runs.note(first.task_id, 0.5, "Predicts", 4.0)
    assert (noted.progress, noted.stage, noted.eta_s, noted.version) == (0.5, "Predicts", 4.0, taken.version)
    done = shop.runs.finish(first.task_id, TaskState.DONE, outcome=DONE)
    assert (done.state, done.progress, done.eta_s, done.outcome) == (TaskState.DONE, 1.0, None, DONE)
    assert shop.runs.take() is None
    assert shop.actions() == ["task.started", "task.done"]


def test_the_queue_is_bounded_for_each_person_and_for_all(shop: Shop) -> None:
    shop.start("ada")
    shop.start("ada")
    with pytest.raises(Conflict, match="2 of your tasks wait"):
        shop.start("ada")
    shop.start("bob")
    with pytest.raises(Conflict, match="3 tasks wait"):
        shop.start("cyd")
    assert (shop.tasks.newest().queued, shop.tasks.newest().running) == (3, 0)


def test_what_is_not_there_is_refused_before_anything_is_queued(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.start(model_version=9)
    with pytest.raises(NotFound):
        shop.start(file_id="f" * 32)
    with pytest.raises(InvalidInput, match="no champion"):
        shop.start(model_version=None)
    assert shop.tasks.newest().tasks == []
    assert shop.actions() == []


def test_a_waiting_task_is_cancelled_at_once_and_a_running_one_by_its_worker(shop: Shop) -> None:
    waits, who = shop.start(), {"actor": "bob", "reason": REASON}
    cancelled = shop.tasks.cancel(waits.task_id, waits.version, **who).task
    assert (cancelled.state, cancelled.cancelled and cancelled.cancelled.by) == (TaskState.CANCELLED, "bob")
    with pytest.raises(IllegalTransition):
        shop.tasks.cancel(waits.task_id, cancelled.version, **who)
    shop.start()
    runs = shop.runs.take()
    assert runs is not None
    with pytest.raises(StaleVersion):
        shop.tasks.cancel(runs.task_id, runs.version - 1, **who)
    shop.tasks.cancel(runs.task_id, runs.version, **who)
    noted = shop.runs.note(runs.task_id, 0.9, "Predicts", 1.0)
    assert (noted.state, noted.stage, noted.cancelled is not None) == (TaskState.RUNNING, "Is ended", True)
    assert shop.runs.finish(runs.task_id, TaskState.CANCELLED).state is TaskState.CANCELLED


def test_a_task_whose_worker_disappears_is_run_again_once_and_then_fails(shop: Shop) -> None:
    first = shop.start()
    shop.runs.take()
    [again] = shop.worker("w2").recover()
    assert (again.state, again.attempts, again.progress) == (TaskState.QUEUED, 1, 0.0)
    second = shop.worker("w2").take()
    assert second is not None
    assert (second.task_id, second.attempts) == (first.task_id, 2)
    # The worker of before has come back: it is not its task any more.
    assert shop.runs.finish(first.task_id, TaskState.DONE, outcome=DONE).state is TaskState.RUNNING
    [failed] = shop.worker("w3").recover()
    assert failed.state is TaskState.FAILED
    assert "worker w2 disappeared" in str(failed.error)
    assert shop.worker("w3").recover() == []


def test_a_worker_that_is_stopped_puts_its_task_back_and_that_is_no_attempt(shop: Shop) -> None:
    first = shop.start()
    shop.runs.take()
    shop.runs.put_back(first.task_id)
    assert (shop.tasks.get(first.task_id).state, shop.tasks.get(first.task_id).attempts) == (TaskState.QUEUED, 0)


@pytest.mark.parametrize("end", ["failed", "cancelled", "lost", "put back and cancelled"])
@pytest.mark.parametrize("is_staged", [False, True])
def test_a_training_task_that_breaks_off_says_what_it_has_registered(shop: Shop, end: str, *, is_staged: bool) -> None:
    shop.start(kind="train", is_staged=True, model_version=None)
    task = shop.runs.take()
    assert task is not None
    with shop.database.unit_of_work() as uow:
        for number, task_id in ((4, task.task_id), (5, "of another"), (6, task.task_id)):
            made = ModelVersion("trajectory", number, "kalman", f"run{number}", {}, {TASK_PARAM: task_id}, "", AT)
            uow.model_versions.put(made)
        uow.deployments.add(ModelRef("trajectory", 4), State.REGISTERED, AT)
        if is_staged:
            uow.deployments.add(ModelRef("trajectory", 6), State.STAGED, AT)
    who = {"actor": "bob", "reason": REASON}
    if end == "lost":
        shop.worker("w2").recover()
        shop.worker("w2").take()
        [ended] = shop.worker("w3").recover()
    elif end == "put back and cancelled":
        shop.runs.put_back(task.task_id)
        ended = shop.tasks.cancel(task.task_id, shop.tasks.get(task.task_id).version, **who).task
    else:
        ended = shop.runs.finish(task.task_id, TaskState(end), error="it has ended by signal 9" if end == "failed" else None)
    assert ended.outcome is not None
    assert (ended.outcome.model_versions, ended.outcome.run_ids) == ([4, 6], ["run4", "run6"])
    assert ended.outcome.staged_version == (6 if is_staged else None)
    left = "; v6 is staged." if is_staged else " and none is staged, which may be done by hand."
    assert ended.outcome.sentence == f"v4, v6 were registered before that{left}"


def test_a_task_that_breaks_off_with_nothing_registered_has_no_outcome(shop: Shop) -> None:
    shop.start(kind="train", model_version=None)
    task = shop.runs.take()
    assert task is not None
    assert shop.runs.finish(task.task_id, TaskState.FAILED, error="no window").outcome is None


def test_a_cancelled_task_whose_worker_disappears_is_not_run_again(shop: Shop) -> None:
    shop.start()
    taken = shop.runs.take()
    assert taken is not None
    shop.tasks.cancel(taken.task_id, taken.version, actor="bob", reason=REASON)
    [ended] = shop.worker("w2").recover()
    assert ended.state is TaskState.CANCELLED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file_id": None}, "either file_id or traffic"),
        ({"traffic": {"since": "2026-11-24T03:00:00Z", "until": "2026-11-24T03:00:00Z"}, "file_id": None}, "until must be later"),
        ({"kind": "train"}, "families: name at least one"),
        ({"kind": "train", "families": ["kalman"], "model_version": 3}, "leave it out"),
        ({"families": ["kalman"]}, "are for training"),
        ({"kind": "train", "families": ["kalman", "kalman"]}, "only once"),
        ({"reason": "short"}, "at least 10"),
    ],
)
def test_what_makes_no_task_is_refused_with_the_reason(changes: dict[str, Any], words: str) -> None:
    given = {"kind": "batch_predict", "file_id": FILE, "reason": REASON} | changes
    with pytest.raises(ValueError, match=words):
        TaskIn.model_validate(given)


def test_what_is_over_stays_so() -> None:
    for over in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED):
        with pytest.raises(IllegalTransition, match="it is over"):
            check_transition(over, TaskState.RUNNING)


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "wanted"),
    [(25, 100, 5.0, 15.0), (100, 100, 5.0, 0.0), (50, 100, 1.0, None), (1, 100, 5.0, None), (0, 0, 5.0, None)],
)
def test_there_is_no_eta_before_there_is_a_pace(done: int, total: int, elapsed_s: float, wanted: float | None) -> None:
    assert eta_s(done, total, elapsed_s) == wanted
