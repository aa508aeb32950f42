"""Any model in ONNX that honours the documented tensor signature.

Signature (N agents, K modes; lengths for the default window)::

    history     float32 (N, 8, 2)        in    metres, oldest first
    mean        float32 (N, K, 12, 2)    out   metres, same frame
    covariance  float32 (N, K, 12, 2, 2) out   square metres; optional
    weights     float32 (N, K)           out   probabilities; optional, equal when missing

The model is asked relative to each agent's last position, so that single precision is enough wherever the scene lies; a
model that gives another answer elsewhere is refused when it is loaded.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from trajops.errors import SignatureMismatch
from trajops.forecasters.frames import checked_history, frozen
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec, checked

_OUTPUTS = ("mean", "covariance", "weights")


class OnnxModel:
    """Serves an ONNX model with onnxruntime on one thread.

    Args:
        model: the serialised ONNX model.
        window: what goes in and comes out.
        residual_covariance_m2: (t_pred, 2, 2) covariance of a model that has none, as `calibration.residual_covariance`
            computes it from held-out windows.
        factors: (t_pred,) by which the covariance of each step is multiplied.

    Raises:
        SignatureMismatch: if the model cannot be read or does not honour the signature; the sentence says where.
    """

    family: ClassVar[str] = "onnx_model"

    def __init__(
        self,
        model: bytes,
        *,
        window: WindowSpec = DEFAULT_WINDOW,
        residual_covariance_m2: FloatArray | None = None,
        factors: FloatArray | None = None,
    ) -> None:
        self.window = window
        self.model = model
        self.residual_covariance_m2: FloatArray | None = None
        if residual_covariance_m2 is not None:
            self.residual_covariance_m2 = frozen(checked("residual_covariance_m2", residual_covariance_m2, window.t_pred, 2, 2))
        self.factors = frozen(np.ones(window.t_pred) if factors is None else checked("factors", factors, window.t_pred))
        self._session = _open(model)
        self._outputs = _declared(self._session, window, self.residual_covariance_m2 is not None)
        self._modes = self._probe()

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, K, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
            SignatureMismatch: if the model answers in another shape, or with a number that is not finite.
        """
        history = checked_history(history_m, self.window)
        t_pred, agents = self.window.t_pred, len(history)
        if agents == 0:
            shape = (0, self._modes, t_pred, 2)
            return Forecast(np.empty(shape), np.empty((*shape, 2)), np.empty(shape[:2]))
        origin = history[:, -1:]
        answers = self._ask(history - origin)
        mean_m = answers["mean"]
        modes = mean_m.shape[1]
        covariance_m2 = answers.get("covariance")
        if covariance_m2 is None:
            assert self.residual_covariance_m2 is not None, "the constructor refuses a model without any covariance"
            covariance_m2 = np.broadcast_to(self.residual_covariance_m2, (agents, modes, t_pred, 2, 2))
        weights = answers.get("weights")
        weights = np.full((agents, modes), 1.0 / modes) if weights is None else np.asarray(weights, dtype=np.float64)
        mean_m = mean_m + origin[:, None]
        covariance_m2 = covariance_m2 * self.factors[:, None, None]
        if modes > 1:
            weights = weights / weights.sum(axis=1, keepdims=True)
            order = np.argsort(-weights, axis=1, kind="stable")
            weights = np.take_along_axis(weights, order, 1)
            mean_m = np.take_along_axis(mean_m, order[:, :, None, None], 1)
            covariance_m2 = np.take_along_axis(covariance_m2, order[:, :, None, None, None], 1)
        return Forecast(mean_m, covariance_m2, weights)

    def _ask(self, relative_m: FloatArray) -> dict[str, FloatArray]:
        """Run the model on (A, t_obs, 2) and check the shapes of what it answers."""
        try:
            values = self._session.run(self._outputs, {"history": relative_m.astype(np.float32)})
        except _runtime_errors() as error:
            raise SignatureMismatch(f"the ONNX model failed on a history of shape {relative_m.shape}: {error}") from error
        answers = dict(zip(self._outputs, values, strict=True))
        agents, t_pred = len(relative_m), self.window.t_pred
        mean = answers["mean"]
        if mean.ndim != 4 or mean.shape[1] < 1:
            raise SignatureMismatch(f"output `mean` must have shape ({agents}, K, {t_pred}, 2), not {mean.shape}")
        modes = mean.shape[1]
        shapes = {"mean": (agents, modes, t_pred, 2), "covariance": (agents, modes, t_pred, 2, 2), "weights": (agents, modes)}
        for name, value in answers.items():
            if value.shape != shapes[name]:
                raise SignatureMismatch(f"output `{name}` must have shape {shapes[name]} for {agents} agents, not {value.shape}")
            if not np.isfinite(value).all():
                raise SignatureMismatch(f"output `{name}` holds a number that is not finite; look at standing agents and divisions")
        return answers

    def _probe(self) -> int:
        """Ask about a few agents, refuse what no caller could use, and return the number of modes."""
        pace = np.array([0.0, 0.1, 0.6])[:, None, None]
        history = pace * np.stack((np.arange(self.window.t_obs), 0.1 * np.arange(self.window.t_obs) ** 2), axis=1)
        history -= history[:, -1:]
        answers = self._ask(history)
        shift = np.array([16.0, -8.0])
        if not np.allclose(self._ask(history + shift)["mean"] - shift, answers["mean"], rtol=1e-3, atol=1e-2):
            raise SignatureMismatch(
                "the ONNX model answers differently where the scene lies elsewhere; subtract the last position inside the model"
            )
        weights = answers.get("weights")
        if weights is not None and ((weights < 0).any() or not np.allclose(weights.sum(axis=1), 1.0, atol=1e-3)):
            raise SignatureMismatch("output `weights` must be probabilities that sum to one over the modes; end the model in a softmax")
        covariance = answers.get("covariance")
        if covariance is not None:
            _require_positive_definite("output `covariance`", covariance)
        if self.residual_covariance_m2 is not None:
            _require_positive_definite("residual_covariance_m2", self.residual_covariance_m2)
        return int(answers["mean"].shape[1])

    def rescaled(self, factors: FloatArray) -> Self:
        """Return the same model with the covariance of step t multiplied by factors[t], shape (t_pred,)."""
        other = copy.copy(self)
        other.factors = frozen(self.factors * checked("factors", factors, self.window.t_pred))
        return other

    def arrays(self) -> Mapping[str, FloatArray]:
        """Everything that the artefact keeps beside the model itself."""
        residual = {} if self.residual_covariance_m2 is None else {"residual_covariance_m2": self.residual_covariance_m2}
        return {"factors": self.factors} | residual

    @classmethod
    def from_onnx(cls, window: WindowSpec, arrays: Mapping[str, FloatArray], model: bytes) -> Self:
        """Build the forecaster from what `arrays` returned and the serialised model."""
        residual = arrays.get("residual_covariance_m2")
        return cls(model, window=window, residual_covariance_m2=residual, factors=arrays["factors"])


def _require_positive_definite(name: str, covariance: FloatArray) -> None:
    xx, xy, yx, yy = (covariance[..., i, j].astype(np.float64) for i in (0, 1) for j in (0, 1))
    if not np.allclose(xy, yx, rtol=1e-3, atol=1e-6) or (xx <= 0).any() or (xx * yy - xy * yx <= 0).any():
        raise SignatureMismatch(f"{name} must hold symmetric positive definite matrices; add a small variance to the diagonal")


def _runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a model or an input that it cannot use."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 — as in `_open`

    names = (
        "EPFail",
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "ModelRequiresCompilation",
        "NoModel",
        "NotImplemented",
    )
    return (*(getattr(state, name) for name in names if hasattr(state, name)), RuntimeError)


def _open(model: bytes) -> Any:
    """Start a session on one thread that sleeps between calls: many models share the cores of one process."""
    # onnxruntime takes a fifth of a second to import; families without it must not pay.
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        raise SignatureMismatch(f"the ONNX model cannot be read: {error}") from error


def _declared(session: Any, window: WindowSpec, has_residual: bool) -> list[str]:
    """Check what the model declares and return the names of the outputs to ask for."""
    inputs = session.get_inputs()
    if [(one.name, one.type) for one in inputs] != [("history", "tensor(float)")]:
        found = ", ".join(f"`{one.name}` {one.type}" for one in inputs) or "none"
        raise SignatureMismatch(f"the ONNX model must have exactly one input, `history` tensor(float); found: {found}")
    wanted = (None, window.t_obs, 2)
    shape = inputs[0].shape
    if len(shape) != 3 or any(isinstance(got, int) and got != want for got, want in zip(shape, wanted, strict=True)):
        raise SignatureMismatch(f"input `history` must have shape (N, {window.t_obs}, 2) with N left free, not {tuple(shape)}")
    outputs = [one.name for one in session.get_outputs()]
    if "mean" not in outputs:
        raise SignatureMismatch(f"the ONNX model must have an output `mean`; found: {', '.join(outputs)}")
    if "covariance" not in outputs and not has_residual:
        raise SignatureMismatch(
            "the ONNX model has no output `covariance`; give residual_covariance_m2, computed on held-out windows by "
            "trajops.forecasters.calibration.residual_covariance"
        )
    return [name for name in _OUTPUTS if name in outputs]
