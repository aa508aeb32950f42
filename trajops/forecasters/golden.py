"""Golden replay: a version answers as it did when it was registered, or it takes no traffic.

The probes of the conformance suite are asked once when a version is registered; where it is loaded they are asked again. That
notices what no digest of files can: another processor, another library, a model that reads what lies outside of its files.
"""

import json
from json import JSONDecodeError

import numpy as np

from trajops.errors import ShapeError, SignatureMismatch
from trajops.forecasters.checks import probe_histories
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, checked

# Single precision, in another order on another processor, moves a position by micrometres; a changed model by centimetres.
_RELATIVE, _ABSOLUTE = 1e-3, 5e-3


def record(forecaster: Forecaster) -> str:
    """What the model answers to the probes, as JSON: x, y, xx, xy, yy of the likeliest mode at the first, middle and last step."""
    return json.dumps(np.round(_answers(forecaster), 4).tolist(), separators=(",", ":"))


def replay(forecaster: Forecaster, recorded: str) -> None:
    """Ask the probes again.

    Args:
        forecaster: the loaded model.
        recorded: what `record` returned when the version was registered.

    Raises:
        SignatureMismatch: if an answer differs, or the record cannot be read.
    """
    answers = _answers(forecaster)
    try:
        wanted = checked("the golden answers", json.loads(recorded), *answers.shape)
    except (JSONDecodeError, ShapeError) as error:
        raise SignatureMismatch(f"its golden answers cannot be read: {error}; register the version again") from error
    difference = np.abs(answers - wanted)
    if not (difference <= _ABSOLUTE + _RELATIVE * np.abs(wanted)).all():
        row, step, _ = np.unravel_index(int(difference.argmax()), difference.shape)
        raise SignatureMismatch(
            f"it does not answer as it did when it was registered: probe {row} is at {answers[row, step, :2].round(3).tolist()} m "
            f"instead of {wanted[row, step, :2].round(3).tolist()} m, covariance {answers[row, step, 2:].round(4).tolist()} instead of "
            f"{wanted[row, step, 2:].round(4).tolist()} m²; train or register it again on this kind of machine"
        )


def _answers(forecaster: Forecaster) -> FloatArray:
    """(probes, 3, 5) numbers."""
    forecast = forecaster.forecast(probe_histories(forecaster.window))
    t_pred = forecaster.window.t_pred
    steps = [0, t_pred // 2, t_pred - 1]
    covariance = forecast.covariance_m2[:, 0, steps].reshape(-1, len(steps), 4)[..., [0, 1, 3]]
    return np.concatenate((forecast.mean_m[:, 0, steps], covariance), axis=2)
