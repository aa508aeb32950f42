"""What alert rules learn of tasks: one that failed, and one that hangs."""

from datetime import timedelta
from typing import Any

from data.stubs import MemoryDatabase
from tests.signal_reads import AT, later, read
from tests.task_builders import a_task, asked
from trajops.tasks.lifecycle import TaskState


def signals(*tasks: Any, seconds: float = 0.0) -> tuple[dict[str, float], float]:
    database = MemoryDatabase()
    with database.unit_of_work() as uow:
        for task in tasks:
            uow.tasks.add(task)
    found = read(database, later(seconds))
    return {one.labels["kind"]: one.value for one in found["task_failed"]}, found["task_hangs"][0].value


def at(seconds: float, task_id: str = "t1", **changes: Any) -> Any:
    moment = AT + timedelta(seconds=seconds)
    return a_task(task_id, **({"created_at": moment, "updated_at": moment, "seen_at": moment} | changes))


def test_the_newest_of_each_kind_counts_for_an_hour() -> None:
    failed = at(0, state=TaskState.FAILED, error="no memory")
    assert signals(failed, seconds=60)[0] == {"batch_predict": 1.0, "train": 0.0, "evaluate": 0.0}
    assert signals(failed, seconds=3_700)[0]["batch_predict"] == 0.0
    done = at(30, "t2", state=TaskState.DONE)
    assert signals(failed, done, seconds=60)[0]["batch_predict"] == 0.0
    trained = at(30, "t2", asked=asked("train"), state=TaskState.DONE)
    assert signals(failed, trained, seconds=60)[0]["batch_predict"] == 1.0


def test_a_task_hangs_without_a_sign_of_life_or_where_none_is_begun() -> None:
    assert signals(at(0, state=TaskState.RUNNING), seconds=100)[1] == 0.0
    assert signals(at(0, state=TaskState.RUNNING), seconds=130)[1] == 1.0
    assert signals(at(0), seconds=500)[1] == 0.0
    assert signals(at(0), seconds=700)[1] == 1.0
    assert signals(at(0), at(650, "t2", state=TaskState.RUNNING), seconds=700)[1] == 0.0
