"""Truth by time: where an agent was at the predicted times, and how the prediction compares.

Truth is looked up by time, never by counting rows: frames drop. Pure functions of arrays; `data/lake/truth.py` feeds them.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from trajops import metrics
from trajops.errors import ShapeError
from trajops.performance import expected
from trajops.trajectories import BoolArray, FloatArray, Forecast
from trajops.windows import TIME_TOLERANCE_S

IntArray = NDArray[np.integer[Any]]
_TOLERANCE_US = round(TIME_TOLERANCE_S * 1e6)
# Times computed from a history's end differ by rounding only; two real observations are further apart than this.
SAME_TIME_S = 5e-5


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """S known positions of any agents, in any order.

    Attributes:
        agents: (S,) unsigned number of each agent, unique over scenes.
        times_s: (S,) agents' clock, seconds.
        positions_m: (S, 2) metres, scene frame.
        received_ns: (S,) when the position became known, server's clock.
        is_settled: they come from `settled`.
    """

    agents: NDArray[np.uint64]
    times_s: FloatArray
    positions_m: FloatArray
    received_ns: NDArray[np.int64]
    is_settled: bool = False

    def __len__(self) -> int:
        return len(self.agents)

    @classmethod
    def empty(cls) -> Self:
        """No sample at all."""
        return cls(np.empty(0, np.uint64), np.empty(0), np.empty((0, 2)), np.empty(0, np.int64))

    @classmethod
    def concatenate(cls, parts: "list[Samples]") -> Self:
        """All samples of the parts."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([part.agents for part in parts]),
            np.concatenate([part.times_s for part in parts]),
            np.concatenate([part.positions_m for part in parts]),
            np.concatenate([part.received_ns for part in parts]),
        )

    def select(self, rows: BoolArray | IntArray | slice, *, is_settled: bool = False) -> "Samples":
        """Samples where a mask is true, at indices, or in a slice."""
        return Samples(self.agents[rows], self.times_s[rows], self.positions_m[rows], self.received_ns[rows], is_settled)

    def of(self, wanted: NDArray[np.uint64]) -> "Samples":
        """Settled samples of some agents, given in ascending order, at least one."""
        near = self
        if self.is_settled:  # sorted by agent, so those between the first and the last one lie together
            start, stop = np.searchsorted(self.agents, wanted[0]), np.searchsorted(self.agents, wanted[-1], side="right")
            near = self.select(slice(int(start), int(stop)), is_settled=True)
        chosen = near.select(np.isin(near.agents, wanted), is_settled=self.is_settled)
        return chosen.settled()

    def settled(self) -> "Samples":
        """Sorted by agent and time, with one sample per agent and time: of several, the first that was received."""
        if self.is_settled:
            return self
        ordered = self.select(np.lexsort((self.received_ns, self.times_s, self.agents)), is_settled=True)
        is_repeat = np.zeros(len(ordered), dtype=bool)
        is_repeat[1:] = (ordered.agents[1:] == ordered.agents[:-1]) & (np.diff(ordered.times_s) <= SAME_TIME_S)
        if not is_repeat.any():
            return ordered
        moment = np.cumsum(~is_repeat)
        by_arrival = np.lexsort((ordered.received_ns, moment))
        # `moment` is sorted, so it reads the same in both orders.
        return ordered.select(by_arrival[np.diff(moment, prepend=0) > 0], is_settled=True)


class Truth(NamedTuple):
    """Where N agents were at T times each.

    Attributes:
        positions_m: (N, T, 2) metres, NaN where the position is not known.
        received_ns: (N, T) when the newest sample behind it was received, 0 where it is not known.
        gap_s: (N, T) time between the two samples that it is interpolated between; 0 where one lies at the very time, and where
            the position is not known. More samples only make it smaller.
    """

    positions_m: FloatArray
    received_ns: NDArray[np.int64]
    gap_s: FloatArray

    def select(self, rows: BoolArray | IntArray | slice) -> "Truth":
        """Agents where a mask is true, at indices, or in a slice."""
        return Truth(self.positions_m[rows], self.received_ns[rows], self.gap_s[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How N predictions compare with truth at T steps; steps without truth are NaN, and do not count.

    Attributes:
        known: (N, T) whether the step has truth.
        is_usable: (N,) false where nothing is known, or the prediction's own numbers cannot be scored.
        steps_scored: (N,) number of known steps.
        ade_m: (N,) mean displacement of the likeliest mode over known steps, metres.
        fde_m: (N,) its displacement at the last step; NaN where that is not known.
        min_fde_m: (N,) the smallest over the modes.
        is_miss: (N,) whether `min_fde_m` is above the threshold; false where it is not known.
        nll: (N,) mean over known steps of the mixture's negative log density, nats.
        inside_share: (N,) share of known steps inside the nominal ellipse of the likeliest mode.
        cv_ade_m: (N,) mean displacement of constant velocity over the same steps, metres.
        step_error_m: (N, T) metres.
        step_nll: (N, T) nats.
        step_inside: (N, T) booleans, false where not known.
        speed_mps: (N,) mean speed over the history, metres a second; NaN where the spacing was not given.
        expected_ade_m: (N,) what the covariances expect of `ade_m` over the whole horizon, metres.
        radius_m: (N,) mean radius of the nominal ellipses, metres; see `trajops.performance.expected`.
        step_distance2: (N, T) squared Mahalanobis distance of the truth from the likeliest mode.
    """

    known: BoolArray
    is_usable: BoolArray
    steps_scored: IntArray
    ade_m: FloatArray
    fde_m: FloatArray
    min_fde_m: FloatArray
    is_miss: BoolArray
    nll: FloatArray
    inside_share: FloatArray
    cv_ade_m: FloatArray
    step_error_m: FloatArray
    step_nll: FloatArray
    step_inside: BoolArray
    speed_mps: FloatArray
    expected_ade_m: FloatArray
    radius_m: FloatArray
    step_distance2: FloatArray


def history_samples(
    agents: NDArray[np.uint64], observed_at_s: FloatArray, dt_s: FloatArray, history_m: FloatArray, received_ns: NDArray[np.int64]
) -> Samples:
    """What N predictions say about where their agents were, without what an earlier prediction has said already.

    Consecutive histories of one agent overlap: of those on the same grid only the newer positions are kept. That changes
    nothing in `Samples.settled`, because what is left out was received earlier in the other history.

    Args:
        agents: (N,) numbers of the agents.
        observed_at_s: (N,) time of each history's last position.
        dt_s: (N,) its spacing.
        history_m: (N, T, 2) metres.
        received_ns: (N,) server's clock.

    Returns:
        At most N · T samples.
    """
    count, steps = history_m.shape[:2]
    if not count:
        return Samples.empty()
    order = np.lexsort((received_ns, observed_at_s, agents))
    agents, observed_at_s, dt_s, history_m, received_ns = (
        agents[order],
        observed_at_s[order],
        dt_s[order],
        history_m[order],
        received_ns[order],
    )
    fresh = np.full(count, steps)
    elapsed_s = np.diff(observed_at_s)
    shift = np.rint(elapsed_s / dt_s[1:])
    is_covered = (agents[1:] == agents[:-1]) & (dt_s[1:] == dt_s[:-1]) & (received_ns[:-1] <= received_ns[1:])
    is_covered &= (shift < steps) & (np.abs(elapsed_s - shift * dt_s[1:]) < SAME_TIME_S)
    fresh[1:][is_covered] = shift[is_covered].astype(int)
    row, step = np.nonzero(np.arange(steps) >= steps - fresh[:, None])
    times_s = observed_at_s[row] - (steps - 1 - step) * dt_s[row]
    return Samples(agents[row], times_s, history_m[row, step], received_ns[row])


def positions_at(samples: Samples, agents: NDArray[np.uint64], times_s: FloatArray, *, max_gap_s: float) -> Truth:
    """Where agents were at given times.

    A sample at the very time (within `TIME_TOLERANCE_S`) is used as it is; otherwise the position is interpolated linearly
    between the neighbours before and after, if these are no further apart than `max_gap_s`. Of several samples of one time
    the first that was received counts.

    Args:
        samples: known positions.
        agents: (N,) whose positions are wanted.
        times_s: (N, T) when.
        max_gap_s: widest gap interpolated over, seconds.
    """
    positions_m = np.full((*times_s.shape, 2), np.nan)
    received_ns = np.zeros(times_s.shape, np.int64)
    gap_s = np.zeros(times_s.shape)
    wanted, group = np.unique(agents, return_inverse=True)
    if not len(wanted) or not len(samples := samples.of(wanted)):
        return Truth(positions_m, received_ns, gap_s)
    first = np.searchsorted(samples.agents, wanted, side="left")
    last = np.searchsorted(samples.agents, wanted, side="right")
    has_samples = last > first

    # One axis for all agents: each agent's own time in microseconds, behind that of the agent before it. Relative to the
    # agent's first sample, so that neither clocks that differ by decades nor many agents overflow 64 bits.
    margin_us = round(max_gap_s * 1e6) + 2 * _TOLERANCE_US + 2
    start_s = np.zeros(len(wanted))
    start_s[has_samples] = samples.times_s[first[has_samples]]
    span_us = np.zeros(len(wanted), np.int64)
    span_us[has_samples] = np.rint((samples.times_s[last[has_samples] - 1] - start_s[has_samples]) * 1e6).astype(np.int64)
    offset_us = np.cumsum(span_us + 2 * margin_us) - (span_us + margin_us)
    owner = np.searchsorted(wanted, samples.agents)
    axis_us = offset_us[owner] + np.rint((samples.times_s - start_s[owner]) * 1e6).astype(np.int64)

    own = group[:, None]
    relative_us = np.clip(np.rint((times_s - start_s[own]) * 1e6), -margin_us + 1, span_us[own] + margin_us - 1).astype(np.int64)
    query_us = offset_us[own] + relative_us
    after = np.searchsorted(axis_us, query_us.ravel() - _TOLERANCE_US).reshape(times_s.shape)
    has_after, has_before = after < last[own], after > first[own]
    right, left = np.minimum(after, len(samples) - 1), np.maximum(after - 1, 0)
    right_us, left_us = axis_us[right], axis_us[left]

    is_exact = has_after & (right_us - query_us <= _TOLERANCE_US)
    is_between = ~is_exact & has_after & has_before & (right_us - left_us <= round(max_gap_s * 1e6) + _TOLERANCE_US)
    positions_m[is_exact] = samples.positions_m[right[is_exact]]
    received_ns[is_exact] = samples.received_ns[right[is_exact]]
    left, right = left[is_between], right[is_between]
    gap_us = right_us[is_between] - left_us[is_between]
    gap_s[is_between] = gap_us / 1e6
    share = ((query_us[is_between] - left_us[is_between]) / gap_us)[:, None]
    positions_m[is_between] = samples.positions_m[left] + share * (samples.positions_m[right] - samples.positions_m[left])
    received_ns[is_between] = np.maximum(samples.received_ns[left], samples.received_ns[right])
    return Truth(positions_m, received_ns, gap_s)


def covariance_matrices(cov_m2: FloatArray) -> FloatArray:
    """(..., 3) values xx, xy, yy as (..., 2, 2) symmetric matrices."""
    matrices: FloatArray = cov_m2[..., [[0, 1], [1, 2]]]
    return matrices


def score(
    history_m: FloatArray,
    mean_m: FloatArray,
    cov_m2: FloatArray,
    weights: FloatArray,
    truth_m: FloatArray,
    *,
    dt_s: FloatArray | float = np.nan,
    miss_threshold_m: float = metrics.MISS_THRESHOLD_M,
    level: float = 0.9,
) -> Scores:
    """Compare predictions with truth that may be known in part.

    Args:
        history_m: (N, T_obs, 2) what the prediction was made from, T_obs ≥ 2.
        mean_m: (N, K, T, 2) modes, the likeliest first.
        cov_m2: (N, K, T, 3) covariance xx, xy, yy, square metres.
        weights: (N, K) probabilities.
        truth_m: (N, T, 2) with NaN where it is not known.
        dt_s: (N,) spacing of the history, seconds.
        miss_threshold_m: a final displacement above this in every mode is a miss.
        level: nominal probability of the ellipse.

    Returns:
        One entry per prediction. A covariance that is not positive definite, or a number that is not finite, makes its own
        prediction unusable and leaves the others alone.

    Raises:
        ShapeError: if the shapes disagree.
    """
    count, modes, steps = mean_m.shape[:3]
    if history_m.shape[1] < 2 or cov_m2.shape != (count, modes, steps, 3) or truth_m.shape != (count, steps, 2):
        raise ShapeError(
            f"history {history_m.shape}, mean {mean_m.shape}, covariance {cov_m2.shape} and truth {truth_m.shape} do not fit; "
            "expected (N, T_obs ≥ 2, 2), (N, K, T, 2), (N, K, T, 3) and (N, T, 2)"
        )
    known: BoolArray = np.isfinite(truth_m[..., 0]) & np.isfinite(truth_m[..., 1])
    is_usable = known.any(axis=1) & _is_scorable(history_m, mean_m, cov_m2, weights)
    known = known & is_usable[:, None]
    # Nearly always all of them are: nothing is copied then.
    usable: slice | NDArray[np.intp] = slice(None) if is_usable.all() else np.flatnonzero(is_usable)
    seen, truth_m = known[usable], truth_m[usable]
    mean_m, cov_m2, weights = mean_m[usable], cov_m2[usable], weights[usable]

    velocity_m = history_m[usable, -1] - history_m[usable, -2]
    straight_m = history_m[usable, -1, None] + velocity_m[:, None] * np.arange(1, steps + 1)[:, None]
    displacement_m = metrics.displacement(mean_m, truth_m, seen)
    min_fde_m = displacement_m[:, :, -1].min(axis=1)
    step_distance2, trace_m2, root_m2 = _whitened(cov_m2[:, 0], np.where(seen[..., None], truth_m - mean_m[:, 0], np.nan))
    step_inside = step_distance2 <= metrics.chi_square_quantile(level)
    if modes == 1:  # a Gaussian, of which everything is known by now
        with np.errstate(divide="ignore"):
            step_nll: FloatArray = 0.5 * step_distance2 + np.log(root_m2) + (math.log(2 * math.pi) - np.log(weights))
    else:
        step_nll = metrics.nll(Forecast(mean_m, covariance_matrices(cov_m2), weights), truth_m, seen)
    moved_m = np.diff(history_m[usable], axis=1)
    speed_mps = np.hypot(moved_m[..., 0], moved_m[..., 1]).mean(axis=1) / np.broadcast_to(dt_s, count)[usable]
    steps_scored = known.sum(axis=1)

    def spread(values: FloatArray) -> FloatArray:
        result = np.full((count, *values.shape[1:]), np.nan)
        result[usable] = values
        return result

    inside = np.zeros(known.shape, dtype=bool)
    inside[usable] = step_inside
    min_fde_of_all_m = spread(min_fde_m)
    return Scores(
        known=known,
        is_usable=is_usable,
        steps_scored=steps_scored,
        ade_m=spread(_mean(displacement_m[:, 0], seen)),
        fde_m=spread(displacement_m[:, 0, -1]),
        min_fde_m=min_fde_of_all_m,
        is_miss=min_fde_of_all_m > miss_threshold_m,
        nll=spread(_mean(step_nll, seen)),
        inside_share=spread(_mean(step_inside.astype(float), seen)),
        cv_ade_m=spread(metrics.ade(straight_m, truth_m, seen)),
        step_error_m=spread(displacement_m[:, 0]),
        step_nll=spread(step_nll),
        step_inside=inside,
        speed_mps=spread(speed_mps),
        expected_ade_m=spread(expected.distance_m(trace_m2, root_m2).mean(axis=1)),
        radius_m=spread(expected.radius_m(root_m2, level).mean(axis=1)),
        step_distance2=spread(step_distance2),
    )


def _whitened(cov_m2: FloatArray, error_m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Squared Mahalanobis distances of (N, T, 2) errors under (N, T, 3) covariances, their traces and the roots of their determinants."""
    xx, xy, yy = (cov_m2[..., part] for part in range(3))
    slope = xy / xx
    rest_m2 = yy - slope * xy
    along_m, across_m = error_m[..., 0], error_m[..., 1] - slope * error_m[..., 0]
    return along_m * along_m / xx + across_m * across_m / rest_m2, xx + yy, np.sqrt(xx * rest_m2)


def _is_scorable(history_m: FloatArray, mean_m: FloatArray, cov_m2: FloatArray, weights: FloatArray) -> BoolArray:
    xx, xy, yy = cov_m2[..., 0], cov_m2[..., 1], cov_m2[..., 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        is_definite = (xx > 0) & np.isfinite(xx) & (yy - xy * xy / xx > 0) & np.isfinite(yy)
    is_finite = np.isfinite(mean_m).all(axis=(1, 2, 3)) & np.isfinite(history_m).all(axis=(1, 2))
    is_weighted = np.isfinite(weights).all(axis=1) & (weights >= 0).all(axis=1) & (weights.sum(axis=1) > 0)
    scorable: BoolArray = np.logical_and.reduce([is_definite.all(axis=(1, 2)), is_finite, is_weighted])
    return scorable


def _mean(values: FloatArray, known: BoolArray) -> FloatArray:
    mean: FloatArray = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean
