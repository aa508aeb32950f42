"""How a prediction compares with what has come so far, as the API judges it, for one that was made afterwards. No Streamlit here."""

import math
from typing import NamedTuple

import numpy as np

from console.plane import CHI2_2_90, Points
from trajops.contracts.predictions import PredictionOut, PredictOut


class Judged(NamedTuple):
    """Of the likeliest mode.

    Attributes:
        ade_m: mean displacement over steps with truth, metres; None without any.
        fde_m: displacement at the last step, metres; None without its truth.
        steps: how many have truth.
        inside_share: share of them inside the 90 % ellipse; None without any.
    """

    ade_m: float | None
    fde_m: float | None
    steps: int
    inside_share: float | None


def judged(prediction: PredictOut, truth: Points) -> Judged:
    """Hold a prediction against truth at its steps, None where none has come."""
    mode = prediction.modes[0]
    known = [
        (math.dist(came, position), _is_inside(came, position, covariance))
        for came, position, covariance in zip(truth, mode.positions, mode.covariance, strict=False)
        if came is not None
    ]
    if not known:
        return Judged(None, None, 0, None)
    distances, inside = zip(*known, strict=True)
    is_complete = len(truth) >= len(mode.positions) and truth[len(mode.positions) - 1] is not None
    return Judged(float(np.mean(distances)), distances[-1] if is_complete else None, len(known), float(np.mean(inside)))


def as_scored(shown: PredictionOut) -> Judged:
    """What the API has found of a prediction that it has made."""
    found = shown.outcome
    return Judged(None, None, 0, None) if found is None else Judged(found.ade_m, found.fde_m, found.steps_scored, found.inside_share)


def _is_inside(came: tuple[float, float], mean: tuple[float, float], covariance: tuple[float, float, float]) -> bool:
    xx, xy, yy = covariance
    x, y = came[0] - mean[0], came[1] - mean[1]
    determinant = xx * yy - xy * xy
    return determinant > 0 and (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant <= CHI2_2_90
