"""The agent's own frame: origin at its last position, x along its way, lengths in its mean step.

A learned family works in this frame, so that it is equivariant to translation and rotation by construction, and so
that a walker and a runner look alike. Nothing is divided by a speed that may be zero: an agent that stands still has
features of zero and a forecast that stays.
"""

import math
from typing import Any

import numpy as np

from trajops.errors import ShapeError
from trajops.trajectories import FloatArray, WindowSpec

# Steps shorter than this are mostly measurement noise, metres; added to the scale wherever it divides.
SCALE_FLOOR_M = 0.02
# Speed enters the features as log(scale + this), metres per step.
SPEED_FLOOR_M = 0.1
# Recent steps say more about the heading than old ones.
HEADING_DECAY = 0.7


def checked_history(history_m: FloatArray, window: WindowSpec) -> FloatArray:
    """Return the history as float64 of shape (A, t_obs, 2).

    Raises:
        ShapeError: if it has another shape, or holds a number that is not finite.
    """
    history: FloatArray = np.asarray(history_m, dtype=np.float64)
    shape = history.shape
    if len(shape) != 3 or shape[1] != window.t_obs or shape[2] != 2:
        raise ShapeError(f"history_m must have shape (agents, {window.t_obs}, 2) in metres, not {shape}")
    # The sum of what is finite may overflow, so only then each number is looked at: one look at all of them costs twice as much.
    if not math.isfinite(history.sum()) and not np.isfinite(history).all():
        raise ShapeError("history_m holds a number that is not finite; leave the observation out instead")
    return history


def heading_weights(t_obs: int) -> FloatArray:
    """Weight of each of the t_obs − 1 steps in the heading, newest last; they sum to one."""
    weights = HEADING_DECAY ** np.arange(t_obs - 2, -1, -1, dtype=np.float64)
    return np.asarray(weights / weights.sum())


def feature_count(t_obs: int) -> int:
    """Number of features of one agent: the rotated, scaled steps and the speed."""
    return 2 * (t_obs - 1) + 1


def agent_frame(history_m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Express histories in each agent's own frame.

    Args:
        history_m: (A, t_obs, 2) metres, float64.

    Returns:
        features: (A, 2 (t_obs − 1) + 1) float32: steps along and across the heading over the scale, then the log of the speed.
        rotation: (A, 2, 2) whose columns are the unit vectors along and across the heading; the identity without a heading.
        scale_m: (A,) mean step length, metres; 0 for an agent that stands.
    """
    steps = history_m[:, 1:] - history_m[:, :-1]
    scale_m = np.sqrt((steps * steps).sum(axis=2)).mean(axis=1)
    heading = heading_weights(history_m.shape[1]) @ steps
    length = np.sqrt((heading * heading).sum(axis=1))
    moves = length > 0
    unit = heading / np.where(moves, length, 1.0)[:, None]
    unit[~moves] = (1.0, 0.0)
    rotation = np.empty((len(steps), 2, 2))
    rotation[:, :, 0] = unit
    rotation[:, 0, 1] = -unit[:, 1]
    rotation[:, 1, 1] = unit[:, 0]
    features = np.empty((len(steps), feature_count(history_m.shape[1])), dtype=np.float32)
    features[:, :-1] = ((steps @ rotation) / (scale_m + SCALE_FLOOR_M)[:, None, None]).reshape(len(steps), 2 * steps.shape[1])
    features[:, -1] = np.log(scale_m + SPEED_FLOOR_M)
    return features, rotation, scale_m


def to_agent_frame(positions_m: FloatArray, origin_m: FloatArray, rotation: FloatArray) -> FloatArray:
    """Rotate scene positions (A, T, 2) around origins (A, 2) into the agents' frames, metres."""
    return np.asarray((positions_m - origin_m[:, None]) @ rotation)


def frozen(array: Any, dtype: type = np.float64) -> FloatArray:
    """Return a contiguous copy that nobody can write to, so that threads and answers may share it."""
    copy: FloatArray = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy
