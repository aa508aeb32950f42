"""What single pages of the console say and do, in Streamlit's own test harness."""

from datetime import UTC, datetime, timedelta

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer

pytestmark = pytest.mark.slow


# Overview


def test_overview_says_the_verdict_the_accuracy_and_the_credit(server: StubServer) -> None:
    app = opened("Overview")
    shown = text(app)
    assert "Serving well; the last drift check failed" in shown
    assert "ADE 0.53 m, 13 % better than constant velocity" in shown
    assert "Demo data: SkillCorner open data (MIT)" in shown
    assert "**Prediction API**" in shown
    assert shown.count("DEMO") == 1
    assert "demo]" not in shown, "one chip says it"
    metrics = {m.label: m.value for m in app.metric}
    assert metrics["Live ADE"] == "0.53 m"
    assert metrics["Live FDE"] == "1.12 m"
    live = next(d for d in app.dataframe if "CV ADE (m)" in d.value.columns)
    assert live.proto.placeholder == "–"
    assert live.proto.arrow_data.styler.display_values, "whole numbers are written as everywhere else"
    jobs = next(d.value for d in app.dataframe if "Job" in d.value.columns)
    assert list(jobs["State"]) == ["● Succeeded", "● Succeeded", "✕ Failed", "● Succeeded", "▲ Late"]
    assert list(jobs["Job"])[:2] == ["Compact the lake", "Score predictions"]
    assert list(jobs["Result"])[:2] == ["segments moved: 3, rows moved: 4\u202f120", "predictions scored: 811, scored to the end: 790"]


@pytest.mark.parametrize(
    ("age", "label"),
    [
        (timedelta(hours=3), "Show the last 6h, which has it"),
        (timedelta(days=6), "Show the last 7d, which has it"),
        (timedelta(days=99), None),
    ],
)
def test_an_empty_range_leads_to_the_newest_data(server: StubServer, api: StubApi, age: timedelta, label: str | None) -> None:
    api.performance.quiet_since = datetime.now(UTC) - age
    app = opened("Overview", range="1h")
    found = [one for one in app.button if one.key == "accuracy-reach"]
    assert [one.label for one in found] == ([] if label is None else [label])
    if label is None:
        assert "Choose a wider time range above." in text(app)
        return
    found[0].click().run()
    assert app.session_state["range"] == label.split()[3].rstrip(",")
    assert "accuracy-reach" not in {one.key for one in app.button}, "there is something to see now"


def test_time_range_is_read_from_the_url_and_sent_to_the_api(server: StubServer, api: StubApi) -> None:
    app = opened("Overview", range="6h")
    assert app.session_state["range"] == "6h"
    accuracy = next(d.value for d in app.dataframe if "Variant" in d.value.columns)
    assert list(accuracy["Variant"]) == ["champion", "control", "treatment"]


# Live predict


def test_live_predict_shows_the_latest_scored_prediction(server: StubServer) -> None:
    app = opened("Live predict")
    metrics = {m.label: m.value for m in app.metric}
    assert metrics["Steps scored"] == "12 of 12"
    assert metrics["ADE so far"] == "0.41 m"
    assert metrics["Version"] == "v2"
    assert app.get("plotly_chart")


def test_newest_prediction_has_no_truth_yet(server: StubServer) -> None:
    app = opened("Live predict")
    app.session_state["which"] = "Newest"
    app.run()
    metrics = {m.label: m.value for m in app.metric}
    assert metrics["Steps scored"] == "0 of 12"
    assert metrics["ADE so far"] == "–"


def test_comparison_asks_the_other_version_with_the_same_history_once(server: StubServer, api: StubApi) -> None:
    app = opened("Live predict")
    app.selectbox(key="compare-of-shown").set_value(3).run()
    app.run()
    assert not app.exception
    predictions = [body for method, path, _, body in api.calls if path == "/predict"]
    assert len(predictions) == 1
    assert predictions[0]["model_version"] == 3
    assert len(predictions[0]["history"]) == 8
    assert predictions[0]["scene_id"] == "console", "a try must not mix with the agent's own track"
    assert "v3 ADE" in text(app)


def test_prediction_is_a_deep_link(server: StubServer, api: StubApi) -> None:
    wanted = api.predictions.remembered(9).prediction.prediction_id
    app = opened("Live predict")
    app.query_params["source"] = "Prediction"
    app.query_params["prediction"] = wanted
    app.session_state["source"] = "Prediction"
    app.run()
    assert not app.exception
    assert wanted in [c.value for c in app.code]


def test_own_points_are_predicted_by_two_versions(server: StubServer, api: StubApi) -> None:
    app = opened("Live predict")
    app.session_state["source"] = "Own points"
    app.run()
    app.multiselect(key="own-versions").set_value([2, 3])
    app.button(key="own-predict").click().run()
    assert not app.exception
    assert [b["model_version"] for _, p, _, b in api.calls if p == "/predict"] == [2, 3]
    assert app.get("plotly_chart")
    assert any("curl -sS" in c.value and "$TRAJOPS_TOKEN" in c.value for c in app.code)


# Services


@pytest.mark.parametrize(("standing", "word"), [("needs_attention", "Needs attention"), ("down", "Down"), ("worth_a_look", "Worth a look")])
def test_both_pages_have_one_word_for_how_everything_stands(
    api: StubApi, server: StubServer, monkeypatch: pytest.MonkeyPatch, standing: str, word: str
) -> None:
    told = api.services.status().model_copy(update={"verdict": "bad", "standing": standing})
    monkeypatch.setattr(api.services, "status", lambda **_: told)
    for page in ("Overview", "Services"):
        key = "verdict" if page == "Overview" else "services-verdict"
        badge = opened(page).container(key=key).markdown[0].value
        assert f": {word}]" in badge, page


def test_a_paused_canary_is_told_on_the_overview(api: StubApi, server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    told = api.services.status()
    assert told.route.challenger is not None
    route = told.route.model_copy(update={"coverage": 0.0})
    monkeypatch.setattr(api.services, "status", lambda **_: told.model_copy(update={"route": route, "drift_verdict": "drift"}))
    shown = text(opened("Overview"))
    assert f"The comparison of v{told.route.challenger.model_version} is paused: it answers nobody until it is resumed" in shown
    assert "Wait until the drift is over" in shown
    assert "on 0 % of agents" not in shown


def test_predictions_that_wait_for_truth_are_no_line_over_time(api: StubApi, server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    told = api.performance.performance()
    nothing = {"scored": 0, "ade_m": None, "fde_m": None, "coverage": None}
    waiting = [point.model_copy(update=nothing) for point in told.series]
    monkeypatch.setattr(api.performance, "performance", lambda **_: told.model_copy(update={"series": waiting}))
    assert "Nothing has been scored in this range" in text(opened("Overview"))


def test_services_says_the_verdict_the_parts_the_budget_and_the_jobs(server: StubServer) -> None:
    app = opened("Services")
    shown = text(app)
    assert "Lake: last compaction 5 min ago (2 more parts need a look)" in shown
    assert "2 processes of the API, all ready; all answer by routing epoch 3" in shown
    metrics = {m.label: m.value for m in app.metric}
    assert metrics["Budget left"] == "66 %"
    assert metrics["Bad so far"] == "14 min"
    assert metrics["Availability"] == "99.96 %"
    assert metrics["Unknown"] == "72 min"
    assert "does not answer (ConnectError)" in shown
    burns = next(d.value for d in app.dataframe if "Burn rate" in d.value.columns)
    assert list(burns["Window"]) == ["5 min", "30 min", "60 min", "6 h", "3 d", "30 d"]
    assert list(burns["Somebody is told above"]) == ["14.4", "6", "14.4", "6, 1", "1", "–"]
    jobs = next(d.value for d in app.dataframe if "Next due" in d.value.columns)
    assert list(jobs["State"]) == ["✕ Failed", "▲ Late", "● Succeeded", "● Succeeded", "● Succeeded"], "what needs a look comes first"
    assert next(iter(jobs["Next due"])).startswith("in ")
    assert len(app.get("plotly_chart")) == 3


def test_the_runs_of_a_job_are_a_deep_link_with_the_error(server: StubServer) -> None:
    app = opened("Services", job="check_drift")
    assert not app.exception
    assert [e.value for e in app.error] == ["the reference window is empty; run the backfill first"]
    assert "0 % of the last 12 runs succeeded" in text(app)
    runs = next(d.value for d in app.dataframe if "Worker" in d.value.columns)
    assert len(runs) == 12
    assert set(runs["State"]) == {"✕ Failed"}


def test_an_operator_runs_a_job_now_and_a_viewer_is_told_why_not(server: StubServer, api: StubApi) -> None:
    app = opened("Services")
    app.selectbox(key="chosen-job").set_value("join_truth").run()
    app.button(key="run-job").click().run()
    assert not app.exception
    assert ("POST", "/v1/jobs/join_truth/run") in [c[:2] for c in api.calls]
    assert any("Score predictions has run" in t.value for t in app.toast)
    button = opened("Services", user="vera").button(key="run-job")
    assert button.disabled
    assert "viewer" in button.help


def test_a_job_is_paused_with_a_reason_and_resumed(server: StubServer, api: StubApi) -> None:
    app = opened("Services")
    app.selectbox(key="chosen-job").set_value("compact_lake").run()
    reason, submit = "pause-reason-compact_lake-False", "pause-submit-compact_lake-False"
    app.text_input(key=reason).set_value("short")
    app.button(key=submit).click().run()
    assert any("at least 10 characters" in e.value for e in app.error)
    assert not [c for c in api.calls if c[0] == "POST"]
    app.text_input(key=reason).set_value("the disk is nearly full")
    app.button(key=submit).click().run()
    assert [c[3] for c in api.calls if c[1] == "/v1/jobs/compact_lake/pause"] == [{"reason": "the disk is nearly full"}]
    assert "It runs by hand only" in text(app)
    reason, submit = "pause-reason-compact_lake-True", "pause-submit-compact_lake-True"
    assert app.button(key=submit).label == "Resume this job"
    assert not app.text_input(key=reason).value, "the reason to pause is none to resume"
    app.text_input(key=reason).set_value("there is room again")
    app.button(key=submit).click().run()
    assert not api.jobs.paused


def test_the_range_of_the_availability_is_asked_for(server: StubServer, api: StubApi) -> None:
    app = opened("Services")
    app.radio(key="availability-hours").set_value("30 days").run()
    assert not app.exception
    assert list(dict.fromkeys(query["hours"] for _, path, query in api.reads if path == "/v1/availability")) == ["24", "720"]
