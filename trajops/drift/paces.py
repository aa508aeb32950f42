"""Speeds in another unit: told by likelihood, scene by scene.

A median tells no unit where people move at two paces: of thirty agents in a hall where most dawdle, most walk now and then, three times as
fast. The shape of the distribution does: two paces that are both 3.28 times as fast are no day on which everybody walks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from trajops.drift.columns import IntArray, Rows
from trajops.drift.likeness import MOST_RUNS, clean_limit, parts_of
from trajops.drift.rules import QualityRule
from trajops.drift.units import medians_by_agent
from trajops.trajectories import BoolArray, FloatArray

COLUMN = "speed_mps"
FEET_IN_A_METRE = 3.28084
# What speeds are multiplied with where positions come in another unit than those of the reference.
UNITS: Mapping[str, float] = {
    "in feet, and the reference in metres": FEET_IN_A_METRE,
    "in metres, and the reference in feet": 1 / FEET_IN_A_METRE,
    "in centimetres": 100.0,
    "in metres, and the reference in centimetres": 0.01,
    "in millimetres": 1000.0,
    "in kilometres": 0.001,
}
# Slower than this counts as standing; log speeds lie in so many bins, which are smoothed by their neighbours.
SLOWEST_MPS, FASTEST_MPS, BINS = 0.02, 40.0, 30
# People are a little faster at noon: what such a shift explains as well is no unit. In log speed, up to 42 %.
SHIFTS = np.linspace(-0.35, 0.35, 9)
# One team that walks while the other does too is like another unit for a while: twenty players are one group, and thirty are two.
LEAST_GAIN, LEAST_AGENTS = 0.75, 30


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """How fast a scene's agents move.

    Attributes:
        log_share: (BINS,) log share of each bin of log speed; an agent counts once a minute.
        window_s: how long that is.
        limit: a better fit than this of another unit is a finding, nats an agent.
    """

    log_share: FloatArray
    window_s: float
    limit: float

    @classmethod
    def of(cls, rows: Rows, rule: QualityRule, most_runs: int = MOST_RUNS) -> "Pace":
        """The histogram of a scene's reference, and how well other units fit its own agents.

        Args:
            rows: of one scene.
            rule: limits.
            most_runs: of agents that are tried.
        """
        drawn = partial(cls._drawn, window_s=rule.window_s)
        return replace(drawn(rows), limit=max(LEAST_GAIN, clean_limit(drawn, rows, rule, most_runs)))

    @classmethod
    def _drawn(cls, rows: Rows, window_s: float) -> "Pace":
        counts = np.bincount(_bins(_log_speeds(rows, window_s)), minlength=BINS) + 0.5
        smooth = np.convolve(np.pad(counts, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
        return cls(np.log(smooth / smooth.sum()), window_s, np.inf)

    def gains(self, rows: Rows) -> dict[str, float]:
        """How much better each unit explains speeds than being a little faster or slower does, nats an agent."""
        log_speeds = _log_speeds(rows, self.window_s)
        own = max(self._fit(log_speeds + shift) for shift in SHIFTS)
        return {name: self._fit(log_speeds - np.log(factor)) - own for name, factor in UNITS.items()}

    def _fit(self, log_speeds: FloatArray) -> float:
        return float(self.log_share[_bins(log_speeds)].mean())


def paces_of(reference: Rows, rule: QualityRule) -> dict[str, Pace]:
    """The paces of all scenes of a reference that have agents enough."""
    if COLUMN not in reference.values:
        return {}
    rule = for_paces(rule)
    parts, most_runs = parts_of(reference.select(is_moving(reference, rule.window_s)), rule)
    return {name: Pace.of(rows, rule, most_runs) for name, rows in parts.items()}


def is_moving(rows: Rows, window_s: float) -> BoolArray:
    """Which rows say something of a unit: those with a speed, of agents who do not stand in most of their rows of a window.

    Nothing is zero in any unit, and what is hardly more is noise of the positions.

    Args:
        rows: N of them, of any scenes.
        window_s: in each window of this length an agent is asked anew, seconds.

    Returns:
        (N,) booleans.
    """
    is_present = rows.present(COLUMN)
    stands = is_present & (rows.values.get(COLUMN, rows.times_s) <= SLOWEST_MPS)
    if not stands.any():
        return is_present
    windows = np.floor((rows.times_s - rows.times_s.min()) / window_s).astype(np.int64)
    _, of_row = np.unique(rows.agents * (int(windows.max()) + 1) + windows, return_inverse=True)
    moves: BoolArray = (2 * np.bincount(of_row, stands) < np.bincount(of_row, is_present))[of_row]
    return is_present & moves


def for_paces(rule: QualityRule) -> QualityRule:
    """The limits by which paces are judged: by more agents than a frame takes."""
    return rule.model_copy(update={"min_agents": max(rule.min_agents, LEAST_AGENTS)})


def _log_speeds(rows: Rows, window_s: float) -> FloatArray:
    """The median log speed of each agent in each window."""
    middle, _, _ = medians_by_agent(rows, COLUMN, np.floor(rows.times_s / window_s).astype(np.int64))
    logs: FloatArray = np.log(np.maximum(middle, SLOWEST_MPS))
    return logs


def _bins(log_speeds: FloatArray) -> IntArray:
    low, high = np.log(SLOWEST_MPS), np.log(FASTEST_MPS)
    bins: IntArray = np.clip(np.floor((log_speeds - low) / (high - low) * BINS), 0, BINS - 1).astype(np.int64)
    return bins
