"""Fit the Kalman filter by maximum likelihood of what it is asked for.

The likelihood is that of each of the t_pred positions given the t_obs before it: the product of the steps' densities, the
very figure that is scored (a composite likelihood; Varin, Reid and Firth, "An overview of composite likelihood methods",
2011). With the joint density the short steps would decide. Because the forecast is linear, the likelihood
depends on the data only through one (t_obs + t_pred − 1)² matrix of second moments of the steps: an evaluation costs
microseconds however many windows there are.
"""

import math

import numpy as np
from scipy.optimize import minimize

from trajops.errors import InvalidInput
from trajops.forecasters.calibration import calibrated
from trajops.forecasters.kalman import MAX_RELAXATION_S, Kalman, KalmanNoise, fold
from trajops.trajectories import FloatArray, WindowSpec
from trajops.windows import Windows

# Where the search starts: acceleration m²/s³, measurement m², starting velocity m²/s², relaxation s of a walking person.
_START = (0.3, 0.003, 1.5, 5.0)


def predictive_nll(noise: KalmanNoise, moments_m2: FloatArray, window: WindowSpec) -> float:
    """Mean negative log likelihood of each future position given the history, nats per axis and step.

    Args:
        noise: parameters of the filter.
        moments_m2: (steps − 1, steps − 1) mean product of the displacements of two steps, over windows and axes.
        window: lengths and time step.
    """
    weights, predicted_m2 = fold(noise, window)
    # An error of the forecast as a mixture of displacements: a position is the sum of those before it.
    sums = np.tril(np.ones((window.steps - 1, window.steps - 1)))
    positions = np.vstack((np.zeros(window.steps - 1), sums))
    errors = positions[window.t_obs :] - weights @ positions[: window.t_obs]
    variance_m2 = predicted_m2 + noise.measurement_m2
    squared_m2 = np.einsum("ti,ij,tj->t", errors, moments_m2, errors)
    return float(0.5 * (squared_m2 / variance_m2 + np.log(2 * math.pi * variance_m2)).mean())


def fit(train: Windows, calibration: Windows, *, level: float = 0.9) -> Kalman:
    """Choose the noise on `train` and calibrate the variances on `calibration`.

    Args:
        train: windows that move.
        calibration: windows of other agents.
        level: nominal probability of the calibrated ellipse.

    Raises:
        InvalidInput: if there is nothing to fit on, or there are too few calibration windows for that level.
    """
    steps_m = np.diff(train.positions_m, axis=1)
    if not len(train) or not steps_m.any():
        raise InvalidInput("a Kalman filter cannot be fitted on windows that never move; give it recorded tracks")
    moments_m2 = np.einsum("nia,nja->ij", steps_m, steps_m) / (2 * len(train))

    def loss(logs: FloatArray) -> float:
        return predictive_nll(_noise(logs), moments_m2, train.window)

    found = minimize(loss, np.log(_START), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7, "maxiter": 1000})
    noise = _noise(found.x)
    return calibrated(Kalman(noise, window=train.window), calibration.history_m, calibration.truth_m, level)


def _noise(logs: FloatArray) -> KalmanNoise:
    """The parameters behind unbounded logarithms."""
    acceleration, measurement, start_speed, relaxation = np.exp(np.clip(logs, -20.0, 20.0)).tolist()
    return KalmanNoise(acceleration, measurement, start_speed, min(relaxation, MAX_RELAXATION_S))
