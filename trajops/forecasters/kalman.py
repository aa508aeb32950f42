"""Kalman filter of nearly constant velocity, folded into one matrix product.

Every window has the same number of observations at the same spacing, so the gains do not depend on the data: filter and
prediction together are one fixed (t_pred, t_obs) matrix, and the predictive variance is one number per step.

Model, per axis, state position and velocity: the velocity is an Ornstein-Uhlenbeck process, dv = −v/τ dt + √q dW, sampled
exactly (the integrated process; Johnson, London, Lea and Durban, "Continuous-time correlated random walk model for animal
telemetry data", Ecology 2008). With e = exp(−dt/τ)::

    F = [[1, τ (1 − e)], [0, e]]   Q = q [[τ² (dt − 2τ (1 − e) + τ/2 (1 − e²)), ·], [τ²/2 (1 − e)², τ/2 (1 − e²)]]
    H = [1, 0]   R = r

For a long relaxation time τ this is the constant-velocity filter with white-noise acceleration. Bodies that start, stop and
turn forget their velocity within seconds: on the embedded match the relaxation takes a sixth off the displacement error.
The first observation starts the filter with an unknown velocity of variance `start_speed_m2ps2`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trajops.errors import ShapeError
from trajops.forecasters.linear import LinearForecaster
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, WindowSpec

MAX_RELAXATION_S = 1000.0


@dataclass(frozen=True, slots=True)
class KalmanNoise:
    """The parameters that maximum likelihood chooses.

    Attributes:
        acceleration_m2ps3: q, power spectral density of the acceleration, m²/s³.
        measurement_m2: r, variance of one observed coordinate, m².
        start_speed_m2ps2: variance of the velocity before anything was seen, m²/s².
        relaxation_s: τ, the time in which a velocity is forgotten, seconds; at most 1000, which is constant velocity.

    Raises:
        ShapeError: if one is not positive and finite.
    """

    acceleration_m2ps3: float
    measurement_m2: float
    start_speed_m2ps2: float
    relaxation_s: float = MAX_RELAXATION_S

    def __post_init__(self) -> None:
        if not all(np.isfinite(value) and value > 0 for value in self.as_tuple()):
            raise ShapeError(f"the noise of a Kalman filter must be positive and finite, not {self.as_tuple()}")
        if self.relaxation_s > MAX_RELAXATION_S:
            raise ShapeError(f"relaxation_s must be at most {MAX_RELAXATION_S:.0f} s, not {self.relaxation_s}: beyond, rounding eats Q")

    def as_tuple(self) -> tuple[float, float, float, float]:
        """q, r, the variance of the starting velocity, and τ."""
        return self.acceleration_m2ps3, self.measurement_m2, self.start_speed_m2ps2, self.relaxation_s


def fold(noise: KalmanNoise, window: WindowSpec) -> tuple[FloatArray, FloatArray]:
    """Run the filter on symbols: what it would do to any history.

    Returns:
        weights: (t_pred, t_obs), the predicted positions as mixtures of the observed ones; rows sum to one.
        variance_m2: (t_pred,) variance of the true position at each predicted step, along one axis.
    """
    dt_s, tau_s = window.dt_s, noise.relaxation_s
    kept = math.exp(-dt_s / tau_s)
    lost = -math.expm1(-dt_s / tau_s)
    lost_twice = -math.expm1(-2 * dt_s / tau_s)
    transition = np.array([[1.0, tau_s * lost], [0.0, kept]])
    across = 0.5 * (tau_s * lost) ** 2
    process = noise.acceleration_m2ps3 * np.array(
        [[tau_s**2 * (dt_s - 2 * tau_s * lost + 0.5 * tau_s * lost_twice), across], [across, 0.5 * tau_s * lost_twice]]
    )
    state = np.zeros((2, window.t_obs))
    state[0, 0] = 1.0
    spread = np.diag([noise.measurement_m2, noise.start_speed_m2ps2])
    for step in range(1, window.t_obs):
        state, spread = transition @ state, transition @ spread @ transition.T + process
        gain = spread[:, 0] / (spread[0, 0] + noise.measurement_m2)
        innovation = -state[0]
        innovation[step] += 1.0
        state = state + np.outer(gain, innovation)
        spread = spread - np.outer(gain, spread[0])
    weights = np.empty((window.t_pred, window.t_obs))
    variance_m2 = np.empty(window.t_pred)
    for step in range(window.t_pred):
        state, spread = transition @ state, transition @ spread @ transition.T + process
        weights[step] = state[0]
        variance_m2[step] = spread[0, 0]
    return weights, variance_m2


class Kalman(LinearForecaster):
    """Kalman filter of nearly constant velocity with isotropic noise.

    Args:
        noise: parameters of the filter.
        variance_m2: (t_pred,) calibrated predictive variances per axis, square metres. Left out: the filter's own,
            with the measurement noise of the observation that will be compared.
        window: what goes in and comes out.
    """

    family: ClassVar[str] = "kalman"

    def __init__(self, noise: KalmanNoise, variance_m2: FloatArray | None = None, window: WindowSpec = DEFAULT_WINDOW) -> None:
        self.noise = noise
        weights, predicted_m2 = fold(noise, window)
        if variance_m2 is None:
            variance_m2 = predicted_m2 + noise.measurement_m2
        super().__init__(weights, variance_m2, window)

    def arrays(self) -> Mapping[str, FloatArray]:
        """Everything that the artefact keeps."""
        return {"noise": np.array(self.noise.as_tuple()), "variance_m2": self.variance_m2}

    @classmethod
    def from_arrays(cls, window: WindowSpec, arrays: Mapping[str, FloatArray]) -> Self:
        """Build the model from what `arrays` returned."""
        acceleration, measurement, start_speed, relaxation_s = (float(value) for value in arrays["noise"])
        return cls(KalmanNoise(acceleration, measurement, start_speed, relaxation_s), arrays["variance_m2"], window)
