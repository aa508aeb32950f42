"""Golden replay: a version answers as it did when it was registered, or it takes no traffic.

The probes of the conformance suite are asked once when a version is registered; where it is loaded they are asked again. That
notices what no digest of files can: another processor, another library, a model that reads what lies outside of its files.
"""

import json
from dataclasses import dataclass
from json import JSONDecodeError

import numpy as np

from trajops.errors import ShapeError, SignatureMismatch
from trajops.forecasters.checks import probe_histories
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, checked

# Single precision, in another order on another processor, moves a position by micrometres; a changed model by centimetres.
_RELATIVE, _ABSOLUTE = 1e-3, 5e-3
# Answers are written down to the fourth digit: a model that has not changed is off by half of that.
KEPT = 5.1e-5


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far the answers of now are from those that were recorded.

    Attributes:
        probes: that were asked.
        position_m: largest deviation of a coordinate, metres.
        over_tolerance: largest deviation of any number over what is tolerated there; above 1 the model is another one.
    """

    probes: int
    position_m: float
    over_tolerance: float


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
    answers, wanted = _both(forecaster, recorded)
    difference = np.abs(answers - wanted)
    if not (difference <= _ABSOLUTE + _RELATIVE * np.abs(wanted)).all():
        row, step, _ = np.unravel_index(int(difference.argmax()), difference.shape)
        raise SignatureMismatch(
            f"it does not answer as it did when it was registered: probe {row} is at {answers[row, step, :2].round(3).tolist()} m "
            f"instead of {wanted[row, step, :2].round(3).tolist()} m, covariance {answers[row, step, 2:].round(4).tolist()} instead of "
            f"{wanted[row, step, 2:].round(4).tolist()} m²; train or register it again on this kind of machine"
        )


def deviation(forecaster: Forecaster, recorded: str) -> Deviation:
    """Ask the probes again and measure; `replay` refuses what is above 1 times the tolerance.

    Raises:
        SignatureMismatch: if the record cannot be read.
    """
    answers, wanted = _both(forecaster, recorded)
    difference = np.abs(answers - wanted)
    return Deviation(len(answers), float(difference[..., :2].max()), float((difference / (_ABSOLUTE + _RELATIVE * np.abs(wanted))).max()))


def _both(forecaster: Forecaster, recorded: str) -> tuple[FloatArray, FloatArray]:
    """The answers of now and the recorded ones, each (probes, 3, 5)."""
    answers = _answers(forecaster)
    try:
        return answers, checked("the golden answers", json.loads(recorded), *answers.shape)
    except (JSONDecodeError, ShapeError) as error:
        raise SignatureMismatch(f"its golden answers cannot be read: {error}; register the version again") from error


def _answers(forecaster: Forecaster) -> FloatArray:
    """(probes, 3, 5) numbers."""
    forecast = forecaster.forecast(probe_histories(forecaster.window))
    t_pred = forecaster.window.t_pred
    steps = [0, t_pred // 2, t_pred - 1]
    covariance = forecast.covariance_m2[:, 0, steps].reshape(-1, len(steps), 4)[..., [0, 1, 3]]
    return np.concatenate((forecast.mean_m[:, 0, steps], covariance), axis=2)
