"""Jobs in a browser: a file is looked into and a job started, one is cancelled, a result is downloaded."""

from pathlib import Path
from typing import Any

import pytest
from browsing import button, dialog, give_a_reason, opened, troubles, wait_until_drawn
from console_stub import StubServer
from console_stub.tasks import DONE, RESULT, RUNS, TRAINED
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow
REASON = "the coach wants to see it"


def sent(server: StubServer, path: str) -> list[Any]:
    return [body for method, called, _, body in server.api.calls if method == "POST" and called == path]


@pytest.mark.changes("start_task")
def test_a_file_is_looked_into_and_a_job_started(page: Page, console: str, server: StubServer, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.csv", tmp_path / "match.csv"
    bad.write_text("agent,time,x,y\na,0,1,1\na,0.4,east,1\n")
    good.write_text("agent,time,x,y\na,0,1,1\n")
    opened(page, console, "Jobs")
    form = dialog(page, "start-job")
    form.get_by_label("Reason").fill(REASON)
    form.get_by_role("button", name="Start job").click()
    form.get_by_text("Choose a file of tracks.").wait_for()
    form.locator("input[type=file]").set_input_files(bad)
    form.get_by_text("row 2, column x").wait_for()
    form.locator("input[type=file]").set_input_files(good)
    form.get_by_text("22 agents in 1 scene").wait_for()
    form.get_by_role("button", name="Start job").click()
    page.get_by_text("Started: Batch forecast, match.csv · audit aud-0099").wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("heading", name="Batch forecast, match.csv").wait_for()
    [body] = sent(server, "/v1/tasks")
    assert body == {"kind": "batch_predict", "file_id": "a" * 32, "windows": "last", "format": "csv", "reason": REASON}
    [key] = [headers["idempotency-key"] for _, path, headers, _ in server.api.calls if path == "/v1/tasks" and "idempotency-key" in headers]
    assert key


def test_a_training_on_recorded_traffic_is_started(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Jobs")
    form = dialog(page, "start-job")
    form.get_by_text("Training", exact=True).click()
    form.get_by_text("Recorded traffic", exact=True).click()
    form.get_by_text("6 h", exact=True).click()
    form.get_by_label("Scenes").fill("plaza, bridge")
    form.get_by_label("Reason").fill(REASON)
    form.get_by_role("button", name="Start job").click()
    page.get_by_text("Started: Training").wait_for()
    [body] = sent(server, "/v1/tasks")
    assert (body["families"], body["is_staged"], body["traffic"]["scenes"]) == (["gaussian_mlp"], False, ["plaza", "bridge"])


@pytest.mark.changes("cancel_task")
def test_a_running_job_is_cancelled_with_a_reason(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Jobs", "refresh=2s")
    confirmation = dialog(page, f"cancel-{RUNS}")
    confirmation.get_by_text("It ends within seconds.").wait_for()
    give_a_reason(confirmation, server, "the wrong match was sent")
    confirmation.get_by_role("button", name="Cancel job").click()
    page.get_by_text("Cancelled: Batch forecast, match.csv · audit aud-0100").wait_for()
    page.get_by_text("Is ended").first.wait_for()
    assert sent(server, f"/v1/tasks/{RUNS}/cancel") == [{"expected_version": 2, "reason": "the wrong match was sent"}]
    expect(button(page, f"cancel-{RUNS}")).to_have_count(0)


def test_a_cancel_that_comes_too_late_is_explained(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Jobs")
    confirmation = dialog(page, f"cancel-{RUNS}")
    server.api.tasks.is_refused = True
    confirmation.get_by_label("Reason").fill("the wrong match was sent")
    confirmation.get_by_role("button", name="Cancel job").click()
    page.get_by_text("Nothing was done: meanwhile the job has changed; it runs.").wait_for()


def test_a_training_leads_to_its_version_and_its_run(page: Page, console: str) -> None:
    opened(page, console, "Jobs", f"task={TRAINED}&refresh=off")
    page.get_by_role("link", name="Its training run under Experiments").click()
    page.wait_for_url(f"**/experiments?*runs={'04' * 16}*")
    page.get_by_text("1 of at most 10 chosen to compare").wait_for()
    page.goto(f"{console}/jobs?task={TRAINED}&refresh=off")
    page.get_by_role("link", name="v4 under Models").click()
    page.wait_for_url("**/models?*version=4*")


def test_a_result_is_downloaded_through_the_console(page: Page, console: str) -> None:
    opened(page, console, "Jobs", f"task={DONE}&refresh=off")
    answer = page.request.get(f"{console}/session/task-results/{DONE}")
    assert (answer.status, answer.text()) == (200, RESULT)
    assert answer.headers["content-disposition"] == 'attachment; filename="batch_predict_22222222.csv"'
    assert page.request.get(f"{console}/session/task-results/{RUNS}").status == 404
    assert page.request.get(f"{console}/session/task-results/{RUNS}x").status == 404
    expect(page.get_by_role("link", name="Download result.csv")).to_have_attribute("href", f"/session/task-results/{DONE}")


def test_nothing_sticks_out_or_is_cut(page: Page, console: str) -> None:
    opened(page, console, "Jobs")
    found = {}
    for width in (1440, 900):
        page.set_viewport_size({"width": width, "height": 900})
        for query in ("", f"task={RUNS}&", f"task={DONE}&"):
            page.goto(f"{console}/jobs?{query}refresh=off")
            page.get_by_text("Updated ").first.wait_for()
            wait_until_drawn(page)
            found[width, query] = troubles(page)
    assert found == {view: [] for view in found}
