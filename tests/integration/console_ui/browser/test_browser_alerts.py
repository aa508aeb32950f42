"""Alerts in a browser: what is clicked is sent, and what is typed stays while the page refreshes."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import IDLE, button, dialog, give_a_reason, opened, troubles, wait_until_drawn
from console_stub import StubServer
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow


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


def sent(server: StubServer) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body in server.api.calls if method == "POST" and path.startswith("/v1/alerts")]


@pytest.mark.changes("acknowledge_alert")
def test_an_alert_is_acknowledged_from_the_list(page: Page, console: str, server: StubServer) -> None:
    """While the page refreshes behind it, the dialog keeps what is typed; afterwards the card says who looks after the alert."""
    opened(page, console, "Alerts", "refresh=2s")
    confirmation = dialog(page, "acknowledge-late-1")
    confirmation.get_by_label("Reason").fill("too short")
    confirmation.get_by_role("button", name="Acknowledge").click()
    confirmation.get_by_text("Give a reason of at least 10 characters").wait_for()
    assert not sent(server)
    give_a_reason(confirmation, server, "I restart the registry's job")
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


@pytest.mark.changes("create_silence", "expire_silence")
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
    give_a_reason(confirmation, server, "I look at the cameras")
    confirmation.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Acknowledged: Traffic has drifted").wait_for()
    expect(button(page, "acknowledge-drift-1")).to_have_count(0)
    assert sent(server) == [("/v1/alerts/drift-1/acknowledge", {"expected_version": 2, "reason": "I look at the cameras"})]


@pytest.mark.changes("approve_answer")
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


def test_no_section_of_alerts_is_cut_or_sticks_out(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    opened(page, console, "Alerts")
    found = {}
    sections = [f"section={name}" for name in ("Answers", "Silences", "Notifications", "Receivers", "Rules")]
    for query in (*sections, "alert=drift-1", "alert=slow-1"):
        page.goto(f"{console}/alerts?refresh=off&{query}")
        page.get_by_text("Updated ").first.wait_for()
        wait_until_drawn(page)
        found[query] = troubles(page)
    assert found == {query: [] for query in found}
