"""Positions in another frame: told by likelihood, scene by scene.

Where the reference saw agents of a scene, and which way they went, is a histogram; positions that it explains far better after swapping
their axes, mirroring or turning them were sent in that frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from trajops.drift.columns import IntArray, Rows
from trajops.drift.likeness import MOST_RUNS, clean_limit, parts_of
from trajops.drift.rules import QualityRule
from trajops.trajectories import FloatArray

CELLS, DIRECTIONS = 12, 8
COLUMNS = ("x_m", "y_m", "heading_rad")

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
        limit: a better fit than this of another frame is a finding, nats an agent.
    """

    x_m: FloatArray
    y_m: FloatArray
    log_cell: FloatArray
    log_direction: FloatArray
    limit: float

    @classmethod
    def of(cls, rows: Rows, rule: QualityRule, most_runs: int = MOST_RUNS) -> "Place":
        """Histograms of a scene's reference, and how well other frames fit its own agents.

        Args:
            rows: of one scene.
            rule: limits.
            most_runs: of agents that are tried.
        """
        return replace(cls._drawn(rows), limit=max(rule.frame_gain, clean_limit(cls._drawn, rows, rule, most_runs)))

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
    parts, most_runs = parts_of(reference, rule)
    return {name: Place.of(rows, rule, most_runs) for name, rows in parts.items()}
