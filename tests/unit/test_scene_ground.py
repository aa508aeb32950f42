"""Beneath the map: grid lines with degrees, a round scale bar, and words for what is there."""

import plotly.graph_objects as go
import pytest

from console.palette import DARK, LIGHT, Palette
from console.scenes.charts import View
from console.scenes.ground import OPACITY, about_ground, beneath, degrees_words, grid_step_deg, lay_image, scale_m
from trajops.contracts.scenes import GeographicOrigin, SceneBounds, SceneGround, SceneImage

ORIGIN = GeographicOrigin(longitude_deg=9.95, latitude_deg=53.54, east_m=66_300.0, north_m=111_290.0)
GROUND = SceneGround(scene_id="s", origin=ORIGIN, coast=[[(0.0, 0.0), (10.0, 10.0)]])
VIEW = View((-20_000.0, 20_000.0), (-15_000.0, 15_000.0))


def test_there_is_coast_grid_labels_and_scale() -> None:
    coast, grid, labels, bar = beneath(GROUND, VIEW, LIGHT)
    assert list(coast.x) == [0.0, 10.0, None]
    assert {"9.8° E", "10.0° E", "53.50° N"} & set(labels.text)
    assert len(grid.x) == 3 * len(labels.text)
    assert bar.text[1] == "5 km"


def test_where_nobody_has_said_where_it_lies_there_is_nothing() -> None:
    unknown = SceneGround(scene_id="s", origin=None, coast=[])
    assert beneath(unknown, VIEW, LIGHT) == beneath(None, VIEW, LIGHT) == beneath(GROUND, None, LIGHT) == []
    assert about_ground(unknown) is None


def test_a_town_without_coast_says_so() -> None:
    assert about_ground(GROUND.model_copy(update={"coast": []})) == "No coastline lies in this view; the grid shows degrees."
    assert "Natural Earth" in str(about_ground(GROUND))


@pytest.mark.parametrize(("span", "step"), [(0.6, 0.1), (40.0, 10.0), (0.0009, 0.0002), (1e-6, 0.0001)])
def test_the_grid_has_at_least_four_lines(span: float, step: float) -> None:
    assert grid_step_deg(span) == step


@pytest.mark.parametrize(
    ("value", "step", "words"), [(-3.5, 0.5, "3.5° W"), (10.0, 1.0, "10° E"), (0.0, 0.1, "0.0°"), (1.2345, 0.0005, "1.2345° E")]
)
def test_degrees_have_a_side_and_the_digits_that_the_grid_needs(value: float, step: float, words: str) -> None:
    assert degrees_words(value, step, "E", "W") == words


@pytest.mark.parametrize(("width", "length"), [(60.0, 10.0), (100.0, 10.0), (150.0, 20.0), (40_000.0, 5_000.0)])
def test_the_scale_bar_is_round(width: float, length: float) -> None:
    assert scale_m(width) == length


def test_an_image_lies_under_everything_at_its_metres() -> None:
    bounds = SceneBounds(x_min_m=-2.0, y_min_m=-3.0, x_max_m=10.0, y_max_m=5.0)
    image = SceneImage(bounds=bounds, width_px=1200, height_px=800, version="abc")
    figure = go.Figure()
    lay_image(figure, SceneGround(scene_id="quay 3/north", origin=None, coast=[], image=image))
    [laid] = figure.layout.images
    assert laid.source == "/session/scene-images/quay%203%2Fnorth?version=abc"
    assert (laid.x, laid.y, laid.sizex, laid.sizey) == (-2.0, 5.0, 12.0, 8.0)
    assert (laid.xref, laid.yref, laid.sizing, laid.layer) == ("x", "y", "stretch", "below")
    lay_image(figure, GROUND)
    lay_image(figure, None)
    assert len(figure.layout.images) == 1


def luminance(colour: list[float]) -> float:
    """Relative luminance of WCAG 2.2 of red, green and blue, 0 to 255."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (channel / 255 for channel in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("palette", "worst"), [(LIGHT, 0), (DARK, 255)], ids=["black under light", "white under dark"])
def test_lines_can_be_told_from_any_ground(palette: Palette, worst: int) -> None:
    def channels(colour: str) -> list[float]:
        return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]

    beneath_ = luminance([OPACITY * worst + (1 - OPACITY) * channel for channel in channels(palette.surface)])
    for colour, least in [(palette.text, 4.5), (palette.muted, 2.5), (palette.ok, 2.5), *((one, 2.2) for one in palette.series)]:
        low, high = sorted((beneath_, luminance(channels(colour))))
        assert (high + 0.05) / (low + 0.05) >= least, colour
