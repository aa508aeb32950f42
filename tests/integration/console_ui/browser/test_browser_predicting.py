"""Live predict in a browser: a track drawn by hand is predicted, and a prediction plays by itself without asking anybody."""

import pytest
from browsing import IDLE, opened
from console_stub import StubServer
from playwright.sync_api import Page, expect

BOARD = "canvas[aria-label^='Board to draw']"


@pytest.mark.changes("predict")
def test_a_track_drawn_by_hand_is_predicted(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Live predict", "source=Own points&refresh=off")
    box = page.locator(BOARD).bounding_box()
    assert box is not None
    left, middle = box["x"] + 30, box["y"] + box["height"] / 2
    page.mouse.move(left, middle)
    page.mouse.down()
    for step in range(1, 21):
        page.mouse.move(left + 6 * step, middle)
        page.wait_for_timeout(20)
    page.mouse.up()
    page.locator(".js-plotly-plot").first.wait_for(timeout=30_000)
    expect(page.get_by_text("slowed down to 2.8 s")).to_be_visible()
    [asked] = [body for _, path, _, body in server.api.calls if path == "/predict"]
    metres_a_pixel = 20 / box["width"]
    assert len(asked["history"]) == 8
    assert abs(asked["history"][-1][0] - asked["history"][0][0] - 120 * metres_a_pixel) < 0.2
    assert all(abs(y) < 0.1 for _, y in asked["history"])
    assert asked["scene_id"] == "console"


def test_a_prediction_is_played_and_scrubbed_without_a_request(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Live predict", "source=Recorded&refresh=off&scene=second_half")
    moment = page.locator(".slider-label").first
    expect(moment).to_have_text("Moment: +4.8 s", timeout=30_000)
    reads = len(server.api.reads)
    page.locator(".updatemenu-button").first.click()
    expect(moment).not_to_have_text("Moment: +4.8 s", timeout=30_000)
    expect(moment).to_have_text("Moment: +4.8 s", timeout=30_000)
    assert len(server.api.reads) == reads
    page.wait_for_selector(IDLE)
