"""What a covariance says by itself, before any truth: how far the truth is expected to lie, and how large the ellipse is.

Everything follows from trace and determinant of the 2×2 covariance, so that a million predictions cost three square roots a step.
"""

import math

import numpy as np

from trajops.metrics import chi_square_quantile
from trajops.trajectories import FloatArray


def trace_and_root(cov_m2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Trace and square root of the determinant of covariances.

    Args:
        cov_m2: (..., 3) values xx, xy, yy, square metres, positive definite.

    Returns:
        (...) and (...), square metres.
    """
    xx, xy, yy = (cov_m2[..., part].astype(np.float64, copy=False) for part in range(3))
    # In the order in which it is told whether a covariance is definite, so that rounding never makes a root of less than nothing.
    return xx + yy, np.sqrt(xx * (yy - xy * xy / xx))


def distance_m(trace_m2: FloatArray, root_m2: FloatArray) -> FloatArray:
    """Expected distance of a bivariate Gaussian from its mean.

    With standard deviations a ≥ b along the axes it is √(2/π) times a quarter of the perimeter of an ellipse with these half-axes.
    The perimeter is taken from Ramanujan's first approximation (Modular equations and approximations to π, 1914), which is exact for
    a circle and 0.4 % low for a line.

    Args:
        trace_m2: (...) a² + b².
        root_m2: (...) a · b.

    Returns:
        (...) metres.
    """
    perimeter_m = math.pi * (3 * np.sqrt(trace_m2 + 2 * root_m2) - np.sqrt(3 * trace_m2 + 10 * root_m2))
    result: FloatArray = math.sqrt(2 / math.pi) / 4 * perimeter_m
    return result


def radius_m(root_m2: FloatArray, level: float) -> FloatArray:
    """Sharpness: radius of the circle as large as the ellipse that holds `level` of the probability.

    Args:
        root_m2: (...) square root of the determinant, square metres.
        level: nominal probability.

    Returns:
        (...) metres.
    """
    result: FloatArray = np.sqrt(chi_square_quantile(level) * root_m2)
    return result
