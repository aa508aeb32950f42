"""What is usual at this time of day in this mix of scenes: a reference cut into windows, and what any window scores against it.

Two scores for each column, from the same counts. `psi` sees any change of the distribution. `scale` is the factor by which all values
would have to grow or shrink for the histogram to look as it does, less one (Rao's efficient score, one step from the reference): it sees
nothing else, but a speed that is a tenth higher long before the other does.

Traffic is compared with what the reference says about the scenes that it comes from, in their present mix, and about this time of the
day (of the week, where the reference is long enough). More people at noon or a scene that sleeps are no drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from trajops.drift.blocks import STEP, Binned, Blocks, blocks_of
from trajops.drift.columns import SHARE_FLOOR, IntArray, psi, shares
from trajops.trajectories import BoolArray, FloatArray

DAY_S, WEEK_S = 86_400.0, 604_800.0
# The time of day is looked at this far to either side, then further until there are enough agents.
LEAST_SPAN_S = 10_800.0
ENOUGH_AGENTS = 500
PHASE_STEP_S = 1_800.0
SCORES = ("psi", "scale")


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A window of the reference.

    Attributes:
        at_s: its end, seconds.
        blocks: its agents.
        totals: (S, C, K) their sums by scene.
        agents: (S,) their number by scene.
    """

    at_s: float
    blocks: Blocks
    totals: FloatArray
    agents: IntArray


@dataclass(slots=True, eq=False)
class Profile:
    """The windows of one reference, all of one length.

    Attributes:
        window_s: their length, seconds.
        scenes: S, number of scenes.
        slopes: (S, C, K) of the bins.
        stretches: windows that do not overlap; what traffic is compared with.
        more: windows between those, for a reference that has few; thresholds are drawn from both.
        period_s: a day or a week, where the reference covers one; 0 where it does not, and any time is like another.
        days: whole days that the reference spans.
    """

    window_s: float
    scenes: int
    slopes: FloatArray
    stretches: list[Stretch]
    more: list[Stretch]
    period_s: float
    days: float
    _usual: dict[int, FloatArray] = field(default_factory=dict)
    _ends_s: FloatArray = field(init=False)
    _agents: IntArray = field(init=False)
    _totals: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self._ends_s = np.array([stretch.at_s for stretch in self.stretches])
        self._agents = np.array([stretch.agents for stretch in self.stretches]).reshape(-1, self.scenes)
        self._totals = np.array([stretch.totals for stretch in self.stretches]).reshape(-1, *self.slopes.shape)

    @classmethod
    def of(cls, rows: Binned, window_s: float, slopes: FloatArray, *, least_agents: int, few: int = 60, strides: int = 5) -> "Profile":
        """Cut a reference into windows.

        Args:
            rows: of the reference, in any order.
            window_s: length of the windows, seconds.
            slopes: (S, C, K) of the bins.
            least_agents: windows with fewer are left out of the thresholds, though not of what traffic is compared with.
            few: a reference with fewer windows is cut again, `strides` times, each time a part of a window later.
            strides: how often.
        """
        scenes, _, bins = slopes.shape
        if not len(rows):
            return cls(window_s, scenes, slopes, [], [], 0.0, 0.0)
        grid = _stretches(rows, window_s, 0.0, scenes, bins)
        more: list[Stretch] = []
        if len(grid) < few:
            for part in range(1, strides):
                more += _stretches(rows, window_s, part * window_s / strides, scenes, bins)
        more = [stretch for stretch in more if len(stretch.blocks) >= least_agents]
        span_s = float(np.ptp(rows.times_s))
        hours = len(np.unique(np.floor(rows.times_s % DAY_S / 3600)))
        period_s = 0.0 if span_s < 0.8 * DAY_S or hours < 18 else WEEK_S if span_s >= 1.9 * WEEK_S else DAY_S
        return cls(window_s, scenes, slopes, grid, more, period_s, span_s / DAY_S)

    def phase(self, at_s: float) -> int:
        """Which half hour of the day (of the week) a time lies in; 0 where any time is like another."""
        return int(at_s % self.period_s // PHASE_STEP_S) if self.period_s else 0

    def phase_s(self, at_s: float) -> float:
        """The middle of that half hour."""
        return (self.phase(at_s) + 0.5) * PHASE_STEP_S if self.period_s else at_s

    def usual(self, at_s: float) -> FloatArray:
        """(S, C, K) shares of the bins at this time of the day; zeros for a scene that the reference does not know."""
        phase = self.phase(at_s)
        if phase not in self._usual:
            self._usual[phase] = self._shares(self.phase_s(at_s), np.ones(len(self.stretches), dtype=bool))
        return self._usual[phase]

    def usual_without(self, stretches: Sequence[Stretch]) -> FloatArray:
        """The same for windows of the reference itself, from the rest of it: their whole day is left out, where there are two or more."""
        return self._shares(stretches[0].at_s, self._is_apart(stretches))

    def near(self, at_s: float) -> list[Stretch]:
        """Windows of about this time of the day, with enough agents."""
        return self._near(at_s, np.ones(len(self.stretches), dtype=bool))

    def without(self, stretches: Sequence[Stretch]) -> list[Stretch]:
        """The same for windows of the reference itself, from the rest of it."""
        return self._near(stretches[0].at_s, self._is_apart(stretches))

    def _is_apart(self, stretches: Sequence[Stretch]) -> BoolArray:
        apart_s = np.min([np.abs(self._ends_s - stretch.at_s) for stretch in stretches], axis=0)
        is_apart: BoolArray = apart_s >= (0.5 * DAY_S if self.days >= 1.8 else self.window_s) - 1e-6
        return is_apart

    def _near(self, at_s: float, is_wanted: BoolArray) -> list[Stretch]:
        is_near = self._is_near(at_s, is_wanted, self._agents.sum(axis=1))
        return [stretch for stretch, is_one in zip(self.stretches, is_near, strict=True) if is_one]

    def _is_near(self, at_s: float, is_wanted: BoolArray, agents: IntArray) -> BoolArray:
        if not self.period_s:
            return is_wanted
        apart_s = np.abs(self._ends_s - at_s) % self.period_s
        apart_s = np.minimum(apart_s, self.period_s - apart_s)
        span_s = LEAST_SPAN_S
        is_near: BoolArray = is_wanted & (apart_s <= span_s)
        while agents[is_near].sum() < ENOUGH_AGENTS and span_s < self.period_s:
            span_s *= 2
            is_near = is_wanted & (apart_s <= span_s)
        return is_near

    def _shares(self, at_s: float, is_wanted: BoolArray) -> FloatArray:
        result = np.zeros(self.slopes.shape)
        for scene in range(self.scenes):
            is_near = self._is_near(at_s, is_wanted, self._agents[:, scene])
            result[scene] = shares(self._totals[is_near, scene].sum(axis=0))
        return result

    def score(self, sums: FloatArray, usual: FloatArray, scene: int | None = None) -> FloatArray:
        """What R windows score.

        Args:
            sums: (R, S, C, K) from `Blocks.by_scene`.
            usual: (S, C, K) shares.
            scene: the only scene that is looked at; None: all.

        Returns:
            (R, 2, C): `SCORES` of each column; 0 where a column has no value on one side.
        """
        chosen = slice(None) if scene is None else slice(scene, scene + 1)
        sums, usual, slopes = sums[:, chosen], usual[chosen], self.slopes[chosen]
        known = (usual.sum(axis=-1) > 0).astype(float)
        counts = sums * known[..., None]
        mix = counts.sum(axis=-1)
        expected = shares(np.einsum("rsc,sck->rck", mix, usual))
        counts_along = np.einsum("rsck,sck->rc", counts, slopes)
        usual_along = np.einsum("rsc,sck,sck->rc", mix, usual, slopes)
        sensitivity = np.einsum("rsc,sck,sck->rc", mix, np.maximum(usual, SHARE_FLOOR), slopes**2)
        scale = STEP * np.abs(np.divide(counts_along - usual_along, sensitivity, out=np.zeros_like(counts_along), where=sensitivity > 0))
        return np.stack([psi(expected, shares(counts.sum(axis=1))), scale], axis=1)


def _stretches(rows: Binned, window_s: float, offset_s: float, scenes: int, bins: int) -> list[Stretch]:
    slot = np.floor((rows.times_s - offset_s) / window_s).astype(np.int64)
    order = np.argsort(slot, kind="stable")
    bounds = np.flatnonzero(np.diff(slot[order], prepend=slot[order[0]] - 1, append=slot[order[-1]] + 1))
    found = []
    for start, stop in pairwise(bounds.tolist()):
        part = order[start:stop]
        blocks = blocks_of(rows.select(part), bins)
        agents = np.bincount(blocks.scenes[blocks.scenes >= 0], minlength=scenes)
        found.append(Stretch(float((slot[part[0]] + 1) * window_s + offset_s), blocks, blocks.by_scene(scenes)[0], agents))
    return found
