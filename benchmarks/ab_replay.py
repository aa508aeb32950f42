"""Many experiments at once on recorded tracks, end to end: a real API, a real worker, a real lake, and models whose difference is known.

Agents are recorded tracks, drawn again and again, each time as an agent of its own that the product assigns. Two predictions are asked for
each, 1.6 s apart by the agent's clock, and the positions after them are reported at once: what decides is when things happened by the
agents' clock, so that tracks of ten seconds need not take ten. Experiments share no unit, each has its part of one namespace. The true
difference is what both models make of these very tracks offline.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks.product import Fit, Product, prepare
from data.datasets import skillcorner
from data.lake.queries import Lake
from data.sql.engine import Database
from tests.whole_product import configure, product
from trajops import metrics
from trajops.client import TrajOpsClient
from trajops.contracts.experiments import ArmIn, ExperimentOut, ExperimentPlan, NamespaceIn, StopRules, VerdictOut
from trajops.contracts.predictions import BatchColumnsIn, ObservationIn
from trajops.experiments.lifecycle import OVER, ExperimentState
from trajops.settings import Settings
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Scene, Track
from trajops.windows import cut, resample_scene

REASON = "measured by the benchmark"
# What neither predictions nor their truth need is left aside; the spool is short, so that looking costs little.
JOBS = ("check_drift", "check_performance", "recalibrate", "reconcile_aliases", "retrain", "answer_alerts", "probe", "roll_up")
SCHEDULES = {"schedules": {"jobs": {**dict.fromkeys(JOBS), "compact_lake": {"every_s": 5, "jitter_s": 0.5}}}}
SPOOL_S = "3"
ASK_EVERY, LONGEST = 4, DEFAULT_WINDOW.steps + 4
TICK_S, SCENES, SETTLE_S = 0.25, 6, 10.0


def recorded_tracks() -> tuple[Track, ...]:
    """The tracks of the second half, which no model has seen, that a prediction can be scored on; the first steps of each."""
    scene = resample_scene(skillcorner.load()["second_half"], max_gap_s=1.0, min_steps=DEFAULT_WINDOW.steps)
    return tuple(Track(track.agent_id, track.times_s[:LONGEST], track.positions_m[:LONGEST]) for track in scene.tracks)


def a_plan(name: str, control: int, treatment: int, part: tuple[float, float] | None, units: int) -> ExperimentPlan:
    """Half each; it ends without a decision after so many units."""
    arms = (ArmIn(variant="control", model_version=control, weight=0.5), ArmIn(variant="treatment", model_version=treatment, weight=0.5))
    return ExperimentPlan(
        name=name,
        hypothesis="The treatment is nearer to the truth.",
        arms=arms,
        namespace=None if part is None else NamespaceIn(name="replay", begin=part[0], end=part[1]),
        stop=StopRules(min_s=0, horizon_units=units),
        max_join_gap=0.2,
    )


def a_shadow(control: int, treatment: int, coverage: float) -> ExperimentPlan:
    """The treatment beside the control's answers to some of all agents, to the end: late truth does not pause it."""
    plan = a_plan("shadow", control, treatment, None, 10**6)
    return plan.model_copy(update={"mode": "shadow", "coverage": coverage, "invalid_for_s": 3600.0})


class Ended(NamedTuple):
    """How one experiment ended.

    Attributes:
        name: of its plan.
        experiment: as it stood at the end.
        decided: what was decided: `better`, `worse`, `guardrail`, `invalid`, `inconclusive`; None: nothing yet.
        verdict: that caused it, or the newest.
        seconds: from the launch to that.
    """

    name: str
    experiment: ExperimentOut
    decided: str | None
    verdict: VerdictOut
    seconds: float


@dataclass(frozen=True)
class Floor:
    """A running product, and what it is made of."""

    made: Product
    settings: Settings
    url: str
    tracks: Sequence[Track] = field(default_factory=recorded_tracks)

    @cached_property
    def client(self) -> TrajOpsClient:
        """Of an operator."""
        return TrajOpsClient(self.url, self.made.operator_key)

    @cached_property
    def lake(self) -> Lake:
        """What the product has written."""
        return Lake(self.settings.lake_dir, self.settings.spool_dir, Database(self.settings.sql_url).engine)

    def true_change(self, control: int, treatment: int) -> float:
        """Relative change of the mean ADE over agents, offline, on the windows that are asked about."""
        windows = cut(Scene("all", tuple(self.tracks)), stride=ASK_EVERY)
        _, agent = np.unique(windows.agent_ids, return_inverse=True)
        means = []
        for version in (control, treatment):
            ade_m = metrics.ade(self.made.forecaster(version).forecast(windows.history_m).best_m, windows.truth_m)
            means.append(float((np.bincount(agent, ade_m) / np.bincount(agent)).mean()))
        return means[1] / means[0] - 1

    def launch(self, plan: ExperimentPlan) -> ExperimentOut:
        """Stage its treatment and launch."""
        control, treatment = (arm.model_version for arm in plan.arms)
        if treatment != control:
            self.client.stage(treatment, REASON)
        return self.client.plan_experiment(plan, REASON, is_launched=True).experiment

    def play(self, experiments: Sequence[ExperimentOut], agents_s: float, seconds: float, seed: int = 1) -> list[Ended]:
        """Let agents come until all experiments have ended, or for so long; how each has ended."""
        with _Stream(self, agents_s, seed) as stream:
            self._wait(experiments, seconds, stream.check)
        self._wait(experiments, SETTLE_S)  # for the truth of the last ones
        return [self.ended(one) for one in experiments]

    def _wait(self, experiments: Sequence[ExperimentOut], seconds: float, check: Callable[[], None] = lambda: None) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and not self._are_over(experiments):
            check()
            time.sleep(1.0)

    def _are_over(self, experiments: Sequence[ExperimentOut]) -> bool:
        known = {one.experiment_id: one.state for one in self.client.experiments(500).experiments}
        return all(known[one.experiment_id] in {*OVER, ExperimentState.RECOMMENDED, ExperimentState.PAUSED} for one in experiments)

    def ended(self, launched: ExperimentOut) -> Ended:
        """How an experiment stands, or has ended."""
        experiment = self.client.experiment(launched.experiment_id)
        verdict = experiment.verdict
        assert verdict is not None
        assert experiment.started_at is not None
        if experiment.state == ExperimentState.RECOMMENDED:  # it is looked at further; what decided it is kept
            verdict = next((one for one in self.client.verdicts(experiment.experiment_id).verdicts if one.kind == "better"), verdict)
        decided = None if experiment.state == ExperimentState.RUNNING else verdict.kind
        return Ended(experiment.plan.name, experiment, decided, verdict, (verdict.at - experiment.started_at).total_seconds())


@contextmanager
def a_floor(*families: str | Fit) -> Iterator[Floor]:
    """A product with a version of each family, the first of them champion; versions of one family are the same model."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = prepare(folder / "var", *families, seed=0)
        configure(folder, SCHEDULES)
        url = stack.enter_context(product(folder, TRAJOPS_SPOOL_ROTATE_S=SPOOL_S))
        floor = Floor(made, Settings(var_dir=made.var_dir, environment="test"), url)
        yield floor
        floor.lake.close()


class _Stream:
    """Agents that come at a pace, in a thread of its own, from `with` to its end."""

    def __init__(self, floor: Floor, agents_s: float, seed: int) -> None:
        self._client = TrajOpsClient(floor.url, floor.made.api_key)
        self._tracks, self._agents_s, self._seed = floor.tracks, agents_s, seed
        self._is_over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="agents")

    def __enter__(self) -> "_Stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Raise what has stopped it."""
        if self._error is not None:
            raise RuntimeError(f"agents could not be sent: {self._error}") from self._error

    def _run(self) -> None:
        rng, begin_s, sent = np.random.default_rng(self._seed), time.monotonic(), 0
        try:
            while not self._is_over.wait(max(0.0, begin_s + sent / self._agents_s - time.monotonic())):
                number = round(self._agents_s * TICK_S)
                drawn = rng.integers(len(self._tracks), size=number)
                self._send({f"{self._seed}-{sent + n:06d}": self._tracks[track] for n, track in enumerate(drawn.tolist())})
                sent += number
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._error = error

    def _send(self, agents: dict[str, Track]) -> None:
        now_s = time.time()
        asked: list[tuple[str, str, FloatArray, float]] = []
        later: list[ObservationIn] = []
        for number, (agent, track) in enumerate(agents.items()):
            scene, positions_m = f"pitch-{number % SCENES}", track.positions_m.round(3)
            times_s = now_s + DEFAULT_WINDOW.dt_s * (np.arange(len(track)) - len(track))
            for first in range(0, len(track) - DEFAULT_WINDOW.steps + 1, ASK_EVERY):
                last = first + DEFAULT_WINDOW.t_obs
                asked.append((agent, scene, positions_m[first:last], float(times_s[last - 1])))
            later += [
                ObservationIn(agent_id=agent, scene_id=scene, observed_at_s=float(times_s[step]), position=positions_m[step].tolist())
                for step in range(DEFAULT_WINDOW.t_obs, len(track))
            ]
        body = BatchColumnsIn(
            history=[history_m.tolist() for *_, history_m, _ in asked],
            agent_id=[agent for agent, *_ in asked],
            scene_id=[scene for _, scene, *_ in asked],
            observed_at_s=[observed_at_s for *_, observed_at_s in asked],
            source="replay",
        )
        if errors := self._client.batch_columns(body).errors:
            raise RuntimeError(f"{len(errors)} rows were not answered: {errors[0].error}")
        self._client.observe(later, source="replay")
