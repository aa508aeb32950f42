"""Split-conformal calibration: make the nominal ellipse hold what it says on windows that were not trained on.

For each predicted step the squared Mahalanobis distance of the truth is the nonconformity score (Angelopoulos and
Bates, "A Gentle Introduction to Conformal Prediction", 2021, section 1; ellipses: Messoudi, Destercke and Rousseau,
"Ellipsoidal conformal inference for multi-target regression", COPA 2022). The covariance of that step is multiplied so
that the conformal quantile of the scores falls on the χ² quantile with two degrees of freedom, −2 ln(1 − level).
Windows of one agent overlap, so that exchangeability, and with it the guarantee, holds approximately.
"""

import math
from typing import Protocol, Self, TypeVar

import numpy as np

from trajops.errors import InvalidInput
from trajops.metrics import chi_square_quantile, squared_mahalanobis
from trajops.trajectories import FloatArray, Forecast, WindowSpec, checked


class Calibratable(Protocol):
    """A forecaster whose covariance can be stretched step by step."""

    @property
    def window(self) -> WindowSpec:
        """What the model expects and predicts."""
        ...

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres."""
        ...

    def rescaled(self, factors: FloatArray) -> Self:
        """Return the same model with the covariance of step t multiplied by factors[t]."""
        ...


_C = TypeVar("_C", bound=Calibratable)


def conformal_factors(forecast: Forecast, truth_m: FloatArray, level: float = 0.9) -> FloatArray:
    """Factor for the covariance of each step, so that the ellipse of probability `level` holds that share of the truth.

    Args:
        forecast: of the calibration windows; the likeliest mode is calibrated.
        truth_m: (A, T, 2) what was observed, metres.
        level: nominal probability of the ellipse.

    Returns:
        (T,) positive factors.

    Raises:
        InvalidInput: if there are too few windows for that level, or the level is not between 0 and 1.
        ShapeError: if the truth has another shape than the forecast.
    """
    target = chi_square_quantile(level)
    agents, _, steps, _ = forecast.mean_m.shape
    truth = checked("truth_m", truth_m, agents, steps, 2)
    # 10 × 0.9 may come out a hair above 9: a rank is a whole number.
    rank = math.ceil((agents + 1) * level - 1e-9)
    if rank > agents:
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise InvalidInput(f"calibrating at {level:.0%} needs at least {needed} windows, not {agents}; hold more back from training")
    scores = squared_mahalanobis(forecast.best_m, forecast.covariance_m2[:, 0], truth)
    quantile = np.partition(scores, rank - 1, axis=0)[rank - 1]
    return np.asarray(np.maximum(quantile, 1e-9) / target)


def calibrated(forecaster: _C, history_m: FloatArray, truth_m: FloatArray, level: float = 0.9) -> _C:
    """Return the forecaster with its covariances calibrated on (A, t_obs, 2) histories and (A, t_pred, 2) truths.

    Raises:
        InvalidInput: if there are too few windows for that level.
    """
    return forecaster.rescaled(conformal_factors(forecaster.forecast(history_m), truth_m, level))


def residual_covariance(mean_m: FloatArray, truth_m: FloatArray) -> FloatArray:
    """Second moment of the errors at each step: the covariance of a model that has none of its own.

    Args:
        mean_m: (A, T, 2) predicted positions, metres.
        truth_m: (A, T, 2) what was observed.

    Returns:
        (T, 2, 2) square metres, symmetric positive definite.

    Raises:
        InvalidInput: if there are fewer than 10 windows.
    """
    mean = checked("mean_m", mean_m, None, None, 2)
    error = checked("truth_m", truth_m, *mean.shape) - mean
    if len(error) < 10:
        raise InvalidInput(f"residual covariances need at least 10 windows, not {len(error)}")
    return np.asarray(np.einsum("ati,atj->tij", error, error) / len(error) + 1e-6 * np.eye(2))
