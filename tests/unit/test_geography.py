"""Degrees and metres around a point, coastlines in a view, and the ground that a scene is told to have."""

from pathlib import Path

import numpy as np
import pytest

from data.geography.coast import MAX_POINTS, Coast
from data.geography.images import Images
from trajops.configs import load
from trajops.contracts.scenes import SceneBounds
from trajops.errors import InvalidInput
from trajops.geography import Origin, metres_a_degree, to_metres
from trajops.scene_frames import SceneFrames
from trajops.services.scene_grounds import SceneGrounds

DOVER = Origin(1.33, 51.12)
COAST = Coast()


def view(half_m: float) -> SceneBounds:
    return SceneBounds(x_min_m=-half_m, y_min_m=-half_m, x_max_m=half_m, y_max_m=half_m)


@pytest.mark.parametrize(
    ("latitude_deg", "east_m", "north_m"),
    [  # of the tables of WGS 84
        pytest.param(0.0, 111_319.5, 110_574.3, id="equator"),
        pytest.param(45.0, 78_846.8, 111_131.8, id="45"),
        pytest.param(60.0, 55_800.0, 111_412.3, id="60"),
    ],
)
def test_a_degree_has_its_length(latitude_deg: float, east_m: float, north_m: float) -> None:
    assert metres_a_degree(Origin(10.0, latitude_deg)) == pytest.approx((east_m, north_m), abs=0.5)


def test_the_date_line_is_no_edge() -> None:
    [[x, y]] = to_metres(np.array([[-179.9, 0.0]]), Origin(179.9, 0.0))
    assert (x, y) == pytest.approx((0.2 * 111_319.5, 0.0), abs=1.0)


def test_the_coast_at_dover_passes_by() -> None:
    """The town lies on the coast: a point of it comes within three kilometres; its points at Calais are further apart."""
    lines = COAST.lines(DOVER, view(60_000.0))
    nearest_m = min(float(np.hypot(line[:, 0], line[:, 1]).min()) for line in lines)
    assert nearest_m < 3_000
    calais = to_metres(np.array([[1.86, 50.96]]), DOVER)[0]
    assert min(float(np.hypot(*(line - calais).T).min()) for line in lines) < 8_000


@pytest.mark.parametrize("half_m", [5_000.0, 60_000.0, 500_000.0])
def test_lines_are_bounded_and_near_the_view(half_m: float) -> None:
    lines = COAST.lines(Origin(10.0, 62.0), view(half_m)) + COAST.lines(DOVER, view(half_m))
    for origin in (Origin(10.0, 62.0), DOVER):
        found = COAST.lines(origin, view(half_m))
        assert sum(map(len, found)) <= MAX_POINTS
        assert all(np.abs(line).max() < half_m + 30_000 for line in found)
    assert all(len(line) >= 2 for line in lines)


def test_far_from_the_sea_there_is_no_coast() -> None:
    assert COAST.lines(Origin(87.6, 43.8), view(5_000.0)) == []


def frames(tmp_path: Path, text: str) -> SceneFrames:
    file = tmp_path / "scenes.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, SceneFrames)


def test_the_first_pattern_that_fits_counts(tmp_path: Path) -> None:
    known = frames(
        tmp_path,
        """
scenes:
  - {pattern: "dover-*", geographic: {longitude_deg: 1.33, latitude_deg: 51.12}}
  - {pattern: "*-east", geographic: {longitude_deg: 0, latitude_deg: 0}}
""",
    )
    grounds = SceneGrounds(lambda: known, COAST, Images(tmp_path))
    ground = grounds.of("dover-east", view(60_000.0))
    assert ground.origin is not None
    assert (ground.origin.longitude_deg, ground.origin.latitude_deg) == (1.33, 51.12)
    assert ground.coast
    unknown = grounds.of("plaza", view(60.0))
    assert (unknown.origin, unknown.coast) == (None, [])


@pytest.mark.parametrize("half_m", [0.0, -5.0, 600_000.0])
def test_a_view_is_neither_empty_nor_wider_than_a_plane(half_m: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at most 1000 km"):
        SceneGrounds(SceneFrames, COAST, Images(tmp_path)).of("s", view(half_m))


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"scenes\.yaml:2: scenes\.0\.geographic\.latitude_deg"):
        frames(tmp_path, 'scenes:\n  - {pattern: "a", geographic: {longitude_deg: 0, latitude_deg: 91}}\n')
