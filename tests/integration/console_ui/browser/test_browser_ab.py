"""Experiments and rollouts in a browser: what is clicked is sent, and what is typed stays while the page refreshes."""

from typing import Any

import pytest
from browsing import IDLE, button, dialog, give_a_reason, opened, troubles, wait_until_drawn
from console_stub import StubServer
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow


def sent_about_experiments(server: StubServer) -> list[tuple[str, Any]]:
    calls = [(path, body) for method, path, _, body in server.api.calls if method == "POST" and path.startswith("/v1/experiments")]
    return [call for call in calls if call[0] != "/v1/experiments/check"]


@pytest.mark.changes("plan_experiment")
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


@pytest.mark.changes("pause_experiment")
def test_an_experiment_is_paused_while_the_page_refreshes(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "A/B tests", "refresh=2s&experiment=exp-running")
    confirmation = dialog(page, "ab-pause")
    confirmation.get_by_text("B · treatment (v3) beside A").wait_for()
    give_a_reason(confirmation, server, "the cameras flicker today")
    confirmation.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused: wider net").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "ab-resume")).to_be_visible()
    expect(button(page, "ab-pause")).to_have_count(0)
    sent = {"expected_version": 3, "reason": "the cameras flicker today"}
    assert sent_about_experiments(server) == [("/v1/experiments/exp-running/pause", sent)]


@pytest.mark.changes("approve_rollout")
def test_a_rollout_is_approved_while_the_page_refreshes(page: Page, console: str, server: StubServer) -> None:
    server.api.rollouts.ready()
    opened(page, console, "Models", "refresh=2s")
    confirmation = dialog(page, "rollout-approve")
    confirmation.get_by_text("a person approves what comes next").wait_for()
    give_a_reason(confirmation, server, "the figures have convinced me")
    confirmation.get_by_label("Type 3 to confirm").fill("3")
    confirmation.get_by_role("button", name="Approve").click()
    page.get_by_text("Version 3 goes on").first.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "rollout-approve")).to_have_count(0)
    sent = [body for method, path, _, body in server.api.calls if method == "POST" and path == "/v1/rollouts/r1/approve"]
    assert sent == [{"expected_version": 1, "reason": "the figures have convinced me"}]


@pytest.mark.changes("stop_experiment")
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
        wait_until_drawn(page)
        found[query] = troubles(page)
    assert found == {query: [] for query in found}


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
