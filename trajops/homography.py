"""Homographies from an image's pixels to the plane of a scene: applied, judged, and found from pairs of points.

Pixels are (u, v): u to the right, v downwards, whole numbers at the middle of a pixel, the first one at (0, 0). A homography is a (3, 3)
matrix H with (x, y) = (a / w, b / w), (a, b, w) = H (u, v, 1). What has the other sign of w lies behind the horizon.
"""

from typing import NamedTuple

import numpy as np

from trajops.errors import InvalidInput
from trajops.trajectories import FloatArray

LEAST_POINTS = 4
# Points that leave their common line by less than this share of their extent do not say what lies beside it.
ON_A_LINE = 5e-3
# Of two points of an image that differ more in w, the farther one lies so close to the horizon that a pixel there is worth nothing.
NEAR_HORIZON = 1e-3
SINGULAR = 1e-12
LARGEST = 1e9


class Fit(NamedTuple):
    """A homography that was found.

    Attributes:
        matrix: (3, 3), with w = 1 in the middle of the points.
        residuals_m: (N,) from where each pixel is mapped to where it should be, metres.
        is_mirrored: whether it turns the image over, as no camera does that looks at a plane whose y is to the left of its x.
    """

    matrix: FloatArray
    residuals_m: FloatArray
    is_mirrored: bool


def project(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Map points; those on the horizon become infinite.

    Args:
        matrix: (3, 3).
        points: (N, 2).

    Returns:
        (N, 2) in what the matrix maps to.
    """
    x, y, w = matrix @ np.column_stack([points, np.ones(len(points))]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.column_stack([x, y]) / w[:, None])


def depths(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """(N,) w of points (N, 2): signs tell sides of the horizon, and zero is on it."""
    return np.asarray(points @ matrix[2, :2] + matrix[2, 2])


def corners(width_px: int, height_px: int, left_px: int = 0, top_px: int = 0) -> FloatArray:
    """(4, 2) outer corners of an image or a part of it, pixels, around."""
    u, v = left_px - 0.5, top_px - 0.5
    return np.array([(u, v), (u + width_px, v), (u + width_px, v + height_px), (u, v + height_px)])


def is_singular(matrix: FloatArray, points: FloatArray) -> bool:
    """Whether a matrix maps a region, given by its corners (N, 2), to a line or a point."""
    middle, half = (points.max(axis=0) + points.min(axis=0)) / 2, np.maximum((points.max(axis=0) - points.min(axis=0)) / 2, 1e-9)
    scaled = matrix @ np.array([[half[0], 0.0, middle[0]], [0.0, half[1], middle[1]], [0.0, 0.0, 1.0]])
    lengths = np.linalg.norm(scaled, axis=1)
    return bool((lengths == 0).any() or not abs(np.linalg.det(scaled / lengths[:, None])) >= SINGULAR)


def fit(pixels: FloatArray, metres: FloatArray) -> Fit:
    """Find the homography that maps pixels to metres: normalised direct linear transformation, least squares over all pairs.

    Source: R. Hartley and A. Zisserman, Multiple View Geometry in Computer Vision, 2nd ed., algorithm 4.2; degenerate points: sec. 4.1.3.

    Args:
        pixels: (N, 2), N ≥ 4.
        metres: (N, 2) of the same points in the scene's frame.

    Raises:
        InvalidInput: if there are too few points, all of them or all but one lie on a line, or no view of a plane has these pairs.
    """
    if pixels.shape != metres.shape or pixels.ndim != 2 or pixels.shape[1] != 2:
        raise InvalidInput(f"pixels and metres are pairs of as many points, not arrays of {pixels.shape} and {metres.shape}")
    if len(pixels) < LEAST_POINTS:
        raise InvalidInput(
            f"a homography needs {LEAST_POINTS} points at least, and there are {len(pixels)}; measure more, spread over the image"
        )
    for name, points in (("pixels", pixels), ("metres", metres)):
        strange = np.flatnonzero(~(np.abs(points) <= LARGEST).all(axis=1))
        if len(strange):
            raise InvalidInput(f"the {name} of point {strange[0] + 1} are not finite, or beyond {LARGEST:g}; correct or remove it")
        _refuse_degenerate(name, points)
    to_unit, to_unit_m = _normaliser(pixels), _normaliser(metres)
    (u, v), (x, y) = project(to_unit, pixels).T, project(to_unit_m, metres).T
    zero, one = np.zeros(len(u)), np.ones(len(u))
    equations = np.concatenate(
        [
            np.column_stack([zero, zero, zero, -u, -v, -one, y * u, y * v, y]),
            np.column_stack([u, v, one, zero, zero, zero, -x * u, -x * v, -x]),
        ]
    )
    unit = np.linalg.svd(equations)[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(to_unit_m) @ unit @ to_unit
    sides = depths(unit, np.column_stack([u, v]))
    if is_singular(unit, np.column_stack([u, v])) or not ((sides > 0).all() or (sides < 0).all()):
        raise InvalidInput(
            "no view of a plane has these pairs: the horizon would run between the points; see whether pixels and metres stand in the same "
            "order, and u, v and x, y are not swapped"
        )
    matrix /= depths(matrix, pixels.mean(axis=0)[None])[0]
    residuals_m = np.linalg.norm(project(matrix, pixels) - metres, axis=1)
    # v points downwards: seen from above, a homography turns areas over.
    return Fit(matrix, residuals_m, is_mirrored=bool(np.linalg.det(matrix) > 0))


def _normaliser(points: FloatArray) -> FloatArray:
    """(3, 3) similarity that brings points to the origin, at a mean distance of √2."""
    middle = points.mean(axis=0)
    scale = np.sqrt(2.0) / np.linalg.norm(points - middle, axis=1).mean()
    return np.array([[scale, 0.0, -scale * middle[0]], [0.0, scale, -scale * middle[1]], [0.0, 0.0, 1.0]])


def _refuse_degenerate(name: str, points: FloatArray) -> None:
    """Four of the points must be such that no three of them lie on a line: that is so unless all or all but one do."""
    for left_out in (None, *range(len(points))):
        rest = points if left_out is None else np.delete(points, left_out, axis=0)
        along, across = np.linalg.svd(rest - rest.mean(axis=0), compute_uv=False)
        if across <= ON_A_LINE * along:
            who = "all points" if left_out is None else f"all points but number {left_out + 1}"
            raise InvalidInput(f"the {name} of {who} lie on a line, so what is beside it is not known; measure points that span an area")
