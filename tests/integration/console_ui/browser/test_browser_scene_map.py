"""The map in a browser: it moves in place, a click leads to an agent, its image lies at its metres, and what is shown is in the address."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from browsing import IDLE, opened
from console_stub import StubServer
from PIL import Image
from playwright.sync_api import Page, expect

from data.geography.images import Images
from tests import ground_images
from trajops.contracts.scenes import SceneImage
from trajops.homography import fit
from trajops.scene_backgrounds import Background

PLOT = ".st-key-scene-chart .js-plotly-plot"
MARK = f"{PLOT} .scatterlayer .point"
# Where points of the plane are on the screen, pixels.
PLACES = """(points) => {
  const plot = document.querySelector('.st-key-scene-chart .js-plotly-plot'), box = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  return points.map(([x, y]) => [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)]);
}"""
RANGES = f"(() => {{ const l = document.querySelector('{PLOT}').layout; return [...l.xaxis.range, ...l.yaxis.range]; }})()"


@pytest.fixture
def image(server: StubServer, tmp_path: Path) -> Iterator[None]:
    """A ground of 40 m × 30 m with squares of 1 m, as a camera sees it from the side."""
    matrix = fit(ground_images.GROUND_PX, 5 * ground_images.GROUND_M).matrix
    ground_images.save(tmp_path, matrix)
    made = Images(tmp_path).laid_out(Background(image="ground.png", homography=matrix.tolist()))
    described = SceneImage(bounds=made.bounds, width_px=made.width_px, height_px=made.height_px, version=made.version)
    server.api.scenes.image = (described, made.content)
    yield
    server.api.scenes.image = None


def test_the_map_moves_without_being_drawn_anew_and_a_click_chooses_an_agent(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Scene map", "refresh=2s")
    page.locator(MARK).first.wait_for()
    page.evaluate("document.querySelector('.st-key-scene-chart .js-plotly-plot').dataset.first = 'yes'")
    reads = len(server.api.reads)
    box = page.locator(MARK).last.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_text("Open in Live predict")).to_be_visible()
    assert "agent=player-" in page.url
    while len(server.api.reads) < reads + 3:
        page.wait_for_timeout(100)
    expect(page.locator(".st-key-scene-chart .js-plotly-plot")).to_have_attribute("data-first", "yes")
    page.get_by_text("Open in Live predict").click()
    page.get_by_role("heading", name="Live predict", exact=True).wait_for()
    assert "source=Agent" in page.url or "agent=" in page.url


def colours(page: Page, points_m: np.ndarray) -> np.ndarray:
    """(N, 3) of what the page shows at points (N, 2) of the plane, metres."""
    shown = np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB")).astype(int)
    u, v = np.array(page.evaluate(PLACES, points_m.tolist())).T.astype(int)
    return shown[v, u]


def test_a_pixel_of_the_image_lies_at_its_metres(page: Page, console: str, image: None) -> None:
    page.set_viewport_size({"width": 1440, "height": 1000})
    opened(page, console, "Scene map", "refresh=off&trails=false&predictions=false")
    page.locator(f"{PLOT} .imagelayer image").wait_for(state="attached")
    page.wait_for_timeout(500)
    x_low, x_high, y_low, y_high = page.evaluate(RANGES)
    x, y = np.meshgrid(np.arange(np.ceil(x_low), np.floor(x_high)) + 0.5, np.arange(np.ceil(y_low), np.floor(y_high)) + 0.5)
    points_m = np.column_stack([x.ravel(), y.ravel()])
    # Not where an agent stands.
    points_m = points_m[np.abs(points_m - (19.0, 21.0)).max(axis=1) > 3]
    assert len(points_m) > 100
    seen = colours(page, points_m)
    is_red = np.array(ground_images.colour_at(points_m))[:, 0] == ground_images.RED[0]
    assert (seen[is_red, 0] > seen[is_red, 2] + 30).all()
    assert (seen[~is_red, 2] > seen[~is_red, 0] + 30).all()
    assert seen.min() > 100, "faded, so that tracks can be told from it"


def test_layers_are_switched_in_the_address_and_zoom_stays(page: Page, console: str, image: None) -> None:
    opened(page, console, "Scene map", "refresh=off")
    legend = page.locator(f"{PLOT} .legend")
    expect(legend).to_contain_text("Trail")
    page.locator(f"{PLOT} .imagelayer image").wait_for(state="attached")
    box = page.locator(f"{PLOT} .nsewdrag").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 4
    before = page.evaluate(RANGES)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=5)
    page.mouse.up()
    page.wait_for_function(f"{RANGES}[0] < {before[0]} - 0.5")
    panned = page.evaluate(RANGES)
    page.evaluate(f"document.querySelector('{PLOT}').dataset.first = 'yes'")

    for name in ("Trails", "Predictions", "Image"):
        page.get_by_text(name, exact=True).click()
        page.wait_for_url(f"**{name.lower()}=false*")
    expect(page.locator(PLOT)).to_have_count(1)
    expect(legend).not_to_contain_text("Trail")
    expect(legend).not_to_contain_text("prediction")
    expect(page.locator(f"{PLOT} .imagelayer image")).to_have_count(0)
    expect(page.locator(PLOT)).not_to_have_attribute("data-first", "yes")
    page.wait_for_function(f"Math.abs({RANGES}[0] - {panned[0]}) < 1e-6")
    now = page.evaluate(RANGES)
    assert now[:2] == pytest.approx(panned[:2])
    assert sum(now[2:]) == pytest.approx(sum(panned[2:])), "the legend has become lower, so that more is seen above and below"

    page.reload()
    page.locator(MARK).first.wait_for()
    page.wait_for_selector(IDLE)
    expect(page.locator(f"{PLOT} .imagelayer image")).to_have_count(0)
    page.get_by_text("Image", exact=True).click()
    page.locator(f"{PLOT} .imagelayer image").wait_for(state="attached")
    assert "image=" not in page.url
    assert "trails=false" in page.url


def test_a_recorded_piece_is_played_with_the_keyboard_over_its_image(page: Page, console: str, server: StubServer, image: None) -> None:
    opened(page, console, "Scene map", "view=Recorded&refresh=off")
    page.locator(".st-key-replay-chart .imagelayer image").wait_for(state="attached")
    slider = page.get_by_role("slider", name="Moment", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    expect(page.get_by_role("status").filter(has_text="About the moment: ")).to_be_visible()
    reads = len(server.api.reads)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(IDLE)
    assert len(server.api.reads) == reads
