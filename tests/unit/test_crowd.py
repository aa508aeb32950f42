"""The synthetic crowd: reproducible, plausible, and drifting exactly when it is told to."""

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from data.datasets import crowd
from trajops.errors import InvalidInput
from trajops.trajectories import FloatArray, Scene, WindowSpec
from trajops.windows import cut


def speeds_mps(scene: Scene, since_s: float = 0.0, until_s: float = np.inf) -> FloatArray:
    """Speeds between samples within a time range."""
    parts = []
    for track in scene.tracks:
        is_within = (track.times_s[:-1] >= since_s) & (track.times_s[1:] <= until_s)
        parts.append((np.hypot(*np.diff(track.positions_m, axis=0).T) / np.diff(track.times_s))[is_within])
    return np.concatenate(parts)


def states(scene: Scene, until_s: float = np.inf) -> dict[tuple[str, float], tuple[float, float]]:
    """Position by agent and time, up to a time."""
    return {
        (track.agent_id, float(time_s)): (float(x_m), float(y_m))
        for track in scene.tracks
        for time_s, (x_m, y_m) in zip(track.times_s, track.positions_m, strict=True)
        if time_s <= until_s
    }


def a_crowd(**changes: Any) -> Scene:
    """A small crowd of half a minute."""
    return crowd.simulate(**({"agents": 15, "duration_s": 40.0, "seed": 1} | changes))


def test_a_seed_gives_one_crowd_and_another_seed_another() -> None:
    assert states(a_crowd()) == states(a_crowd())
    assert states(a_crowd()) != states(a_crowd(seed=2))


def test_the_number_of_people_is_constant_though_they_come_and_go() -> None:
    scene = a_crowd(duration_s=120.0)
    times_s, counts = np.unique(np.round(np.concatenate([track.times_s for track in scene.tracks]), 6), return_counts=True)
    assert len(times_s) == 301
    assert (counts == 15).all()
    assert len(scene.tracks) > 30, "people have left and others have come"
    names = [track.agent_id for track in scene.tracks]
    assert names == [f"synthetic-{number:05d}" for number in range(1, len(names) + 1)]
    assert scene.scene_id == "synthetic-crowd"


def test_tracks_are_on_the_grid_and_give_windows() -> None:
    window = WindowSpec(t_obs=4, t_pred=6, dt_s=0.25)
    assert len(cut(a_crowd())) > 100
    assert len(cut(a_crowd(window=window, start_s=1_700_000_000.0), window)) > 100


def test_people_walk_like_people() -> None:
    scene = a_crowd(agents=40, duration_s=60.0)
    speeds = speeds_mps(scene)
    assert 1.0 < np.mean(speeds) < 1.34, "1.34 m/s is desired, others slow one down"
    assert speeds.max() < 1.3 * (1.34 + 4.5 * 0.26), "nobody exceeds 1.3 times the desired speed"
    side_m = np.sqrt(40 / crowd.DENSITY_PER_M2)
    assert max(np.abs(track.positions_m).max() for track in scene.tracks) < 0.5 * side_m + 3.0


def closest_m(scene: Scene) -> float:
    """Distance that only one pair in a thousand, at one time, falls short of."""
    by_time: dict[float, list[FloatArray]] = {}
    for track in scene.tracks:
        for time_s, position_m in zip(track.times_s, track.positions_m, strict=True):
            by_time.setdefault(round(float(time_s), 6), []).append(position_m)
    return float(np.quantile(np.concatenate([pdist(np.array(members)) for members in by_time.values()]), 0.001))


def test_people_keep_apart_because_of_the_force(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = {"agents": 40, "area_m": 20.0}
    polite = closest_m(a_crowd(**dense))
    monkeypatch.setattr(crowd, "REPULSION_M2PS2", 0.0)
    assert polite > 1.5 * closest_m(a_crowd(**dense))


def test_one_person_walks_straight_to_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "FLUCTUATION_MPS2", 0.0)
    for track in a_crowd(agents=1).tracks:
        steps = np.diff(track.positions_m, axis=0)
        np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=1e-6)


@pytest.mark.parametrize("drift", [{"speed_factor": 1.5}, {"noise_m": 0.2}, {"speed_factor": 0.6, "noise_m": 0.1}], ids=str)
def test_the_drift_begins_at_its_onset_and_not_before(drift: dict[str, float]) -> None:
    plain, drifting = a_crowd(), a_crowd(drift_at_s=20.0, **drift)
    assert states(plain, 19.99) == states(drifting, 19.99)
    assert states(plain, 21.0) != states(drifting, 21.0)


def test_a_speed_factor_changes_speeds_after_the_onset_only() -> None:
    scene = crowd.simulate(30, 80.0, 4, speed_factor=1.5, drift_at_s=40.0)
    before, after = speeds_mps(scene, until_s=40.0).mean(), speeds_mps(scene, since_s=44.0).mean()
    assert after / before == pytest.approx(1.5, abs=0.2)


def test_noise_is_measured_and_does_not_change_how_people_walk() -> None:
    plain, noisy = states(a_crowd()), states(a_crowd(noise_m=0.3))
    assert plain.keys() == noisy.keys()
    difference = np.array([noisy[key] for key in plain]) - np.array(list(plain.values()))
    assert difference.std() == pytest.approx(0.3, rel=0.05)
    assert abs(difference.mean()) < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        {"agents": 0},
        {"duration_s": 0.0},
        {"duration_s": float("nan")},
        {"speed_factor": 0.0},
        {"noise_m": -0.1},
        {"noise_m": float("inf")},
        {"area_m": 3.0},
        {"area_m": float("nan")},
    ],
    ids=str,
)
def test_an_impossible_crowd_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        a_crowd(**changes)
