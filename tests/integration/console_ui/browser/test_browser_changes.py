"""Changes in a browser: each is clicked, told in a toast, seen on the page, and found at the API."""

import pytest
from browsing import IDLE, WHY, button, confirm, dialog, opened, told
from console_stub import StubServer
from playwright.sync_api import Page, expect

from trajops.client import TrajOpsClient

pytestmark = [pytest.mark.slow, pytest.mark.long]


def states(client: TrajOpsClient) -> dict[int, str]:
    return {one.model_version: str(one.state) for one in client.models().versions}


@pytest.mark.changes("stage", "pause_canary", "start_canary", "stop_canary", "promote", "rollback", "delete_version", "validate")
def test_a_version_goes_all_ways_that_the_models_page_has(page: Page, console: str, server: StubServer, client: TrajOpsClient) -> None:
    server.api.rollouts.known = None
    opened(page, console, "Models")
    confirm(page, "stage-5", "Stage", "5")
    told(page, "Version 5 is staged")
    assert states(client)[5] == "staged"
    confirm(page, "pause-3", "Pause", "3")
    told(page, "The comparison of version 3 is paused")
    assert (states(client)[3], client.routes().current.coverage) == ("paused", 0.0)
    page.locator(".st-key-challenger-card").get_by_text("paused, answers nobody").wait_for()
    confirm(page, "resume-3", "Resume", "3")
    told(page, "The comparison of version 3 goes on")
    assert (states(client)[3], client.routes().current.coverage) == ("canary", 0.2)
    confirm(page, "stop-3", "Stop", "3")
    told(page, "The comparison of version 3 is stopped")
    assert (states(client)[3], client.routes().current.challenger) == ("staged", None)
    confirm(page, "canary-4", "Start canary", "4")
    told(page, "Canary of version 4 started")
    page.locator(".st-key-challenger-card").get_by_text("20 % of agents enrolled").wait_for()
    confirm(page, "promote-4", "Promote", "4")
    told(page, "Version 4 is the champion")
    assert states(client)[4] == "live"
    page.locator(".st-key-champion-card").get_by_text("v4 ·").wait_for()
    confirm(page, "rollback", "Roll back", "2")
    told(page, "Version 2 is the champion again")
    assert (states(client)[2], states(client)[4]) == ("live", "rolled_back")
    confirm(page, "delete-5", "Delete", "5")
    told(page, "Version 5 is deleted")
    expect(page.locator(".st-key-version-5")).to_have_count(0)
    assert 5 not in states(client)
    confirm(page, "validate", "Validate")
    told(page, "A validation of v4 is asked for")
    expect(button(page, "validate")).to_be_disabled()
    assert {one.model_version for one in client.models().versions if one.is_validation_asked} == {4}


@pytest.mark.changes("pause_rollout", "resume_rollout", "stop_rollout", "start_rollout", "roll_back_rollout")
def test_a_rollout_is_paused_resumed_stopped_begun_and_rolled_back(page: Page, console: str, client: TrajOpsClient) -> None:
    def standing() -> tuple[int, str]:
        newest = client.rollouts().rollouts[0]
        return newest.model_version, str(newest.state)

    opened(page, console, "Models")
    for key, label, typed, said, left in (
        ("rollout-pause", "Pause", "3", "The rollout of version 3 is paused", (3, "paused")),
        ("rollout-resume", "Resume", "3", "The rollout of version 3 goes on", (3, "running")),
        ("rollout-stop", "Stop", "3", "The rollout of version 3 is stopped", (3, "stopped")),
        ("rollout-start-4", "Roll out", "4", "The rollout of version 4 has begun", (4, "running")),
        ("rollout-roll_back", "Roll back", "4", "Version 4 is rolled back", (4, "rolled_back")),
    ):
        confirm(page, key, label, typed)
        told(page, said)
        assert standing() == left
    page.locator(".st-key-rollout").get_by_text("Rolled back").first.wait_for()


def test_a_deletion_that_comes_too_late_is_told_where_it_was_pressed(page: Page, console: str, server: StubServer) -> None:
    """The row is far below the top of the page, where it stands why."""
    server.api.rollouts.known = None
    page.set_viewport_size({"width": 1280, "height": 600})
    opened(page, console, "Models")
    button(page, "delete-4").scroll_into_view_if_needed()
    confirmation = dialog(page, "delete-4")
    page.wait_for_selector(IDLE)
    server.api.releases.conflict_next = True
    confirmation.get_by_label("Reason").fill(WHY)
    confirmation.get_by_label("Type 4 to confirm").fill("4")
    confirmation.get_by_role("button", name="Delete", exact=True).click()
    told(page, "Nothing was done; the top of the page says why")
    expect(page.get_by_test_id("stToast").first).to_be_in_viewport()
    expect(page.get_by_text("Nothing was done, because something changed while you were deciding")).to_have_count(1)


@pytest.mark.changes("launch_experiment", "cover_experiment", "override_unit", "switch_experiments")
def test_a_draft_is_launched_covered_and_stopped_with_all_others(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "A/B tests", "refresh=off&experiment=exp-draft")
    confirm(page, "ab-launch", "Launch")
    told(page, "Launched: boosted trees")
    assert client.experiment("exp-draft").state == "running"
    confirmation = dialog(page, "ab-cover")
    page.wait_for_selector(IDLE)
    share = confirmation.get_by_role("slider")
    share.focus()
    share.press("Home")
    for _ in range(4):
        share.press("ArrowRight")
    confirmation.get_by_label("Reason").fill(WHY)
    confirmation.get_by_role("button", name="Change coverage", exact=True).click()
    told(page, "Coverage changed: boosted trees")
    assert client.experiment("exp-draft").coverage == 0.05
    before = client.experiment("exp-draft").version
    confirmation = dialog(page, "ab-override")
    page.wait_for_selector(IDLE)
    confirmation.get_by_label("Agent", exact=True).fill("hall/robot 7")
    confirmation.get_by_label("Reason").fill(WHY)
    confirmation.get_by_role("button", name="Override a unit", exact=True).click()
    told(page, "Override written: boosted trees")
    assert client.experiment("exp-draft").version == before + 1
    confirm(page, "ab-switch", "Stop all experiments", "STOP")
    told(page, "All experiments are stopped")
    page.get_by_text("All experiments are stopped by hand.").wait_for()
    assert client.routes().current.is_stopped
    confirm(page, "ab-switch", "Let experiments go on")
    told(page, "Experiments go on")
    assert not client.routes().current.is_stopped


@pytest.mark.changes("assign_alert", "resolve_alert")
def test_an_alert_is_assigned_and_resolved(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Alerts")
    confirm(page, "assign-late-1", "Assign")
    told(page, "Assigned: A job is late")
    page.locator(".st-key-alert-late-1").get_by_text("assigned to ada").wait_for()
    assert client.alert("late-1").alert.assigned_to == "ada"
    confirm(page, "resolve-late-1", "Resolve")
    told(page, "Resolved: A job is late")
    expect(page.locator(".st-key-alert-late-1")).to_have_count(0)
    assert client.alert("late-1").alert.state == "resolved"


@pytest.mark.changes("dismiss_answer")
def test_a_proposal_is_dismissed(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Alerts", "refresh=off&alert=slow-1")
    confirm(page, "dismiss-ans-2", "Dismiss")
    told(page, "Dismissed: Answers are slow")
    page.get_by_text("dismissed by ada").wait_for()
    assert [str(one.state) for one in client.answers(alert_id="slow-1").answers] == ["dismissed"]


@pytest.mark.changes("test_receiver", "resend_notification")
def test_a_test_is_sent_and_a_dead_letter_again(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Alerts", "refresh=off&section=Receivers")
    confirm(page, "test-mail", "Send a test")
    told(page, "A test is on its way to mail")
    page.locator(".st-key-receiver-mail").get_by_text("Test:").wait_for()
    newest = client.notifications().notifications[0]
    assert (newest.receiver, newest.occasion) == ("mail", "test")
    page.get_by_role("tab", name="Notifications").click()
    confirm(page, "resend-not-1", "Send again")
    told(page, "It is sent again: Critical: Traffic has drifted")
    expect(page.locator(".st-key-letter-not-1")).to_have_count(0)
    assert client.notification("not-1").state == "pending"


@pytest.mark.changes("revert_calibration", "apply_calibration", "run_job")
def test_calibrations_are_reverted_applied_and_made_anew(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Performance")
    confirm(page, "revert-calibration-2", "Revert", "2")
    told(page, "Calibration 2 of v2 is reverted")
    confirm(page, "apply-calibration-3", "Apply", "3")
    told(page, "Calibration 3 of v3 is in force")
    assert {one.number: one.state for one in client.calibrations().calibrations} == {2: "reverted", 3: "applied"}
    button(page, "recalibrate").click()
    told(page, "Recalibration succeeded")


@pytest.mark.changes("choose_reference", "mute_column", "run_job")
def test_the_reference_of_drift_is_chosen_a_column_muted_and_a_check_run(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Drift")
    button(page, "run-drift").click()
    told(page, "Drift check failed")
    page.get_by_text("Reference and muted columns").click()
    choices = page.locator(".st-key-drift-choices")
    for key, label, said in (
        ("reference", "Choose this reference", "Reference chosen; it holds from the next check on"),
        ("mute", "Mute the column", "Muted; it holds from the next check on"),
    ):
        choices.locator(f".st-key-drift-{key}-reason textarea").fill(WHY)
        choices.get_by_role("button", name=label).click()
        told(page, said)
        page.wait_for_selector(IDLE)
    settings = client.drift().settings
    assert (settings.reference.kind, [one.column for one in settings.mutes]) == ("backfill", ["speed_mps"])
    choices.get_by_text("muted: mean speed until").wait_for()


@pytest.mark.changes("pause_job", "resume_job")
def test_a_job_is_paused_and_resumed_by_enter(page: Page, console: str, client: TrajOpsClient) -> None:
    opened(page, console, "Services", "refresh=off&job=compact_lake")
    for label, said, is_paused in (("Pause", "is paused", True), ("Resume", "runs by its schedule again", False)):
        page.locator(".st-key-job-bar").get_by_role("button", name=label).click()
        reason = page.get_by_label("Reason")
        reason.fill(WHY)
        reason.press("Enter")
        told(page, f"Compact the lake {said}")
        page.wait_for_selector(IDLE)
        [job] = [one for one in client.jobs().jobs if one.job == "compact_lake"]
        assert (job.paused_at is not None) == is_paused
