"""The Jobs page in Streamlit's own test harness: what runs, one job, roles, bad links, an API that is away or of the release before."""

import re
from datetime import UTC, datetime

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from console_stub.refusal import Refused
from console_stub.tasks import DONE, FAILED, RUNS, TRAINED
from streamlit.testing.v1 import AppTest

from console.confirmation import PENDING
from trajops.tasks.lifecycle import TaskState

pytestmark = pytest.mark.slow


def test_what_runs_is_on_top_with_progress_and_estimate(server: StubServer) -> None:
    app = opened("Jobs")
    shown = text(app)
    assert re.search(r"Batch forecast, match.csv has run for \d+ s; none waits\.", shown)
    [bar] = app.get("progress")
    assert (bar.proto.value, bar.proto.text) == (42, "42 % · Predicts\\: 420 of 1000 · about 95 s left")
    for said in ("Forecast 22 of 22 agents.", "row 12, column x", "v4 is registered.", "Training, training days"):
        assert said in shown


def test_an_operator_may_start_and_cancel_and_a_viewer_is_told_why_not(server: StubServer) -> None:
    app = opened("Jobs")
    assert not app.button(key="start-job").disabled
    assert not app.button(key=f"cancel-{RUNS}").disabled
    app.button(key="start-job").click().run()
    assert app.session_state[PENDING].name == "start"
    viewer = opened("Jobs", "vera")
    for key in ("start-job", f"cancel-{RUNS}"):
        assert viewer.button(key=key).disabled
        assert "signed in as a viewer" in viewer.button(key=key).help
    assert "signed in as a viewer" in text(viewer)


def test_one_job_is_a_deep_link_with_its_log_and_what_came_of_it(server: StubServer) -> None:
    running = opened("Jobs", task=RUNS)
    assert "read 22 agents" in running.code[0].value
    assert running.button(key="job-cancel").label == "Cancel"
    done = opened("Jobs", task=DONE)
    [link] = done.get("link_button")
    assert (link.proto.url, link.proto.label) == (f"/session/task-results/{DONE}", "Download result.csv (35 B)")
    assert not [one for one in done.button if one.key == "job-cancel"]
    trained = opened("Jobs", task=TRAINED)
    assert {one.label: one.value for one in trained.metric}["ADE"] == "0.41 m"
    failed = opened("Jobs", task=FAILED)
    assert "row 12, column x" in failed.error[0].value.replace("\\", "")
    failed.button(key="all-jobs").click().run()
    assert "task" not in failed.query_params


def links(app: AppTest) -> dict[str, str]:
    return {one.proto.label: one.proto.query_string for one in app.get("page_link") if one.proto.query_string}


def test_a_job_leads_to_the_versions_and_runs_that_it_has_made_or_to_the_one_that_it_asked(server: StubServer) -> None:
    trained = links(opened("Jobs", task=TRAINED))
    assert trained == {"v4 under Models": "version=4", "Its training run under Experiments": f"runs={'04' * 16}"}
    assert links(opened("Jobs", task=DONE)) == {"v2 under Models": "version=2"}
    assert links(opened("Jobs")) == {"v4": "version=4", "v2": "version=2"}


def test_a_link_to_no_job_says_so_and_leads_back(server: StubServer) -> None:
    app = opened("Jobs", task="f" * 32)
    assert "cannot be shown" in text(app)
    assert app.button(key="all-jobs")
    assert any(one.label == "Retry" for one in app.button)


def test_filters_are_in_the_address(server: StubServer) -> None:
    app = opened("Jobs", kind="Training")
    assert "Training, training days" in text(app)
    assert "row 12" not in text(app)
    none = opened("Jobs", kind="Evaluation")
    assert "No job is left by these filters." in text(none)


def test_an_api_of_the_release_before_leaves_a_page_with_the_reason(
    server: StubServer, api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: str) -> None:
        raise Refused(404, "not_found", f"there is no {path}; /docs lists what there is")

    monkeypatch.setattr(api.tasks, "read", missing)
    app = opened("Jobs")
    assert any("There is no /v1/tasks" in one.value.replace("\\", "") for one in app.error)


def test_a_queue_that_nobody_works_off_is_said(server: StubServer, api: StubApi) -> None:
    api.tasks.known = {RUNS: api.tasks.known[RUNS].model_copy(update={"state": TaskState.QUEUED, "started_at": None})}
    assert "Nothing runs; 1 waits for a worker. See on Services" in text(opened("Jobs"))
    api.tasks.known[RUNS] = api.tasks.known[RUNS].model_copy(update={"updated_at": datetime.now(UTC)})
    assert "See on Services" not in text(opened("Jobs"))
