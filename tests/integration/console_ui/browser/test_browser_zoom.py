"""What an operator zooms to, and hides in a legend, stays while a page reads its values again."""

from browsing import button, opened
from console_stub import StubServer
from playwright.sync_api import Page, expect

PLOT = ".st-key-traffic-chart .js-plotly-plot"
RANGE = f"document.querySelector('{PLOT}').layout.xaxis.range"


def zoom_in(page: Page) -> list[str]:
    """Drag over the middle third of the chart; the range that is shown then."""
    page.locator(PLOT).scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
    assert box is not None
    before = page.evaluate(RANGE)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * box["width"] / 3, y, steps=5)
    page.mouse.up()
    page.wait_for_function(f"{RANGE}[0] !== '{before[0]}'")
    found: list[str] = page.evaluate(RANGE)
    return found


def read_again(page: Page) -> None:
    """Let the chart be built anew."""
    page.evaluate(f"document.querySelector('{PLOT}').dataset.first = 'yes'")
    button(page, "refresh-now").click()
    expect(page.locator(PLOT)).not_to_have_attribute("data-first", "yes")


def test_zoom_stays_when_values_are_read_again(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Overview")
    page.locator(PLOT).wait_for(timeout=60_000)
    zoomed = zoom_in(page)
    read_again(page)
    page.wait_for_function(f"{RANGE}[0] === '{zoomed[0]}'")
    assert page.evaluate(RANGE) == zoomed
    read_again(page)
    page.wait_for_function(f"{RANGE}[0] === '{zoomed[0]}'")


def test_a_double_click_and_another_time_range_end_it(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Overview")
    page.locator(PLOT).wait_for(timeout=60_000)
    zoomed = zoom_in(page)
    page.locator(f"{PLOT} .nsewdrag").first.dblclick()
    page.wait_for_function(f"{RANGE}[0] !== '{zoomed[0]}'")
    read_again(page)
    page.wait_for_timeout(1_000)
    assert page.evaluate(RANGE)[0] != zoomed[0]

    zoomed = zoom_in(page)
    page.evaluate(f"document.querySelector('{PLOT}').dataset.first = 'yes'")
    page.goto(page.url.replace("refresh=off", "refresh=off&range=6h"))
    page.locator(PLOT).wait_for(timeout=60_000)
    page.wait_for_timeout(1_000)
    assert page.evaluate(RANGE)[0] != zoomed[0]
