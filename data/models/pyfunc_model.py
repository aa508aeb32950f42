"""MLflow pyfuncs that the product has never seen, served through the tensor signature.

Histories reach the model centred on the agent's last position and answers are moved back: float32 then has the
resolution that metres need anywhere on the map, and every model becomes independent of the scene's origin.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from data.models.signature import COVARIANCE, MEAN, WEIGHTS
from trajops.errors import SignatureMismatch
from trajops.forecasters.frames import checked_history
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec

Run = Callable[[FloatArray], Mapping[str, Any]]


class PyfuncModel:
    """A forecaster around a function that maps float32 (A, t_obs, 2) to named arrays.

    Args:
        run: the model; its answer holds `mean`, and perhaps `covariance` and `weights`.
        residual_m2: (t_pred, 2, 2) covariance by step, measured when the model was adopted; used where the model has none.
        window: what goes in and comes out.
    """

    family: ClassVar[str] = "pyfunc_model"

    def __init__(self, run: Run, *, residual_m2: FloatArray | None, window: WindowSpec = DEFAULT_WINDOW) -> None:
        self._run, self.window, self._residual_m2 = run, window, residual_m2

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, K, t_pred, 2), likeliest mode first.

        Raises:
            ShapeError: if the history does not have that shape.
            SignatureMismatch: if the model's answer does not have the documented shapes, or it has no covariance and was never adopted.
        """
        mean_m, covariance_m2, weights = self.answer(history_m)
        if covariance_m2 is None:
            if self._residual_m2 is None:
                raise SignatureMismatch(
                    "the model gives no covariance and none was measured for it; adopt it first: python -m workers.training --adopt VERSION"
                )
            covariance_m2 = np.broadcast_to(self._residual_m2, (*mean_m.shape, 2))
        return Forecast(mean_m, covariance_m2, weights)

    def answer(self, history_m: FloatArray) -> tuple[FloatArray, FloatArray | None, FloatArray]:
        """The model's own answer, checked: mean (A, K, t_pred, 2), covariance (A, K, t_pred, 2, 2) or None, weights (A, K)."""
        history = checked_history(history_m, self.window)
        if not len(history):
            # Few models expect nobody; the number of modes is asked for with somebody who stands.
            return _nobody(self.answer(np.zeros((1, self.window.t_obs, 2))))
        origin_m = history[:, -1]
        outputs = self._run((history - origin_m[:, None]).astype(np.float32))
        if MEAN not in outputs:
            raise SignatureMismatch(f"the model answered {', '.join(map(str, outputs)) or 'nothing'}; wanted is at least `mean`")
        agents, steps = len(history), self.window.t_pred
        mean_m = _array(MEAN, outputs[MEAN], (agents, None, steps, 2))
        modes = mean_m.shape[1]
        weights = np.full((agents, modes), 1.0 / modes)
        if outputs.get(WEIGHTS) is not None:
            weights = _array(WEIGHTS, outputs[WEIGHTS], (agents, modes))
            if (weights < 0).any() or not np.allclose(weights.sum(axis=1), 1.0, atol=1e-3):
                raise SignatureMismatch("the model's weights must be probabilities that sum to one over the modes")
            weights = weights / weights.sum(axis=1, keepdims=True)
        covariance_m2 = None
        if outputs.get(COVARIANCE) is not None:
            covariance_m2 = _array(COVARIANCE, outputs[COVARIANCE], (agents, modes, steps, 2, 2))
            _check_positive(covariance_m2)
        if modes > 1:
            rows, order = np.arange(agents)[:, None], np.argsort(-weights, axis=1, kind="stable")
            mean_m, weights = mean_m[rows, order], weights[rows, order]
            covariance_m2 = None if covariance_m2 is None else covariance_m2[rows, order]
        return mean_m + origin_m[:, None, None], covariance_m2, weights


def _nobody(answer: tuple[FloatArray, FloatArray | None, FloatArray]) -> tuple[FloatArray, FloatArray | None, FloatArray]:
    mean_m, covariance_m2, weights = answer
    return mean_m[:0], None if covariance_m2 is None else covariance_m2[:0], weights[:0]


def _array(name: str, value: Any, shape: tuple[int | None, ...]) -> FloatArray:
    """One answered array as float64 of a shape whose second axis, the modes, may be left out when there is one.

    Raises:
        SignatureMismatch: saying what was found and what is wanted.
    """
    try:
        array: FloatArray = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SignatureMismatch(f"the model's {name} is not a regular array of numbers: {error}") from error
    found = array.shape
    if array.ndim == len(shape) - 1 and shape[1] in {None, 1}:
        array = array[:, None]
    if (
        array.ndim != len(shape)
        or any(want not in {None, got} for want, got in zip(shape, array.shape, strict=True))
        or 0 in array.shape[1:]
    ):
        wanted = ", ".join("modes" if axis is None else str(axis) for axis in shape)
        raise SignatureMismatch(f"the model gave {name} of shape {found}; wanted is ({wanted})")
    if not np.isfinite(array).all():
        raise SignatureMismatch(f"the model gave {name} with a number that is not finite")
    return array


def _check_positive(covariance_m2: FloatArray) -> None:
    xx, xy, yx, yy = (covariance_m2[..., row, column] for row in (0, 1) for column in (0, 1))
    if not np.allclose(xy, yx, rtol=1e-4, atol=1e-6) or not ((xx > 0) & (xx * yy > xy * yx)).all():
        raise SignatureMismatch("the model's covariance must be symmetric and positive definite at every step, in square metres")
