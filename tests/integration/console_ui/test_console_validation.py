"""Validation and model card on the page of models, in Streamlit's own test harness."""

from functools import partial
from typing import Any

import pytest
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.confirmation import PENDING
from console.validation.dialog import Pending
from tests.record_builders import check, ranked, validation

opened = partial(opened_page, "Models")
REASON = "the policy has changed since then"
pytestmark = pytest.mark.slow


def table(app: AppTest, column: str) -> Any:
    return next(frame.value for frame in (*app.dataframe, *app.table) if column in frame.value.columns)


def buttons(app: AppTest) -> dict[str, Any]:
    return {one.key: one for one in app.button if one.key}


def test_gates_and_rank_of_the_newest_version_are_shown(server: StubServer) -> None:
    app = opened()
    assert "Lineage, validation and model card" in [header.value for header in app.header]
    assert list(table(app, "What was found")["Check"]) == ["Signature", "Latency"]
    assert list(table(app, "What was found")["Result"]) == ["●\u00a0Passed"] * 2
    assert list(table(app, "ADE (m)")["Rank"]) == [1]
    assert list(table(app, "Why")["Why"]) == ["Behind in no figure that counts."]
    shown = text(app)
    assert "2 of 2 checks passed." in shown
    assert "2212 held-out windows of 172 agents" in shown
    assert buttons(app)["validate"].label == "Validate again"
    assert not buttons(app)["stage-5"].disabled


def test_a_failed_battery_is_shown_and_keeps_a_version_from_being_staged(server: StubServer, api: StubApi) -> None:
    api.releases.validations[5] = validation(5, 1, check("signature"), check("latency", "failed", 31.0))
    app = opened()
    assert "1 check failed" in text(app)
    found = table(app, "What was found")
    assert list(found["Result"]) == ["●\u00a0Passed", "✕\u00a0Failed"]
    assert list(found["What was found"])[1] == "The 99th percentile is 31 ms, allowed at most 20 ms"
    stage = buttons(app)["stage-5"]
    assert stage.disabled
    assert "Its battery has failed (latency)" in stage.help
    assert not buttons(app)["stage-1"].disabled


def test_sentences_stand_in_tables_that_wrap_and_are_no_markup(server: StubServer, api: StubApi) -> None:
    said = "the worst scene is *north_hall*, " * 9
    failed = check("worst_scenes", "failed", 1.3).model_copy(update={"sentence": said})
    excluded = ranked(None, points=None).model_copy(update={"sentence": f"Excluded: {said}"})
    api.releases.validations[5] = validation(5, 1, failed, ranking=[excluded])
    app = opened()
    checks, reasons = (one.value for one in app.table)
    assert checks["What was found"].iloc[0] == said.capitalize().replace("*", "\\*").replace("_", "\\_")
    assert reasons["Why"].iloc[0].startswith("Excluded\\: the worst scene is \\*north")
    assert not {"What was found", "Why"} & {column for one in app.dataframe for column in one.value.columns}


def test_another_version_can_be_looked_at(server: StubServer, api: StubApi) -> None:
    api.releases.validations[2] = validation(2, 1, check("invariance"))
    app = opened()
    app.selectbox(key="validation-version").set_value(2).run()
    assert list(table(app, "What was found")["Check"]) == ["Invariance"]
    assert any(path == "/v1/models/2/validation" for _, path, _ in api.reads)


def test_a_version_without_validation_names_the_next_action(server: StubServer, api: StubApi) -> None:
    del api.releases.validations[5]
    app = opened()
    shown = text(app)
    assert "It has not been validated, so it cannot be staged." in shown
    assert buttons(app)["validate"].label == "Validate"
    assert buttons(app)["stage-5"].disabled
    assert not [path for _, path, _ in api.reads if path.startswith("/v1/models/5")]


def confirmed(app: AppTest, reason: str) -> AppTest:
    app.session_state[PENDING] = Pending("d1", 5)
    app.run()
    next(area for area in app.text_area if area.key.startswith("validation-reason-")).set_value(reason)
    return app.button(key="validation-submit").click().run()


def test_a_validation_is_asked_for_with_a_reason_and_once(server: StubServer, api: StubApi) -> None:
    app = confirmed(opened(), "short")
    assert any("at least 10 characters" in error.value.replace("\\", "") for error in app.error)
    assert not api.releases.asked
    app = confirmed(opened(), REASON)
    assert not app.exception
    [(path, headers, body)] = [(path, headers, body) for method, path, headers, body in api.calls if method == "POST"]
    assert (path, body) == ("/v1/models/5/validation", {"reason": REASON})
    assert headers["idempotency-key"]
    again = opened()
    assert buttons(again)["validate"].disabled
    assert "asked for already" in buttons(again)["validate"].help


def test_viewers_see_all_of_it_and_change_nothing(server: StubServer) -> None:
    app = opened("vera")
    assert len(table(app, "What was found")) == 2
    assert buttons(app)["validate"].disabled
    assert "viewer" in buttons(app)["validate"].help


def test_figures_and_card_are_read_when_they_are_opened(server: StubServer, api: StubApi) -> None:
    app = opened()
    assert not [path for _, path, _ in api.reads if path.endswith("/card")]
    app.session_state["model-card"] = True
    app.session_state["battery-figures"] = True
    app.run()
    assert not app.exception
    assert "### Model card: trajectory v5" in text(app)
    assert list(table(app, "Measured")["Allowed"]) == ["at most 20"] * 2
