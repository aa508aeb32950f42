"""How a page of the console is opened, watched and clicked in a browser."""

from pathlib import Path

import pytest
from console_app import PAGES as VIEWS
from console_app import WHO
from console_stub import StubServer
from playwright.sync_api import Locator, Page, expect

WHY = "because of the browser test"
IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
PAGES = {title: "/" if title == "Overview" else f"/{Path(view).stem}" for title, view in VIEWS.items()}

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
root => {
  const main = document.querySelector(root), found = [];
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

# Everything is in its place: no skeleton, each figure drawn, and for as long nothing has moved.
DRAWN = """
ms => new Promise(resolve => {
  let last = '', since = performance.now();
  (function look() {
    const parts = [...document.querySelectorAll('[data-testid=stMain], [role=dialog], .js-plotly-plot, .js-plotly-plot text, canvas')];
    const places = parts.map(e => [e.scrollHeight, ...Object.values(e.getBoundingClientRect().toJSON())].map(Math.round));
    const isWhole = document.fonts.status === 'loaded' && !document.querySelector('[data-testid=stSkeletonElement]')
      && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(e => e.querySelector('.main-svg'));
    const now = JSON.stringify(places);
    if (now !== last || !isWhole) [last, since] = [now, performance.now()];
    if (performance.now() - since > ms) resolve(); else requestAnimationFrame(look);
  })();
})
"""
MAIN = "[data-testid=stMain]"


def sign_in(page: Page, username: str = "ada") -> None:
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", "correct horse")
    page.press("input[name=password]", "Enter")


def opened(page: Page, console: str, title: str, query: str = "refresh=off", username: str | None = None) -> None:
    """Sign in as who sees what the page is for, or as somebody else, on the way to it."""
    page.goto(f"{console}{PAGES[title]}?{query}")
    sign_in(page, username or WHO.get(title, "ada"))
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)


def wait_until_drawn(page: Page, still_ms: int = 400) -> None:
    """Return once the script has ended, and figures and tables are laid out, which comes after that."""
    page.wait_for_selector(IDLE, timeout=60_000)
    page.evaluate(DRAWN, still_ms)


def troubles(page: Page, root: str = MAIN) -> list[str]:
    """What is cut, broken or sticks out on the page, or in a part of it."""
    found: list[str] = page.evaluate(TROUBLES, root)
    return found


def wait_until_still(*pages: Page, looks: int = 5) -> None:
    """Return once each page has had one height at so many looks in a row, half a second apart: everything is drawn."""
    heights: list[list[int]] = []
    for _ in range(120):
        pages[0].wait_for_timeout(500)
        heights.append([page.evaluate(f"document.querySelector('{MAIN}').scrollHeight") for page in pages])
        if len(heights) >= looks and heights[-looks:] == [heights[-1]] * looks:
            return
    pytest.fail(f"the pages have no height of their own: {heights}")


def button(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key} button").first


def dialog(page: Page, key: str) -> Locator:
    """The confirmation that a button opens."""
    button(page, key).click()
    opened_dialog = page.get_by_role("dialog")
    opened_dialog.wait_for()
    return opened_dialog


def confirm(page: Page, key: str, label: str, typed: str | None = None) -> None:
    """Press a button, fill in the confirmation that it opens, send it, and see it close."""
    confirmation = dialog(page, key)
    page.wait_for_selector(IDLE)
    confirmation.get_by_label("Reason").fill(WHY)
    if typed is not None:
        confirmation.get_by_label(f"Type {typed} to confirm").fill(typed)
    confirmation.get_by_role("button", name=label, exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def told(page: Page, words: str) -> None:
    """See a toast that says so."""
    page.get_by_test_id("stToast").filter(has_text=words).first.wait_for()


def give_a_reason(confirmation: Locator, server: StubServer, reason: str) -> None:
    """Type it, and see that it stays while the page is read anew behind the dialog."""
    reads = len(server.api.reads)
    field = confirmation.get_by_label("Reason")
    field.fill(reason)
    while len(server.api.reads) < reads + 2:
        confirmation.page.wait_for_timeout(100)
    expect(field).to_have_value(reason)
