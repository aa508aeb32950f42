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
    """What is still no unit error in one scene.

    Attributes:
        usual: the median agent.
        low: smallest ratio to it.
        high: largest ratio.
    """

    usual: float
    low: float
    high: float


def unit_bounds(rule: UnitRule, column: str, reference: Rows, longest_s: float = 0.0) -> Mapping[str, UnitBounds]:
    """By scene of the reference, ratios of medians that are still no unit error; without scenes whose median agent has no positive value.

    The rule's own bounds, widened where minutes of the reference itself vary more: a match has minutes in which everybody walks. A scene
    with few agents is held against all of them, with bounds that reach to its own median. Where `longest_s` is looked at, because a minute
    holds too few agents, the reference is cut into such windows as well.
    """
    rows = reference.select(reference.present(column))
    values, scenes, minutes = _in_windows(rows, column, rule.window_s)
    cuts = [(values, scenes, minutes)]
    if longest_s > rule.window_s:
        cuts.append(_in_windows(rows, column, longest_s))
    found = {}
    for code, name in enumerate(rows.scene_names):
        mine = values[scenes == code]
        is_few = len(mine) < rule.min_agents
        usual = float(np.median(values if is_few else mine)) if len(values) else 0.0
        if usual > 0:
            widest = [ratio for cut in cuts for ratio in _ratios(cut, code, usual, rule.min_agents)]
            if is_few and len(mine):
                widest.append(float(np.median(mine)) / usual)
            low, high = min(widest, default=1.0) / _MARGIN, max(widest, default=1.0) * _MARGIN
            found[name] = UnitBounds(usual, min(rule.low, low), max(rule.high, high))
    return found


def _in_windows(rows: Rows, column: str, window_s: float) -> tuple[FloatArray, IntArray, IntArray]:
    """The median of each agent in each window of the reference, with its scene and the window."""
    windows = np.floor((rows.times_s - rows.times_s.min(initial=np.inf)) / window_s).astype(np.int64)
    return _medians(rows, column, windows)


def _ratios(cut: tuple[FloatArray, IntArray, IntArray], scene: int, usual: float, min_agents: int) -> list[float]:
    """How many times the usual the median agent of a scene has in each window."""
    values, scenes, windows = cut
    is_here = scenes == scene
    by_window = np.split(values[is_here] / usual, np.flatnonzero(np.diff(windows[is_here])) + 1)
    # Fewer agents of a scene are not half of what the rule asks for, and move no median by themselves.
    return [float(np.median(window)) for window in by_window if len(window) >= min_agents / 2]


def unit_column(rule: UnitRule, column: str, bounds: Mapping[str, UnitBounds], current: Rows, longest_s: float = 0.0) -> DriftColumn | None:
    """The median agent's ratio to the reference in the newest `rule.window_s` of the current rows; None with too little data.

    Where that holds too few agents, in all of them, which are of `longest_s`.
    It is drifted if the median agent is beyond the bound of its scene. The column is called `{column}_ratio`; its threshold is that bound,
    on the side where the ratio lies. Agents of a scene that the reference does not know are left out: that is a finding of its own.
    """
    window_s, rows = rule.window_s, current.select(current.present(column))
    values, scenes = _known(rows.select(rows.times_s > current.times_s.max(initial=-np.inf) - window_s), column, bounds)
    if len(values) < rule.min_agents and longest_s > window_s:
        window_s = longest_s
        values, scenes = _known(rows, column, bounds)
    if len(values) < rule.min_agents:
        return None
    mine = [bounds.get(name, UnitBounds(np.nan, np.nan, np.nan)) for name in current.scene_names]
    usual, low, high = (np.array([getattr(one, side) for one in mine])[scenes] for side in ("usual", "low", "high"))
    ratios = values / usual
    ratio, current_median = float(np.median(ratios)), float(np.median(values))
    bound = high if ratio >= 1 else low
    beyond = float(np.median(ratios / bound))
    return DriftColumn(
        column=f"{column}_ratio",
        kind="input",
        method=UNIT_RULE,
        score=ratio,
        threshold=ratio / beyond if beyond > 0 else float(np.median(bound)),
        is_drifted=beyond >= 1 if ratio >= 1 else beyond <= 1,
        reference_mean=current_median / ratio if ratio > 0 else None,
        current_mean=current_median,
        window_s=window_s,
    )


def _known(rows: Rows, column: str, bounds: Mapping[str, UnitBounds]) -> tuple[FloatArray, IntArray]:
    """Medians of the agents in scenes that the reference knows, with their scenes."""
    values, scenes, _ = _medians(rows, column, np.zeros(len(rows), dtype=np.int64))
    is_known = np.array([name in bounds for name in rows.scene_names])[scenes]
    return values[is_known], scenes[is_known]


def _medians(rows: Rows, column: str, minutes: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
    """The median of each agent in each minute, with its scene and the minute; minute after minute."""
    values = rows.values[column]
    order = np.lexsort((values, rows.agents, minutes))
    agents, minutes = rows.agents[order], minutes[order]
    starts = np.flatnonzero(np.r_[len(order) > 0, (agents[1:] != agents[:-1]) | (minutes[1:] != minutes[:-1])])
    counts = np.diff(np.r_[starts, len(order)])
    middle = 0.5 * (values[order[starts + (counts - 1) // 2]] + values[order[starts + counts // 2]])
    return middle, rows.scenes[order[starts]], minutes[starts]
