"""A forecaster whose covariances are multiplied step by step: by its own arrays where the family can, by a wrapper where not."""

from dataclasses import dataclass
from typing import Any

from trajops.errors import InvalidInput
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, Forecast, WindowSpec, checked


@dataclass(frozen=True, slots=True, eq=False)
class Stretched:
    """Another forecaster's answers with the covariance of step t multiplied by factors[t].

    Attributes:
        inner: the model.
        factors: (t_pred,) positive.
    """

    inner: Forecaster
    factors: FloatArray

    @property
    def family(self) -> str:
        """Name of the model's family."""
        return self.inner.family

    @property
    def window(self) -> WindowSpec:
        """What the model expects and predicts."""
        return self.inner.window

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, K, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
        """
        plain = self.inner.forecast(history_m)
        return Forecast(plain.mean_m, plain.covariance_m2 * self.factors[:, None, None], plain.weights)


def stretched(forecaster: Forecaster, factors: FloatArray) -> Forecaster:
    """The same model with the covariance of step t multiplied by factors[t].

    Args:
        forecaster: a warm model.
        factors: (t_pred,) finite, positive.

    Raises:
        InvalidInput: if a factor is not positive.
        ShapeError: if there are not as many as steps, or one is not finite.
    """
    factors = checked("factors", factors, forecaster.window.t_pred)
    if not (factors > 0).all():
        raise InvalidInput("factors of covariances must be positive")
    rescaled: Any = getattr(forecaster, "rescaled", None)
    if rescaled is None:
        return Stretched(forecaster, factors)
    model: Forecaster = rescaled(factors)
    return model
