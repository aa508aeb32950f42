"""What a covariance expects is what its samples do."""

import math

import numpy as np
import pytest

from trajops.performance.expected import distance_m, radius_m, trace_and_root


@pytest.mark.parametrize(("xx", "xy", "yy"), [(1.0, 0.0, 1.0), (4.0, 0.0, 0.25), (2.0, 1.2, 1.0), (1.0, 0.0, 1e-8)])
def test_the_expected_distance_is_the_mean_of_samples(xx: float, xy: float, yy: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal([0, 0], [[xx, xy], [xy, yy]], size=400_000)
    found = distance_m(*trace_and_root(np.array([xx, xy, yy])))
    assert found == pytest.approx(np.hypot(*drawn.T).mean(), rel=0.006)


def test_a_circle_is_exact() -> None:
    trace_m2, root_m2 = trace_and_root(np.array([[0.25, 0.0, 0.25]]))
    assert distance_m(trace_m2, root_m2) == pytest.approx([0.5 * math.sqrt(math.pi / 2)])
    assert radius_m(root_m2, 0.9) == pytest.approx([0.5 * math.sqrt(2 * math.log(10))])


def test_the_radius_has_the_area_of_the_ellipse() -> None:
    root_m2 = trace_and_root(np.array([2.0, 1.2, 1.0]))[1]
    axes = np.linalg.eigvalsh([[2.0, 1.2], [1.2, 1.0]])
    assert math.pi * radius_m(root_m2, 0.9) ** 2 == pytest.approx(math.pi * 2 * math.log(10) * math.sqrt(axes.prod()))
