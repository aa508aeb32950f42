"""Degrees and metres around one point of the Earth: the local tangent plane of WGS 84.

x points east and y north, metres, from an origin. With the radii of curvature M and N at the origin's latitude φ₀,
x = N cos φ₀ Δλ and y = M Δφ (B. Hofmann-Wellenhof et al., GNSS, sec. 8.2). It is exact at the origin's latitude; 50 km
north of an origin at 60° what points east is 1.4 % too long.
"""

from typing import NamedTuple

import numpy as np

from trajops.trajectories import FloatArray

SEMI_MAJOR_M, ECCENTRICITY2 = 6_378_137.0, 6.694379990141317e-3


class Origin(NamedTuple):
    """Where x and y are zero, degrees."""

    longitude_deg: float
    latitude_deg: float


def metres_a_degree(origin: Origin) -> tuple[float, float]:
    """East and north at the origin, metres a degree."""
    sine = float(np.sin(np.radians(origin.latitude_deg)))
    root = float(np.sqrt(1.0 - ECCENTRICITY2 * sine**2))
    east_m = SEMI_MAJOR_M / root * float(np.cos(np.radians(origin.latitude_deg)))
    north_m = SEMI_MAJOR_M * (1.0 - ECCENTRICITY2) / root**3
    return float(np.radians(east_m)), float(np.radians(north_m))


def to_metres(degrees: FloatArray, origin: Origin) -> FloatArray:
    """Longitudes and latitudes on the plane.

    Args:
        degrees: (N, 2) longitude and latitude.
        origin: of the plane.

    Returns:
        (N, 2) metres east and north; a longitude is taken to lie within 180° of the origin's.
    """
    east = (degrees[:, 0] - origin.longitude_deg + 180.0) % 360.0 - 180.0
    return np.asarray(np.stack([east, degrees[:, 1] - origin.latitude_deg], axis=-1) * np.array(metres_a_degree(origin)))
