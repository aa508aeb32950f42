"""An experiment in the whole product: API processes, a worker, recorded tracks as live traffic, and two models whose difference is known.

Pieces of the recorded match are played at once, each as a scene of its own, so that agents come several times as fast as in the match.
The true difference of the models is what both make of these very tracks offline.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.product import Product, prepare
from data.datasets import skillcorner
from data.lake.queries import Lake
from data.sql.engine import Database
from tests.alert_receivers import wait_for
from tests.whole_product import Edits, configure, product, traffic
from trajops import metrics
from trajops.client import TrajOpsClient
from trajops.clock import utc
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan
from trajops.settings import Settings
from trajops.trajectories import Scene, Track
from trajops.windows import Windows, cut, resample_scene

SCENES = 6
PIECE_S = 400.0
PROCESSES = 3
REASON = "measured by the benchmark"
# What neither predictions nor their truth need is left aside.
JOBS = ("check_drift", "check_performance", "recalibrate", "reconcile_aliases", "retrain", "answer_alerts", "probe")


@dataclass(frozen=True)
class Running:
    """A running product that traffic comes to."""

    made: Product
    settings: Settings
    client: TrajOpsClient
    pieces: Sequence[tuple[Track, ...]]

    def true_change(self, control: int, treatment: int) -> float:
        """Relative change of the mean ADE over agents, offline, on the tracks that are played."""
        windows = Windows.concatenate(
            [cut(resample_scene(Scene(f"piece-{number}", tracks), max_gap_s=1.0)) for number, tracks in enumerate(self.pieces)]
        )
        names = [f"{scene}\0{agent}" for scene, agent in zip(windows.scene_ids, windows.agent_ids, strict=True)]
        _, agent = np.unique(names, return_inverse=True)
        means = []
        for version in (control, treatment):
            ade_m = metrics.ade(self.made.forecaster(version).forecast(windows.history_m).best_m, windows.truth_m)
            means.append(float((np.bincount(agent, ade_m) / np.bincount(agent)).mean()))
        return means[1] / means[0] - 1

    def launch(self, plan: ExperimentPlan) -> ExperimentOut:
        """Stage the treatments and launch."""
        for arm in plan.arms[1:]:
            if arm.model_version != plan.arms[0].model_version:
                self.client.stage(arm.model_version, REASON)
        return self.client.plan_experiment(plan, REASON, is_launched=True).experiment

    def until(self, experiment: ExperimentOut, *states: str, patience_s: float) -> ExperimentOut:
        """The experiment once it is in one of these states."""

        def is_reached() -> bool:
            return self.client.experiment(experiment.experiment_id).state in states

        wait_for(is_reached, f"an experiment that is {' or '.join(states)}", patience_s)
        return self.client.experiment(experiment.experiment_id)

    def last_answer_at_s(self, variant: str, since_s: float) -> tuple[float | None, int]:
        """When the last prediction of a variant was received, and how many predictions there were of all since then."""
        return self._last("variant = $wanted", variant, since_s)

    def last_answer_of_s(self, version: int, since_s: float) -> tuple[float | None, int]:
        """The same of a version, whatever its role, shadows apart."""
        return self._last("model_version = $wanted AND source <> 'shadow'", version, since_s)

    def _last(self, condition: str, wanted: str | int, since_s: float) -> tuple[float | None, int]:
        lake = Lake(self.settings.lake_dir, self.settings.spool_dir, Database(self.settings.sql_url).engine)
        query = (
            f"SELECT max(received_ns) FILTER ({condition}), count(*) FILTER (source <> 'shadow') "
            "FROM predictions WHERE received_ns >= $since"
        )
        since_ns = int((since_s - 30) * 1e9)
        asked = {"wanted": wanted, "since": int(since_s * 1e9)}
        [(last_ns, rows)] = lake.read(
            ("predictions",), lambda cursor, prefix: cursor.execute(prefix + query, asked).fetchall(), since_ns=since_ns
        )
        return None if last_ns is None else utc(last_ns).timestamp(), int(rows)


@contextmanager
def an_experiment_floor(*families: str, edits: Edits | None = None) -> Iterator[Running]:
    """A product with a version of each family, the first of them champion, and traffic that goes on; `edits` as `configure` takes them."""
    tracks = skillcorner.load()["second_half"].tracks
    pieces = [_piece(tracks, PIECE_S * number) for number in range(SCENES)]
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        made = prepare(folder / "var", *families)
        settings = Settings(var_dir=made.var_dir, environment="test")
        configure(folder, {"schedules": {"jobs": dict.fromkeys(JOBS)}, **(edits or {})})
        url = stack.enter_context(product(folder, TRAJOPS_API_WORKERS=str(PROCESSES)))
        for number, piece in enumerate(pieces):
            stack.enter_context(traffic(url, made.api_key, *piece, scene_id=f"piece-{number}", label=f"p{number}"))
        yield Running(made, settings, TrajOpsClient(url, made.operator_key), pieces)


def _piece(tracks: Sequence[Track], since_s: float) -> tuple[Track, ...]:
    begin_s = min(float(track.times_s[0]) for track in tracks) + since_s
    found = [track for track in tracks if begin_s <= track.times_s[0] and track.times_s[-1] < begin_s + PIECE_S]
    return tuple(Track(track.agent_id, track.times_s - begin_s, track.positions_m) for track in found)


def wait_s(seconds: float) -> None:
    """Let traffic pass."""
    time.sleep(seconds)
