"""A line that somebody drew, as the eight positions that a model takes. No Streamlit here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from console.wording import DASH
from trajops.contracts.predictions import T_OBS

DT_S = 0.4
SPAN_S = (T_OBS - 1) * DT_S
LEAST_M = 1e-3


class Sampled(NamedTuple):
    """Eight positions of a stroke, and what was done to get them.

    Attributes:
        points: 8 × (x, y) metres, oldest first, `DT_S` apart.
        said: one sentence.
    """

    points: list[tuple[float, float]]
    said: str


def stroke_of(value: object) -> np.ndarray | None:
    """What the drawing board sent, checked: it comes from a browser.

    Returns:
        (N, 3) metres, metres, milliseconds, times increasing; None where it is no line.
    """
    try:
        rows = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    if rows.ndim != 2 or rows.shape[1:] != (3,) or len(rows) < 2 or not np.isfinite(rows).all() or np.abs(rows[:, :2]).max() > 1e6:
        return None
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(rows[:, 2])) > 0])
    rows = rows[keep]
    return rows if len(rows) >= 2 and _lengths(rows)[-1] > LEAST_M else None


def as_drawn(stroke: np.ndarray) -> Sampled:
    """The last 2.8 s as they were drawn; of a shorter stroke the whole, slowed down to 2.8 s.

    Args:
        stroke: (N, 3) metres, metres, milliseconds, as `stroke_of` gives it.
    """
    at_s = (stroke[:, 2] - stroke[-1, 2]) / 1000
    took_s = -float(at_s[0])
    begin_s = -min(SPAN_S, took_s)
    points = _at(stroke, at_s, np.linspace(begin_s, 0.0, T_OBS))
    if took_s < SPAN_S:
        return Sampled(points, f"Drawn in {took_s:.1f} s and slowed down to {SPAN_S:.1f} s: {_speed(points)}.")
    return Sampled(points, f"The last {SPAN_S:.1f} s as drawn: {_speed(points)}.")


def evenly(stroke: np.ndarray, speed_mps: float) -> Sampled:
    """Positions at one speed along the end of the line; along all of it where it is too short.

    Args:
        stroke: (N, 3) metres, metres, milliseconds, as `stroke_of` gives it.
        speed_mps: wanted speed.
    """
    along_m = _lengths(stroke)
    wanted_m = speed_mps * SPAN_S
    way_m = min(wanted_m, float(along_m[-1]))
    points = _at(stroke, along_m, np.linspace(along_m[-1] - way_m, along_m[-1], T_OBS))
    if way_m < wanted_m:
        return Sampled(points, f"The line is shorter than {wanted_m:.1f} m, so it is walked more slowly: {_speed(points)}.")
    return Sampled(points, f"The last {way_m:.1f} m of the line: {_speed(points)}.")


def _lengths(stroke: np.ndarray) -> np.ndarray:
    """(N,) metres along the line."""
    steps = np.diff(stroke[:, :2], axis=0)
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def _at(stroke: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> list[tuple[float, float]]:
    x, y = (np.interp(wanted, known, stroke[:, axis]) for axis in (0, 1))
    return [(round(float(a), 2), round(float(b), 2)) for a, b in zip(x, y, strict=True)]


def _speed(points: Sequence[tuple[float, float]]) -> str:
    steps = np.diff(np.array(points), axis=0)
    mean = float(np.hypot(steps[:, 0], steps[:, 1]).sum()) / SPAN_S
    return f"{mean:.1f} m/s on average" if np.isfinite(mean) else DASH
