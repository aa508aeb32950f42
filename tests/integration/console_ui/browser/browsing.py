"""How a page of the console is opened, watched and clicked in a browser."""

import pytest
from console_stub import StubServer
from playwright.sync_api import Locator, Page, expect

IDLE = "[data-testid=stApp][data-test-connection-state=CONNECTED][data-test-script-state=notRunning]"
PAGES = {
    "Overview": "/",
    "Models": "/models",
    "A/B tests": "/ab_tests",
    "Live predict": "/live_predict",
    "Performance": "/performance",
    "Drift": "/drift",
    "Alerts": "/alerts",
    "Services": "/services",
    "Jobs": "/jobs",
    "Audit": "/audit",
}
ADMIN = {"Admin": "/admin"}  # for admins only, whom the tests of all pages do not sign in as

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


def sign_in(page: Page, username: str = "ada") -> None:
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", "correct horse")
    page.press("input[name=password]", "Enter")


def opened(page: Page, console: str, title: str, query: str = "refresh=off", username: str = "ada") -> None:
    page.goto(f"{console}{(PAGES | ADMIN)[title]}?{query}")
    sign_in(page, username)
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)


def wait_until_still(page: Page, looks: int = 5) -> None:
    """Return once the page has had one height at so many looks in a row, half a second apart: everything is drawn."""
    heights: list[int] = []
    for _ in range(120):
        page.wait_for_timeout(500)
        heights.append(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight"))
        if len(heights) >= looks and len(set(heights[-looks:])) == 1:
            return
    pytest.fail(f"the page has no height of its own: {heights}")


def button(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key} button").first


def dialog(page: Page, key: str) -> Locator:
    """The confirmation that a button opens."""
    button(page, key).click()
    opened_dialog = page.get_by_role("dialog")
    opened_dialog.wait_for()
    return opened_dialog


def give_a_reason(confirmation: Locator, server: StubServer, reason: str) -> None:
    """Type it, and see that it stays while the page is read anew behind the dialog."""
    reads = len(server.api.reads)
    field = confirmation.get_by_label("Reason")
    field.fill(reason)
    while len(server.api.reads) < reads + 2:
        confirmation.page.wait_for_timeout(100)
    expect(field).to_have_value(reason)
