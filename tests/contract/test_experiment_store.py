"""One body for experiments in memory, over SQLite and over PostgreSQL."""

from datetime import timedelta
from typing import Any

import pytest

from tests.experiment_builders import STARTED, a_plan, a_verdict, an_experiment, three_arms
from trajops.errors import NotFound, StaleVersion
from trajops.experiments.lifecycle import ExperimentState


def test_an_experiment_comes_back_as_it_was_written(database: Any) -> None:
    first = an_experiment("e1", plan=three_arms(namespace={"name": "models", "begin": 0, "end": 0.5}), closed_arms=["wide"])
    second = an_experiment(
        "e2", created_at=STARTED + timedelta(seconds=1), state=ExperimentState.DRAFT, started_at=None, verdict=a_verdict()
    )
    with database.unit_of_work() as uow:
        uow.experiments.add(first)
        uow.experiments.add(second)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.experiments.get("e1") == first
        assert uow.experiments.newest() == [second, first]
        assert uow.experiments.newest(limit=1) == [second]
        assert uow.experiments.newest(states={ExperimentState.RUNNING}) == [first]
        with pytest.raises(NotFound):
            uow.experiments.get("e3")


def test_an_experiment_is_changed_by_whoever_has_seen_it(database: Any) -> None:
    changed = an_experiment(version=2, state=ExperimentState.PAUSED, coverage=0.2, sentence="Paused.")
    with database.unit_of_work() as uow:
        uow.experiments.add(an_experiment())
        uow.experiments.save(changed, 1)
    with database.unit_of_work() as uow:
        assert uow.experiments.get("e1") == changed
        with pytest.raises(StaleVersion) as caught:
            uow.experiments.save(changed, 1)
        assert caught.value.details == {"present_version": 2}
        with pytest.raises(NotFound):
            uow.experiments.save(an_experiment("e9"), 1)


def test_verdicts_leave_the_version_alone_and_are_kept_where_that_is_asked_for(database: Any) -> None:
    verdicts = [a_verdict(passed_s) for passed_s in (60.0, 120.0, 180.0)]
    with database.unit_of_work() as uow:
        uow.experiments.add(an_experiment())
        assert uow.experiments.last_kept_at("e1") is None
        assert [uow.experiments.note("e1", one, keep=keep) for one, keep in zip(verdicts, (True, False, True), strict=True)] == [True] * 3
    with database.unit_of_work(read_only=True) as uow:
        assert uow.experiments.get("e1") == an_experiment(verdict=verdicts[2])
        assert uow.experiments.verdicts("e1") == [verdicts[0], verdicts[2]]
        assert uow.experiments.last_kept_at("e1") == verdicts[2].at
        assert uow.experiments.verdicts("e9") == []


def test_what_is_decided_keeps_the_verdict_that_it_was_decided_by(database: Any) -> None:
    cause = a_verdict(60.0)
    over = an_experiment(state=ExperimentState.ROLLED_BACK, verdict=cause, plan=a_plan())
    with database.unit_of_work() as uow:
        uow.experiments.add(over)
        assert not uow.experiments.note("e1", a_verdict(120.0), keep=True)
        assert not uow.experiments.note("e9", a_verdict(120.0), keep=True)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.experiments.get("e1").verdict == cause
        assert uow.experiments.verdicts("e1") == []


def test_a_plan_of_before_its_numbers_were_bounded_keeps_nothing_from_being_read(database: Any) -> None:
    stop = a_plan().stop.model_copy(update={"min_units": 10**30, "horizon_units": 10**400})
    first, last = a_plan().arms
    arms = (first.model_copy(update={"weight": 1 - 1e-7}), last.model_copy(update={"weight": 1e-7}))
    wild = a_plan().model_copy(update={"alpha": 5e-324, "tuned_units": 10**400, "stop": stop, "arms": arms})
    with database.unit_of_work() as uow:
        uow.experiments.add(an_experiment("e1", plan=wild))
        uow.experiments.add(an_experiment("e2"))
    with database.unit_of_work(read_only=True) as uow:
        assert {one.experiment_id for one in uow.experiments.newest()} == {"e1", "e2"}
        assert uow.experiments.get("e2") == an_experiment("e2")
