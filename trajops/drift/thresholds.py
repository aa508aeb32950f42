"""Thresholds for drift scores, drawn from the reference itself: what a clean window of this size scores by chance.

Rows of one track resemble one another, and so do tracks of the same minutes, so whole agents are drawn, and from one window of the
reference at a time (block bootstrap; Künsch 1989, The jackknife and the bootstrap for general stationary observations). Each window is
scored against the rest of the reference. The columns are judged together: what is calibrated is the largest of all their scores, so that
many columns raise no more false alarms than one, and columns that say the same cost nothing (Westfall and Young 1993, Resampling-based
multiple testing). A Gumbel distribution, the limit of maxima, extends what was seen to what is rarer than that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajops.drift.blocks import Blocks
from trajops.drift.profile import Profile, Stretch
from trajops.drift.rules import CalibrationRule
from trajops.trajectories import FloatArray

DAY_S = 86_400.0
EULER = 0.5772156649015329
POWERS = np.array([1.0, 2.0])
# Agents of a clean window that are as large a share of the reference must not be on its side as well.
BORROWED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Gumbel:
    """A Gumbel distribution of maxima."""

    location: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, values: FloatArray) -> "Gumbel":
        """By moments, along the first axis."""
        scale = np.maximum(values.std(axis=0) * np.sqrt(6) / np.pi, 1e-12)
        return cls(values.mean(axis=0) - EULER * scale, scale)

    def upper(self, probability: float) -> FloatArray:
        """What is exceeded with this probability."""
        result: FloatArray = self.location - self.scale * np.log(-np.log1p(-probability))
        return result


def false_alarm_rate(window_s: float, rule: CalibrationRule, families: int) -> float:
    """Probability that chance may flag a window: one in `rule.calm_days`, of all windows side by side and of so many verdicts on each."""
    return min(0.01, window_s / (rule.calm_days * DAY_S) / families)


def clean_windows(
    profile: Profile, rule: CalibrationRule, agents: int, scene: int | None
) -> Iterator[tuple[list[Stretch], Blocks, NDArray[np.float64]]]:
    """Windows of so many agents, drawn from one window of the reference each.

    A window that has more agents gives a run of them; to one that has fewer, those next to it lend some. At most half of the agents of
    the reference make a window, so that another half is left to compare them with.

    Args:
        profile: of the reference.
        rule: number of windows, seed.
        agents: in each window.
        scene: code of the scene whose agents are drawn; None: of all.

    Yields:
        The window and those that lent much, B agents, and (R, B) how often each of them is taken in R draws; at least `rule.windows` draws
        in all.
    """
    rng = np.random.default_rng(rule.seed)
    windows = [*profile.stretches, *profile.more]
    if len(profile.stretches) < 2:
        return
    blocks = [window.blocks if scene is None else window.blocks.of_scene(scene) for window in windows]
    there = np.array([len(found) for found in blocks])
    ends_s = np.array([window.at_s for window in windows])
    total = int(there[: len(profile.stretches)].sum())
    agents = max(2, min(agents, total // 2))
    least = min(agents, float(np.median(there[there > 0]))) / 3 if there.any() else np.inf
    sources = np.flatnonzero(there >= least)
    repeats = -(-rule.windows // max(1, len(sources)))
    for source in sources.tolist():
        apart_s = np.abs(ends_s - ends_s[source])
        is_beside = np.isclose((apart_s / profile.window_s) % 1, [[0.0], [1.0]], atol=1e-6).any(axis=0)
        near = np.argsort(np.where(is_beside, apart_s, np.inf), kind="stable")[: int(is_beside.sum())]
        lent = near[: int(np.searchsorted(np.cumsum(there[near]), agents)) + 1]
        pooled = Blocks.concatenate([blocks[number] for number in lent.tolist()]) if len(lent) > 1 else blocks[source]
        # Of a long reference, what neighbours lend is next to nothing, and they know best what is usual at this hour.
        taken = lent if there[lent].sum() > BORROWED_SHARE * total else lent[:1]
        yield [windows[number] for number in taken.tolist()], pooled, _drawn(len(pooled), agents, repeats, rng)


def clean_scores(profile: Profile, rule: CalibrationRule, agents: int, scene: int | None = None) -> FloatArray:
    """(B, 2, C) scores of clean windows of so many agents; (0, 2, C) if the reference has no window to draw from.

    Arguments are those of `clean_windows`.
    """
    found, draws = [], 0
    for taken, pooled, drawn in clean_windows(profile, rule, agents, scene):
        # Agents that are on both sides resemble themselves: with them a small reference would make thresholds far too low.
        usual = profile.usual_without(taken)
        if usual[slice(None) if scene is None else scene].any():
            found.append(profile.score(pooled.by_scene(profile.scenes, drawn), usual, scene))
            draws += len(drawn)
    return np.concatenate(found) if draws >= rule.windows // 2 else np.zeros((0, 2, profile.slopes.shape[1]))


def _drawn(there: int, agents: int, repeats: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(R, B) how often each agent is taken: a run of them in the order in which they came, so that those who came together stay."""
    begins = rng.integers(0, there, size=repeats)
    runs = (begins[:, None] + np.arange(agents)) % there
    return np.stack([np.bincount(run, minlength=there) for run in runs]).astype(float)


def thresholds(scores: FloatArray, rate: float, least: FloatArray) -> FloatArray:
    """Scores that a clean window reaches in any of its columns with a probability of `rate`.

    Args:
        scores: (B, 2, C) of clean windows.
        rate: family-wise, over all columns and both scores.
        least: (2, 1) smallest thresholds.

    Returns:
        (2, C) thresholds.
    """
    # PSI has the tail of χ², a change of scale that of a normal distribution: squared, both fall off as a Gumbel distribution does.
    flat = (scores ** POWERS[:, None]).reshape(len(scores), -1)
    single = Gumbel.fit(flat)
    largest = ((flat - single.location) / single.scale).max(axis=1)
    bound = max(float(Gumbel.fit(largest).upper(rate)), float(largest.max()))
    found = (single.location + single.scale * bound).reshape(scores.shape[1:])
    result: FloatArray = np.maximum(found ** (1 / POWERS[:, None]), least)
    return result
