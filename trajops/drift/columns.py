"""Whether one window of traffic still looks like the reference: scores on fixed bins, and a verdict that waits for confirmation.

Pure functions of arrays. Thresholds come from `trajops.drift.thresholds`, rows from the lake, storage from the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajops.contracts.drift import UNIT_RULE, DriftColumn, DriftScore, Verdict
from trajops.drift.rules import ColumnRule, ConfirmRule
from trajops.errors import ShapeError
from trajops.trajectories import BoolArray, FloatArray

IntArray = NDArray[np.integer[Any]]

BINS = 10
HISTOGRAM_BINS = 24
# A bin that is empty on one side counts as this share; without a floor one missing row would be an infinite score.
SHARE_FLOOR = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N rows of predictions, of several agents each with several rows.

    Attributes:
        times_s: (N,) when each row was received, seconds.
        agents: (N,) a number for each continuous track; rows of one track are not independent.
        versions: (N,) model version that answered.
        values: columns of (N,) floats; NaN where a value is missing.
        scenes: (N,) index of each row's scene in `scene_names`; left out, all rows are of one scene.
        scene_names: names of the scenes.

    Raises:
        ShapeError: if a column has another length.
    """

    times_s: FloatArray
    agents: IntArray
    versions: IntArray
    values: Mapping[str, FloatArray]
    scenes: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    scene_names: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if not len(self.scenes):
            object.__setattr__(self, "scenes", np.zeros(len(self.times_s), dtype=np.int64))
        lengths = {"agents": self.agents, "versions": self.versions, "scenes": self.scenes, **self.values}
        wrong = [name for name, array in lengths.items() if array.shape != self.times_s.shape]
        if wrong:
            raise ShapeError(f"every column must have {len(self)} rows; {', '.join(wrong)} differ")

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def agent_count(self) -> int:
        """Number of distinct tracks."""
        return len(np.unique(self.agents))

    def select(self, mask: BoolArray | IntArray | slice) -> Self:
        """The rows where a mask is true, or at the given indices."""
        values = {name: column[mask] for name, column in self.values.items()}
        return type(self)(self.times_s[mask], self.agents[mask], self.versions[mask], values, self.scenes[mask], self.scene_names)

    def of_scene(self, name: str) -> Self:
        """The rows of one scene."""
        return self.select(self.scenes == self.scene_names.index(name)) if name in self.scene_names else self.select(slice(0))

    def regrouped(self, groups: Mapping[str, str]) -> Self:
        """The same rows with other names of scenes; scenes of one name become one, and a scene that is not named keeps its name."""
        renamed = [groups.get(name, name) for name in self.scene_names]
        names = tuple(dict.fromkeys(renamed))
        codes = np.array([names.index(name) for name in renamed], dtype=np.int64)
        return type(self)(self.times_s, self.agents, self.versions, self.values, codes[self.scenes], names)

    def without_empty_scenes(self) -> Self:
        """The same rows, with the names of the scenes that they are in and no others."""
        codes, scenes = np.unique(self.scenes, return_inverse=True)
        names = tuple(self.scene_names[code] for code in codes.tolist()) or ("",)
        return type(self)(self.times_s, self.agents, self.versions, self.values, scenes.astype(np.int64), names)

    def present(self, column: str) -> BoolArray:
        """(N,) where a column has a number; nowhere, if there is no such column."""
        if column not in self.values:
            return np.zeros(len(self), dtype=bool)
        is_present: BoolArray = np.isfinite(self.values[column])
        return is_present

    def one_per_agent(self, rng: np.random.Generator, limit: int) -> Self:
        """One random row of each agent, at most `limit`: rows that standard tests may treat as independent."""
        shuffled = rng.permutation(len(self))
        _, first = np.unique(self.agents[shuffled], return_index=True)
        return self.select(shuffled[rng.permutation(first)[:limit]])


@dataclass(frozen=True, slots=True)
class Earlier:
    """A check before this one.

    Attributes:
        age_s: how long before, seconds.
        columns: what it found.
    """

    age_s: float
    columns: Sequence[DriftColumn]


def decile_edges(values: FloatArray, bins: int = BINS) -> FloatArray:
    """Inner edges of bins that hold equal shares of the reference.

    A value that fills a whole decile (a standing agent, a constant sampling rate) gets a narrow bin of its own, so that leaving
    it is seen in either direction.

    Args:
        values: (N,) finite numbers.
        bins: number of equal shares.

    Returns:
        (E,) increasing edges of E + 1 bins, the outer two unbounded.
    """
    if not len(values):
        return np.empty(0)
    quantiles = np.quantile(values, np.linspace(0, 1, bins + 1))
    edges, repeats = np.unique(quantiles, return_counts=True)
    atoms = edges[repeats > 1]
    slack = 1e-6 * np.maximum(1.0, np.abs(atoms))
    inner = edges[(repeats == 1) & (edges > quantiles[0]) & (edges < quantiles[-1])]
    result: FloatArray = np.unique(np.concatenate([inner, atoms - slack, atoms + slack]))
    return result


def bin_indices(values: FloatArray, edges: FloatArray) -> IntArray:
    """(N,) bin of each value, 0 … E."""
    indices: IntArray = np.searchsorted(edges, values, side="right")
    return indices


def shares(counts: FloatArray) -> FloatArray:
    """(…, K) counts → shares that sum to one along the last axis; zeros where there is nothing to share."""
    total = counts.sum(axis=-1, keepdims=True)
    result: FloatArray = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    return result


def psi(reference_share: FloatArray, current_share: FloatArray) -> FloatArray:
    """Population stability index, Σ (c − r) ln(c / r), symmetric and never negative.

    Args:
        reference_share: (…, K) shares.
        current_share: (…, K) shares; both are floored at `SHARE_FLOOR`.

    Returns:
        (…) nats.
    """
    reference = np.maximum(reference_share, SHARE_FLOOR)
    current = np.maximum(current_share, SHARE_FLOOR)
    score: FloatArray = ((current - reference) * np.log(current / reference)).sum(axis=-1)
    return score


def described_column(rule: ColumnRule, scores: Sequence[DriftScore], reference: FloatArray, current: FloatArray) -> DriftColumn:
    """One column of a check, with the histograms that an operator looks at.

    Args:
        rule: name and kind of the column.
        scores: what it scored; without any it could not be compared.
        reference: (M,) finite values.
        current: (N,) finite values.
    """
    if not scores:
        return missing_column(rule)
    worst = max(scores, key=lambda score: score.score / score.threshold)
    bins = histogram_edges(reference, current) if len(reference) and len(current) else np.empty(0)
    return DriftColumn(
        column=rule.column,
        kind=rule.kind,
        method=worst.method,
        score=worst.score,
        threshold=worst.threshold,
        is_drifted=any(score.is_drifted for score in scores),
        reference_mean=float(reference.mean()) if len(reference) else None,
        current_mean=float(current.mean()) if len(current) else None,
        bins=bins.tolist(),
        reference_share=_histogram(reference, bins) if len(bins) else [],
        current_share=_histogram(current, bins) if len(bins) else [],
        scores=list(scores),
    )


def missing_column(rule: ColumnRule) -> DriftColumn:
    """A column that could not be compared: too few agents have a value on one side."""
    return DriftColumn(
        column=rule.column,
        kind=rule.kind,
        method="psi",
        score=None,
        threshold=None,
        is_drifted=False,
        reference_mean=None,
        current_mean=None,
    )


def histogram_edges(reference: FloatArray, current: FloatArray) -> FloatArray:
    """Edges of equal width over the middle 99 % of both sides; what lies outside is counted in the outer bins."""
    ends = np.array([np.quantile(values, [0.005, 0.995]) for values in (reference, current)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if high - low < 1e-9 * max(1.0, abs(low)):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, HISTOGRAM_BINS + 1)


def _histogram(values: FloatArray, edges: FloatArray) -> list[float]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [round(float(share), 5) for share in shares(counts.astype(float))]


def judge(columns: Sequence[DriftColumn], earlier: Sequence[Earlier], rule: ConfirmRule) -> tuple[Verdict, list[str]]:
    """Verdict of a check that had enough data, and the columns it rests on.

    A column is confirmed when it was flagged in `rule.needed` of the last `rule.of` checks, this one included; the same column over the
    same length of window, because chance flags a different one each time. Checks that saw mostly the same rows count once. Drift begins
    with a check that is flagged itself, and stays as long as the column is confirmed. A unit rule needs no confirmation, and a muted
    column is not asked.

    Args:
        columns: of this check.
        earlier: the checks before it, newest first.
        rule: m of n.
    """
    asked = [column for column in columns if column.muted_until is None]
    ages_s = [0.0, *(check.age_s for check in earlier)]
    flags = [_flags(asked), *(_flags(check.columns) for check in earlier)]
    at_once = {column.column for column in asked if column.is_drifted and column.method == UNIT_RULE}
    names = {column.column for column in asked}
    ever = {flag for found in flags for flag in found if flag[0] in names}
    confirmed = {flag[0] for flag in ever if _is_confirmed(ages_s, [flag in found for found in flags], flag[1], rule)}
    order = [column.column for column in columns]
    if at_once | confirmed:
        return "drift", [name for name in order if name in at_once | confirmed]
    flagged = {name for name, _ in flags[0]}
    if flagged:
        return "warning", [name for name in order if name in flagged]
    return "stable", []


def _is_confirmed(ages_s: Sequence[float], is_flagged: Sequence[bool], window_s: float, rule: ConfirmRule) -> bool:
    """Whether one column is drift in the newest of some checks, which come newest first."""
    apart_s = max(rule.spacing_s, rule.spacing_share * window_s)
    stands = False
    for newest in reversed(range(len(ages_s))):
        votes, last_s = [is_flagged[newest]], ages_s[newest]
        for age_s, flag in zip(ages_s[newest + 1 :], is_flagged[newest + 1 :], strict=True):
            if len(votes) < rule.of and age_s - last_s >= apart_s - 1e-3:
                votes.append(flag)
                last_s = age_s
        stands = sum(votes) >= rule.needed and (votes[0] or stands)
    return stands


def _flags(columns: Sequence[DriftColumn]) -> set[tuple[str, float]]:
    """Column and length of window of every score beyond its threshold."""
    scores = {(column.column, score.window_s) for column in columns for score in column.scores if score.is_drifted}
    return scores | {(column.column, 0.0) for column in columns if column.is_drifted and not column.scores}
