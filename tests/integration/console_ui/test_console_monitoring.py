"""The Performance and Drift pages in Streamlit's own test harness: verdicts, ranges, calibrations, references, checks."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.confirmation import PENDING
from console.performance import calibration_dialog

pytestmark = pytest.mark.slow


# Performance


def test_performance_says_the_verdict_the_calibration_and_the_estimate(server: StubServer) -> None:
    app = opened("Performance")
    shown = text(app)
    assert "Worse than validated" in shown
    assert "ADE 0.53 m (0.49 m to 0.57 m), 0.41 m at validation" in shown
    assert "Last check 21 s ago" in shown
    assert "86.9 % → 90.2 % of the newest truth inside the 90 % ellipse" in shown
    assert "86.5 %" in shown, "coverage of what was served as trained"
    assert "352 predictions lack truth" in shown
    assert "Estimates came out within 0.02 m on average" in shown
    assert len(app.get("plotly_chart")) == 3
    assert next(d.value for d in app.dataframe)["Verdict"].tolist() == ["✕ Worse than validated", "● As validated"]


@pytest.mark.parametrize(
    ("dimension", "first"), [("Speed", "Standing"), ("Scene", "second_half"), ("Variant", "Champion")], ids=["speed", "scene", "variant"]
)
def test_performance_is_taken_apart_as_chosen(server: StubServer, api: StubApi, dimension: str, first: str) -> None:
    app = opened("Performance")
    app.session_state["slice-by"] = dimension
    app.session_state["slice-metric"] = "Coverage"
    app.run()
    assert not app.exception
    assert next(d.value for d in app.dataframe)[dimension].iloc[0] == first
    wanted = {"Speed": "speed_band", "Scene": "scene", "Variant": "variant"}[dimension]
    assert wanted in [query.get("by") for _, path, query in api.reads if path == "/v1/performance/slices"]


def test_a_range_of_days_is_asked_for_as_one_day(server: StubServer, api: StubApi) -> None:
    app = opened("Performance")
    app.session_state["range"] = "7d"
    app.run()
    assert "for the last 24 hours at most" in text(app)
    _, _, query = [read for read in api.reads if read[1] == "/v1/performance/slices"][-1]
    assert datetime.fromisoformat(query["until"]) - datetime.fromisoformat(query["since"]) == timedelta(days=1)


def calibration_with(pending: calibration_dialog.Pending, user: str = "ada") -> AppTest:
    app = opened("Performance", user)
    app.session_state[PENDING] = pending
    return app.run()


def test_a_calibration_is_taken_out_with_a_reason_and_the_version_typed(server: StubServer, api: StubApi) -> None:
    app = calibration_with(calibration_dialog.Pending("d1", "revert", api.performance.calibrated[0]))
    assert "served as it was trained again" in text(app)
    app.text_area(key="calibration-reason-d1").set_value("too short")
    app.button(key="calibration-submit").click().run()
    assert [e.value[:24] for e in app.error] == ["Give a reason of at leas", "Type 2 to confirm that y"]
    assert not [c for c in api.calls if c[0] == "POST"]
    app.text_area(key="calibration-reason-d1").set_value("the ellipses are far too wide now")
    app.text_input(key="calibration-version-d1").set_value("v2")
    app.button(key="calibration-submit").click().run()
    assert not app.exception
    (_, path, headers, body) = next(c for c in api.calls if c[0] == "POST")
    assert path == "/v1/calibrations/2/revert"
    assert body == {"expected_state": "applied", "reason": "the ellipses are far too wide now"}
    assert headers["idempotency-key"]
    assert PENDING not in app.session_state
    assert api.performance.calibrated[0].state == "reverted"


def test_a_proposal_is_applied_and_a_viewer_has_no_say(server: StubServer, api: StubApi) -> None:
    viewer = opened("Performance", user="vera")
    for key in ("recalibrate", "revert-calibration-2", "apply-calibration-3", "revert-calibration-3"):
        assert viewer.button(key=key).disabled
    app = calibration_with(calibration_dialog.Pending("d1", "apply", api.performance.calibrated[1]))
    app.text_area(key="calibration-reason-d1").set_value("the challenger needs it as well")
    app.text_input(key="calibration-version-d1").set_value("3")
    app.button(key="calibration-submit").click().run()
    assert not app.exception
    assert api.performance.calibrated[1].state == "applied"


def test_a_calibration_that_somebody_else_changed_is_said_and_nothing_is_lost(server: StubServer, api: StubApi) -> None:
    pending = calibration_dialog.Pending("d1", "apply", api.performance.calibrated[1])
    api.performance.calibrated[1] = api.performance.calibrated[1].model_copy(update={"state": "superseded"})
    app = calibration_with(pending)
    app.text_area(key="calibration-reason-d1").set_value("the challenger needs it as well")
    app.text_input(key="calibration-version-d1").set_value("3")
    app.button(key="calibration-submit").click().run()
    assert any("calibration 3 is superseded" in e.value for e in app.error)


def test_what_was_typed_about_one_calibration_is_not_carried_into_the_next(server: StubServer, api: StubApi) -> None:
    app = calibration_with(calibration_dialog.Pending("d1", "revert", api.performance.calibrated[0]))
    app.text_area[0].set_value("too short")
    app.text_input[0].set_value("3")
    app.button(key="calibration-submit").click().run()
    assert [app.text_area[0].value, app.text_input[0].value] == ["too short", "3"], "a mistake is mended where it was made"
    app.session_state[PENDING] = calibration_dialog.Pending("d2", "apply", api.performance.calibrated[1])
    app.run()
    assert not app.exception
    assert not any((app.text_area[0].value, app.text_input[0].value))


def test_an_operator_asks_for_a_recalibration(server: StubServer, api: StubApi) -> None:
    app = opened("Performance")
    app.button(key="recalibrate").click().run()
    assert ("POST", "/v1/jobs/recalibrate/run") in [c[:2] for c in api.calls]
    assert "v3: too little data; 12 agents to fit on." in text(app), "what came of it"


# Drift


def test_drift_shows_verdict_columns_and_report(server: StubServer) -> None:
    app = opened("Drift")
    assert "4 of 7 columns drifted" in text(app)
    assert "path length, mean speed × time step, mean speed squared" in text(app)
    table = next(d.value for d in app.dataframe if "Share of threshold" in d.value.columns)
    assert tuple(table.iloc[0][["Column", "Raw name"]]) == ("ADE (m)", "ade_m")
    assert len(app.get("plotly_chart")) == 2
    assert app.link_button[0].url == "/session/drift-reports/check-17", "the newest check with a report, not the newest check"
    assert re.fullmatch(r"Last full report, (\d{4}-\d\d-\d\d )?\d\d:\d\d UTC", app.link_button[0].label)


@pytest.mark.parametrize(("chosen", "days"), [("1h", 1 / 24), ("30d", 30)])
def test_drift_shows_the_checks_of_the_chosen_range_and_their_reports(server: StubServer, api: StubApi, chosen: str, days: float) -> None:
    app = opened("Drift")
    app.session_state["range"] = chosen
    app.run()
    _, _, query = [read for read in api.reads if read[1] == "/v1/drift"][-1]
    assert datetime.now(UTC) - datetime.fromisoformat(query["since"]) == pytest.approx(timedelta(days=days), abs=timedelta(seconds=60))
    reports = next(d.value for d in app.dataframe if "Full report" in d.value)["Full report"]
    assert reports.dropna().to_list() == ["/session/drift-reports/check-17"]


@pytest.mark.parametrize(
    ("form", "button", "path", "done"),
    [
        ("reference", "Choose this reference", "/v1/drift/reference", "Reference: recorded history"),
        ("mute", "Mute the column", "/v1/drift/mutes/speed_mps", "muted: mean speed"),
    ],
)
def test_what_drift_is_held_against_is_changed_with_a_reason(
    server: StubServer, api: StubApi, form: str, button: str, path: str, done: str
) -> None:
    app = opened("Drift")

    def press(reason: str) -> list[tuple[str, str]]:
        app.text_area(key=f"drift-{form}-reason").set_value(reason)
        next(one for one in app.button if one.label == button).click().run()
        return [(one[1], one[3]["reason"]) for one in api.calls if one[0] == "POST"]

    assert press("too short") == []
    assert [e.value[:24] for e in app.error] == ["Give a reason of at leas"]
    assert press(" the square was rebuilt ") == [(path, "the square was rebuilt")]
    assert not app.exception
    assert done in text(app)


def test_figures_of_thirty_days_are_asked_for(server: StubServer, api: StubApi) -> None:
    app = opened("Overview")
    app.session_state["range"] = "30d"
    app.run()
    assert not app.exception
    _, _, query = [read for read in api.reads if read[1] == "/v1/performance"][-1]
    assert datetime.fromisoformat(query["until"]) - datetime.fromisoformat(query["since"]) == timedelta(days=30)


def test_drift_by_scene_has_a_link_of_its_own(api: StubApi, server: StubServer) -> None:
    app = opened("Drift")
    scenes = next(d.value for d in app.dataframe if "Scene" in d.value.columns and "Agents" in d.value.columns)
    assert list(scenes["Scene"]) == ["north hall", "square"]
    quality = next(d.value for d in app.dataframe if "Rule" in d.value.columns)
    assert tuple(quality.iloc[0][["Rule", "State", "Scene"]]) == ("Frame of positions", "✕ Bad", "north hall")
    next(box for box in app.selectbox if box.label == "Scene").select("north hall").run()
    assert app.query_params["scene"] in ("north hall", ["north hall"])
    assert "The hall has changed." in text(app)
    assert not any("Drifted columns" in d.value.columns and "Scene" in d.value.columns for d in app.dataframe)


def test_too_little_data_is_explained_and_never_called_stable(api: StubApi, server: StubServer) -> None:
    api.drift.verdict = "insufficient_data"
    app = opened("Drift")
    assert "Too little data" in text(app)
    assert any("nothing is said about drift" in i.value for i in app.info)
    assert "Stable" not in text(app)


@pytest.mark.parametrize("has_report", [True, False])
def test_a_check_without_histograms_names_a_report_only_where_there_is_one(
    api: StubApi, server: StubServer, monkeypatch: pytest.MonkeyPatch, *, has_report: bool
) -> None:
    told = api.drift.drift()
    assert told.latest is not None
    latest = told.latest.model_copy(update={"columns": [one.model_copy(update={"bins": []}) for one in told.latest.columns]})
    report = told.last_report if has_report else None
    monkeypatch.setattr(api.drift, "drift", lambda **_: told.model_copy(update={"latest": latest, "last_report": report}))
    shown = text(opened("Drift"))
    assert "This check kept no histograms" in shown
    assert ("Open the full report above" in shown) == has_report


def test_operator_runs_a_check_and_viewer_cannot(api: StubApi, server: StubServer) -> None:
    app = opened("Drift")
    app.button(key="run-drift").click().run()
    assert ("POST", "/v1/jobs/check_drift/run") in [c[:2] for c in api.calls]
    assert opened("Drift", user="vera").button(key="run-drift").disabled
