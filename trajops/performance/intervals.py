"""Means over predictions with intervals over agents, and what they say beside the figures of validation.

The predictions of one agent overlap and resemble each other, so that an interval over predictions is far too narrow. Here the agent is
the unit: a mean is a ratio of two totals over agents, Σ total / Σ count, and its variance comes from leaving out one agent after the
other (the delete-one-cluster jackknife, CV3 in MacKinnon, Nielsen and Webb, "Cluster-robust inference: a guide to empirical
practice", Journal of Econometrics 232, 2023; for a ratio: Cochran, "Sampling Techniques", 1977, section 6.17). Few agents get the
quantile of Student's t, with as many degrees of freedom as there are effectively agents, (Σ count)² / Σ count² (Kish 1965), less one. A
share gets Wilson's interval at its effective sample size (Franco, Little, Louis and Slud, "Comparative study of confidence intervals
for proportions in complex sample surveys", 2019); of a rare event that only a few agents had, a 95 % interval holds nearer to 90 %.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from scipy.special import stdtrit

from trajops.contracts.performance import FigureVerdict, Metric
from trajops.performance.rules import ToleranceRule
from trajops.trajectories import FloatArray

SHARES: frozenset[Metric] = frozenset({"miss_rate", "coverage"})
# Name of the same figure among the metrics of a version.
VALIDATED: Mapping[Metric, str] = {
    "ade_m": "ade_m",
    "fde_m": "fde_m",
    "miss_rate": "miss_rate",
    "nll": "nll",
    "coverage": "coverage_90",
    "radius_m": "radius_m",
}
_GRAVITY: tuple[FigureVerdict, ...] = ("degraded", "unclear", "as_validated", "better", "no_figure", "too_little_data")


class Interval(NamedTuple):
    """A mean and where it lies with the given confidence; NaN where too few agents tell.

    Attributes:
        mean: the figure.
        low: lower end.
        high: upper end.
        agents: how many agents it comes from.
    """

    mean: float
    low: float
    high: float
    agents: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What a figure is held against.

    Attributes:
        validation: the version's own figure at validation.
        nominal: what coverage promises.
    """

    validation: float | None
    nominal: float


@dataclass(frozen=True, slots=True, eq=False)
class AgentSums:
    """One slice: counts and totals of G agents.

    Attributes:
        value: scene, band, variant, version, or step.
        model_version: whose predictions.
        predictions: how many.
        count: (G,) by figure; a figure may be missing in old rows.
        total: (G,) by figure.
    """

    value: str
    model_version: int
    predictions: int
    count: dict[Metric, FloatArray]
    total: dict[Metric, FloatArray]


def interval(count: FloatArray, total: FloatArray, confidence: float = 0.95, *, is_share: bool = False) -> Interval:
    """Mean over predictions with an interval over agents.

    Args:
        count: (G,) predictions of each agent.
        total: (G,) sum of the figure over them.
        confidence: of the two-sided interval.
        is_share: the figure lies between 0 and 1.

    Returns:
        The mean, NaN without a prediction; an interval from minus to plus infinity for one agent alone.
    """
    is_there = count > 0
    count, total = count[is_there].astype(float), total[is_there].astype(float)
    agents, predictions = len(count), float(count.sum())
    if not agents:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(total.sum()) / predictions
    if agents < 2:
        return Interval(mean, 0.0 if is_share else -math.inf, 1.0 if is_share else math.inf, agents)
    # Not `count @ count`: threads of BLAS take longer to wake than this sum takes, and have to be waited for where cores are busy.
    effective = predictions * predictions / float((count * count).sum())
    quantile = float(stdtrit(max(1.0, effective - 1), 0.5 + confidence / 2))
    left_out = (total.sum() - total) / (predictions - count)
    variance = float((agents - 1) / agents * ((left_out - mean) ** 2).sum())
    if is_share:
        return Interval(mean, *_wilson(mean, variance, effective, quantile), agents)
    margin = quantile * math.sqrt(variance)
    return Interval(mean, mean - margin, mean + margin, agents)


def _wilson(share: float, variance: float, agents: float, quantile: float) -> tuple[float, float]:
    """Ends of Wilson's interval for a share with the given variance; where every agent agrees, each counts as one trial."""
    share = min(1.0, max(0.0, share))
    trials = share * (1 - share) / variance if variance > 0 and 0 < share < 1 else agents
    square = quantile * quantile
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    margin = quantile / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def judge(metric: Metric, found: Interval, reference: Reference, tolerance: ToleranceRule, min_agents: int) -> FigureVerdict | None:
    """What an interval says beside validation; None for the radius, which is neither good nor bad by itself.

    Degraded when the whole interval lies beyond the tolerance, as validated when all of it lies within, better when all of it lies below
    the figure of validation, and unclear where it reaches over the bound. Coverage is held against what it promises, on both sides.
    """
    if metric == "radius_m":
        return None
    if found.agents < min_agents:
        return "too_little_data"
    if metric == "coverage":
        low, high = reference.nominal - tolerance.coverage, reference.nominal + tolerance.coverage
        if found.high < low or found.low > high:
            return "degraded"
        return "as_validated" if low <= found.low and found.high <= high else "unclear"
    if reference.validation is None:
        return "no_figure"
    bound = _bound(metric, reference.validation, tolerance)
    if found.low > bound:
        return "degraded"
    if found.high < reference.validation:
        return "better"
    return "as_validated" if found.high <= bound else "unclear"


def _bound(metric: Metric, validation: float, tolerance: ToleranceRule) -> float:
    """The largest figure that still is as validated."""
    if metric == "miss_rate":
        return validation + tolerance.miss_rate
    if metric == "nll":
        return validation + tolerance.nll
    return validation * (tolerance.ade_ratio if metric == "ade_m" else tolerance.fde_ratio)


def gravest(verdicts: "list[FigureVerdict | None]") -> FigureVerdict:
    """The verdict over several figures: the worst that any of them can be sure of."""
    given = [verdict for verdict in verdicts if verdict is not None]
    return min(given, key=_GRAVITY.index, default="too_little_data")


def validated(metrics: Mapping[str, float], metric: Metric, by: str | None = None, value: str | None = None) -> float | None:
    """The figure of validation that belongs to a slice; None where the version was not measured there.

    A scene's is the version's as a whole, because live scenes are others than those of training; a speed band's or a step's is its
    own, because bands and steps differ by their nature.

    Args:
        metrics: of the version.
        metric: which figure.
        by: dimension of the slice.
        value: where on it.
    """
    name = VALIDATED[metric]
    if by == "speed_band":
        return metrics.get(f"speed.{value}.{name}")
    if by == "step":
        return metrics.get(f"step.{int(value or 0):02d}.{name}")
    return metrics.get(f"val_{name}")
