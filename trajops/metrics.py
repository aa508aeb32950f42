"""How far a forecast was from what happened, and how honest its uncertainty was.

Displacement metrics take arrays; likelihood and coverage take a Forecast. Truth that is known in part comes with a mask
(A, T), true where the step has been observed; what stands in the other steps is ignored, also a NaN. Without a mask every
number must be finite.
"""

import math

import numpy as np

from trajops.errors import InvalidInput, ShapeError
from trajops.trajectories import BoolArray, FloatArray, Forecast, checked

MISS_THRESHOLD_M = 2.0


def displacement(predicted_m: FloatArray, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Distance between prediction and truth at each step.

    Args:
        predicted_m: (A, T, 2), or (A, K, T, 2) modes; metres, scene frame.
        truth_m: (A, T, 2) same frame and clock.
        mask: (A, T) known steps; None: all.

    Returns:
        (A, T) or (A, K, T) metres; NaN where the truth is not known.

    Raises:
        ShapeError: if A or T differ, or a number is not finite.
    """
    ndim = np.ndim(predicted_m)
    if ndim not in {3, 4}:
        raise ShapeError(f"predicted_m must have shape (A, T, 2) or (A, K, T, 2), not {np.shape(predicted_m)}")
    predicted_m = checked("predicted_m", predicted_m, *[None] * (ndim - 1), 2)
    truth_m = _known(truth_m, (predicted_m.shape[0], predicted_m.shape[-2]), mask)
    difference_m = predicted_m - (truth_m if ndim == 3 else truth_m[:, None])
    distance_m: FloatArray = np.hypot(difference_m[..., 0], difference_m[..., 1])
    return distance_m


def ade(predicted_m: FloatArray, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Average displacement error of one prediction per agent.

    Args:
        predicted_m: (A, T, 2) metres, scene frame.
        truth_m: (A, T, 2) same frame and clock.
        mask: (A, T) known steps; the mean is over these.

    Returns:
        (A,) metres; NaN where no step is known.

    Raises:
        ShapeError: if A or T differ, or a number is not finite.
    """
    return _mean_over_known(displacement(checked("predicted_m", predicted_m, None, None, 2), truth_m, mask))


def fde(predicted_m: FloatArray, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Displacement error at the last step of the horizon.

    Args:
        predicted_m: (A, T, 2) metres, scene frame.
        truth_m: (A, T, 2) same frame and clock.
        mask: (A, T) known steps.

    Returns:
        (A,) metres; NaN where the last step is not known.

    Raises:
        ShapeError: if A or T differ, or a number is not finite.
    """
    return displacement(checked("predicted_m", predicted_m, None, None, 2), truth_m, mask)[:, -1]


def min_ade(modes_m: FloatArray, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Smallest average displacement over the modes of each agent.

    Args:
        modes_m: (A, K, T, 2) metres, scene frame.
        truth_m: (A, T, 2) same frame and clock.
        mask: (A, T) known steps; the means are over these.

    Returns:
        (A,) metres; NaN where no step is known.

    Raises:
        ShapeError: if A or T differ, K is zero, or a number is not finite.
    """
    smallest_m: FloatArray = _mean_over_known(displacement(_modes(modes_m), truth_m, mask)).min(axis=1)
    return smallest_m


def min_fde(modes_m: FloatArray, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Smallest final displacement over the modes of each agent, independent of which mode has the smallest average.

    Args:
        modes_m: (A, K, T, 2) metres, scene frame.
        truth_m: (A, T, 2) same frame and clock.
        mask: (A, T) known steps.

    Returns:
        (A,) metres; NaN where the last step is not known.

    Raises:
        ShapeError: if A or T differ, K is zero, or a number is not finite.
    """
    smallest_m: FloatArray = displacement(_modes(modes_m), truth_m, mask)[:, :, -1].min(axis=1)
    return smallest_m


def is_miss(modes_m: FloatArray, truth_m: FloatArray, threshold_m: float = MISS_THRESHOLD_M) -> BoolArray:
    """Whether even the best mode ends further than the threshold from the truth.

    Args:
        modes_m: (A, K, T, 2) metres, scene frame.
        truth_m: (A, T, 2) complete truth, same frame and clock.
        threshold_m: exactly this distance is not yet a miss.

    Returns:
        (A,) booleans.

    Raises:
        ShapeError: if A or T differ, K is zero, or a number is not finite.
    """
    missed: BoolArray = min_fde(modes_m, truth_m) > threshold_m
    return missed


def miss_rate(modes_m: FloatArray, truth_m: FloatArray, threshold_m: float = MISS_THRESHOLD_M) -> float:
    """Share of agents that `is_miss`; NaN for no agent."""
    missed = is_miss(modes_m, truth_m, threshold_m)
    return float(missed.mean()) if missed.size else math.nan


def squared_mahalanobis(mean_m: FloatArray, covariance_m2: FloatArray, truth_m: FloatArray) -> FloatArray:
    """Squared distance from the mean in units of the covariance, (truth − mean)ᵀ Σ⁻¹ (truth − mean).

    Args:
        mean_m: (..., 2) metres.
        covariance_m2: (..., 2, 2) symmetric positive definite, square metres.
        truth_m: (..., 2) metres; leading axes broadcast. NaN gives NaN.

    Returns:
        (...) without unit.

    Raises:
        InvalidInput: if a covariance is not positive definite.
    """
    return _whiten(mean_m, covariance_m2, truth_m)[0]


def gaussian_nll(mean_m: FloatArray, covariance_m2: FloatArray, truth_m: FloatArray) -> FloatArray:
    """Negative log density of a bivariate Gaussian, ½ d² + ½ ln det Σ + ln 2π.

    Args:
        mean_m: (..., 2) metres.
        covariance_m2: (..., 2, 2) symmetric positive definite, square metres.
        truth_m: (..., 2) metres; leading axes broadcast. NaN gives NaN.

    Returns:
        (...) nats, density per square metre.

    Raises:
        InvalidInput: if a covariance is not positive definite.
    """
    squared, log_determinant = _whiten(mean_m, covariance_m2, truth_m)
    result: FloatArray = 0.5 * (squared + log_determinant) + math.log(2 * math.pi)
    return result


def nll(forecast: Forecast, truth_m: FloatArray, mask: BoolArray | None = None) -> FloatArray:
    """Negative log density of each step's truth under the forecast's marginal Gaussian mixture of that step.

    With one mode this is the bivariate Gaussian. The sum over modes is taken on the log scale, so that neither far
    truth nor a mode of weight zero overflows. The figure per prediction is the mean over its steps.

    Args:
        forecast: A agents, K modes, T steps.
        truth_m: (A, T, 2) metres, same frame and clock.
        mask: (A, T) known steps.

    Returns:
        (A, T) nats, density per square metre; NaN where the truth is not known.

    Raises:
        ShapeError: if A or T differ, or a number is not finite.
        InvalidInput: if a covariance is not positive definite.
    """
    truth_m = _known(truth_m, (forecast.mean_m.shape[0], forecast.mean_m.shape[2]), mask)
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.asarray(forecast.weights, dtype=np.float64))[:, :, None]
    terms = log_weights - gaussian_nll(forecast.mean_m, forecast.covariance_m2, truth_m[:, None])
    # NaN marks unknown truth and passes through the maximum, the difference and the sum.
    peak = terms.max(axis=1)
    result: FloatArray = -(peak + np.log(np.exp(terms - peak[:, None]).sum(axis=1)))
    return result


def chi_square_quantile(level: float) -> float:
    """Quantile of the χ² distribution with two degrees of freedom: −2 ln(1 − level).

    Raises:
        InvalidInput: if the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InvalidInput(f"a coverage level lies between 0 and 1, not {level}; write 90 % as 0.9")
    return -2.0 * math.log1p(-level)


def inside(forecast: Forecast, truth_m: FloatArray, level: float = 0.9, mask: BoolArray | None = None) -> BoolArray:
    """Whether the truth lies in the ellipse of the likeliest mode that holds `level` of its probability.

    Args:
        forecast: A agents, K modes, T steps; the first mode is the likeliest.
        truth_m: (A, T, 2) metres, same frame and clock.
        level: nominal probability.
        mask: (A, T) known steps.

    Returns:
        (A, T) booleans; false where the truth is not known, so divide by the known steps, as `coverage` does.

    Raises:
        ShapeError: if A or T differ, or a number is not finite.
        InvalidInput: if a covariance is not positive definite, or the level is not between 0 and 1.
    """
    limit = chi_square_quantile(level)
    truth_m = _known(truth_m, (forecast.mean_m.shape[0], forecast.mean_m.shape[2]), mask)
    result: BoolArray = squared_mahalanobis(forecast.mean_m[:, 0], forecast.covariance_m2[:, 0], truth_m) <= limit
    return result


def coverage(forecast: Forecast, truth_m: FloatArray, level: float = 0.9, mask: BoolArray | None = None) -> float:
    """Observed share of known steps inside the nominal ellipse; see `inside`. NaN when no step is known."""
    hits = inside(forecast, truth_m, level, mask)
    known = hits.size if mask is None else int(np.count_nonzero(mask))
    return float(np.count_nonzero(hits)) / known if known else math.nan


def _modes(modes_m: FloatArray) -> FloatArray:
    """Modes as (A, K, T, 2) with K ≥ 1."""
    modes_m = checked("modes_m", modes_m, None, None, None, 2)
    if modes_m.shape[1] == 0:
        raise ShapeError("modes_m must hold at least one mode per agent")
    return modes_m


def _known(truth_m: FloatArray, shape: tuple[int, int], mask: BoolArray | None) -> FloatArray:
    """Truth as (A, T, 2) floats with NaN in the steps that are not known, and nowhere else."""
    if mask is None:
        return checked("truth_m", truth_m, *shape, 2)
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise ShapeError(f"mask must hold booleans of shape {shape}, not {mask.dtype} of shape {mask.shape}")
    if np.shape(truth_m) != (*shape, 2):
        raise ShapeError(f"truth_m must have shape {(*shape, 2)}, not {np.shape(truth_m)}")
    if mask.all():
        return checked("truth_m", truth_m, *shape, 2)
    checked("truth_m", np.where(mask[..., None], truth_m, 0.0), *shape, 2)
    return np.where(mask[..., None], np.asarray(truth_m, dtype=np.float64), np.nan)


def _mean_over_known(distance_m: FloatArray) -> FloatArray:
    """Mean over the last axis of the entries that are not NaN; NaN where there is none."""
    is_known = np.isfinite(distance_m)
    count = is_known.sum(axis=-1)
    total = np.where(is_known, distance_m, 0.0).sum(axis=-1)
    result: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return result


def _whiten(mean_m: FloatArray, covariance_m2: FloatArray, truth_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squared Mahalanobis distance and ln det Σ, by the closed Cholesky factor of a 2×2 matrix."""
    covariance_m2 = np.asarray(covariance_m2, dtype=np.float64)
    difference_m = np.asarray(truth_m, dtype=np.float64) - np.asarray(mean_m, dtype=np.float64)
    xx, xy, yy = covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = yy - xy * xy / xx
    if not ((xx > 0) & (rest > 0)).all() or not np.isfinite(rest).all():
        raise InvalidInput("every covariance must be symmetric, finite and positive definite; add the sensor's variance to the diagonal")
    first = difference_m[..., 0] / np.sqrt(xx)
    second = (difference_m[..., 1] - xy / xx * difference_m[..., 0]) / np.sqrt(rest)
    squared: FloatArray = first * first + second * second
    log_determinant: FloatArray = np.log(xx) + np.log(rest)
    return squared, log_determinant
