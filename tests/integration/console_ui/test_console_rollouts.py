"""The rollout on the Models page in Streamlit's own test harness: each state, roles, changes, refusals."""

from functools import partial
from typing import Any

import pytest
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.confirmation import PENDING
from console.rollouts.dialogs import PendingRollout

opened = partial(opened_page, "Models")
REASON = "because the operator decided so"
pytestmark = pytest.mark.slow


def buttons(app: AppTest) -> dict[str, Any]:
    return {b.key: b for b in app.button if b.key and b.key.startswith("rollout-")}


def dialog(api: StubApi, name: Any, **given: Any) -> AppTest:
    """A confirmation; AppTest cannot press inside a dialog that a click opened."""
    app = opened()
    version = 4 if name == "start" else 3
    seen = None if name == "start" else api.rollouts.known
    app.session_state[PENDING] = PendingRollout("d1", name, version, seen, **given)
    return app.run()


def confirm(app: AppTest, reason: str = REASON, typed: str = "3") -> AppTest:
    app.text_area(key="rollout-reason-d1").set_value(reason)
    app.text_input(key="rollout-typed-d1").set_value(typed)
    app.button(key="rollout-submit").click().run()
    assert not app.exception
    return app


def posts(api: StubApi) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body in api.calls if method == "POST" and path.startswith("/v1/rollouts")]


def test_it_is_seen_at_a_glance(server: StubServer) -> None:
    app = opened()
    told = text(app)
    assert "**v3** over v2" in told
    assert "The canary at 50 % waits: 31 of 50 agents with truth in each arm in this step." in told
    assert [place in told for place in ("Shadow", "Canary 10 %", "Canary 50 %", "Canary 100 %", "Promotion", "Bake")] == [True] * 6
    assert list(buttons(app)) == ["rollout-pause", "rollout-stop", "rollout-roll_back", "rollout-start-4"]
    assert buttons(app)["rollout-start-4"].disabled


def test_nothing_was_rolled_out_yet(api: StubApi, server: StubServer) -> None:
    api.rollouts.known = None
    app = opened()
    assert "No version has been rolled out step by step yet." in text(app)
    assert not buttons(app)["rollout-start-4"].disabled


def test_a_viewer_sees_why_nothing_can_be_pressed(server: StubServer) -> None:
    found = buttons(opened("vera"))
    assert all(button.disabled and "viewer" in str(button.help) for button in found.values())


@pytest.mark.parametrize(
    ("name", "path"), [("pause", "pause"), ("stop", "stop"), ("roll_back", "rollback"), ("resume", "resume"), ("approve", "approve")]
)
def test_a_change_is_made_once_it_is_confirmed(api: StubApi, server: StubServer, name: str, path: str) -> None:
    api.rollouts.ready()
    assert confirm(dialog(api, name)).toast
    assert posts(api) == [(f"/v1/rollouts/r1/{path}", {"expected_version": 1, "reason": REASON})]


def test_an_approval_shows_the_gates(api: StubApi, server: StubServer) -> None:
    api.rollouts.ready()
    assert not buttons(opened())["rollout-approve"].disabled
    assert "|Approval|Waits|" in text(dialog(api, "approve"))


def test_a_rollout_is_started_by_a_policy(api: StubApi, server: StubServer) -> None:
    api.rollouts.known = None
    app = dialog(api, "start", deployment_id="dep-4", expected_version=3)
    app.selectbox(key="rollout-policy-d1").set_value("bold")
    confirm(app, typed="v4")
    sent = {"deployment_id": "dep-4", "expected_version": 3, "policy": "bold", "reason": REASON}
    assert posts(api) == [("/v1/rollouts", sent)]


@pytest.mark.parametrize(("reason", "typed", "said"), [("short", "3", "at least 10 characters"), (REASON, "9", "Type 3 to confirm")])
def test_what_is_not_confirmed_is_not_sent(api: StubApi, server: StubServer, reason: str, typed: str, said: str) -> None:
    assert said in text(confirm(dialog(api, "pause"), reason, typed))
    assert posts(api) == []


def test_a_change_that_comes_too_late_is_told_on_the_page(api: StubApi, server: StubServer) -> None:
    api.rollouts.conflict_next = True
    app = confirm(dialog(api, "pause"))
    assert "Nothing was done: the rollout has version 9" in text(app)
    assert PENDING not in app.session_state


def test_a_version_that_bakes(api: StubApi, server: StubServer) -> None:
    api.rollouts.bakes()
    app = opened()
    assert [key for key in buttons(app) if "start" not in key] == ["rollout-roll_back", "rollout-stop"]
    assert buttons(app)["rollout-stop"].label == "End the bake"
    assert "stays champion" in text(dialog(api, "stop"))
