"""Rows for drift tests: from the embedded match, and from seeded tracks whose speed wanders slowly, as real tracks' does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from data.datasets import skillcorner
from data.stubs import MemoryDatabase
from trajops.clock import utc
from trajops.contracts.drift import DriftCheckOut
from trajops.drift.columns import Rows
from trajops.drift.learnable import Tally, fair_shares
from trajops.drift.quality import Counts
from trajops.drift.rules import DriftRules
from trajops.services.drift import DriftMonitor
from trajops.trajectories import FloatArray
from trajops.windows import cut

START_S = 1_700_000_000.0
DT_S = 0.4
COLUMNS = [
    {"column": name, "kind": kind}
    for names, kind in (
        (("speed_mps", "speed_last_mps", "acceleration_mps2", "turn_rad", "path_m", "dt_s"), "input"),
        (("predicted_speed_mps",), "prediction"),
        (("ade_m", "fde_m"), "performance"),
    )
    for name in names
]
RULES = DriftRules.model_validate({"columns": COLUMNS})
WITHOUT_DOMAIN = DriftRules.model_validate({"columns": COLUMNS, "domain": {"is_on": False}})
FEET = 3.28084


@dataclass
class SecondsClock:
    """A clock that a test sets."""

    at_s: float = START_S

    def now_ns(self) -> int:
        return int(self.at_s * 1e9)


@dataclass
class FixedSource:
    """A drift source over rows in memory, by traffic source."""

    by_source: dict[str, Rows] = field(default_factory=dict)
    counted: Counts = field(default_factory=Counts)

    def rows(self, since: datetime, until: datetime, sources: Sequence[str], max_rows: int | None = None, window_s: float = 300.0) -> Rows:
        found = [rows for source, rows in self.by_source.items() if source in sources]
        if not found:
            return empty()
        assert len(found) == 1, "a test uses one source at a time"
        times_s = found[0].times_s
        return found[0].select((times_s >= since.timestamp()) & (times_s < until.timestamp()))

    def some(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float, most: int, *, by_scene: bool = True) -> Rows:
        """Ends of agents' steps; of more than `most`, of some agents of each scene, others every ten steps."""
        rows = ends_of(self.rows(since, until, sources), until.timestamp(), step_s)
        counts = dict(enumerate(np.bincount(rows.scenes, minlength=len(rows.scene_names)).tolist()))
        shares = fair_shares(counts, most) if by_scene else dict.fromkeys(counts, min(1.0, most / max(1, len(rows))))
        lots = np.floor((until.timestamp() - rows.times_s) / (10 * step_s)).astype(int)
        drawn = np.random.default_rng(7).random((rows.agents.max(initial=0) + 1, lots.max(initial=0) + 1))
        return rows.select(drawn[rows.agents, lots] < np.array([shares[code] for code in range(len(shares))])[rows.scenes])

    def counts(self, since: datetime, until: datetime, sources: Sequence[str]) -> Counts:
        return self.counted

    def tally(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float) -> Tally:
        return tally_of(self.rows(since, until, sources), until.timestamp(), step_s)

    def oldest(self, sources: Sequence[str]) -> datetime | None:
        found = [rows.times_s.min() for source, rows in self.by_source.items() if source in sources and len(rows)]
        return utc(int(min(found) * 1e9)) if found else None


def ends_of(rows: Rows, until_s: float, step_s: float, ends: int = 2) -> Rows:
    """The first and the last rows of each agent in each step, by observed time, one of each time."""
    observed_s = rows.values.get("observed_at_s", rows.times_s)
    steps = np.ceil((until_s - rows.times_s) / step_s).astype(int) - 1
    order = np.lexsort((rows.times_s, observed_s, steps, rows.agents))
    agents, steps, observed_s = rows.agents[order], steps[order], observed_s[order]
    is_other = (np.diff(agents) != 0) | (np.diff(steps) != 0)
    order = order[np.r_[len(order) > 0, is_other | (np.diff(observed_s) != 0)][: len(order)]]
    steps = np.ceil((until_s - rows.times_s[order]) / step_s).astype(int) - 1
    starts = np.flatnonzero(np.r_[True, (np.diff(rows.agents[order]) != 0) | (np.diff(steps) != 0)][: len(order)])
    counts = np.diff(np.r_[starts, len(order)])
    place = np.arange(len(order)) - np.repeat(starts, counts)
    return rows.select(np.sort(order[(place < ends) | (place >= np.repeat(counts, counts) - ends)]))


def tally_of(rows: Rows, until_s: float, step_s: float, **changes: int) -> dict[str, dict[int, Counts]]:
    """What the lake would count of rows: all of them usable and none repeated, or as the changes say."""
    found: dict[str, dict[int, Counts]] = {}
    steps = np.ceil((until_s - rows.times_s) / step_s).astype(int) - 1
    (pairs, counts) = np.unique(np.stack([rows.scenes, steps]), axis=1, return_counts=True)
    for code, step, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(rows.scene_names[code], {})[step] = Counts(**{"predictions": count, "positions": count} | changes)
    return found


def together(*parts: Rows, names: Sequence[str] = ()) -> Rows:
    """Rows of several, whose agents are others; each in a scene of its own, if scenes have names."""
    offsets = np.cumsum([0, *(int(part.agents.max(initial=0)) + 1 for part in parts)])
    scenes = [np.full(len(part), number if names else 0) for number, part in enumerate(parts)]
    return Rows(
        np.concatenate([part.times_s for part in parts]),
        np.concatenate([part.agents + offset for part, offset in zip(parts, offsets, strict=False)]),
        np.concatenate([part.versions for part in parts]),
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        np.concatenate(scenes),
        tuple(names) or ("",),
    )


def feed(per_minute: int, minutes: int, *, gain: float = 1.0, seed: int, start_s: float = START_S, rows: int = 25) -> Rows:
    """So many wandering agents in each minute."""
    parts = [wandering(per_minute, span_s=60, seed=seed + n, rows=rows, gain=gain, start_s=start_s + 60 * n) for n in range(minutes)]
    return together(*parts)


def empty() -> Rows:
    """No rows."""
    none = np.empty(0)
    return Rows(none, none.astype(int), none.astype(int), {"speed_mps": none, "dt_s": none})


def rows_of(history_m: FloatArray, truth_m: FloatArray, times_s: FloatArray, agents: Sequence[object], *, dt_s: float = DT_S) -> Rows:
    """Rows as the lake derives them from (N, 8, 2) histories and (N, 12, 2) futures; constant velocity predicts."""
    velocity = np.diff(history_m, axis=1) / dt_s
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    heading = np.unwrap(np.arctan2(velocity[..., 1], velocity[..., 0]), axis=1)
    steps = np.arange(1, truth_m.shape[1] + 1)[:, None]
    error = np.linalg.norm(history_m[:, -1:] + velocity[:, -1:] * dt_s * steps - truth_m, axis=-1)
    values = {
        "speed_mps": speed.mean(axis=1),
        "speed_last_mps": speed[:, -1],
        "acceleration_mps2": (speed[:, -1] - speed[:, 0]) / (dt_s * (speed.shape[1] - 1)),
        "turn_rad": heading[:, -1] - heading[:, 0],
        "path_m": speed.sum(axis=1) * dt_s,
        "dt_s": np.full(len(history_m), dt_s),
        "predicted_speed_mps": speed[:, -1],
        "ade_m": error.mean(axis=1),
        "fde_m": error[:, -1],
    }
    _, codes = np.unique(np.asarray(agents), return_inverse=True)
    return Rows(times_s, codes, np.ones(len(times_s), dtype=int), values)


@cache
def match(half: str, *, gain: float = 1.0, dt_s: float = DT_S, start_s: float = START_S) -> Rows:
    """One half of the embedded match; `gain` changes the unit of positions, `dt_s` what the client says about its clock."""
    windows = cut(skillcorner.load()[half])
    times_s = start_s + windows.observed_at_s - windows.observed_at_s.min()
    return rows_of(windows.history_m * gain, windows.truth_m * gain, times_s, windows.agent_ids, dt_s=dt_s)


def wandering(agents: int, *, span_s: float, seed: int, rows: int = 25, gain: float = 1.0, start_s: float = START_S) -> Rows:
    """Overlapping rows of agents that keep a speed of their own: 20 of its 25 rows say nearly the same about an agent."""
    rng = np.random.default_rng(seed)
    steps = rows + 19
    own_mps = gain * rng.gamma(4.0, 0.4, (agents, 1))
    speed_mps = own_mps * np.exp(np.cumsum(rng.normal(0, 0.02, (agents, steps)), axis=1))
    heading_rad = rng.uniform(-np.pi, np.pi, (agents, 1)) + np.cumsum(rng.normal(0, 0.05, (agents, steps)), axis=1)
    step_m = DT_S * speed_mps[..., None] * np.stack([np.cos(heading_rad), np.sin(heading_rad)], axis=-1)
    positions_m = np.cumsum(step_m, axis=1)
    views = np.lib.stride_tricks.sliding_window_view(positions_m, 20, axis=1).transpose(0, 1, 3, 2)
    flat = views.reshape(-1, 20, 2)
    first_s = rng.uniform(0, span_s - rows * DT_S, agents)
    times_s = (start_s + first_s[:, None] + np.arange(rows) * DT_S).ravel()
    order = np.argsort(times_s, kind="stable")
    names = np.repeat(np.arange(agents), rows)
    return rows_of(flat[order, :8], flat[order, 8:], times_s[order], names[order].tolist())


def monitor(
    tmp_path: Path, reference: Rows | None, current: Rows, rules: DriftRules = RULES, **options: object
) -> tuple[DriftMonitor, SecondsClock]:
    sources = {"replay": current} if reference is None else {"backfill": reference, "replay": current}
    clock = SecondsClock()
    return DriftMonitor(FixedSource(sources), MemoryDatabase().unit_of_work, rules, tmp_path, clock, **options), clock  # type: ignore[arg-type]


def every_minute(watch: DriftMonitor, clock: SecondsClock, current: Rows, *, first_s: float = 300.0) -> Iterator[DriftCheckOut]:
    for clock.at_s in np.arange(current.times_s.min() + first_s, current.times_s.max(), 60):
        yield watch.check()
