"""The plan of an A/B test in Streamlit's own test harness: filled in, counted, launched, kept as a draft, and taken to its end."""

from pathlib import Path
from typing import Any

import pytest
from console_ab import REASON, confirm, opened, posts
from console_app import text
from console_stub import StubApi, StubServer
from console_stub.experiments import plan_for
from streamlit.testing.v1 import AppTest

from console.ab.dialogs import PendingChange
from console.confirmation import PENDING
from tests.served_api import served_api
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan, ExperimentsOut
from trajops.experiments.lifecycle import ExperimentState as S

pytestmark = pytest.mark.slow


def fill(app: AppTest, hypothesis: str = "boosted trees are nearer to the truth") -> AppTest:
    next(area for area in app.text_area if area.key.startswith("plan-hypothesis-")).set_value(hypothesis)
    return app.run()


def give_reason(app: AppTest) -> AppTest:
    next(area for area in app.text_area if area.key.startswith("plan-reason-")).set_value(REASON)
    return app.run()


def test_a_plan_is_made_with_the_usual_rules_and_launched(server: StubServer, api: StubApi) -> None:
    app = opened()
    app.button(key="ab-plan").click().run()
    assert "Plan an experiment" in [h.value for h in app.header]
    assert app.button(key="plan-launch").disabled
    assert "Say in at least 10 characters" in app.button(key="plan-launch").help
    app = fill(app)
    assert {m.label: m.value for m in app.metric}["Takes about"] == "1.2 d"
    assert "**Versions are staged**" in text(app)
    app.button(key="plan-launch").click().run()
    assert any("at least 10 characters" in e.value for e in app.error)
    app = give_reason(app)
    app.button(key="plan-launch").click().run()
    assert not app.exception
    [(path, body)] = posts(api)
    assert (path, body["is_launched"], body["reason"]) == ("/v1/experiments", True, REASON)
    usual = plan_for(4, name="v4 against v2", hypothesis="boosted trees are nearer to the truth")
    assert ExperimentPlan.model_validate(body["plan"]) == usual
    assert app.query_params["experiment"] in ("exp-new-4", ["exp-new-4"])
    assert "plan" not in app.query_params
    assert any("Launched: v4 against v2" in t.value for t in app.toast)


def test_what_is_seldom_changed_is_in_the_plan(server: StubServer, api: StubApi) -> None:
    app = fill(opened(plan="new"))
    given = {"alpha": 1.0, "tuned": 5000, "horizon-units": 20_000, "gap": 2.0, "min-harmed": 40}
    for name, value in given.items():
        next(box for box in app.number_input if box.key.startswith(f"plan-{name}-")).set_value(value)
    assert all(box.help for box in app.number_input if any(box.key.startswith(f"plan-{name}-") for name in given))
    app = give_reason(app.run())
    assert "with α 1 %" in text(app)
    assert "harm, from 40 units an arm on" in text(app), "what is sent stands beside the button"
    app.button(key="plan-launch").click().run()
    assert not app.exception
    plan = ExperimentPlan.model_validate(posts(api)[0][1]["plan"])
    assert (plan.alpha, plan.tuned_units, plan.max_join_gap) == (0.01, 5000, 0.02)
    assert (plan.stop.horizon_units, plan.stop.min_harmed_units) == (20_000, 40)


def test_a_plan_is_kept_as_a_draft_although_something_blocks_it(server: StubServer, api: StubApi) -> None:
    api.experiments.blocked = "v3 is compared on the same units; stop that first"
    app = give_reason(fill(opened(plan="new")))
    assert app.button(key="plan-launch").disabled
    assert "Launch is disabled: something on the checklist blocks it" in text(app)
    assert "v3 is compared on the same units" in text(app)
    app.button(key="plan-save").click().run()
    assert posts(api)[0][1]["is_launched"] is False
    assert "**Draft.**" in text(app)


def test_the_calculator_follows_what_is_filled_in(server: StubServer, api: StubApi) -> None:
    app = fill(opened(plan="new"))
    next(box for box in app.number_input if box.key.startswith("plan-expected-")).set_value(10.0).run()
    assert {m.label: m.value for m in app.metric}["Agents needed"] == "736"
    asked = [body["expected_change"] for _, path, _, body in api.calls if path == "/v1/experiments/check"]
    assert asked == [-0.05, -0.1], "each plan is asked for once"


def test_a_viewer_can_count_but_not_launch(server: StubServer, api: StubApi) -> None:
    app = give_reason(fill(opened("vera", plan="new")))
    assert {m.label: m.value for m in app.metric}["Agents needed"] == "2\u202f944"
    assert app.button(key="plan-launch").disabled
    assert app.button(key="plan-save").disabled
    assert "viewer" in app.button(key="plan-save").help


def test_nothing_can_be_planned_before_a_version_is_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(StubApi(is_empty=True)) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        assert "There is no champion to compare with" in text(opened(plan="new"))


def test_the_form_is_left_again(server: StubServer) -> None:
    app = opened(plan="new")
    app.button(key="plan-close").click().run()
    assert "**Collecting data.**" in text(app)


# Over the real API


def test_from_the_form_to_a_promotion_over_the_real_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned, launched, paused, resumed and stopped with a winner; the kill switch is pressed and taken back in between."""
    with served_api(tmp_path) as served:
        real = served.api
        real.promote(1)
        real.register(2)
        assert real.post("/v1/deployments", {"model_version": 2, "reason": REASON}, "operator").status_code == 200
        monkeypatch.setenv("TRAJOPS_API_URL", f"http://127.0.0.1:{served.port}")
        app = opened(token=real.headers["operator"]["Authorization"].removeprefix("Bearer "))
        assert "No experiment has been planned yet." in text(app)
        app.button(key="ab-plan").click().run()
        app = give_reason(fill(app))
        assert "**It ends in time**" in text(app)
        app.button(key="plan-launch").click().run()
        assert not app.exception
        assert [e.value for e in app.error] == []
        assert "Launched: v2 against v1" in app.toast[0].value

        def present() -> ExperimentOut:
            return ExperimentsOut.model_validate_json(real.get("/v1/experiments").content).experiments[0]

        def change(name: Any, number: int, typed: str | None = None, winner: str | None = None) -> None:
            seen = None if name in {"stop_all", "go_on"} else present()
            epoch = real.get("/v1/routes").json()["current"]["epoch"]
            app.session_state[PENDING] = PendingChange(f"d{number}", name, seen, epoch)
            app.run()
            if winner is not None:
                radio = app.radio(key=f"experiment-winner-d{number}")
                radio.set_value(next(one for one in radio.options if winner in one)).run()
            confirm(app, typed=typed)
            assert [e.value for e in app.error if "by hand" not in e.value] == []

        assert present().state == S.RUNNING
        change("pause", 1)
        assert "**Paused.** Because the operator decided so" in text(app)
        change("resume", 2)
        assert (present().state, present().coverage) == (S.RUNNING, 1.0)
        change("stop_all", 3, typed="STOP")
        assert "All experiments are stopped by hand" in text(app)
        change("go_on", 4)
        assert "All experiments are stopped by hand" not in text(app)
        change("stop", 5, typed="2", winner="becomes the champion")
        assert (present().state, present().winner) == (S.PROMOTED, "treatment")
        shown = text(app)
        assert "**B promoted.**" in shown
        for step in ("Launched an experiment", "Paused an experiment", "Stopped all experiments", "Stopped an experiment"):
            assert step in shown
