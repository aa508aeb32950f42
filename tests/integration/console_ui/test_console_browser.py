"""What only a browser can tell of the console: what moves, what is cut, and where an operator is led."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from console_process import running_console
from console_stub import StubAlerts, StubApi, StubExperiments, StubServer
from console_stub.rollouts import StubRollouts
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.builders import an_adoption

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"]
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
}
every_page = pytest.mark.parametrize("title", PAGES)
pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)

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
    server.api.alerts = StubAlerts(datetime.now(UTC), is_empty=False)
    server.api.experiments = StubExperiments(datetime.now(UTC), server.api.releases, is_empty=False)
    server.api.rollouts = StubRollouts(datetime.now(UTC), is_empty=False)
    server.api.calls.clear()
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


def wait_until_still(page: Page, looks: int = 5) -> None:
    """Return once the page has had one height at so many looks in a row, half a second apart: everything is drawn."""
    heights: list[int] = []
    for _ in range(120):
        page.wait_for_timeout(500)
        heights.append(page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight"))
        if len(heights) >= looks and len(set(heights[-looks:])) == 1:
            return
    pytest.fail(f"the page has no height of its own: {heights}")


@every_page
def test_a_refresh_moves_nothing(page: Page, console: str, server: StubServer, title: str) -> None:
    """Refreshes by an API that takes 0.7 s for each answer: the height stays, and so does the place on the page."""
    opened(page, console, title, "refresh=2s")
    wait_until_still(page)
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
        ("Alerts", "range=6h&refresh=2s&alert=drift-1"),
        ("Alerts", "refresh=2s&section=Silences"),
        ("A/B tests", "refresh=2s&experiment=exp-worse"),
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


def test_every_column_of_a_drift_check_is_seen_on_a_usual_screen(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    opened(page, console, "Drift")
    tables = page.locator("[data-testid=stDataFrame] .dvn-scroller")
    expect(tables).to_have_count(4)
    assert tables.evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)") == [0, 0, 0, 0]


def test_a_version_that_is_refused_appears_by_itself(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Models", "refresh=2s")
    assert page.get_by_text("Not adopted yet").count() == 0
    server.api.releases.adoptions = [an_adoption(6, "refused", "unsafe_model", "it runs code when it is loaded")]
    try:
        page.get_by_text("it runs code when it is loaded").wait_for(timeout=20_000)
    finally:
        server.api.releases.adoptions = []


# Alerts


def test_the_runbook_of_an_alert_is_one_click_away(page: Page, console: str, server: StubServer) -> None:
    known = server.api.alerts.alerts
    known["drift-1"] = known["drift-1"].model_copy(update={"runbook": "/runbook#drift"})
    opened(page, console, "Alerts", "alert=drift-1&refresh=off")
    link = page.get_by_role("link", name="What to do about it")
    expect(link).to_have_attribute("href", "/runbook#drift")
    with page.context.expect_page() as leads_to:
        link.click()
    runbook = leads_to.value
    assert runbook.url == f"{console}/runbook#drift"
    entry = runbook.locator("#drift")
    expect(entry).to_have_text("drift")
    expect(entry).to_be_in_viewport()
    expect(runbook.locator("#drift + p")).to_contain_text("The Drift page shows which column moved")
    assert runbook.evaluate("document.fonts.ready.then(() => document.fonts.check('14px Inter'))")


def test_the_last_entry_of_the_runbook_is_at_the_top_when_it_is_asked_for(browser: Browser, console: str) -> None:
    """By somebody who is not signed in."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{console}/runbook#trajopsbudgetburnscreeping")
    assert 0 <= page.locator("#trajopsbudgetburnscreeping").bounding_box()["y"] < 100
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def button(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key} button").first


def dialog(page: Page, key: str) -> Locator:
    """The confirmation that a button opens."""
    button(page, key).click()
    opened_dialog = page.get_by_role("dialog")
    opened_dialog.wait_for()
    return opened_dialog


def sent(server: StubServer) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body in server.api.calls if method == "POST" and path.startswith("/v1/alerts")]


def test_an_alert_is_acknowledged_from_the_list(page: Page, console: str, server: StubServer) -> None:
    """While the page refreshes behind it, the dialog keeps what is typed; afterwards the card says who looks after the alert."""
    opened(page, console, "Alerts", "refresh=2s")
    confirmation = dialog(page, "acknowledge-late-1")
    confirmation.get_by_label("Reason").fill("too short")
    confirmation.get_by_role("button", name="Acknowledge").click()
    confirmation.get_by_text("Give a reason of at least 10 characters").wait_for()
    assert not sent(server)
    reads = len(server.api.reads)
    confirmation.get_by_label("Reason").fill("I restart the registry's job")
    while len(server.api.reads) < reads + 2:
        page.wait_for_timeout(100)
    expect(confirmation.get_by_label("Reason")).to_have_value("I restart the registry's job")
    confirmation.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged: A job is late").wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    card = page.locator(".st-key-alert-late-1")
    card.get_by_text("acknowledged by ada").wait_for()
    expect(button(page, "acknowledge-late-1")).to_have_count(0)
    assert sent(server) == [("/v1/alerts/late-1/acknowledge", {"expected_version": 2, "reason": "I restart the registry's job"})]


def test_a_change_that_came_too_late_is_explained_on_the_page(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Alerts", "refresh=off&alert=late-1")
    confirmation = dialog(page, "detail-acknowledge")
    server.api.alerts.overtaken_by = "ben"
    confirmation.get_by_label("Reason").fill("I restart the registry's job")
    confirmation.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("the alert changed while you were deciding").wait_for()
    page.get_by_text("acknowledged by ben").first.wait_for()
    assert parse_qs(urlsplit(page.url).query)["alert"] == ["late-1"]


def test_a_silence_is_laid_over_both_alerts_of_a_rule_and_ended_again(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Alerts", "refresh=2s")
    confirmation = dialog(page, "silence-late-1")
    confirmation.get_by_text("Holds for 1 of the 5 alerts that are firing now.").wait_for()
    page.locator('[class*="st-key-matcher-"][class*="-1-remove"] button').first.click()
    confirmation.get_by_text("Holds for 2 of the 5 alerts that are firing now.").wait_for()
    confirmation.get_by_text("24 h", exact=True).click()
    confirmation.get_by_label("Reason").fill("the registry is being moved")
    confirmation.get_by_role("button", name="Create silence").click()
    page.get_by_text("Silence created · holds for 2 alerts now").wait_for()
    page.locator(".st-key-alert-late-1").get_by_text("Silenced").wait_for()
    [(path, body)] = sent(server)
    assert path == "/v1/alerts/silences"
    assert body["matchers"] == [{"label": "rule", "operator": "=", "value": "job_late"}]
    assert 23.9 < (datetime.fromisoformat(body["ends_at"]) - datetime.now(UTC)).total_seconds() / 3600 <= 24
    page.get_by_role("tab", name="Silences").click()
    confirmation = dialog(page, "expire-sil-4")
    confirmation.get_by_label("Reason").fill("the registry has been moved")
    confirmation.get_by_role("button", name="End silence").click()
    page.get_by_text("The silence is over").wait_for()
    expect(button(page, "expire-sil-4")).to_have_count(0)


def test_a_second_dialog_begins_with_its_own_conditions(page: Page, console: str) -> None:
    opened(page, console, "Alerts")
    confirmation = dialog(page, "silence-late-1")
    expect(confirmation.get_by_label("Value").nth(1)).to_have_value("reconcile_aliases")
    confirmation.get_by_label("Value").nth(1).fill("something else")
    confirmation.get_by_label("Reason").fill("a reason for the first alert")
    confirmation.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    confirmation = dialog(page, "silence-slow-1")
    expect(confirmation.get_by_label("Value").nth(1)).to_have_value("3")
    expect(confirmation.get_by_label("Reason")).to_have_value("")


def test_filters_survive_a_look_at_one_alert(page: Page, console: str) -> None:
    wanted = {"range": ["6h"], "refresh": ["off"], "state": ["All"], "severity": ["Warning"], "text": ["job_late"]}
    opened(page, console, "Alerts", "range=6h&refresh=off&state=All&severity=Warning&text=job_late")
    page.get_by_text("Details").first.wait_for()
    expect(page.get_by_text("Details")).to_have_count(2)
    button(page, "details-late-1").click()
    page.get_by_role("heading", name="What happened").wait_for()
    page.wait_for_url("**alert=late-1**")
    page.get_by_text("All alerts").click()
    page.get_by_label("Words").wait_for()
    page.wait_for_selector(IDLE)
    page.wait_for_url("**text=job_late**")
    assert parse_qs(urlsplit(page.url).query) == wanted


def test_the_overview_leads_to_the_worst_alert(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    page.locator(".st-key-open-alerts").get_by_text("Traffic has drifted").click()
    page.get_by_role("heading", name="What happened").wait_for()
    page.wait_for_url("**/alerts?*alert=drift-1*")


def test_an_alert_is_acknowledged_on_the_overview(page: Page, console: str, server: StubServer) -> None:
    """The page refreshes behind the dialog, which keeps what is typed."""
    opened(page, console, "Overview", "refresh=2s")
    confirmation = dialog(page, "acknowledge-drift-1")
    reads = len(server.api.reads)
    confirmation.get_by_label("Reason").fill("I look at the cameras")
    while len(server.api.reads) < reads + 2:
        page.wait_for_timeout(100)
    expect(confirmation.get_by_label("Reason")).to_have_value("I look at the cameras")
    confirmation.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged: Traffic has drifted").wait_for()
    expect(button(page, "acknowledge-drift-1")).to_have_count(0)
    assert sent(server) == [("/v1/alerts/drift-1/acknowledge", {"expected_version": 2, "reason": "I look at the cameras"})]


def test_a_proposal_is_approved_where_its_alert_is_shown(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Overview")
    page.get_by_text("Look at it").click()
    page.get_by_role("heading", name="Answered without a hand").wait_for()
    confirmation = dialog(page, "approve-ans-2")
    confirmation.get_by_label("Reason").fill("the figures agree with that")
    confirmation.get_by_role("button", name="Approve").click()
    page.get_by_text("Approved: Answers are slow").wait_for()
    page.get_by_text("approved by ada").wait_for()
    expect(button(page, "approve-ans-2")).to_have_count(0)


def test_every_dialog_about_a_version_begins_empty(page: Page, console: str, server: StubServer) -> None:
    """Escape leaves the field without the browser having told the server what was typed."""
    server.api.rollouts.known = None
    opened(page, console, "Models")
    for first, second in (("promote-3", "stop-3"), ("stop-3", "promote-3"), ("promote-3", "stop-3")):
        confirmation = dialog(page, first)
        page.wait_for_selector(IDLE)
        confirmation.get_by_label("Reason").fill(f"a reason for {first}")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        confirmation = dialog(page, second)
        page.wait_for_selector(IDLE)
        expect(confirmation.get_by_label("Reason")).to_have_value("")
        confirmation.get_by_role("button", name="Close", exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_no_section_of_alerts_is_cut_or_sticks_out(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    opened(page, console, "Alerts")
    found = {}
    sections = [f"section={name}" for name in ("Answers", "Silences", "Notifications", "Receivers", "Rules")]
    for query in (*sections, "alert=drift-1", "alert=slow-1"):
        page.goto(f"{console}/alerts?refresh=off&{query}")
        page.get_by_text("Updated ").first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(500)
        found[query] = page.evaluate(TROUBLES)
    assert found == {query: [] for query in found}


def test_run_now_tells_what_came_of_it(page: Page, console: str, server: StubServer) -> None:
    """Chosen by the link, run by the button: the toast says so, the error of the run stands below, and the link still leads here."""
    opened(page, console, "Services", "job=check_drift&refresh=off")
    page.locator(".st-key-run-job button").first.click()
    page.get_by_text("Check for drift has failed").first.wait_for(timeout=20_000)
    page.get_by_text("the reference window is empty").first.wait_for(timeout=20_000)
    assert "job=check_drift" in urlsplit(page.url).query
    assert ("POST", "/v1/jobs/check_drift/run") in [call[:2] for call in server.api.calls]


# A/B tests


def sent_about_experiments(server: StubServer) -> list[tuple[str, Any]]:
    calls = [(path, body) for method, path, _, body in server.api.calls if method == "POST" and path.startswith("/v1/experiments")]
    return [call for call in calls if call[0] != "/v1/experiments/check"]


def test_an_experiment_is_planned_and_launched(page: Page, console: str, server: StubServer) -> None:
    """From the button to the running experiment: the calculator follows, and the URL leads to what was launched."""
    opened(page, console, "A/B tests", "refresh=2s")
    button(page, "ab-plan").click()
    page.get_by_role("heading", name="Plan an experiment").wait_for()
    expect(button(page, "plan-launch")).to_be_disabled()
    page.get_by_label("Hypothesis").fill("boosted trees are nearer to the truth for fast agents")
    page.get_by_label("Hypothesis").blur()
    page.get_by_text("Nobody is enrolled twice").wait_for()
    page.get_by_role("spinbutton", name="Expected drop (%)").fill("10")
    page.get_by_role("spinbutton", name="Expected drop (%)").press("Enter")
    page.get_by_test_id("stMetric").filter(has_text="Agents needed").get_by_text("736").wait_for()
    page.get_by_label("Reason").fill("they won on the held-out half")
    page.get_by_label("Reason").blur()
    page.wait_for_selector(IDLE)
    expect(button(page, "plan-launch")).to_be_enabled()
    button(page, "plan-launch").click()
    page.get_by_text("Launched: v4 against v2").first.wait_for()
    page.wait_for_url("**experiment=exp-new-*")
    assert "plan=" not in page.url
    [(path, body)] = sent_about_experiments(server)
    assert (path, body["is_launched"], body["plan"]["expected_change"]) == ("/v1/experiments", True, -0.1)


def test_an_experiment_is_paused_while_the_page_refreshes(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "A/B tests", "refresh=2s&experiment=exp-running")
    confirmation = dialog(page, "ab-pause")
    confirmation.get_by_text("B · treatment (v3) beside A").wait_for()
    reads = len(server.api.reads)
    confirmation.get_by_label("Reason").fill("the cameras flicker today")
    while len(server.api.reads) < reads + 2:
        page.wait_for_timeout(100)
    expect(confirmation.get_by_label("Reason")).to_have_value("the cameras flicker today")
    confirmation.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused: wider net").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "ab-resume")).to_be_visible()
    expect(button(page, "ab-pause")).to_have_count(0)
    sent = {"expected_version": 3, "reason": "the cameras flicker today"}
    assert sent_about_experiments(server) == [("/v1/experiments/exp-running/pause", sent)]


def test_a_rollout_is_approved_while_the_page_refreshes(page: Page, console: str, server: StubServer) -> None:
    server.api.rollouts.ready()
    opened(page, console, "Models", "refresh=2s")
    confirmation = dialog(page, "rollout-approve")
    confirmation.get_by_text("a person approves what comes next").wait_for()
    reads = len(server.api.reads)
    confirmation.get_by_label("Reason").fill("the figures have convinced me")
    while len(server.api.reads) < reads + 2:
        page.wait_for_timeout(100)
    expect(confirmation.get_by_label("Reason")).to_have_value("the figures have convinced me")
    confirmation.get_by_label("Type 3 to confirm").fill("3")
    confirmation.get_by_role("button", name="Approve").click()
    page.get_by_text("Version 3 goes on").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "rollout-approve")).to_have_count(0)
    sent = [body for method, path, _, body in server.api.calls if method == "POST" and path == "/v1/rollouts/r1/approve"]
    assert sent == [{"expected_version": 1, "reason": "the figures have convinced me"}]


def test_an_experiment_is_stopped_with_a_winner(page: Page, console: str, server: StubServer) -> None:
    """The choice decides what must be typed."""
    opened(page, console, "A/B tests", "refresh=2s&experiment=exp-running")
    confirmation = dialog(page, "ab-stop")
    expect(confirmation.get_by_label("Type 3 to confirm")).to_have_count(0)
    confirmation.get_by_text("B · treatment (v3) wins and becomes the champion").click()
    confirmation.get_by_label("Type 3 to confirm").wait_for()
    page.wait_for_selector(IDLE)
    confirmation.get_by_label("Reason").fill("it is good enough for us")
    confirmation.get_by_label("Type 3 to confirm").fill("3")
    confirmation.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("B promoted.").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert server.api.experiments.known["exp-running"].winner == "treatment"


def test_another_experiment_is_shown_from_the_list_and_by_its_link(page: Page, console: str) -> None:
    opened(page, console, "A/B tests", "refresh=off")
    page.get_by_text("Collecting data.").first.wait_for()
    button(page, "ab-show-exp-worse").click()
    page.get_by_text("B worse, rolled back.").first.wait_for()
    page.wait_for_url("**experiment=exp-worse**")
    page.reload()
    page.get_by_text("B worse, rolled back.").first.wait_for()
    page.locator(".st-key-ab-choice input").click()
    page.get_by_role("option", name="deeper net · Promoted").click()
    page.get_by_text("B promoted.").first.wait_for()
    page.wait_for_url("**experiment=exp-better**")


def test_the_overview_leads_to_the_running_experiment(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    page.locator(".st-key-running-test").get_by_text("Look at the A/B test").click()
    page.get_by_text("Collecting data.").first.wait_for()
    page.wait_for_url("**/ab_tests?*experiment=exp-running*")


def test_no_state_of_an_experiment_is_cut_or_sticks_out(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    opened(page, console, "A/B tests")
    found = {}
    for query in ("experiment=exp-draft", "experiment=exp-worse", "experiment=exp-better", "plan=new"):
        page.goto(f"{console}/ab_tests?refresh=off&{query}")
        page.get_by_text("Updated ").first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(1500)
        found[query] = page.evaluate(TROUBLES)
    assert found == {query: [] for query in found}
