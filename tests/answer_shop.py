"""A shop whose alerts are answered: control state, lake, models and training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data.lake.drift_source import LakeDriftSource
from data.stubs import MemoryDatabase
from tests.builders import CLOCK_NS, CLOCK_S, a_prediction_event, a_turning_track
from tests.experiment_builders import a_plan
from tests.lake_house import House
from tests.record_builders import drift_check, validation
from trajops.clock import utc
from trajops.contracts.experiments import ArmIn, ExperimentPlan
from trajops.contracts.validations import CheckOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.drift.rules import DriftRules
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.policy.answers import Answer, AnswerState, Step
from trajops.policy.rules import PolicyRules
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments
from trajops.services.drift_reference import DriftReference
from trajops.services.experiments import Experiments
from trajops.services.trust import Trust
from trajops.trajectories import DEFAULT_WINDOW, Forecast, Scene, Track
from trajops.windows import Windows, cut
from workers.answering import AnswerSteps

NAME = "trajectory"
S = 10**9
WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}
OPENED_AT = utc(CLOCK_NS)
GOOD, BAD = 1, 2


class StandStill:
    """Says that everybody stays where they are."""

    family = "stand_still"
    window = DEFAULT_WINDOW

    def forecast(self, history_m: np.ndarray) -> Forecast:
        made = ConstantVelocity().forecast(history_m)
        return Forecast(np.broadcast_to(history_m[:, None, -1:], made.mean_m.shape), made.covariance_m2, made.weights)


def raising(error: BaseException) -> Any:
    def raises(*_: Any, **__: Any) -> Any:
        raise error

    return raises


class Shop:
    """Control state, lake, models and training of one test."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.database = MemoryDatabase()
        self.service = Deployments(self.database.unit_of_work, needs_validation=True, clock=house.clock)
        self.experiments = Experiments(self.database.unit_of_work, clock=house.clock)
        self.found: tuple[CheckOut, ...] | None = ()
        self.models: dict[int, Forecaster] = {GOOD: ConstantVelocity(), BAD: StandStill(), 3: ConstantVelocity()}
        self.trained: list[tuple[str, str, int]] = []
        self.makes: Forecaster = ConstantVelocity()
        # Whether drift is checked, so that traffic is judged before something is learnt from it.
        self.is_checked = False
        self.drift_rules = DriftRules.model_validate({"columns": [{"column": "speed_mps", "kind": "input"}]})
        for number in self.models:
            self.register(number)

    def register(self, number: int, dataset: str = "tracks", **params: str) -> None:
        at = utc(self.house.clock.now_ns())
        with self.database.unit_of_work() as work:
            row = ModelVersion(NAME, number, "kalman", None, {}, {"dataset": dataset, **params}, "d" * 64, at)
            work.model_versions.put(row)
            if self.found is not None:
                work.validations.add(validation(number, 0.0, *self.found, model_name=NAME), "# Card")

    def train(self, scenes: Sequence[Scene], family: str, dataset: str, told: Mapping[str, str]) -> tuple[ModelRef, Windows]:
        number = max(self.models) + 1
        self.models[number] = self.makes
        self.register(number, dataset, **told)
        self.told = dict(told)
        self.trained.append((family, dataset, sum(len(scene.tracks) for scene in scenes)))
        self.learnt_from = {scene.scene_id: sorted(track.agent_id for track in scene.tracks) for scene in scenes}
        return ModelRef(NAME, number), Windows.concatenate([cut(scene) for scene in scenes])

    def steps(self, **rules: Any) -> AnswerSteps:
        given = PolicyRules.model_validate({"rollback": {"min_agents": 10}, "retrain": {"min_agents": 20}} | rules)
        unit_of_work = self.database.unit_of_work
        load = lambda ref: self.models[ref.version]  # noqa: E731
        source = LakeDriftSource(self.house.lake)
        trust = Trust(source, DriftReference(source, self.drift_rules), unit_of_work, is_checked=self.is_checked)
        found = (self.house.lake, load, self.train, ["kalman"], self.house.clock)
        return AnswerSteps(given, unit_of_work, self.service, self.experiments, *found, trust=trust)

    def live(self, number: int) -> None:
        self.service.stage(number, **WHO)
        self.promote(number)

    def promote(self, number: int) -> None:
        with self.database.unit_of_work(read_only=True) as work:
            deployment = work.deployments.of_model(ModelRef(NAME, number))
        assert deployment is not None
        self.service.promote(deployment.deployment_id, deployment.version, **WHO)

    def canary(self, number: int, **who: Any) -> None:
        staged = self.service.stage(number, **WHO | who).deployment
        self.service.start_canary(staged.deployment_id, staged.version, 0.5, **WHO | who)

    def shadow(self, number: int) -> str:
        """Let a version predict beside the champion's answers; the id of the experiment."""
        champion = self.route[0]
        assert champion is not None
        self.service.stage(number, **WHO)
        arms = tuple(
            ArmIn(variant=name, model_version=version, weight=0.5) for name, version in (("control", champion), ("treatment", number))
        )
        plan = ExperimentPlan(name="a shadow", hypothesis="It is nearer to the truth.", mode="shadow", arms=arms)
        service = Experiments(self.database.unit_of_work, model_name=NAME, clock=self.house.clock)
        draft = service.create(plan, **WHO).experiment
        return service.launch(draft.experiment_id, draft.version, **WHO).experiment.experiment_id

    @property
    def compared(self) -> list[tuple[int, float]]:
        """Version of each treatment, and the share of agents that are enrolled."""
        with self.database.unit_of_work(read_only=True) as work:
            return [(one.arms[-1].model.version, one.coverage) for one in work.routes.table().experiments]

    def compare(self, number: int, begin: float, **changes: Any) -> str:
        """An experiment of a version, or of the champion with itself, on a quarter of a namespace; its id."""
        if number != GOOD:
            self.service.stage(number, **WHO)
        arms = [{"variant": name, "model_version": of, "weight": 0.5} for name, of in (("control", GOOD), ("treatment", number))]
        plan = a_plan(arms=arms, namespace={"name": "all", "begin": begin, "end": begin + 0.25}, **changes)
        return self.experiments.create(plan, is_launched=True, **WHO).experiment.experiment_id

    def standing(self, experiment_id: str) -> str:
        return self.experiments.get(experiment_id).state.value

    @contextmanager
    def failing_to_pause(self, experiment_id: str, error: BaseException) -> Iterator[None]:
        pause = self.experiments.pause

        def fails(name: str, *given: Any, **more: Any) -> Any:
            if name == experiment_id:
                raise error
            return pause(name, *given, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.experiments, "pause", fails)
            yield

    def walk(self, agents: int, *, after_s: float = 10.0, name: str = "a") -> None:
        """So many agents go round in circles after the alert, and send their histories."""
        for number in range(agents):
            track = a_turning_track(f"{name}{number}", steps=24, radius_m=20 + number % 7)
            times_s = after_s + track.times_s
            self.tell(Track(track.agent_id, times_s, track.positions_m))
        self.house.spool.close()
        self.house.clock.ns = CLOCK_NS + round((after_s + 30) * S)

    def tell(self, track: Track, *, every: int = 1, **changes: Any) -> None:
        for index in range(DEFAULT_WINDOW.t_obs - 1, len(track), every):
            at_s = float(track.times_s[index])
            event = a_prediction_event(
                f"{track.agent_id}-{index}-{at_s}",
                agent_id=track.agent_id,
                observed_at_s=CLOCK_S + at_s,
                received_ns=CLOCK_NS + round(at_s * S),
                history_m=track.positions_m[index - DEFAULT_WINDOW.t_obs + 1 : index + 1].ravel().tolist(),
                **{"source": "live"} | changes,
            )
            self.house.write(event, close=False)

    def check(self, at_s: float | None = None, **changes: Any) -> None:
        """A drift check, of now or of so long after the alert, that finds something wrong with the data themselves, or nothing."""
        at = utc(self.house.clock.now_ns() if at_s is None else CLOCK_NS + round(at_s * S))
        with self.database.unit_of_work() as work:
            work.drift_checks.add(drift_check(at, **changes))

    @property
    def route(self) -> tuple[int | None, int | None, int | None, float]:
        with self.database.unit_of_work(read_only=True) as work:
            table = work.routes.table()
        return (*(ref and ref.version for ref in (table.champion, table.challenger, table.previous)), table.coverage)

    def state(self, number: int) -> State | None:
        with self.database.unit_of_work(read_only=True) as work:
            found = work.deployments.of_model(ModelRef(NAME, number))
        return found and found.state


def an_answer(**labels: str) -> Answer:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    steps = tuple(Step(action) for action in ("pause_rollout", "rollback", "retrain"))
    return Answer("0123456789abcdef", "worse", "a1", "v2 is worse", labels, OPENED_AT, AnswerState.WORKING, 1, at, at, steps)
