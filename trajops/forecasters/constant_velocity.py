"""Constant velocity: the last step, repeated. The baseline that is always loaded."""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from trajops.forecasters.linear import LinearForecaster
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, WindowSpec

# Spread of a walking person around the straight line, before any data has calibrated it.
_START_STD_M = 0.05
_STD_GROWTH_MPS = 0.35


class ConstantVelocity(LinearForecaster):
    """Repeat the last observed step.

    Args:
        variance_m2: (t_pred,) variances per axis, square metres. Left out: a walking person's, so that the baseline
            answers before anything has been fitted.
        window: what goes in and comes out.
    """

    family: ClassVar[str] = "constant_velocity"

    def __init__(self, variance_m2: FloatArray | None = None, window: WindowSpec = DEFAULT_WINDOW) -> None:
        ahead = np.arange(1, window.t_pred + 1)
        weights = np.zeros((window.t_pred, window.t_obs))
        weights[:, -1] = 1.0 + ahead
        weights[:, -2] = -ahead
        if variance_m2 is None:
            variance_m2 = (_START_STD_M + _STD_GROWTH_MPS * ahead * window.dt_s) ** 2
        super().__init__(weights, variance_m2, window)

    @classmethod
    def from_arrays(cls, window: WindowSpec, arrays: Mapping[str, FloatArray]) -> Self:
        """Build the model from what `arrays` returned."""
        return cls(arrays["variance_m2"], window)
