"""Fit the baseline: nothing to learn but how far agents stray from the straight line."""

import numpy as np

from trajops.forecasters.calibration import calibrated
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.windows import Windows


def fit(train: Windows, calibration: Windows, *, level: float = 0.9) -> ConstantVelocity:
    """Measure the spread per step on `train` and calibrate it on `calibration`.

    Args:
        train: at least one window that does not follow a straight line exactly.
        calibration: windows of other agents.
        level: nominal probability of the calibrated ellipse.

    Raises:
        InvalidInput: if there are too few calibration windows for that level.
        ShapeError: if there is nothing to fit on.
    """
    mean_m = ConstantVelocity(window=train.window).forecast(train.history_m).best_m
    variance_m2 = ((train.truth_m - mean_m) ** 2).sum(axis=2).mean(axis=0) / 2 if len(train) else np.zeros(train.window.t_pred)
    return calibrated(ConstantVelocity(variance_m2, train.window), calibration.history_m, calibration.truth_m, level)
