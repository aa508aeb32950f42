"""Days resampled from real tracks: silent while nothing changes, quick when something does, and a classifier for what no column shows.

The embedded match and a lane of a small crowd, a day of reference; `benchmarks/drift_false_alarms.py` and `drift_detection.py` are the
same at full length.
"""

import numpy as np
import pytest

from benchmarks.drift_days import MONDAY_S, City, Place, joined
from benchmarks.drift_detection import changed, detect
from benchmarks.drift_follow import Follower, follow, rules
from data.datasets import crowd, skillcorner
from trajops.drift.columns import Rows
from trajops.drift.watch import Watch
from trajops.trajectories import Track

NOON_S = 12 * 3600.0


def place(name: str, tracks: object, hour: float) -> Place:
    long = sorted((track for track in tracks if len(track) >= 8), key=lambda track: track.times_s[0])  # type: ignore[attr-defined]
    return Place(name, long, hour, 0.5)


@pytest.fixture(scope="module")
def city() -> City:
    lane = [
        Track(track.agent_id, track.times_s, track.positions_m * [1.0, 0.3] + [20.0, 5.0])
        for track in crowd.simulate(12, 400.0, seed=3).tracks
    ]
    return City([place("match", skillcorner.load()["second_half"].tracks[:500], 12.0), place("lane", lane, 15.0)], seed=1)


@pytest.fixture(scope="module")
def hall() -> Place:
    return place("hall", crowd.simulate(12, 200.0, seed=4).tracks, 12.0)


@pytest.fixture(scope="module")
def watch(city: City) -> Watch:
    return Watch.of(rules(), city.reference(1, 300_000))


def test_a_morning_without_a_change_raises_no_alarm(city: City, watch: Watch) -> None:
    """From the night into the morning: traffic grows fivefold and its mix turns."""
    verdicts = [told.verdict for _, _, _, told in follow(Follower(watch), city, range(6, 9), every_s=120.0)]
    assert "drift" not in verdicts
    assert verdicts.count("stable") > 60


@pytest.mark.parametrize("name", ["feet_for_metres", "noise_x2", "rate_5_hz", "swapped_axes", "new_scene"])
def test_a_large_change_is_drift_within_two_minutes_of_traffic(city: City, watch: Watch, hall: Place, name: str) -> None:
    found = detect(watch, city, hall, name, NOON_S)
    assert found["is_found"]
    assert not found["is_early"]
    assert found["traffic_s"] <= 120


def test_a_tenth_more_speed_is_drift_within_ten_minutes(city: City, watch: Watch, hall: Place) -> None:
    found = detect(watch, city, hall, "speed_plus_10", NOON_S)
    assert found["is_found"]
    assert found["traffic_s"] <= 600


def untied(rows: Rows, column: str, seed: int) -> Rows:
    """The same rows with one column dealt out anew among the agents of each scene: columns as they were, what tied them gone."""
    rng = np.random.default_rng(seed)
    values = rows.values[column].copy()
    for scene in np.unique(rows.scenes):
        here = np.flatnonzero(rows.scenes == scene)
        mine = [here[rows.agents[here] == agent] for agent in np.unique(rows.agents[here])]
        for taker, giver in zip(mine, rng.permutation(len(mine)).tolist(), strict=True):
            values[taker] = rows.values[column][np.resize(mine[giver], len(taker))]
    return Rows(rows.times_s, rows.agents, rows.versions, {**rows.values, column: values}, rows.scenes, rows.scene_names)


def test_the_classifier_sees_what_no_column_shows(city: City, watch: Watch, hall: Place) -> None:
    """A model whose predictions are as fast as ever, and follow their agents no more: no column has changed."""
    clean = changed(city, hall, "nothing", NOON_S)
    at_s = MONDAY_S + NOON_S
    window = clean.select((clean.times_s > at_s - 300) & (clean.times_s <= at_s))
    seen = {}
    for name, rows in (("clean", window), ("untied", untied(window, "predicted_speed_mps", 0))):
        look = watch.look(rows, at_s, 1)
        seen[name] = {column.column for column in look.columns if column.is_drifted}
        carriers = next(column.carriers for column in look.columns if column.method == "auc")
    assert seen == {"clean": set(), "untied": {"all_columns"}}
    assert any("predicted_speed_mps" in carrier for carrier in carriers)


def test_the_same_hour_is_the_same_whenever_it_is_asked_for(city: City) -> None:
    one, other = city.hour(7), city.hour(7)
    assert np.array_equal(one.times_s, other.times_s)
    assert np.array_equal(one.values["speed_mps"], other.values["speed_mps"])
    assert len(joined([one, other], city.names)) == 2 * len(one)


def test_agents_come_in_groups_and_more_of_them_by_day(city: City) -> None:
    assert len(city.hour(12)) > 2 * len(city.hour(1))
    _, first = np.unique(city.hour(12).agents, return_index=True)
    entries_s = np.sort(city.hour(12).times_s[first])
    assert np.median(np.diff(entries_s)) < np.diff(entries_s).mean(), "gaps of independent arrivals have a larger median"
