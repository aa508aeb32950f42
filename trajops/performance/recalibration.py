"""Conformal factors from recent truth: the nominal ellipse holds again what it says, on traffic that the model was not trained for.

The score of a prediction at a step is the squared Mahalanobis distance of its truth under the covariance as it was trained. Agents are
the unit: each agent's rows share one weight, and one more agent stands for the next one, at infinity (hierarchical conformal
prediction: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023). Weights halve with age (Barber,
Candès, Ramdas and Tibshirani, "Conformal prediction beyond exchangeability", Annals of Statistics 51, 2023).

What is guaranteed: if agents come in exchangeable order, the ellipse of a new agent's prediction holds the truth with at least the
nominal probability, on average over agents, whatever the model. If traffic drifts, coverage falls short by no more than the weighted
mean of how far the distributions of the older agents lie from the new one's (in total variation), which the half-life keeps small. The
factors are tried on newer truth than they were fitted on before anybody is served with them.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from trajops.metrics import chi_square_quantile
from trajops.performance.rules import RecalibrationRule
from trajops.trajectories import BoolArray, FloatArray

IntArray = NDArray[np.integer[Any]]
Conclusion = Literal["too_little_data", "unchanged", "propose", "apply"]
_LEAST_DISTANCE2 = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """N predictions of one version with truth for the whole horizon.

    Attributes:
        received_s: (N,) server's clock, seconds.
        agents: (N,) a number for each continuous track.
        calibrations: (N,) number of the calibration that the covariances carried; 0: as trained.
        distance2: (N, T) squared Mahalanobis distances of the truth, as served.
        scenes: (N,) index of each row's scene in `scene_names`; left out, all rows are of one scene.
        scene_names: names of the scenes.
    """

    received_s: FloatArray
    agents: IntArray
    calibrations: IntArray
    distance2: FloatArray
    scenes: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    scene_names: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if not len(self.scenes):
            object.__setattr__(self, "scenes", np.zeros(len(self.received_s), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.received_s)

    @property
    def agent_count(self) -> int:
        """Number of distinct tracks."""
        return len(np.unique(self.agents))

    def select(self, mask: BoolArray) -> Self:
        """Rows where a mask is true."""
        parts = (self.received_s[mask], self.agents[mask], self.calibrations[mask], self.distance2[mask], self.scenes[mask])
        return type(self)(*parts, self.scene_names)


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """What recent truth says about the factors of one version.

    Attributes:
        conclusion: what to do.
        reason: in words.
        factors: (T,) relative to the version as trained; None without enough data.
        fitted_agents: tracks in the older part of the window.
        holdout_agents: tracks in the newest part.
        coverage_before: share of the newest part inside the ellipses with the factors in force; NaN without enough data.
        coverage_after: the same with the new factors.
    """

    conclusion: Conclusion
    reason: str
    factors: FloatArray | None
    fitted_agents: int
    holdout_agents: int
    coverage_before: float = math.nan
    coverage_after: float = math.nan


def shared_weights(agents: IntArray) -> FloatArray:
    """(N,) weights of rows of (N,) agents: those of one agent add up to one, so that none speaks for the others."""
    _, agent, counts = np.unique(agents, return_inverse=True, return_counts=True)
    weights: FloatArray = 1.0 / counts[agent]
    return weights


def agent_weighted_factors(distance2: FloatArray, agents: IntArray, age_s: FloatArray, half_life_s: float, level: float) -> FloatArray:
    """Factor of each step's covariance.

    Args:
        distance2: (N, T) squared Mahalanobis distances under the covariances that are to be stretched.
        agents: (N,) a number for each track.
        age_s: (N,) age of each row, seconds.
        half_life_s: age at which a row counts half.
        level: nominal probability.

    Returns:
        (T,) positive factors; infinite where too few agents are there for that level.
    """
    weights = 0.5 ** (np.maximum(age_s, 0.0) / half_life_s) * shared_weights(agents)
    factors = np.empty(distance2.shape[1])
    for step in range(distance2.shape[1]):
        order = np.argsort(distance2[:, step], kind="stable")
        held = np.cumsum(weights[order])
        # The next agent weighs one, and may lie anywhere.
        rank = int(np.searchsorted(held, level * (held[-1] + 1) - 1e-12))
        factors[step] = distance2[order[rank], step] if rank < len(order) else math.inf
    result: FloatArray = np.maximum(factors, _LEAST_DISTANCE2) / chi_square_quantile(level)
    return result


def as_trained(rows: Distances, factors: "dict[int, FloatArray]") -> FloatArray:
    """(N, T) distances under the covariances as trained: what a factor took from a distance is given back.

    Args:
        rows: as served.
        factors: (T,) of each calibration that a row may carry. Rows of an unknown one become NaN.
    """
    gains = np.ones((len(rows), rows.distance2.shape[1]))
    for number in np.unique(rows.calibrations).tolist():
        if number:
            gains[rows.calibrations == number] = factors.get(number, np.nan)
    result: FloatArray = rows.distance2 * gains
    return result


def coverage(distance2: FloatArray, agents: IntArray, factors: FloatArray, level: float) -> float:
    """Share of (N, T) distances under the covariances as trained that lie inside the ellipses stretched by (T,) factors.

    On average over the (N,) agents, which is what the guarantee is about: one that is there all the time must not decide.
    """
    inside = (distance2 <= chi_square_quantile(level) * factors).mean(axis=1)
    return float(np.average(inside, weights=shared_weights(agents)))


def recalibrate(
    rows: Distances, known: "dict[int, FloatArray]", in_force: FloatArray | None, level: float, rule: RecalibrationRule
) -> Recalibration:
    """Fit factors on the older part of a window, try them on the newest, and say what to do with them.

    Args:
        rows: of one version.
        known: factors of each calibration that a row may carry.
        in_force: (T,) factors that are served now; None: as trained.
        level: nominal probability.
        rule: bounds.
    """
    raw = as_trained(rows, known)
    is_known = np.asarray(np.isfinite(raw).all(axis=1))
    rows, raw = rows.select(is_known), raw[is_known]
    if not len(rows):
        return Recalibration("too_little_data", "no prediction of the window has its truth yet", None, 0, 0)
    # The newest share of what the agents weigh, so that neither a pause in the traffic nor one agent that is there all the time leaves
    # a side empty.
    order = np.argsort(rows.received_s, kind="stable")
    held = np.cumsum(shared_weights(rows.agents)[order])
    newest = int(np.searchsorted(held, (1 - rule.holdout) * held[-1] + 1e-9, side="right"))
    cut_s = float(rows.received_s[order[min(newest, len(order) - 1)]])
    is_old = rows.received_s < cut_s
    fitted, tried = rows.select(is_old), rows.select(~is_old)
    if fitted.agent_count < rule.min_agents or tried.agent_count < rule.min_holdout_agents:
        reason = f"{fitted.agent_count} agents to fit on and {tried.agent_count} to try on"
        reason += f"; needed are {rule.min_agents} and {rule.min_holdout_agents}"
        return Recalibration("too_little_data", reason, None, fitted.agent_count, tried.agent_count)
    factors = agent_weighted_factors(raw[is_old], fitted.agents, cut_s - fitted.received_s, rule.half_life_s, level)
    if not np.isfinite(factors).all():
        reason = f"{fitted.agent_count} agents of this age are too few for {level:.0%}"
        return Recalibration("too_little_data", reason, None, fitted.agent_count, tried.agent_count)
    steps = raw.shape[1]
    before = coverage(raw[~is_old], tried.agents, np.ones(steps) if in_force is None else in_force, level)
    after = coverage(raw[~is_old], tried.agents, factors, level)
    conclusion, reason = _conclude(factors, before, after, level, rule)
    return Recalibration(conclusion, reason, factors, fitted.agent_count, tried.agent_count, before, after)


def _conclude(factors: FloatArray, before: float, after: float, level: float, rule: RecalibrationRule) -> tuple[Conclusion, str]:
    said = f"{before:.1%} of the newest truth lay inside the {level:.0%} ellipses, {after:.1%} would with the new factors"
    if abs(before - level) - abs(after - level) < rule.least_change:
        return "unchanged", f"{said}; that is not worth a change"
    low, high = float(factors.min()), float(factors.max())
    if low < rule.smallest_factor or high > rule.largest_factor:
        return "propose", f"{said}; factors from {low:.2f} to {high:.2f} lie outside of {rule.smallest_factor:g} to {rule.largest_factor:g}"
    return ("apply" if rule.auto_apply else "propose"), said
