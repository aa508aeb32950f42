"""Any sequence of changes by people, workers and rollouts: what is routed, deployed and rolled out agrees."""

import contextlib
from datetime import datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.deployment_builders import WHO
from tests.experiment_builders import a_verdict
from tests.rollout_builders import a_policy
from tests.unit.test_experiment_sequences import AnySequence
from trajops.clock import now
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.lifecycle import State
from trajops.errors import Conflict, NotFound
from trajops.experiments.decisions import Decision
from trajops.experiments.lifecycle import ExperimentState
from trajops.rollouts.lifecycle import ACTIVE, DEPLOYED, RolloutState, Stage
from trajops.rollouts.rules import RolloutRules
from trajops.services.rollouts import ACTOR, Rollouts

R = RolloutState


class AnySequenceWithRollouts(AnySequence):
    """The same with rollouts: at most one is active, it agrees with what is routed, and what is over changes no more."""

    @initialize()
    def start(self) -> None:
        super().start()
        rules = RolloutRules(default="unattended", policies=(a_policy(), a_policy(name="bare", shadow=None, bake={"watched": False})))
        self.rollouts = Rollouts(self.database.unit_of_work, lambda: rules, clock=self.clock)
        self.ended: dict[str, Any] = {}

    @rule(number=st.integers(1, 4), policy=st.sampled_from(["unattended", "bare"]))
    def roll_out(self, number: int, policy: str) -> None:
        found = next((one for one in self.releases.deployments().deployments if one.model_version == number), None)
        if found is not None:
            with contextlib.suppress(Conflict):
                self.rollouts.start(found.deployment_id, found.version, policy, **WHO)

    @rule(steps=st.integers(0, 6))
    def look(self, steps: int) -> None:
        """So often, whatever the gates say that can be said of figures is put right before."""
        self.rollouts.advance()
        for _ in range(steps):
            for rollout in self.rollouts.newest().rollouts[:1]:
                if rollout.state == R.RUNNING:
                    self.clock.advance(3600)
                    self.show(rollout)
            self.rollouts.advance()

    def show(self, rollout: RolloutOut) -> None:
        """Figures that pass."""
        if rollout.experiment_id is None:
            return
        experiment = self.service.get(rollout.experiment_id)
        if experiment.state == ExperimentState.RUNNING and rollout.stage != Stage.BAKING:
            won = Decision("better", "treatment")
            self.service.decide(experiment.experiment_id, experiment.version, won, a_verdict(), actor=ACTOR)
        self.note(experiment, rollout.entered_at)

    def note(self, experiment: ExperimentOut, counted_since: datetime) -> None:
        at = now(self.clock)
        verdict = a_verdict(mean_m=0.5 if experiment.plan.mode == "watch" else 0.42)
        arms = [arm.model_copy(update={"units_since": 10_000}) for arm in verdict.arms]
        seen = verdict.model_copy(update={"at": at, "arms": arms, "counted_since": counted_since})
        with self.database.unit_of_work() as uow:
            uow.experiments.note(experiment.experiment_id, seen, keep=False)

    @rule(change=st.sampled_from(["approve", "pause", "resume", "stop", "roll_back"]), drift=AnySequence.drift)
    def steer(self, change: str, drift: int) -> None:
        for rollout in self.rollouts.newest().rollouts[:1]:
            with contextlib.suppress(Conflict, NotFound):
                getattr(self.rollouts, change)(rollout.rollout_id, rollout.version + drift, **WHO)

    @invariant()
    def rollouts_agree(self) -> None:
        found = self.rollouts.newest().rollouts
        assert sum(one.state in ACTIVE for one in found) <= 1
        for one in found:
            if one.state not in ACTIVE:
                assert self.ended.setdefault(one.rollout_id, one) == one
        self.rollouts.advance()
        for one in self.rollouts.newest().rollouts:
            deployed = {row.model_version: row.state for row in self.releases.deployments().deployments}[one.model_version]
            if one.state == R.RUNNING:
                assert deployed == DEPLOYED[one.stage]
            if one.state == R.PAUSED:
                assert deployed == State.PAUSED


TestAnySequenceWithRollouts = AnySequenceWithRollouts.TestCase
TestAnySequenceWithRollouts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
