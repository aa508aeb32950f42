"""Policies of rollouts with readable defaults, and a desk at which one is judged and advanced over figures that the test sets."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import WHO, a_database, live, route
from tests.experiment_builders import STARTED, a_shadow, an_arm, figures, two
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan
from trajops.contracts.rollouts import RolloutOut
from trajops.experiments.figures import Figures
from trajops.rollouts.gates import Look
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.rollouts.rules import RolloutPolicy, RolloutRules
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.judging import Judge
from trajops.services.rollouts import Rollouts

UNATTENDED: dict[str, Any] = {
    "name": "unattended",
    "shadow": {"min_units": 100, "min_s": 60},
    "canary": [
        {"coverage": 0.1, "min_units": 50, "min_s": 60},
        {"coverage": 0.5, "min_units": 50, "min_s": 60},
        {"coverage": 1.0, "min_units": 50, "min_s": 60},
    ],
    "bake": {"min_units": 50, "min_s": 600, "roll_back_on": ["performance_degraded"]},
    "approval": [],
}


def a_policy(**changes: Any) -> RolloutPolicy:
    return RolloutPolicy.model_validate(UNATTENDED | changes)


def a_rollout(rollout_id: str = "r1", **changes: Any) -> RolloutOut:
    values: dict[str, Any] = {
        "rollout_id": rollout_id,
        "model_name": "trajectory",
        "model_version": 2,
        "deployment_id": "d2",
        "champion_version": 1,
        "policy": a_policy(),
        "stage": Stage.CANARY,
        "step": 0,
        "state": RolloutState.RUNNING,
        "version": 1,
        "experiment_id": "e1",
        "entered_at": STARTED,
        "is_approved": False,
        "gates": [],
        "looked_at": None,
        "sentence": "",
        "created_at": STARTED,
        "created_by": "ada",
        "updated_at": STARTED,
        "ended_at": None,
    }
    return RolloutOut(**(values | changes))


class RolloutDesk:
    """A judge and a rollout over figures that the test sets: `units` in each arm, and the version's mean error over that of the other.

    Units that come are answered in the step that they come in; of those who were there before, `returned` are answered in it too.
    """

    def __init__(self, policy: RolloutPolicy | None = None) -> None:
        self.clock = SetClock()
        self.database: MemoryDatabase = a_database()
        self.releases = Deployments(self.database.unit_of_work, clock=self.clock)
        live(self.releases, 1)
        self.experiments = Experiments(self.database.unit_of_work, clock=self.clock)
        self.judge = Judge(self, self.database.unit_of_work, self.experiments, self.clock)  # type: ignore[arg-type] - one half of the port
        rules = RolloutRules(default="unattended", policies=(policy or a_policy(),))
        self.rollouts = Rollouts(self.database.unit_of_work, lambda: rules, clock=self.clock)
        self.units, self.ratio = 0, 1.0
        self.returned, self._units_before, self._begun = 0, 0, dict[datetime, int]()
        self.changes: dict[str, Any] = {}
        staged = self.releases.stage(2, **WHO).deployment
        self.id = self.rollouts.start(staged.deployment_id, staged.version, **WHO).rollout.rollout_id

    def figures(
        self,
        experiment_id: str,
        plan: ExperimentPlan,
        since: datetime,
        at: datetime,
        slow_ms: float,
        counted_since: datetime | None = None,
        enrolled_since: datetime | None = None,
    ) -> Figures:
        if plan.is_beside:
            ratio = 1 / self.ratio if plan.mode == "watch" else self.ratio
            arms = (an_arm("control", self.units), a_shadow(self.units, ratio))
        else:
            arms = two(self.units, self.units, 0.5 * self.ratio, **self.changes)
        new = 0 if counted_since is None else self.units - self._begun.setdefault(counted_since, self._units_before)
        arms = (replace(arms[0], units_since=new + self.returned), replace(arms[1], units_since=new + self.returned))
        return figures(*arms, at=at, last_outcome_at=at, counted_since=counted_since, enrolled_since=enrolled_since)

    def look(self, *, units: int | None = None, ratio: float | None = None, after_s: float = 100.0, **changes: Any) -> Look | None:
        """Time passes, everybody looks once; how the active rollout was found, or None where there is none."""
        self.clock.advance(after_s)
        self._units_before = self.units
        self.units = self.units if units is None else units
        self.ratio = self.ratio if ratio is None else ratio
        self.changes = changes
        self.judge.run()
        looks = self.rollouts.advance()
        return looks[0][1] if looks else None

    @property
    def rollout(self) -> RolloutOut:
        return self.rollouts.get(self.id)

    @property
    def experiment(self) -> ExperimentOut:
        return self.experiments.get(str(self.rollout.experiment_id))

    @property
    def place(self) -> tuple[Stage, int, RolloutState]:
        return self.rollout.stage, self.rollout.step, self.rollout.state

    def reach(self, stage: Stage, step: int = 0) -> None:
        """Look until it has come so far."""
        for _ in range(30):
            if (self.rollout.stage, self.rollout.step) == (stage, step):
                return
            self.look(units=self.units + 400, ratio=0.9)
        raise AssertionError(f"{self.place}: {self.rollout.sentence}")


def champion(desk: RolloutDesk) -> int | None:
    """Version of the champion."""
    return route(desk.database)[0]
