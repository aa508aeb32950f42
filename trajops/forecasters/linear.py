"""Forecasts that are one matrix product: each predicted position is a fixed mixture of the observed ones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from trajops.errors import ShapeError
from trajops.forecasters.frames import checked_history, frozen
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec, checked


class LinearForecaster(ABC):
    """Mean = weights @ history, and one isotropic variance per step.

    Rows of the weights sum to one and both axes share them: that makes the forecast equivariant to translation and rotation.

    Args:
        weights: (t_pred, t_obs), rows sum to one.
        variance_m2: (t_pred,) positive variances along each axis, square metres.
        window: what goes in and comes out.

    Raises:
        ShapeError: on other shapes, rows that do not sum to one, or variances that are not positive.
    """

    family: ClassVar[str]

    def __init__(self, weights: FloatArray, variance_m2: FloatArray, window: WindowSpec = DEFAULT_WINDOW) -> None:
        self.window = window
        self.weights = frozen(checked("weights", weights, window.t_pred, window.t_obs))
        self.variance_m2 = frozen(checked("variance_m2", variance_m2, window.t_pred))
        if not np.allclose(self.weights.sum(axis=1), 1.0, atol=1e-9):
            raise ShapeError("each row of weights must sum to one, or the forecast would depend on the scene's origin")
        if (self.variance_m2 <= 0).any():
            raise ShapeError("variance_m2 must be positive at every step; fit it on windows that move")
        # A single agent's answer shares these read-only arrays: building them would cost more than the forecast.
        self._covariance = frozen(self.variance_m2[None, None, :, None, None] * np.eye(2))
        self._certain = frozen(np.ones((1, 1)))

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, 1, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
        """
        history = checked_history(history_m, self.window)
        agents = len(history)
        if agents == 1:
            return Forecast(np.dot(self.weights, history[0])[None, None], self._covariance, self._certain)
        # One large product instead of one small product for each agent.
        mean_m = np.dot(history.swapaxes(1, 2).reshape(2 * agents, self.window.t_obs), self.weights.T)
        return Forecast(
            mean_m.reshape(agents, 1, 2, self.window.t_pred).swapaxes(2, 3),
            np.broadcast_to(self._covariance, (agents, 1, self.window.t_pred, 2, 2)),
            np.ones((agents, 1)),
        )

    def rescaled(self, factors: FloatArray) -> Self:
        """Return the same model with the covariance of step t multiplied by factors[t], shape (t_pred,)."""
        arrays = dict(self.arrays())
        arrays["variance_m2"] = self.variance_m2 * checked("factors", factors, self.window.t_pred)
        return self.from_arrays(self.window, arrays)

    def arrays(self) -> Mapping[str, FloatArray]:
        """Everything that the artefact keeps."""
        return {"variance_m2": self.variance_m2}

    @classmethod
    @abstractmethod
    def from_arrays(cls, window: WindowSpec, arrays: Mapping[str, FloatArray]) -> Self:
        """Build the model from what `arrays` returned."""
