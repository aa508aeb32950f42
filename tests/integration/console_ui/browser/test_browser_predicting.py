"""Live predict in a browser: a track drawn by hand is predicted, and a prediction plays by itself without asking anybody."""

import pytest
from browsing import IDLE, opened
from console_stub import StubServer
from playwright.sync_api import Locator, Page, expect

# How many points of the track are shown: as many as the moment lets one know.
KNOWN = "document.querySelector('.st-key-player-chart .js-plotly-plot').data.find((trace) => trace.name === 'History').x.length"
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
    moment = page.get_by_role("status").filter(has_text="Moment: ")
    expect(moment).to_have_text("Moment: +4.8 s", timeout=30_000)
    reads = len(server.api.reads)
    page.get_by_role("button", name="Play", exact=True).click()
    expect(moment).not_to_have_text("Moment: +4.8 s", timeout=30_000)
    expect(moment).to_have_text("Moment: +4.8 s", timeout=30_000)
    assert len(server.api.reads) == reads
    page.wait_for_selector(IDLE)


def reach(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("(element) => element.getRootNode().activeElement === element"):
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


def test_a_prediction_is_played_stepped_and_scrubbed_with_the_keyboard_alone(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Live predict", "source=Recorded&refresh=off&scene=second_half")
    moment = page.get_by_role("status").filter(has_text="Moment: ")
    play = page.get_by_role("button", name="Play", exact=True)
    expect(moment).to_have_text("Moment: +4.8 s", timeout=30_000)
    page.locator(".st-key-player-chart .js-plotly-plot").wait_for()
    page.wait_for_function(f"{KNOWN} === 8")
    reads = len(server.api.reads)

    reach(page, page.get_by_role("button", name="One step back"))
    page.keyboard.press("Enter")
    expect(moment).to_have_text("Moment: +4.4 s")
    reach(page, page.get_by_role("button", name="One step on"))
    page.keyboard.press("Space")
    expect(moment).to_have_text("Moment: +4.8 s")

    slider = page.get_by_role("slider", name="Moment", exact=True)
    reach(page, slider)
    page.keyboard.press("Home")
    expect(moment).to_have_text("Moment: −2.8 s")
    expect(slider).to_have_attribute("aria-valuetext", "Moment: −2.8 s")
    page.wait_for_function(f"{KNOWN} === 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(moment).to_have_text("Moment: −2.0 s")
    page.wait_for_function(f"{KNOWN} === 3")

    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    expect(play).to_be_focused()
    page.keyboard.press("Space")
    pause = page.get_by_role("button", name="Pause")
    expect(pause).to_be_focused()
    expect(moment).not_to_have_text("Moment: −2.0 s")
    page.keyboard.press("Space")
    expect(play).to_be_focused()
    stopped = moment.text_content()
    page.wait_for_timeout(1_000)
    assert moment.text_content() == stopped
    assert stopped not in {"Moment: −2.0 s", "Moment: +4.8 s"}

    reach(page, page.get_by_role("combobox", name="Pace"))
    page.keyboard.press("End")
    expect(page.get_by_role("combobox", name="Pace")).to_have_value("4")
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(moment).to_have_text("Moment: +4.8 s")
    assert len(server.api.reads) == reads


def test_two_versions_of_ones_own_are_in_the_link(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Live predict", "source=Recorded&refresh=off&scene=second_half&version=1&compare=3")
    expect(page.get_by_text("v3 ADE")).to_be_visible()
    assert {body["model_version"] for _, path, _, body in server.api.calls if path == "/predict"} == {1, 3}
    assert "version=1" in page.url
    assert "compare=3" in page.url
    page.get_by_text("Own points", exact=True).click()
    page.get_by_text("Nothing predicted yet.").wait_for()
    assert "version=1" in page.url, "the choice goes along"
    assert "compare=3" in page.url
    server.api.calls.clear()
    page.get_by_role("button", name="Predict", exact=True).click()
    page.locator(".st-key-own-plane-chart .js-plotly-plot").wait_for()
    assert [body["model_version"] for _, path, _, body in server.api.calls if path == "/predict"] == [1, 3]
    page.wait_for_selector(IDLE)
