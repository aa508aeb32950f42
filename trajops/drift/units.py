"""Another unit or another clock: told at once, by how many times larger or smaller numbers are than the reference has them.

Every agent counts once, because its rows resemble each other, and against its own scene, because at night others are awake: forty
football players and five walkers are no other unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trajops.contracts.drift import UNIT_RULE, DriftColumn
from trajops.drift.columns import IntArray, Rows
from trajops.drift.rules import UnitRule
from trajops.trajectories import FloatArray

# How much further than the widest minute of the reference traffic may go.
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class UnitBounds:
    """What is still no unit error.

    Attributes:
        usual: the median agent of each scene of the reference, or of all of them where a scene has few agents.
        low: smallest ratio to it.
        high: largest ratio.
    """

    usual: Mapping[str, float]
    low: float
    high: float

    def ratios(self, values: FloatArray, scenes: IntArray, names: tuple[str, ...]) -> FloatArray:
        """(N,) values of agents over what is usual in their scenes; NaN in a scene that is new, or in which most stand still."""
        usual = np.array([self.usual.get(name, np.nan) for name in names])
        usual[usual == 0] = np.nan
        ratios: FloatArray = values / usual[scenes]
        return ratios


def unit_bounds(rule: UnitRule, column: str, reference: Rows) -> UnitBounds | None:
    """Ratios of medians that are still no unit error; None if the reference has no positive median.

    The rule's own bounds, widened where minutes of the reference itself vary more: a match has minutes in which everybody walks.
    """
    rows = reference.select(reference.present(column))
    if not len(rows):
        return None
    minutes = np.floor((rows.times_s - rows.times_s.min()) / rule.window_s).astype(np.int64)
    values, scenes, minutes = _medians(rows, column, minutes)
    of_all = float(np.median(values))
    if not of_all > 0:
        return None
    by_scene = {name: values[scenes == code] for code, name in enumerate(rows.scene_names)}
    usual = {name: float(np.median(found)) if len(found) >= rule.min_agents else of_all for name, found in by_scene.items()}
    ratios = UnitBounds(usual, rule.low, rule.high).ratios(values, scenes, rows.scene_names)
    is_known = np.isfinite(ratios)
    by_minute = np.split(ratios[is_known], np.flatnonzero(np.diff(minutes[is_known])) + 1)
    widest = [float(np.median(minute)) for minute in by_minute if len(minute) >= rule.min_agents]
    low, high = min(widest, default=1.0) / _MARGIN, max(widest, default=1.0) * _MARGIN
    return UnitBounds(usual, min(rule.low, low), max(rule.high, high))


def unit_column(rule: UnitRule, column: str, bounds: UnitBounds, current: Rows) -> DriftColumn | None:
    """The median agent's ratio to the reference in the newest `rule.window_s` of the current rows; None with too little data.

    The column is called `{column}_ratio`. Its threshold is the bound on the side where the ratio lies.
    """
    newest = current.select(current.times_s > current.times_s.max(initial=-np.inf) - rule.window_s)
    newest = newest.select(newest.present(column))
    values, scenes, _ = _medians(newest, column, np.zeros(len(newest), dtype=np.int64))
    ratios = bounds.ratios(values, scenes, newest.scene_names)
    is_known = np.isfinite(ratios)
    if is_known.sum() < rule.min_agents:
        return None
    ratio, current_median = float(np.median(ratios[is_known])), float(np.median(values[is_known]))
    return DriftColumn(
        column=f"{column}_ratio",
        kind="input",
        method=UNIT_RULE,
        score=ratio,
        threshold=bounds.high if ratio >= 1 else bounds.low,
        is_drifted=not bounds.low < ratio < bounds.high,
        reference_mean=current_median / ratio if ratio > 0 else None,
        current_mean=current_median,
    )


def _medians(rows: Rows, column: str, minutes: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
    """The median of each agent in each minute, with its scene and the minute; minute after minute."""
    values = rows.values[column]
    order = np.lexsort((values, rows.agents, minutes))
    agents, minutes = rows.agents[order], minutes[order]
    starts = np.flatnonzero(np.r_[len(order) > 0, (agents[1:] != agents[:-1]) | (minutes[1:] != minutes[:-1])])
    counts = np.diff(np.r_[starts, len(order)])
    middle = 0.5 * (values[order[starts + (counts - 1) // 2]] + values[order[starts + counts // 2]])
    return middle, rows.scenes[order[starts]], minutes[starts]
