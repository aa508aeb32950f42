"""Any sequence of changes by people and workers: what is routed, deployed and compared agrees."""

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from data.stubs import SetClock
from tests.deployment_builders import WHO, a_database, live
from tests.experiment_builders import a_plan, a_verdict
from trajops.contracts.experiments import ExperimentOut
from trajops.deployments.lifecycle import State
from trajops.errors import Conflict, InvalidInput, NotFound
from trajops.experiments.decisions import Decision
from trajops.experiments.lifecycle import OVER, ROUTED, ExperimentState
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments

S = ExperimentState
WORKER = {"actor": "worker:judge_experiments"}


class AnySequence(RuleBasedStateMachine):
    """Whatever people and workers ask for, in whatever order: routes, experiments and deployments agree."""

    drift = st.sampled_from([0, 0, 0, 0, -1, 1])
    variants = st.sampled_from(["control", "treatment", "wide", "deep", None])

    @initialize()
    def start(self) -> None:
        self.database = a_database(versions=4)
        self.clock = SetClock()
        self.releases = Deployments(self.database.unit_of_work, clock=self.clock)
        self.service = Experiments(self.database.unit_of_work, clock=self.clock)
        live(self.releases, 1)
        self.over: dict[str, ExperimentOut] = {}
        self.seeds: dict[str, str] = {}

    def on_one(self, number: int, drift: int, change: Callable[[str, int], Any]) -> None:
        found = self.service.newest().experiments
        if found:
            one = found[number % len(found)]
            with contextlib.suppress(Conflict, InvalidInput, NotFound):
                change(one.experiment_id, one.version + drift)

    def champion(self) -> int:
        champion = self.releases.routes().current.champion
        assert champion is not None
        return champion.model_version

    @rule(number=st.integers(1, 4))
    def stage(self, number: int) -> None:
        with contextlib.suppress(Conflict):
            self.releases.stage(number, **WHO)

    @rule(first=st.integers(1, 4), second=st.integers(1, 4), mode=st.sampled_from(["live", "shadow"]), part=st.sampled_from([None, 0, 1]))
    def create(self, first: int, second: int, mode: str, part: int | None) -> None:
        names = {"control": self.champion(), "wide": first, "deep": second}
        if len(set(names.values())) < 3:
            names = {"control": self.champion(), "treatment": first}
        arms = [{"variant": name, "model_version": version, "weight": 1 / len(names)} for name, version in names.items()]
        space = None if part is None else {"name": "n", "begin": part / 2, "end": (part + 1) / 2}
        self.service.create(a_plan(arms=arms, mode=mode, namespace=space), **WHO)

    @rule(number=st.integers(0, 9), drift=drift)
    def launch(self, number: int, drift: int) -> None:
        self.on_one(number, drift, lambda one, version: self.service.launch(one, version, **WHO))

    @rule(number=st.integers(0, 9), drift=drift, coverage=st.sampled_from([0.1, 1.0]))
    def cover(self, number: int, drift: int, coverage: float) -> None:
        self.on_one(number, drift, lambda one, version: self.service.cover(one, version, coverage, **WHO))

    @rule(number=st.integers(0, 9), drift=drift)
    def pause(self, number: int, drift: int) -> None:
        self.on_one(number, drift, lambda one, version: self.service.pause(one, version, **WHO))

    @rule(number=st.integers(0, 9), drift=drift, winner=variants)
    def stop(self, number: int, drift: int, winner: str | None) -> None:
        self.on_one(number, drift, lambda one, version: self.service.stop(one, version, winner, **WHO))

    @rule(number=st.integers(0, 9), variant=variants, kind=st.sampled_from(["better", "worse", "guardrail", "invalid", "inconclusive"]))
    def decide(self, number: int, variant: str | None, kind: Any) -> None:
        self.on_one(number, 0, lambda one, version: self.service.decide(one, version, Decision(kind, variant), a_verdict(), **WORKER))

    @rule(number=st.integers(1, 4))
    def promote(self, number: int) -> None:
        found = next((one for one in self.releases.deployments().deployments if one.model_version == number), None)
        if found is not None:
            with contextlib.suppress(Conflict):
                self.releases.promote(found.deployment_id, found.version, **WHO)

    @rule()
    def rollback(self) -> None:
        route = self.releases.routes().current
        if route.previous is not None:
            self.releases.rollback(route.epoch, **WHO)

    @rule(number=st.integers(1, 4))
    def canary(self, number: int) -> None:
        found = next((one for one in self.releases.deployments().deployments if one.model_version == number), None)
        if found is not None:
            with contextlib.suppress(Conflict):
                self.releases.start_canary(found.deployment_id, found.version, 0.5, **WHO)

    @invariant()
    def everything_agrees(self) -> None:
        self.clock.advance(1)
        with self.database.unit_of_work(read_only=True) as uow:
            table, rows = uow.routes.table(), uow.deployments.all()
            known = {one.experiment_id: one for one in uow.experiments.newest(limit=10_000)}
        routed = {one.experiment_id: one for one in table.experiments}
        assert {name for name, one in known.items() if one.state in ROUTED} == routed.keys()
        expected: dict[int, State] = {}
        for name, one in routed.items():
            record = known[name]
            assert one.arms[0].model == table.champion
            assert self.seeds.setdefault(name, one.seed) == one.seed == record.seed
            assert (one.coverage == 0) is (record.state == S.PAUSED)
            assert record.state == S.PAUSED or (record.winner is not None) is (record.state == S.RECOMMENDED)
            assert record.winner not in [record.plan.arms[0].variant, *record.closed_arms]
            for arm in one.arms[1:]:
                is_closed = arm.variant in record.closed_arms
                assert not is_closed or arm.model == table.champion
                if arm.model != table.champion:
                    running = State.SHADOW if one.is_shadow else State.CANARY
                    assert expected.setdefault(arm.model.version, State.PAUSED if record.state == S.PAUSED else running)
        # To the routes a version that is being promoted is in its canary still, and one that bakes is live.
        plain = {row.model_version: {State.PROMOTING: State.CANARY, State.BAKING: State.LIVE}.get(row.state, row.state) for row in rows}
        compared = {version: state for version, state in plain.items() if state in {State.CANARY, State.SHADOW, State.PAUSED}}
        assert compared == expected
        assert [version for version, state in plain.items() if state == State.LIVE] == [table.champion and table.champion.version]
        for name, one in known.items():
            if one.state in OVER:
                assert self.over.setdefault(name, one) == one, "what is over changes no more"


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
