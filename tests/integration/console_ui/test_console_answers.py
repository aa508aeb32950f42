"""Answers of the policy on the Alerts page, in Streamlit's own test harness: their steps, proposals, decisions."""

from typing import Any, Literal

import pytest
from console_alerts import WHY, confirm, opened, posts, with_pending
from console_app import text
from console_stub import Refused, StubApi, StubServer

from console.alerts.dialogs import about_answer
from console.confirmation import PENDING

pytestmark = pytest.mark.slow


def test_an_alert_shows_its_answer_step_by_step(server: StubServer) -> None:
    app = opened(alert="drift-1")
    assert not app.exception
    assert "Answered without a hand" in [h.value for h in app.header]
    part = app.container(key="alert-answer")
    assert "At work" in part.markdown[0].value
    assert "rule “traffic has changed”" in part.markdown[0].value
    found = [app.container(key=f"answer-step-{n}") for n in (1, 2, 3)]
    for container, words in zip(
        found,
        (("Done", "1. Pause the rollout"), ("Refused", "2. Roll back"), ("Waiting", "3. Train a challenger on recent tracks")),
        strict=True,
    ):
        assert all(word in container.markdown[0].value for word in (*words, "UTC"))
    assert found[2].markdown[1].value == "41 of 60 agents seen since, to train on."
    table = found[1].markdown[2].value
    for figure in ("Mean ADE over 34 agents", "the previous champion | the champion", "0.71 m | 0.60 m", "0.11 m farther"):
        assert figure in table
    assert [[link.label for link in one.page_link] for one in found] == [["v3 on the Models page"], [], []]
    assert not part.button, "there is nothing to decide"
    assert "Answered without a hand" not in [h.value for h in opened(alert="late-1").header]


def test_answers_that_cannot_be_read_leave_the_alert_readable(server: StubServer, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: Any) -> None:
        raise Refused(503, "unavailable", "the control state is away")

    monkeypatch.setattr(api.alerts, "answered", refused)
    app = opened(alert="drift-1")
    assert not app.exception
    assert "What the policy does about it cannot be read: the control state is away" in text(app)
    assert "What happened" in [h.value for h in app.header]


def test_answers_are_listed_and_lead_to_their_alert(server: StubServer) -> None:
    app = opened(section="Answers")
    assert not app.exception
    proposed, working = app.container(key="answer-ans-2"), app.container(key="answer-ans-1")
    assert "Proposed" in proposed.markdown[0].value
    assert "It would pause the rollout, then roll back." in proposed.markdown[2].value
    assert "At work" in working.markdown[0].value
    assert "The canary of v3 is paused. 41 of 60 agents seen since" in working.markdown[2].value
    app.button(key="answered-ans-1").click().run()
    assert app.query_params["alert"] == "drift-1"


def test_a_proposal_is_named_at_the_top_and_leads_to_its_alert(server: StubServer, api: StubApi) -> None:
    app = opened()
    assert "1 answer is proposed and waits for approval: Answers are slow · model_version=3." in text(app)
    app.button(key="look-at-proposals").click().run()
    assert app.query_params["alert"] == "slow-1"
    api.alerts.answers.append(api.alerts.answers[0].model_copy(update={"answer_id": "ans-3", "alert_id": "late-1"}))
    app.button(key="refresh-now").click().run()
    app.button(key="look-at-proposals").click().run()
    assert "alert" not in app.query_params
    assert {"approve-ans-2", "approve-ans-3"} <= {b.key for b in app.button}


@pytest.mark.parametrize(
    ("name", "toast", "state"),
    [("approve", "Approved: Answers are slow", "working"), ("dismiss", "Dismissed: Answers are slow", "dismissed")],
)
def test_a_proposal_is_decided_with_what_was_seen(
    server: StubServer, api: StubApi, name: Literal["approve", "dismiss"], toast: str, state: str
) -> None:
    app = opened(alert="slow-1")
    app.button(key=f"{name}-ans-2").click().run()
    assert "It would pause the rollout, then roll back." in text(app)
    assert not posts(api)
    confirm(app)
    assert posts(api) == [(f"/v1/answers/ans-2/{name}", {"expected_version": 1, "reason": WHY})]
    assert len(next(headers["idempotency-key"] for method, _, headers, _ in api.calls if method == "POST")) == 32
    [told] = [t.value for t in app.toast]
    assert toast in told
    assert f"audit {api.releases.audit[0].audit_id}" in told
    assert api.alerts.answers[0].state == state
    assert not app.container(key="alert-answer").button
    assert "look-at-proposals" not in {b.key for b in app.button}


def test_a_decision_that_comes_too_late_says_who_was_faster(server: StubServer, api: StubApi) -> None:
    app = with_pending(about_answer("approve", api.alerts.answers[0])._replace(dialog_id="d1"))
    api.alerts.overtaken_by = "ben"
    confirm(app)
    [told] = [w.value.replace("\\", "") for w in app.warning]
    assert told.startswith("Nothing was done, because the proposal changed while you were deciding: ben dismissed it")
    assert PENDING not in app.session_state


def test_viewer_who_forces_a_decision_is_refused_by_the_api(server: StubServer, api: StubApi) -> None:
    app = with_pending(about_answer("approve", api.alerts.answers[0])._replace(dialog_id="d1"), "vera")
    confirm(app)
    assert any("a viewer may not change what is served" in e.value for e in app.error)
    assert api.alerts.answers[0].state == "proposed"
