"""Positions in another frame: told by likelihood, scene by scene.

Where the reference saw agents of a scene, and which way they went, is a histogram; positions that it explains far better after swapping
their axes, mirroring or turning them were sent in that frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from trajops.drift.columns import IntArray, Rows
from trajops.drift.rules import QualityRule
from trajops.trajectories import FloatArray

CELLS, DIRECTIONS = 12, 8
COLUMNS = ("x_m", "y_m", "heading_rad")
# A place is tried on so many runs of agents; where there are many scenes on fewer of each, but not on less than some.
MOST_RUNS, FEWEST_RUNS = 300, 60
# Standard deviations of clean runs that another frame must be better by.
BEYOND_CHANCE = 5.0
# A scene has so many times the agents that a rule needs, or no place.
LEAST_TIMES = 3

Frame = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
# How to undo what may have been done to positions and headings. Units are told by speeds: shrinking makes anything fit the busiest cell.
FRAMES: Mapping[str, Frame] = {
    "with swapped axes": lambda x, y, heading: (y, x, np.pi / 2 - heading),
    "with x mirrored": lambda x, y, heading: (-x, y, np.pi - heading),
    "with y mirrored": lambda x, y, heading: (x, -y, -heading),
    "turned by half a turn": lambda x, y, heading: (-x, -y, heading + np.pi),
    "turned a quarter to the left": lambda x, y, heading: (y, -x, heading - np.pi / 2),
    "turned a quarter to the right": lambda x, y, heading: (-y, x, heading + np.pi / 2),
}


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a scene's agents were and which way they went.

    Attributes:
        x_m: edges of the cells, metres.
        y_m: likewise.
        log_cell: (CELLS + 2, CELLS + 2) log share of each cell, the outer ones unbounded.
        log_direction: (DIRECTIONS,) log share of each heading.
        gain: a better fit than this of another frame is a finding, nats an agent.
    """

    x_m: FloatArray
    y_m: FloatArray
    log_cell: FloatArray
    log_direction: FloatArray
    gain: float

    @classmethod
    def of(cls, rows: Rows, rule: QualityRule, most_runs: int = MOST_RUNS) -> "Place":
        """Histograms of a scene's reference, and how well other frames fit its own agents where they are not among those it was drawn from.

        Args:
            rows: of one scene.
            rule: limits.
            most_runs: of agents that are tried.
        """
        run, found = _runs(rows, rule), list[float]()
        for fold in (0, 1):  # what a place was drawn from fits it better than what comes later
            drawn = run % 2 == fold
            if not drawn.any() or drawn.all():
                continue
            place, tried = cls._drawn(rows.select(drawn)), np.unique(run[~drawn])
            tried = tried[:: -(-2 * len(tried) // most_runs)]
            found += [max(place.gains(rows.select(run == one)).values()) for one in tried.tolist()]
        clean = np.array(found or [0.0])
        # Few runs may hold no rare one: a pitch in which everybody has moved to one end fits its mirror for a while.
        rare = max(1.5 * float(clean.max()), float(clean.mean() + BEYOND_CHANCE * clean.std()))
        return replace(cls._drawn(rows), gain=max(rule.frame_gain, rare))

    @classmethod
    def _drawn(cls, rows: Rows) -> "Place":
        x, y, heading = (rows.values[name] for name in COLUMNS)
        x_m, y_m = _edges(x), _edges(y)
        cells = np.searchsorted(x_m, x) * (CELLS + 2) + np.searchsorted(y_m, y)
        counts = np.bincount(cells, minlength=(CELLS + 2) ** 2).reshape(CELLS + 2, CELLS + 2) + 0.5
        turns = np.bincount(_direction(heading), minlength=DIRECTIONS) + 0.5
        return cls(x_m, y_m, np.log(counts / counts.sum()), np.log(turns / turns.sum()), np.inf)

    def gains(self, rows: Rows) -> dict[str, float]:
        """How much better than their own each other frame explains rows, nats an agent."""
        x, y, heading = (rows.values[name] for name in COLUMNS)
        _, agent, count = np.unique(rows.agents, return_inverse=True, return_counts=True)
        weights = 1 / (len(count) * count[agent])
        own = float(weights @ self._fit(x, y, heading))
        return {name: float(weights @ self._fit(*undo(x, y, heading))) - own for name, undo in FRAMES.items()}

    def _fit(self, x: FloatArray, y: FloatArray, heading: FloatArray) -> FloatArray:
        fit: FloatArray = (
            self.log_cell[np.searchsorted(self.x_m, x), np.searchsorted(self.y_m, y)] + self.log_direction[_direction(heading)]
        )
        return fit


def _edges(values: FloatArray) -> FloatArray:
    """(CELLS + 1,) edges over the middle 98 %."""
    low, high = np.quantile(values, [0.01, 0.99])
    return np.linspace(float(low) - 1e-6, float(high) + 1e-6, CELLS + 1)


def _direction(heading: FloatArray) -> IntArray:
    """(N,) which of `DIRECTIONS` sectors each heading lies in."""
    sector: IntArray = np.floor((heading % (2 * np.pi)) / (2 * np.pi) * DIRECTIONS).astype(np.int64) % DIRECTIONS
    return sector


def places_of(reference: Rows, rule: QualityRule) -> dict[str, Place]:
    """The places of all scenes of a reference that have agents enough."""
    if not all(name in reference.values for name in COLUMNS):
        return {}
    parts = {name: reference.of_scene(name) for name in reference.scene_names}
    parts = {name: rows for name, rows in parts.items() if rows.agent_count >= LEAST_TIMES * rule.min_agents}
    most_runs = max(FEWEST_RUNS, 8 * MOST_RUNS // max(8, len(parts)))
    return {name: Place.of(rows, rule, most_runs) for name, rows in parts.items()}


class Fit(NamedTuple):
    """What some rows say of their frame.

    Attributes:
        scenes: that they are in; they are judged together.
        frame: the other one that explains them best.
        gain: how much better than their own, nats an agent.
        limit: of that.
        window_s: of how much of the newest traffic they are.
    """

    scenes: tuple[str, ...]
    frame: str
    gain: float
    limit: float
    window_s: float


def fits(places: Mapping[str, Place], looks: Sequence[tuple[Rows, float]], rule: QualityRule) -> list[Fit]:
    """How well their own frame fits the newest rows: of each scene by the first look that holds agents enough, of the rest by all together.

    Args:
        places: by scene.
        looks: rows and how many seconds of traffic they are, the shortest first.
        rule: limits.
    """
    found, parts = [], list[tuple[str, Rows]]()
    by_name = [
        {rows.scene_names[code]: code for code in np.unique(rows.scenes).tolist()} if "x_m" in rows.values else {} for rows, _ in looks
    ]
    for name in places:
        for (rows, window_s), codes in zip(looks, by_name, strict=False):
            part = rows.of_scene(name) if name in codes else None
            if part is not None and part.agent_count >= rule.min_agents:
                found.append(_fit([(name, part)], places, window_s))
                break
        else:
            parts += [] if part is None else [(name, part)]
    if sum(part.agent_count for _, part in parts) >= rule.min_agents:
        found.append(_fit(parts, places, looks[-1][1]))
    return found


def _fit(parts: Sequence[tuple[str, Rows]], places: Mapping[str, Place], window_s: float) -> Fit:
    """The frame that explains the agents of some scenes best, each of whom counts once."""
    counts = np.array([part.agent_count for _, part in parts])
    weights = counts / counts.sum()
    gains = [places[name].gains(part) for name, part in parts]
    found = {frame: float(weights @ [one[frame] for one in gains]) for frame in FRAMES}
    best = max(found, key=lambda frame: found[frame])
    limit = float(weights @ [places[name].gain for name, _ in parts])
    return Fit(tuple(name for name, _ in parts), best, found[best], limit, window_s)


def _runs(rows: Rows, rule: QualityRule) -> IntArray:
    """(N,) which run of whole windows each row lies in: of so many that they hold agents enough."""
    windows, of_row = np.unique(np.floor(rows.times_s / rule.window_s).astype(np.int64), return_inverse=True)
    pairs = np.unique(np.stack([of_row, rows.agents]), axis=1)
    starts = np.searchsorted(pairs[0], np.arange(len(windows) + 1)).tolist()
    run, number, seen = np.zeros(len(windows), dtype=np.int64), 0, set[int]()
    for window in range(len(windows)):
        run[window] = number
        seen.update(pairs[1, starts[window] : starts[window + 1]].tolist())
        if len(seen) >= rule.min_agents:
            number, seen = number + 1, set[int]()
    found: IntArray = np.minimum(run, max(0, number - 1))[of_row]  # what is left over with too few belongs to the last
    return found
