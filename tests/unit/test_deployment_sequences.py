"""Any sequence of changes of releases: what is routed and what is deployed agrees."""

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from data.stubs import SetClock
from tests.deployment_builders import NAME, WHO, a_database
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.services.deployments import Deployments


class AnySequence(RuleBasedStateMachine):
    """Whatever people ask for, in whatever order, routes and states agree."""

    numbers = st.integers(1, 4)
    drift = st.sampled_from([0, 0, 0, 0, -1, 1])

    @initialize()
    def start(self) -> None:
        self.database = a_database(versions=3)
        self.clock = SetClock()
        self.service = Deployments(self.database.unit_of_work, clock=self.clock)
        self.epochs = [0]
        self.seeds: dict[str, Any] = {}

    def seen(self, number: int) -> tuple[str, int]:
        with self.database.unit_of_work(read_only=True) as uow:
            found = uow.deployments.of_model(ModelRef(NAME, number))
        return ("nothing", 1) if found is None else (found.deployment_id, found.version)

    @rule(number=numbers)
    def stage(self, number: int) -> None:
        with contextlib.suppress(NotFound, Conflict):
            self.service.stage(number, **WHO)

    @rule(number=numbers, drift=drift, coverage=st.sampled_from([0.02, 0.5, 1.0]))
    def start_canary(self, number: int, drift: int, coverage: float) -> None:
        deployment_id, version = self.seen(number)
        with contextlib.suppress(NotFound, Conflict):
            self.service.start_canary(deployment_id, version + drift, coverage, **WHO)

    @rule(number=numbers, drift=drift)
    def pause_canary(self, number: int, drift: int) -> None:
        deployment_id, version = self.seen(number)
        with contextlib.suppress(NotFound, Conflict):
            self.service.pause_canary(deployment_id, version + drift, **WHO)

    @rule(number=numbers, drift=drift)
    def stop_canary(self, number: int, drift: int) -> None:
        deployment_id, version = self.seen(number)
        with contextlib.suppress(NotFound, Conflict):
            self.service.stop_canary(deployment_id, version + drift, **WHO)

    @rule(number=numbers, drift=drift)
    def promote(self, number: int, drift: int) -> None:
        deployment_id, version = self.seen(number)
        with contextlib.suppress(NotFound, Conflict):
            self.service.promote(deployment_id, version + drift, **WHO)

    @rule(drift=drift)
    def rollback(self, drift: int) -> None:
        with contextlib.suppress(Conflict):
            self.service.rollback(self.epochs[-1] + drift, **WHO)

    @invariant()
    def routes_and_states_agree(self) -> None:
        self.clock.advance(1)
        with self.database.unit_of_work(read_only=True) as uow:
            table, history, rows = uow.routes.table(), uow.routes.history(limit=10_000), uow.deployments.all()
            audited = [entry.after["route"]["epoch"] for entry in uow.audit.newest(limit=10_000)]
        refs: dict[State, list[ModelRef]] = {}
        for row in rows:
            refs.setdefault(row.state, []).append(ModelRef(row.model_name, row.model_version))
        assert refs.get(State.LIVE, []) == ([table.champion] if table.champion else [])
        assert refs.get(State.CANARY if table.coverage else State.PAUSED, []) == ([table.challenger] if table.challenger else [])
        assert not refs.get(State.PAUSED if table.coverage else State.CANARY)
        assert State.REGISTERED not in refs
        assert table.champion not in {table.challenger, table.previous} or table.champion is None
        assert table.previous is None or table.previous not in refs.get(State.LIVE, [])
        assert table.challenger is not None or not table.coverage
        assert [entry.epoch for entry in history] == list(range(table.epoch, 0, -1))
        assert table.epoch in {self.epochs[-1], self.epochs[-1] + 1}
        assert set(audited) >= set(range(1, table.epoch + 1))
        for experiment in table.experiments:
            assert [arm.model for arm in experiment.arms] == [table.champion, table.challenger]
            assert self.seeds.setdefault(experiment.seed, experiment.arms) == experiment.arms
        self.epochs.append(table.epoch)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_state_machine_reaches_every_change() -> None:
    """The property above would be empty if its rules never succeeded: one fixed sequence takes each of them."""
    machine = AnySequence()
    machine.start()
    for number in (1, 2, 3):
        machine.stage(number)
    reached = []
    for step in (
        lambda: machine.promote(1, 0),
        lambda: machine.start_canary(2, 0, 0.5),
        lambda: machine.pause_canary(2, 0),
        lambda: machine.start_canary(2, 0, 0.5),
        lambda: machine.stop_canary(2, 0),
        lambda: machine.promote(3, 0),
        lambda: machine.rollback(0),
    ):
        step()
        machine.routes_and_states_agree()
        reached.append(machine.epochs[-1])
    assert reached == [1, 2, 3, 4, 5, 6, 7]
