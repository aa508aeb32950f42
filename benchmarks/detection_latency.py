"""From the moment at which traffic changes to the message in Slack: the whole product as it ships, over a recorded match.

The API and a worker run as processes with the shipped configurations and one Slack sink. The second half of the embedded match is
live traffic, about 55 predictions/s, with the first half as reference. After a while positions come in another unit, or with noise.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.product import Product, prepare
from benchmarks.record import Measurement
from data.datasets import skillcorner
from deploy.demo.backfill import backfill
from deploy.demo.replay import ticks
from tests.alert_receivers import SlackSink, a_slack_sink, wait_for
from tests.whole_product import configure, first_seconds, product, traffic
from trajops.client import TrajOpsClient
from trajops.settings import Settings
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Scene, Track

SCENE = "match"
# Until the window holds enough agents for a verdict, and thresholds are calibrated.
CALM_S, PATIENCE_S = 150.0, 240.0
FEET = 3.28
NOISE_M = 0.2
Change = Callable[[FloatArray], FloatArray]


def run() -> Measurement:
    """Measure each change in a product of its own."""
    rng = np.random.default_rng(3)
    changes: dict[str, Change] = {
        "feet_for_metres": lambda positions_m: FEET * positions_m,
        "noise": lambda positions_m: positions_m + rng.normal(0, NOISE_M, positions_m.shape),
    }
    taken = {name: _measured(change) for name, change in changes.items()}
    return Measurement(
        max(seconds for seconds, _ in taken.values()), {f"{name}_s": round(seconds, 1) for name, (seconds, _) in taken.items()}
    )


def _measured(change: Change) -> tuple[float, str]:
    """Seconds from the change to the message, and what it says."""
    with TemporaryDirectory() as name, a_slack_sink() as slack:
        folder = Path(name)
        made = prepare(folder / "var", "kalman")
        settings = Settings(var_dir=made.var_dir, environment="test")
        backfill(settings, {1: made.forecaster()}, SCENE)
        receivers = [{"kind": "slack", "name": "chat", "url_env": "CHAT_URL"}]
        routes = [{"match": ['severity="critical"'], "receivers": ["chat"]}]
        configure(folder, {"alerts": {"receivers": receivers, "routes": routes}, "schedules": {"jobs": {"reconcile_aliases": None}}})
        with product(folder, CHAT_URL=slack.url) as url:
            return _told(made, url, slack, change)


def _told(made: Product, url: str, slack: SlackSink, change: Change) -> tuple[float, str]:
    tracks = skillcorner.load()["second_half"].tracks
    # What passes while nobody plays is cut from the replay, so the time of play is not that of the match.
    played = list(itertools.islice(ticks(Scene(SCENE, tracks), DEFAULT_WINDOW), round((CALM_S + PATIENCE_S) / DEFAULT_WINDOW.dt_s)))
    changing, last = (played[number].states[0] for number in (round(CALM_S / DEFAULT_WINDOW.dt_s), -1))
    from_s, until_s = (float(track.times_s[index]) for track, index in (changing, last))
    shown = first_seconds(tracks, until_s)
    with traffic(url, made.api_key, *(_changed(track, from_s, change) for track in shown), scene_id=SCENE):
        changed_at = time.time() + CALM_S
        wait_for(lambda: time.time() >= changed_at, "the change", CALM_S + 5)
        if slack.received:
            raise RuntimeError(f"there was an alert before anything had changed: {slack.received}")
        check = TrajOpsClient(url, made.operator_key).drift().latest
        if check is None or check.verdict == "insufficient_data":
            raise RuntimeError(f"before the change there was no verdict yet: {check and check.sentence}")
        wait_for(lambda: slack.received, "the message", PATIENCE_S)
    return slack.times[0] - changed_at, str(slack.received[0].get("text"))


def _changed(track: Track, from_s: float, change: Change) -> Track:
    positions_m = np.where((track.times_s >= from_s)[:, None], change(track.positions_m), track.positions_m)
    return Track(track.agent_id, track.times_s, positions_m)
