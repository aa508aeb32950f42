"""The map in a browser: it moves in place, and a click leads to an agent."""

from browsing import opened
from console_stub import StubServer
from playwright.sync_api import Page, expect

MARK = ".st-key-scene-chart .js-plotly-plot .scatterlayer .point"


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
