"""One body for rollouts in memory, over SQLite and over PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest

from tests.experiment_builders import STARTED
from tests.rollout_builders import a_rollout
from trajops.contracts.rollouts import GateOut
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.rollouts.lifecycle import RolloutState

GATES = [GateOut(name="time", state="waiting", detail="3 of 60 s")]


def test_a_rollout_comes_back_as_it_was_written(database: Any) -> None:
    first = a_rollout("r1", state=RolloutState.LIVE, gates=GATES, looked_at=STARTED, units_before={"control": 7})
    second = a_rollout("r2", created_at=STARTED + timedelta(seconds=1))
    with database.unit_of_work() as uow:
        uow.rollouts.add(first)
        uow.rollouts.add(second)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.rollouts.get("r1") == first
        assert uow.rollouts.newest() == [second, first]
        assert uow.rollouts.newest(limit=1) == [second]
        assert uow.rollouts.newest(states={RolloutState.LIVE}) == [first]
        with pytest.raises(NotFound):
            uow.rollouts.get("r3")


def test_one_is_active_at_a_time(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout("r1", state=RolloutState.PAUSED))
    with pytest.raises(Conflict), database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout("r2"))
    with database.unit_of_work() as uow:
        uow.rollouts.save(a_rollout("r1", state=RolloutState.STOPPED, version=2), 1)
        uow.rollouts.add(a_rollout("r2"))
    with database.unit_of_work(read_only=True) as uow:
        assert {one.rollout_id for one in uow.rollouts.newest()} == {"r1", "r2"}


def test_a_rollout_is_changed_by_whoever_has_seen_it(database: Any) -> None:
    changed = a_rollout(version=2, step=1, sentence="On.")
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout())
        uow.rollouts.save(changed, 1)
    with database.unit_of_work() as uow:
        assert uow.rollouts.get("r1") == changed
        with pytest.raises(StaleVersion) as caught:
            uow.rollouts.save(changed, 1)
        assert caught.value.details == {"present_version": 2}
        with pytest.raises(NotFound):
            uow.rollouts.save(a_rollout("r9"), 1)


def test_a_look_leaves_the_version_alone_and_comes_too_late_after_a_change(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout())
        uow.rollouts.note("r1", 1, GATES, "It waits.", STARTED)
    noted = a_rollout(gates=GATES, sentence="It waits.", looked_at=STARTED)
    with database.unit_of_work() as uow:
        assert uow.rollouts.get("r1") == noted
        uow.rollouts.save(a_rollout(version=2), 1)
        uow.rollouts.note("r1", 1, [], "Too late.", STARTED)
        assert uow.rollouts.get("r1") == a_rollout(version=2)
