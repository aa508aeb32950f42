"""What only a browser can tell of the console: what moves, what is cut, and where an operator is led."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from console_process import running_console
from console_stub import StubApi, StubServer
from playwright.sync_api import Browser, Page, sync_playwright

from tests.builders import an_adoption

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"]
IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
PAGES = {"Overview": "/", "Models": "/models", "Live predict": "/live_predict", "Performance": "/performance", "Drift": "/drift"}
every_page = pytest.mark.parametrize("title", PAGES)
pytestmark = pytest.mark.slow

# Each frame: how high the page is, and how far it was scrolled.
WATCH = """
window.seen = [];
(function look() {
  const main = document.querySelector('[data-testid=stMain]');
  if (main) window.seen.push([main.scrollHeight, main.scrollTop, !!document.querySelector('[data-testid=stSkeletonElement]')]);
  requestAnimationFrame(look);
})();
"""

# What sticks out of its page, card or column; what ends in an ellipsis; words that are broken over two lines.
TROUBLES = """
() => {
  const main = document.querySelector('[data-testid=stMain]'), found = [];
  const own = e => !e.closest('[data-testid=stDataFrame], .js-plotly-plot, code, pre');
  if (document.documentElement.scrollWidth > innerWidth || main.scrollWidth > main.clientWidth) found.push('the page scrolls sideways');
  for (const e of main.querySelectorAll('table, button, p, h1, h2, [data-testid=stMetric], [data-testid=stDataFrame], .js-plotly-plot')) {
    const frame = e.parentElement.closest('[data-testid=stColumn], [data-testid=stVerticalBlock]');
    const edge = e.getBoundingClientRect().right;
    if (frame && edge > frame.getBoundingClientRect().right + 1) found.push(`sticks out: ${e.tagName} ${e.innerText.slice(0, 40)}`);
    if (own(e) && e.clientWidth && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible')
      found.push(`is cut: ${e.innerText.slice(0, 40)}`);
  }
  for (const e of main.querySelectorAll('.js-plotly-plot text')) {
    const text = e.getBoundingClientRect(), plot = e.closest('.js-plotly-plot').getBoundingClientRect();
    if (text.width && (text.left < plot.left - 1 || text.right > plot.right + 1)) found.push(`is cut in a figure: ${e.textContent}`);
  }
  const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!own(node.parentElement) || node.parentElement.closest('[aria-hidden=true]')) continue;
    for (const word of node.data.matchAll(/[^ \\n]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter(r => r.width > 1).map(r => Math.round(r.top)));
      if (lines.size > 1 && !word[0].includes('\\u2013') && !word[0].includes('-')) found.push(`is broken: ${word[0]}`);
    }
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer(StubApi()) as running:
        yield running


@pytest.fixture(scope="module")
def console(server: StubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_console(server.url, tmp_path_factory.mktemp("console") / "console.log") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: StubServer, console: str) -> Iterator[Page]:
    """A fresh browser, not signed in."""
    server.api.delay_s = 0.0
    server.api.ended.clear()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()
    server.api.delay_s = 0.0


def sign_in(page: Page) -> None:
    page.fill("input[name=username]", "ada")
    page.fill("input[name=password]", "correct horse")
    page.press("input[name=password]", "Enter")


def opened(page: Page, console: str, title: str, query: str = "refresh=off") -> None:
    page.goto(f"{console}{PAGES[title]}?{query}")
    sign_in(page)
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)


@every_page
def test_a_refresh_moves_nothing(page: Page, console: str, server: StubServer, title: str) -> None:
    """Refreshes by an API that takes 0.7 s for each answer: the height stays, and so does the place on the page."""
    opened(page, console, title, "refresh=2s")
    page.wait_for_timeout(2500)
    server.api.delay_s = 0.7
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 80)")
    page.wait_for_timeout(300)
    page.evaluate(WATCH)
    before = page.get_by_text("Updated ").first.inner_text()
    page.wait_for_timeout(7000)
    seen: list[Any] = page.evaluate("window.seen")
    assert page.get_by_text("Updated ").first.inner_text() != before, "the page must have refreshed meanwhile"
    assert {has_skeleton for _, _, has_skeleton in seen} == {False}
    assert max(height for height, _, _ in seen) - min(height for height, _, _ in seen) <= 4
    assert {top for _, top, _ in seen} == {80}


def test_a_first_load_shows_a_skeleton(page: Page, console: str, server: StubServer) -> None:
    server.api.delay_s = 1.0
    page.goto(f"{console}/drift?refresh=off")
    sign_in(page)
    page.get_by_test_id("stSkeletonElement").first.wait_for(timeout=30_000)
    page.get_by_role("heading", name="Past checks").wait_for(timeout=30_000)
    page.wait_for_selector(IDLE, timeout=30_000)
    assert page.get_by_test_id("stSkeletonElement").count() == 0


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("Models", "range=6h&refresh=2s"),
        ("Live predict", "source=Prediction&refresh=2s&prediction=01JD8Z5K000000000000000009"),
        ("Drift", "range=24h&refresh=2s"),
    ],
)
def test_signing_in_after_the_session_ended_leads_back(page: Page, console: str, server: StubServer, title: str, query: str) -> None:
    """The server ends the session while the page refreshes by itself; page, range and chosen prediction are there again afterwards."""
    opened(page, console, title, query)
    wanted = {*query.split("&")}
    assert {*urlsplit(page.url).query.split("&")} == wanted
    server.api.ended.add("ada")
    page.get_by_text("Your session has ended").wait_for(timeout=30_000)
    server.api.ended.clear()
    page.get_by_text("Go to the sign-in form").click()
    sign_in(page)
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)
    assert urlsplit(page.url).path == PAGES[title]
    assert {*urlsplit(page.url).query.split("&")} == wanted


def test_a_deep_link_opened_with_an_ended_session_leads_there_in_the_end(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Overview")
    server.api.ended.add("ada")
    page.goto(f"{console}/models?range=6h&refresh=off")
    page.get_by_text("Your session has ended").wait_for(timeout=30_000)
    server.api.ended.clear()
    page.get_by_text("Go to the sign-in form").click()
    sign_in(page)
    page.get_by_role("heading", name="Models", exact=True).first.wait_for()
    assert page.url == f"{console}/models?range=6h&refresh=off"


@pytest.mark.parametrize("width", [1000, 1280, 1440])
def test_nothing_is_cut_or_sticks_out(page: Page, console: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, console, "Overview")
    found = {}
    for title, path in PAGES.items():
        page.goto(f"{console}{path}?refresh=off")
        page.get_by_role("heading", name=title, exact=True).first.wait_for()
        page.get_by_text("Updated ").first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(1500)  # Figures are laid out after the script has ended.
        found[title] = page.evaluate(TROUBLES)
    assert found == {title: [] for title in PAGES}


def test_a_version_that_is_refused_appears_by_itself(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Models", "refresh=2s")
    assert page.get_by_text("Not adopted yet").count() == 0
    server.api.adoptions = [an_adoption(6, "refused", "unsafe_model", "it runs code when it is loaded")]
    try:
        page.get_by_text("it runs code when it is loaded").wait_for(timeout=20_000)
    finally:
        server.api.adoptions = []
