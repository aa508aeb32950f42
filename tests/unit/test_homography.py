"""Homographies: recovered from pairs of points, noise told in metres, and degenerate points refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops.errors import InvalidInput
from trajops.homography import Fit, corners, depths, fit, is_singular, project

SQUARE = np.array([(100.0, 100.0), (1100.0, 100.0), (1100.0, 700.0), (100.0, 700.0)])
METRES = np.array([(0.0, 30.0), (50.0, 30.0), (50.0, 0.0), (0.0, 0.0)])


def a_camera(seed: int) -> np.ndarray:
    """(3, 3) of a camera above a plane, that looks down at 20° to 90° and anywhere, with the whole image below its horizon."""
    chance = np.random.default_rng(seed)
    tilt, turn, height_m, focal = chance.uniform(0.35, 1.57), chance.uniform(-3.1, 3.1), chance.uniform(3, 60), chance.uniform(1500, 4000)
    forward = np.array([np.cos(turn) * np.cos(tilt), np.sin(turn) * np.cos(tilt), -np.sin(tilt)])
    right = np.array([np.sin(turn), -np.cos(turn), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    at = np.array([*chance.uniform(-500, 500, 2), height_m])
    camera = np.array([[focal, 0.0, 960.0], [0.0, focal, 540.0], [0.0, 0.0, 1.0]])
    to_pixels = camera @ rotation @ np.column_stack([np.eye(3)[:, :2], -at])
    found: np.ndarray = np.linalg.inv(to_pixels)
    return found


def random_pixels(seed: int, number: int) -> np.ndarray:
    """Points spread over an image of 1,920 × 1,080: one near each corner, the others anywhere."""
    chance = np.random.default_rng(seed)
    spread = np.array([(200.0, 150.0), (1700.0, 150.0), (1700.0, 900.0), (200.0, 900.0)]) + chance.uniform(-100, 100, (4, 2))
    return np.concatenate([spread, chance.uniform((0, 0), (1919, 1079), (number - 4, 2))])


@given(st.integers(0, 10_000), st.integers(4, 30))
def test_any_camera_is_recovered(seed: int, number: int) -> None:
    camera, pixels = a_camera(seed), random_pixels(seed, number)
    found = fit(pixels, project(camera, pixels))
    everywhere = corners(1920, 1080)
    expected = project(camera, everywhere)
    extent_m = np.ptp(expected, axis=0).max()
    assert np.abs(project(found.matrix, everywhere) - expected).max() < 1e-6 * extent_m
    assert found.residuals_m.max() < 1e-6 * extent_m
    assert not found.is_mirrored
    assert (depths(found.matrix, everywhere) > 0).all()


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.05, 0.3]))
def test_noise_of_the_metres_is_told_as_residual(seed: int, noise_m: float) -> None:
    """Above the plane, so that a pixel is worth the same everywhere: N pairs of noise σ leave σ √(2N − 8) in all."""
    number = 40
    pixels = random_pixels(seed, number)
    true = np.array([[0.05, 0.0, -20.0], [0.0, -0.05, 30.0], [0.0, 0.0, 1.0]])
    noise = np.random.default_rng(seed).normal(0.0, noise_m, (number, 2))
    residuals_m = fit(pixels, project(true, pixels) + noise).residuals_m
    expected_m = noise_m * np.sqrt(2 * number - 8)
    assert 0.6 * expected_m < np.linalg.norm(residuals_m) < 1.4 * expected_m


def test_one_wrong_point_of_many_has_the_largest_residual() -> None:
    pixels = random_pixels(1, 12)
    metres = project(a_camera(1), pixels)
    metres[7] += (0.5, -0.5)
    assert int(fit(pixels, metres).residuals_m.argmax()) == 7


@given(st.integers(0, 10_000), st.integers(0, 8), st.floats(0, np.pi))
def test_points_on_a_line_are_refused_with_or_without_one_beside_it(seed: int, more: int, angle: float) -> None:
    chance = np.random.default_rng(seed)
    along = np.sort(chance.uniform(-400, 400, 4 + more))
    line = np.array([900.0, 500.0]) + along[:, None] * (np.cos(angle), np.sin(angle))
    spread = np.concatenate([METRES, chance.uniform(0, 30, (more, 2))])
    with pytest.raises(InvalidInput, match=r"the pixels of all points( but number \d+)? lie on a line"):
        fit(line, spread)
    beside = np.concatenate([line, [(900.0 - 300 * np.sin(angle), 500.0 + 300 * np.cos(angle))]])
    with pytest.raises(InvalidInput, match=r"the metres of all points but number \d+ lie on a line"):
        fit(np.concatenate([SQUARE, chance.uniform(100, 700, (more + 1, 2))]), beside)


def test_the_same_points_off_the_line_are_taken() -> None:
    """The control of the test above: the square with one more point on its edge has three points on a line, and is no line."""
    pixels, metres = np.vstack([SQUARE, [600.0, 100.0]]), np.vstack([METRES, [25.0, 30.0]])
    assert fit(pixels, metres).residuals_m.max() < 1e-9


def test_one_point_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lie on a line"):
        fit(SQUARE[[0, 1, 1, 0]], METRES)


def test_three_points_are_too_few() -> None:
    with pytest.raises(InvalidInput, match="needs 4 points at least, and there are 3"):
        fit(SQUARE[:3], METRES[:3])


def test_pairs_in_another_order_are_no_view_of_a_plane() -> None:
    with pytest.raises(InvalidInput, match="same order"):
        fit(SQUARE, METRES[[0, 2, 1, 3]])


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(InvalidInput, match="the metres of point 2 are not finite"):
        fit(SQUARE, np.array([(0.0, 0.0), (np.nan, 1.0), (2.0, 3.0), (5.0, 0.0)]))


def test_a_number_beyond_reason_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"the pixels of point 4 are not finite, or beyond 1e\+09"):
        fit(np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1e300)]), METRES)


def test_swapped_axes_are_told_as_mirrored() -> None:
    """Four pairs always fit: that x and y were swapped shows in nothing else."""
    swapped: Fit = fit(SQUARE, METRES[:, ::-1])
    assert swapped.residuals_m.max() < 1e-9
    assert swapped.is_mirrored
    assert not fit(SQUARE, METRES).is_mirrored


def test_by_hand() -> None:
    """20 pixels a metre, the lower left point of the square at the origin."""
    matrix = fit(SQUARE, METRES).matrix
    assert project(matrix, np.array([[120.0, 700.0], [100.0, 680.0]])) == pytest.approx(np.array([[1.0, 0.0], [0.0, 1.0]]), abs=1e-9)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        pytest.param([[1, 2, 3], [2, 4, 6], [0, 0, 1]], True, id="to a line"),
        pytest.param([[0, 0, 0], [0, 0, 0], [0, 0, 0]], True, id="nothing"),
        pytest.param([[1, 0, 0], [0, 1, 0], [1, 1, 0]], True, id="a row too many"),
        pytest.param([[0.05, 0, 500_000], [0, -0.05, 5_000_000], [0, 0, 1]], False, id="far from its origin"),
    ],
)
def test_singular_matrices(matrix: list[list[float]], expected: bool) -> None:
    assert is_singular(np.array(matrix, dtype=float), corners(1920, 1080)) is expected


def test_corners_are_outside_of_the_first_and_last_pixel() -> None:
    assert corners(10, 4).tolist() == [[-0.5, -0.5], [9.5, -0.5], [9.5, 3.5], [-0.5, 3.5]]
    assert corners(5, 2, left_px=3, top_px=1)[0].tolist() == [2.5, 0.5]
