"""Another unit or another clock: told at once, by how many times larger or smaller numbers are than the reference has them.

Every agent counts once, because its rows resemble each other, and against its own scene, because at night others are awake: forty
football players and five walkers are no other unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trajops.contracts.drift import UNIT_RULE, DriftColumn
from trajops.drift.columns import IntArray, Rows
from trajops.drift.rules import UnitRule
from trajops.trajectories import FloatArray

# How much further than the widest minute of the reference traffic may go.
_MARGIN = 1.25
# Agents who came one after another and are drawn together, and draws: about the checks of a week that do not overlap.
BLOCK, DRAWS, MOST_DRAWN = 3, 4_000, 150


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

    The rule's own bounds, widened where minutes of the reference itself vary more: a match has minutes in which everybody walks. Where
    `longest_s` is looked at, because a minute holds too few agents, the reference is cut into such windows as well. Of as few agents as the
    rule asks for, most may stand by chance, and a short reference has not seen that: bounds are widened by what so many agents do as a
    minute of the scene holds, drawn again and again as runs of those who came one after another. Scenes too quiet for windows of their own
    are widened by what so few of all such scenes have done together. A scene with few agents is held against all of them, with bounds that
    reach to its own median.
    """
    rows = reference.select(reference.present(column))
    cuts = [_in_windows(rows, column, window_s) for window_s in sorted({rule.window_s, max(rule.window_s, longest_s)})]
    values, scenes, _ = cuts[0]
    usual, widest = np.zeros(len(rows.scene_names)), dict[int, list[float]]()
    for code in np.unique(scenes).tolist():
        mine = values[scenes == code]
        is_few = len(mine) < rule.min_agents
        usual[code] = float(np.median(values if is_few else mine))
        if usual[code] > 0:
            widest[code] = [ratio for cut in cuts for ratio in _ratios(cut, code, usual[code], rule.min_agents)]
            widest[code] += [float(np.median(mine)) / usual[code]] if is_few else []
    quiet = [code for code in widest if _is_quiet(cuts[-1], code, rule.min_agents)]
    together = _joint_ratios(cuts[-1], quiet, usual, rule.min_agents)
    found = {}
    for code, own in widest.items():
        ratios = own + _drawn_ratios(cuts[0], code, usual[code], rule.min_agents) + together * (code in quiet)
        low, high = min(ratios, default=1.0) / _MARGIN, max(ratios, default=1.0) * _MARGIN
        found[rows.scene_names[code]] = UnitBounds(float(usual[code]), min(rule.low, low), max(rule.high, high))
    return found


def _in_windows(rows: Rows, column: str, window_s: float) -> tuple[FloatArray, IntArray, IntArray]:
    """The median of each agent in each window of the reference, with its scene and the window."""
    windows = np.floor((rows.times_s - rows.times_s.min(initial=np.inf)) / window_s).astype(np.int64)
    return medians_by_agent(rows, column, windows)


def _ratios(cut: tuple[FloatArray, IntArray, IntArray], scene: int, usual: float, min_agents: int) -> list[float]:
    """How many times the usual the median agent of a scene has in each window."""
    values, scenes, windows = cut
    is_here = scenes == scene
    by_window = np.split(values[is_here] / usual, np.flatnonzero(np.diff(windows[is_here])) + 1)
    # Fewer agents of a scene are not half of what the rule asks for, and move no median by themselves.
    return [float(np.median(window)) for window in by_window if len(window) >= min_agents / 2]


def _is_quiet(cut: tuple[FloatArray, IntArray, IntArray], scene: int, min_agents: int) -> bool:
    """Whether most of a scene's agents come in windows that say nothing by themselves."""
    _, scenes, windows = cut
    counts = np.unique(windows[scenes == scene], return_counts=True)[1]
    return bool(counts[counts >= min_agents / 2].sum() < counts.sum() / 2)


def _joint_ratios(cut: tuple[FloatArray, IntArray, IntArray], codes: Sequence[int], usual: FloatArray, min_agents: int) -> list[float]:
    """What the median agent of some scenes has, each against its own scene: for runs of as few agents as are judged, that overlap."""
    values, scenes, _ = cut
    is_one = np.isin(scenes, codes)
    ratios = values[is_one] / usual[scenes[is_one]]
    if len(ratios) < min_agents:
        return []
    runs = np.lib.stride_tricks.sliding_window_view(ratios, min_agents)[:: max(1, min_agents // 4)]
    return [float(median) for median in np.median(runs, axis=1)]


def _drawn_ratios(cut: tuple[FloatArray, IntArray, IntArray], scene: int, usual: float, min_agents: int) -> list[float]:
    """The least and the most that the median agent of a scene has, of so many as a window holds: a moving-block bootstrap (Künsch 1989)."""
    values, scenes, windows = cut
    is_here = scenes == scene
    ratios, counts = values[is_here] / usual, np.unique(windows[is_here], return_counts=True)[1]
    if len(ratios) < min_agents:
        return []
    size = min(MOST_DRAWN, max(min_agents, int(np.median(counts))))
    block = min(BLOCK, len(ratios))
    starts = np.random.default_rng(0).integers(0, len(ratios) - block + 1, (DRAWS, -(-size // block)))
    medians = np.median(ratios[starts[..., None] + np.arange(block)].reshape(DRAWS, -1), axis=1)
    return [float(medians.min()), float(medians.max())]


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
    # Where the reference has stood still, nothing is too slow.
    beyond = float(np.median(np.divide(ratios, bound, out=np.full(len(ratios), np.inf), where=bound > 0)))
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
    values, scenes, _ = medians_by_agent(rows, column, np.zeros(len(rows), dtype=np.int64))
    is_known = np.array([name in bounds for name in rows.scene_names])[scenes]
    return values[is_known], scenes[is_known]


def medians_by_agent(rows: Rows, column: str, minutes: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
    """The median of each agent in each window, with its scene and the window; window after window."""
    values = rows.values[column]
    order = np.lexsort((values, rows.agents, minutes))
    agents, minutes = rows.agents[order], minutes[order]
    starts = np.flatnonzero(np.r_[len(order) > 0, (agents[1:] != agents[:-1]) | (minutes[1:] != minutes[:-1])])
    counts = np.diff(np.r_[starts, len(order)])
    middle = 0.5 * (values[order[starts + (counts - 1) // 2]] + values[order[starts + counts // 2]])
    return middle, rows.scenes[order[starts]], minutes[starts]
