"""Days of traffic, resampled from real tracks: a day and a night, groups that come together, rushes, and a change with a known onset.

What is drawn is never a track alone but everybody who entered a recording in the same eight seconds, with their distances in time: those
walk together, avoid each other, play the same attack. Each scene has its own hours; how busy it is wanders over the hours besides, and at
night people walk a little slower. Agents are new ones each time. All features come from the product's own code, over noisy positions.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_ethucy import read_scenes
from data.datasets import crowd, skillcorner
from data.lake.drift_rows import features
from trajops import metrics
from trajops.drift.columns import Rows
from trajops.forecasters.kalman import Kalman, KalmanNoise
from trajops.trajectories import FloatArray, Track

DT_S = 0.4
OBSERVED, PREDICTED = 8, 12
ENTRY_S = 8.0
DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3_600.0, 60.0
# A Monday, midnight.
MONDAY_S = 1_699_833_600.0
SPEEDS = (0.94, 0.97, 1.0, 1.03, 1.06)
FEET = 3.28084
FOLDER_VARIABLE = "TRAJOPS_BENCH_TRACKS"
_KALMAN = Kalman(KalmanNoise(0.3, 0.02, 2.0, 3.0))


@dataclass(frozen=True)
class Change:
    """What a client does to its positions and its clock.

    Attributes:
        gain: factor on positions.
        speed: factor on displacements since the entry.
        noise: factor on the noise of positions.
        dt_s: step that is sent, seconds; positions are those of that step.
        is_swapped: x for y.
    """

    gain: float = 1.0
    speed: float = 1.0
    noise: float = 1.0
    dt_s: float = DT_S
    is_swapped: bool = False


CLEAN = Change()
CHANGES: Mapping[str, Change] = {
    "feet_for_metres": Change(gain=FEET),
    "noise_x2": Change(noise=2.0),
    "rate_5_hz": Change(dt_s=0.2),
    "swapped_axes": Change(is_swapped=True),
    "speed_plus_10": Change(speed=1.1),
    "speed_plus_5": Change(speed=1.05),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """All predictions that one scene's tracks give, under one change.

    Attributes:
        values: columns of (R,) numbers, track after track.
        starts: (T + 1,) first row of each track.
        entries_s: (R,) time of each row after its group began.
        groups: tracks of each group, first and last + 1, in order.
    """

    values: Mapping[str, NDArray[np.float32]]
    starts: NDArray[np.int64]
    entries_s: FloatArray
    groups: NDArray[np.int64]

    @property
    def rows_per_group(self) -> float:
        """Mean number of predictions that a group asks for."""
        return float(self.starts[-1]) / len(self.groups)


@dataclass(eq=False)
class Place:
    """A scene: its tracks, and its pools by change and speed.

    Attributes:
        name: scene id.
        tracks: at 0.4 s, sorted by their beginning.
        peak_hour: when it is busiest.
        share: of all predictions at the peak.
    """

    name: str
    tracks: Sequence[Track]
    peak_hour: float
    share: float
    _pools: dict[tuple[Change, float, float], Pool] = field(default_factory=dict)

    def pool(self, change: Change, speed: float, noise_m: float) -> Pool:
        """The pool under a change, computed once."""
        key = (change, speed, noise_m)
        if key not in self._pools:
            self._pools[key] = make_pool(self.tracks, change, speed, noise_m, seed=11)
        return self._pools[key]


def make_pool(tracks: Sequence[Track], change: Change, speed: float, noise_m: float, seed: int) -> Pool:
    """Predictions for every position of every track from the eighth on."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, FloatArray]] = []
    entries, starts, group_of = [], [0], []
    origin_s = min(track.times_s[0] for track in tracks)
    for track in tracks:
        times_s, positions_m = track.times_s, track.positions_m
        if change.dt_s != DT_S:
            times_s = np.arange(track.times_s[0], track.times_s[-1] + 1e-9, change.dt_s)
            positions_m = np.stack([np.interp(times_s, track.times_s, track.positions_m[:, axis]) for axis in (0, 1)], axis=-1)
        count = len(times_s) - OBSERVED + 1
        if count < 1:
            continue
        positions_m = positions_m[0] + (positions_m - positions_m[0]) * speed * change.speed
        positions_m = (positions_m + rng.normal(0, noise_m * change.noise, positions_m.shape)) * change.gain
        if change.is_swapped:
            positions_m = positions_m[:, ::-1]
        padded_m = np.concatenate([positions_m, np.full((PREDICTED, 2), np.nan)])
        views_m = np.lib.stride_tricks.sliding_window_view(padded_m, OBSERVED + PREDICTED, axis=0)[:count].transpose(0, 2, 1)
        parts.append(described(views_m[:, :OBSERVED], views_m[:, OBSERVED:], np.full(count, change.dt_s)))
        slot = int((times_s[0] - origin_s) // ENTRY_S)
        group_of.append(slot)
        entries.append(times_s[OBSERVED - 1 :] - origin_s - slot * ENTRY_S)
        starts.append(starts[-1] + count)
    values = {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in parts[0]}
    slots = np.array(group_of)
    _, first = np.unique(slots, return_index=True)
    bounds = np.append(first, len(slots))
    groups = np.stack([bounds[:-1], bounds[1:]], axis=-1)
    return Pool(values, np.array(starts), np.concatenate(entries), groups)


def described(history_m: FloatArray, truth_m: FloatArray, dt_s: FloatArray) -> dict[str, FloatArray]:
    """Columns of the drift check for N predictions, with the truth that is there."""
    forecast = _KALMAN.forecast(history_m)
    is_known = np.isfinite(truth_m).all(axis=(1, 2))
    known_m = np.where(is_known[:, None, None], truth_m, 0.0)
    error_m = np.linalg.norm(forecast.best_m - known_m, axis=-1)
    inside = metrics.inside(forecast, known_m, 0.9).mean(axis=-1)
    spread_m = np.sqrt(np.trace(forecast.covariance_m2[:, 0, -1], axis1=-2, axis2=-1) / 2)
    return {
        **features(history_m, forecast.best_m, dt_s),
        "dt_s": dt_s,
        "predicted_spread_m": spread_m,
        **{
            name: np.where(is_known, found, np.nan)
            for name, found in (("ade_m", error_m.mean(axis=1)), ("fde_m", error_m[:, -1]), ("inside_share", inside))
        },
    }


@dataclass(eq=False)
class City:
    """Several scenes and the days that they see.

    Args:
        places: the scenes.
        seed: of everything that is drawn.
        peak_per_s: predictions per second at the busiest hour.
        night: share of the peak that is left at night.
        noise_m: standard deviation of the noise of positions, metres in each axis.
    """

    places: Sequence[Place]
    seed: int = 0
    peak_per_s: float = 50.0
    night: float = 0.15
    noise_m: float = 0.1
    columns: tuple[str, ...] = ()

    def hour(self, number: int, change: Change = CLEAN, places: Sequence[Place] | None = None) -> Rows:
        """Rows that begin in one hour since Monday, midnight; sorted by time. The same hour is the same, whenever it is asked for."""
        begin_s = MONDAY_S + number * HOUR_S
        of_day = number % 24 + 0.5
        parts = []
        for index, place in enumerate(self.places if places is None else places):
            rng = np.random.default_rng([self.seed, number + 10_000, index])
            busy = self._busy(place, of_day)
            busy *= np.exp(0.2 * _wander(self.seed, index, number))
            slow = 0.02 * np.cos((of_day - 14) * 2 * np.pi / 24) + 0.01 * _wander(self.seed + 1, index, number)
            pools = [place.pool(change, speed, self.noise_m) for speed in SPEEDS]
            per_hour = HOUR_S * self.peak_per_s * place.share * busy / self._busiest / pools[2].rows_per_group
            count = rng.poisson(per_hour)
            level = np.clip(np.round((slow + rng.normal(0, 0.015, count)) / 0.03) + 2, 0, len(SPEEDS) - 1).astype(int)
            at_s = begin_s + rng.uniform(0, HOUR_S, count)
            # Rushes: a fifth of the groups come within a few seconds of another.
            is_rush = rng.random(count) < 0.2
            if count > 1:
                at_s[is_rush] = np.minimum(
                    at_s[rng.integers(0, count, is_rush.sum())] + rng.uniform(0, 10, is_rush.sum()), begin_s + HOUR_S - 1e-3
                )
            for speed in np.unique(level):
                chosen = np.flatnonzero(level == speed)
                parts.append(self._rows(pools[speed], at_s[chosen], rng, index))
        return joined(parts, tuple(place.name for place in (self.places if places is None else places)))

    def _busy(self, place: Place, of_day: float) -> float:
        return self.night + (1 - self.night) * float(np.exp(2.0 * (np.cos((of_day - place.peak_hour) * 2 * np.pi / 24) - 1)))

    @property
    def _busiest(self) -> float:
        return max(sum(place.share * self._busy(place, hour) for place in self.places) for hour in np.arange(0.5, 24))

    def _rows(self, pool: Pool, at_s: FloatArray, rng: np.random.Generator, scene: int) -> Rows:
        groups = pool.groups[rng.integers(0, len(pool.groups), len(at_s))]
        begins, ends = pool.starts[groups[:, 0]], pool.starts[groups[:, 1]]
        counts = ends - begins
        rows = np.repeat(begins - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        track = np.searchsorted(pool.starts, rows, side="right") - 1

        # Codes grow with the time of arrival, as those of the lake do.
        came_ms = np.round((at_s - MONDAY_S + 1e7) * 1000).astype(np.int64)
        agents = (np.repeat(came_ms, counts) * 10 + scene) * 1000 + track - np.repeat(groups[:, 0], counts)
        times_s = np.repeat(at_s, counts) + pool.entries_s[rows]
        names = self.columns or tuple(pool.values)
        values = {name: pool.values[name][rows] for name in names}
        return Rows(times_s, agents, np.ones(len(rows), dtype=np.int64), values, np.full(len(rows), scene))

    def traffic(self, hours: range, **options: object) -> Iterator[Rows]:
        """Hour after hour, exactly the rows of each: what an earlier hour began may end in it."""
        left: list[Rows] = []
        for number in hours:
            hour = self.hour(number, **options)  # type: ignore[arg-type]
            rows = joined([*left, hour], hour.scene_names)
            is_now = rows.times_s < MONDAY_S + (number + 1) * HOUR_S
            left = [rows.select(~is_now)]
            yield rows.select(is_now)

    @property
    def names(self) -> tuple[str, ...]:
        """Scene ids."""
        return tuple(place.name for place in self.places)

    def reference(self, days: int, max_rows: int, window_s: float = 300.0) -> Rows:
        """The days before Monday, thinned by whole windows as the lake thins them."""
        parts, every = [], None
        for rows in self.traffic(range(-24 * days, 0)):
            if every is None:
                every = max(1, round(self.peak_per_s * 0.55 * days * DAY_S / max_rows))
            parts.append(rows.select(np.floor(rows.times_s / window_s).astype(np.int64) % every == 0))
        return joined(parts, self.names)


def _wander(seed: int, index: int, hour: int) -> float:
    """A slow random walk around nil with a standard deviation of one and a memory of some three hours."""
    draws = [np.random.default_rng([abs(seed), 7, index, hour - back + 10_000]).normal() for back in range(12)]
    weights = 0.7 ** np.arange(12)
    return float(weights @ draws / np.sqrt((weights**2).sum()))


def joined(parts: Sequence[Rows], names: tuple[str, ...]) -> Rows:
    """Rows of all parts, sorted by time; scenes are numbered as in `names`."""
    parts = [part for part in parts if len(part)]
    times_s = np.concatenate([part.times_s for part in parts])
    order = np.argsort(times_s, kind="stable")
    values = {name: np.concatenate([part.values[name] for part in parts])[order] for name in parts[0].values}
    agents, versions, scenes = (np.concatenate([getattr(part, name) for part in parts])[order] for name in ("agents", "versions", "scenes"))
    return Rows(times_s[order], agents, versions, values, scenes, names)


def embedded_places() -> list[Place]:
    """Scenes that ship with the product: the match, and crowds of three densities."""
    match = skillcorner.load()
    found = [("first_half", match["first_half"].tracks), ("second_half", match["second_half"].tracks)]
    for number, (people, area_m) in enumerate(((25, 24.0), (40, 40.0))):
        scene = crowd.simulate(people, 900.0, seed=number, area_m=area_m, scene_id=f"crowd-{number}")
        found.append((f"crowd-{number}", scene.tracks))
    return _places(found)


def places() -> list[Place]:
    """ETH/UCY and the match where `TRAJOPS_BENCH_TRACKS` names the folder, else what ships with the product."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return embedded_places()
    match = skillcorner.load()
    found = [("match", [*match["first_half"].tracks])]
    for name in ("hotel", "univ", "zara1", "zara2", "eth"):
        scenes = read_scenes(Path(folder) / name / "test")
        if not any(scene.tracks for scene in scenes):
            raise RuntimeError(f"{FOLDER_VARIABLE} names {folder}, which has no tracks of {name}; name the folder that holds {name}/test")
        apart = [(number * 100_000.0, track) for number, scene in enumerate(scenes) for track in scene.tracks]
        found.append((name, [Track(track.agent_id, track.times_s + later_s, track.positions_m) for later_s, track in apart]))
    return _places(found)


def _places(found: Sequence[tuple[str, Sequence[Track]]]) -> list[Place]:
    hours = (19.0, 8.5, 12.0, 17.0, 14.0, 11.0)
    long = [
        (name, sorted((track for track in tracks if len(track) >= OBSERVED), key=lambda track: track.times_s[0])) for name, tracks in found
    ]
    return [Place(name, tracks, hour, 0.0) for (name, tracks), hour in zip(long, hours, strict=False)]
