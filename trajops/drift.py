"""Whether one window of traffic still looks like the reference: scores on fixed bins, and a verdict that waits for confirmation.

Pure functions of arrays. Thresholds come from `trajops.drift_thresholds`, rows from the lake, storage from the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajops.contracts.drift import UNIT_RULE, DriftColumn, Verdict
from trajops.drift_rules import ColumnRule, ConfirmRule, UnitRule
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

    Raises:
        ShapeError: if a column has another length.
    """

    times_s: FloatArray
    agents: IntArray
    versions: IntArray
    values: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        lengths = {"agents": self.agents, "versions": self.versions, **self.values}
        wrong = [name for name, array in lengths.items() if array.shape != self.times_s.shape]
        if wrong:
            raise ShapeError(f"every column must have {len(self)} rows; {', '.join(wrong)} differ")

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def agent_count(self) -> int:
        """Number of distinct tracks."""
        return len(np.unique(self.agents))

    def select(self, mask: BoolArray | IntArray) -> Self:
        """The rows where a mask is true, or at the given indices."""
        values = {name: column[mask] for name, column in self.values.items()}
        return type(self)(self.times_s[mask], self.agents[mask], self.versions[mask], values)

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


def score_column(rule: ColumnRule, reference: FloatArray, current: FloatArray, edges: FloatArray, threshold: float) -> DriftColumn:
    """PSI of one column over the bins of the reference, with the histograms that an operator looks at.

    Args:
        rule: name and kind of the column.
        reference: (M,) finite values.
        current: (N,) finite values.
        edges: from `decile_edges` of the reference.
        threshold: a higher score is flagged.
    """
    count = len(edges) + 1
    score = float(psi(*(shares(np.bincount(bin_indices(v, edges), minlength=count).astype(float)) for v in (reference, current))))
    bins = histogram_edges(reference, current)
    return DriftColumn(
        column=rule.column,
        kind=rule.kind,
        method="psi",
        score=score,
        threshold=threshold,
        is_drifted=score > threshold,
        reference_mean=float(reference.mean()),
        current_mean=float(current.mean()),
        bins=bins.tolist(),
        reference_share=_histogram(reference, bins),
        current_share=_histogram(current, bins),
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


def unit_bounds(rule: UnitRule, column: str, reference: Rows) -> tuple[float, float]:
    """Ratios of medians that are still no unit error.

    The rule's own bounds, widened where minutes of the reference itself vary more: a match has minutes in which everybody walks.
    """
    is_present = reference.present(column)
    times_s, values = reference.times_s[is_present], reference.values[column][is_present]
    median = float(np.median(values))
    slots = np.floor((times_s - times_s[0]) / rule.window_s).astype(np.int64)
    agents = reference.agents[is_present]
    minutes = [slots == slot for slot in np.unique(slots)]
    ratios = [float(np.median(values[minute])) / median for minute in minutes if len(np.unique(agents[minute])) >= rule.min_agents]
    if not ratios:
        return rule.low, rule.high
    return min(rule.low, 0.8 * min(ratios)), max(rule.high, 1.25 * max(ratios))


def unit_column(rule: UnitRule, column: str, reference: Rows, current: Rows) -> DriftColumn | None:
    """The ratio of medians of the newest `rule.window_s` of the current rows to the reference; None with too little data.

    The column is called `{column}_ratio`. Its threshold is the bound on the side where the ratio lies.
    """
    newest = current.select(current.times_s > current.times_s.max(initial=-np.inf) - rule.window_s)
    newest = newest.select(newest.present(column))
    known = reference.values[column][reference.present(column)] if column in reference.values else np.empty(0)
    if newest.agent_count < rule.min_agents or not len(known) or not np.median(known) > 0:
        return None
    low, high = unit_bounds(rule, column, reference)
    reference_median, current_median = float(np.median(known)), float(np.median(newest.values[column]))
    ratio = current_median / reference_median
    return DriftColumn(
        column=f"{column}_ratio",
        kind="input",
        method=UNIT_RULE,
        score=ratio,
        threshold=high if ratio >= 1 else low,
        is_drifted=not low < ratio < high,
        reference_mean=reference_median,
        current_mean=current_median,
    )


def judge(columns: Sequence[DriftColumn], earlier: Sequence[Sequence[DriftColumn]], rule: ConfirmRule) -> tuple[Verdict, list[str]]:
    """Verdict of a check that had enough data, and the columns it rests on.

    A column is confirmed when it was flagged in `rule.needed` of the last `rule.of` checks, this one included; the same column,
    because chance flags a different one each time. A unit rule needs no confirmation.

    Args:
        columns: of this check.
        earlier: columns of the checks before it, newest first.
        rule: m of n.
    """
    window = [columns, *earlier[: rule.of - 1]]
    flags = [{column.column for column in check if column.is_drifted} for check in window]
    at_once = {column.column for column in columns if column.is_drifted and column.method == UNIT_RULE}
    confirmed = {name for name in set().union(*flags) if sum(name in flag for flag in flags) >= rule.needed}
    order = [column.column for column in columns]
    if at_once | confirmed:
        return "drift", [name for name in order if name in at_once | confirmed]
    if flags[0]:
        return "warning", [name for name in order if name in flags[0]]
    return "stable", []
