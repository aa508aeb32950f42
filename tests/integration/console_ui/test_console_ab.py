"""The A/B tests page in Streamlit's own test harness: each state, roles, backend away, deep links, changes, the form."""

from datetime import timedelta
from typing import Any

import pytest
from console_ab import REASON, confirm, opened, posts
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from console_stub.experiments import plan_for
from streamlit.testing.v1 import AppTest

from console.ab.dialogs import PendingChange
from console.ab.slices import CHOICE, ERRORS
from console.confirmation import PENDING
from console.views import ab_tests
from tests.experiment_builders import three_arms
from trajops.contracts.jobs import job_title
from trajops.experiments.lifecycle import ExperimentState as S

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.slow


def keys(app: AppTest) -> dict[str, Any]:
    return {b.key: b for b in app.button if b.key}


def dialog(api: StubApi, name: Any, experiment_id: str = "exp-running", user: str = "ada", dialog_id: str = "d1", **given: Any) -> AppTest:
    """A confirmation; AppTest cannot press inside a dialog that a click opened."""
    app = opened(user, experiment=experiment_id)
    seen = None if name in {"stop_all", "go_on"} else api.experiments.known[experiment_id]
    app.session_state[PENDING] = PendingChange(dialog_id, name, seen, **given)
    return app.run()


# Each state


def test_what_runs_is_shown_first_with_health_effect_arms_guardrails_and_plan(server: StubServer) -> None:
    app = opened()
    shown = text(app)
    assert app.selectbox(key="ab-choice").value == "exp-running"
    assert "**Collecting data.** Not enough evidence yet" in shown
    assert [h.value for h in app.header] == ["Health", "Effect", "Arms", "Timeline", "Guardrails", "Slices", "Plan", "All experiments"]
    assert "**Split**" in shown
    assert "A / B: 50.6 % / 49.4 % of the units, planned 50.0 % / 50.0 %" in shown
    assert "2 of 2 processes on routing epoch 3" in shown
    assert "This does not mean that the models are equal." in shown
    assert "|Join rate|90.0 %|90.0 %|" in shown
    assert "|Label delay, median|5.2 s|5.4 s|" in shown
    assert len(app.get("plotly_chart")) == 1
    assert {m.label: m.value for m in app.metric}["Coverage"] == "50 %"
    guardrails = next(d.value for d in app.dataframe if "To the trigger" in d.value.columns)
    assert list(guardrails["Guardrail"]) == ["Answers over 100 ms", "Failed answers"]
    assert "Launched an experiment" in shown
    assert "compare on live traffic" in shown
    assert "exp-running" in [c.value for c in app.code]


@pytest.mark.parametrize(
    ("state", "mean_m", "changes", "said"),
    [
        (S.RUNNING, 0.42, {}, "**B better.** ADE of treatment is"),
        (S.RUNNING, 0.7, {}, "**B worse.** ADE of treatment is"),
        (S.PAUSED, 0.48, {}, "**Paused.**"),
        (S.RECOMMENDED, 0.42, {}, "**Recommended: B better.** ADE of treatment is"),
        (S.ROLLED_BACK, 0.7, {}, "**B worse, rolled back.** ADE of treatment is"),
        (S.INCONCLUSIVE, 0.5, {}, "**Inconclusive.**"),
        (S.PROMOTED, 0.42, {}, "**B promoted.** ADE of treatment is"),
        (S.STOPPED, 0.5, {}, "**Stopped.**"),
        (S.RUNNING, 0.48, {"joined": 30}, "**Data invalid.** 90.0 % / 0.5 % of the predictions get truth"),
    ],
)
def test_each_state_has_its_banner(server: StubServer, api: StubApi, state: S, mean_m: float, changes: dict[str, Any], said: str) -> None:
    api.experiments.add("exp-x", state, plan_for(3), age=HOUR, mean_m=mean_m, units=600, **changes)
    assert said in text(opened(experiment="exp-x"))


def test_who_is_held_out_of_all_experiments_is_said(server: StubServer, api: StubApi) -> None:
    assert "held out" not in text(opened())
    api.releases.held_out = 0.05
    assert "5.0 % of all units are held out of every experiment" in text(opened())


def test_effects_are_hidden_while_data_are_invalid_and_that_is_said(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-x", S.RUNNING, plan_for(3), age=HOUR, mean_m=0.42, units=600, joined=30)
    app = opened(experiment="exp-x")
    assert not app.get("plotly_chart")
    assert any("effect is hidden" in i.value for i in app.info)
    assert "|ADE|–|–|" in text(app)
    assert "lower (95" not in text(app)


def test_a_decision_stands_in_the_timeline_with_its_figures(server: StubServer) -> None:
    shown = text(opened(experiment="exp-worse"))
    assert "Decided: worse, rolled back" in shown
    assert f"the workers ({job_title('judge_experiments')})" in shown
    assert "Figures: units: A 140, B 137; B +" in shown
    assert "may be overstated" in shown


def test_several_treatments(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-x", S.RUNNING, three_arms(), age=HOUR)
    shown = text(opened(experiment="exp-x"))
    assert "B · wide (v2) 25 %, C · deep (v3) 25 %" in shown
    assert "Nobody has looked at it yet" in shown


def test_a_draft_has_nothing_but_its_plan(server: StubServer) -> None:
    app = opened(experiment="exp-draft")
    assert [h.value for h in app.header] == ["Timeline", "Plan", "All experiments"]
    assert {"ab-launch", "ab-discard"} <= set(keys(app))


# Which one


def test_another_one_is_chosen_and_stands_in_the_url(server: StubServer) -> None:
    app = opened()
    app.button(key="ab-show-exp-worse").click().run()
    assert app.query_params["experiment"] in ("exp-worse", ["exp-worse"])
    assert "**B worse, rolled back.**" in text(app)
    app.selectbox(key="ab-choice").set_value("exp-draft").run()
    assert app.query_params["experiment"] in ("exp-draft", ["exp-draft"])
    assert "**Draft.** Not launched yet." in text(app)


def test_one_that_does_not_exist_is_said(server: StubServer) -> None:
    shown = text(opened(experiment="exp-gone"))
    assert "Experiment exp-gone cannot be shown" in shown
    assert "All experiments" in shown


def test_the_overview_and_the_models_page_lead_there(server: StubServer) -> None:
    app = opened_page("Overview")
    assert "A/B test “wider net”, v3 against v2" in text(app)
    assert "Look at the A/B test" in [link.proto.label for link in app.get("page_link")]
    app.switch_page("views/models.py").run()
    assert "Its A/B test" in [link.proto.label for link in app.get("page_link")]


def test_backend_away_keeps_the_last_values_marked_stale(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(api) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        app = opened(experiment="exp-running")
    app.button(key="refresh-now").click().run()
    assert not app.exception
    assert any(w.value.startswith("Stale: values of ") for w in app.warning)
    assert "**Collecting data.**" in text(app)
    assert len(app.get("plotly_chart")) == 1


# Changes


def test_viewers_see_every_change_disabled_with_the_reason(server: StubServer) -> None:
    running = {"ab-cover", "ab-pause", "ab-stop", "ab-override", "ab-switch"}
    for name, found in (("exp-running", running), ("exp-draft", {"ab-launch", "ab-discard"})):
        app = opened("vera", experiment=name)
        offered = {key: one for key, one in keys(app).items() if key in found}
        assert set(offered) == found
        assert all(one.disabled and "viewer" in one.help for one in offered.values())
        assert "You are signed in as a viewer" in text(app)


def test_a_button_opens_the_confirmation_with_figures_in_words(server: StubServer, api: StubApi) -> None:
    app = opened()
    app.button(key="ab-stop").click().run()
    shown = text(app)
    assert "B · treatment (v3) beside A: 4 better, 1 worse." in shown
    assert "0.010 better (2 %)" in shown
    assert not posts(api), "opening changes nothing"


@pytest.mark.parametrize(
    ("name", "experiment_id", "path", "sent"),
    [
        ("pause", "exp-running", "/v1/experiments/exp-running/pause", {}),
        ("cover", "exp-running", "/v1/experiments/exp-running/cover", {"coverage": 0.5}),
        ("stop", "exp-running", "/v1/experiments/exp-running/stop", {"winner": None}),
        ("launch", "exp-draft", "/v1/experiments/exp-draft/launch", {}),
        ("discard", "exp-draft", "/v1/experiments/exp-draft/stop", {"winner": None}),
    ],
)
def test_every_change_reaches_its_route(server: StubServer, api: StubApi, name: str, experiment_id: str, path: str, sent: Any) -> None:
    app = confirm(dialog(api, name, experiment_id))
    assert posts(api) == [(path, {"expected_version": 3, "reason": REASON, **sent})]
    headers = next(h for method, p, h, _ in api.calls if method == "POST" and p == path)
    assert len(headers["idempotency-key"]) == 32
    assert any("audit aud-e" in t.value for t in app.toast)
    assert PENDING not in app.session_state


def test_a_paused_one_goes_on_with_the_coverage_of_its_plan(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-x", S.PAUSED, plan_for(3, coverage=0.4), age=HOUR, mean_m=0.5, units=100)
    confirm(dialog(api, "resume", "exp-x"))
    assert posts(api) == [("/v1/experiments/exp-x/cover", {"expected_version": 3, "reason": REASON, "coverage": 0.4})]


def test_a_winner_is_promoted_once_its_version_is_typed(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-x", S.RECOMMENDED, plan_for(3), age=HOUR, mean_m=0.42, units=900)
    app = confirm(dialog(api, "promote", "exp-x"), typed="2")
    assert [e.value for e in app.error] == ["Type 3 to confirm."]
    assert not posts(api)
    app = confirm(app, typed="v3")
    assert posts(api) == [("/v1/experiments/exp-x/stop", {"expected_version": 3, "reason": REASON, "winner": "treatment"})]
    assert "**B promoted.**" in text(app)


def test_stopping_with_a_winner_asks_for_its_version(server: StubServer, api: StubApi) -> None:
    app = dialog(api, "stop")
    assert not [field for field in app.text_input if field.key and field.key.startswith("experiment-typed-")]
    winner = app.radio(key="experiment-winner-d1")
    winner.set_value(winner.options[2]).run()
    confirm(app, typed="3")
    assert posts(api)[0][1]["winner"] == "treatment"


def test_what_was_stopped_stays_in_view_beside_a_newer_draft(server: StubServer, api: StubApi) -> None:
    app = opened()
    app.session_state[PENDING] = PendingChange("d1", "stop", api.experiments.known["exp-running"])
    app = confirm(app.run())
    assert app.selectbox(key="ab-choice").value == "exp-running"


def test_what_a_rollout_decides_on_is_stopped_without_a_new_champion(server: StubServer, api: StubApi) -> None:
    assert api.rollouts.known is not None
    api.rollouts.known = api.rollouts.known.model_copy(update={"experiment_id": "exp-running"})
    app = dialog(api, "stop")
    assert [option for option in app.radio(key="experiment-winner-d1").options if "becomes the champion" in option] == []
    assert len(app.radio(key="experiment-winner-d1").options) == 2


def test_a_unit_is_put_into_an_arm_by_hand(server: StubServer, api: StubApi) -> None:
    app = confirm(dialog(api, "override"))
    assert any("Name the unit" in e.value for e in app.error)
    app.text_input(key="experiment-unit-d1").set_value("plaza/agent-7")
    app.selectbox(key="experiment-arm-d1").set_value("treatment")
    confirm(app)
    sent = {"expected_version": 3, "reason": REASON, "unit_id": "plaza/agent-7", "variant": "treatment"}
    assert posts(api) == [("/v1/experiments/exp-running/override", sent)]


def test_the_kill_switch_is_typed_and_taken_back(server: StubServer, api: StubApi) -> None:
    app = dialog(api, "stop_all", expected_epoch=3)
    confirm(app, typed="no")
    assert not posts(api)
    app = confirm(app, typed="STOP")
    assert posts(api) == [("/v1/experiments/switch", {"expected_epoch": 3, "is_stopped": True, "reason": REASON})]
    assert "All experiments are stopped by hand" in text(app)
    assert app.button(key="ab-switch").label == "Let experiments go on"
    app = confirm(dialog(api, "go_on", dialog_id="d2", expected_epoch=3))
    assert "All experiments are stopped by hand" not in text(app)


@pytest.mark.parametrize("reason", ["", "too short"])
def test_a_reason_is_needed_before_the_api_is_asked(server: StubServer, api: StubApi, reason: str) -> None:
    app = confirm(dialog(api, "pause"), reason)
    assert any("at least 10 characters" in e.value for e in app.error)
    assert not posts(api)


def test_a_conflict_is_explained_and_the_page_is_read_again(server: StubServer, api: StubApi) -> None:
    app = dialog(api, "cover")
    api.experiments.conflict_next = True
    confirm(app)
    [told] = [w.value.replace("\\", "") for w in app.warning if "Nothing was done" in w.value]
    assert "because the experiment changed while you were deciding: it went from running to paused (ben, " in told
    assert "“the cameras flicker”" in told
    assert not [word for word in ("stale_version", "409", "version 4") if word in told]
    assert "**Paused.**" in text(app)


def test_a_draft_that_is_blocked_cannot_be_launched(server: StubServer, api: StubApi) -> None:
    api.experiments.blocked = "v3 is being compared already; stop that first"
    app = dialog(api, "launch", "exp-draft")
    assert "v3 is being compared already" in text(app)
    assert app.button(key="experiment-submit").disabled


def test_a_viewer_who_forces_the_dialog_is_refused_by_the_api(server: StubServer, api: StubApi) -> None:
    app = confirm(dialog(api, "pause", user="vera"))
    assert any("a viewer may not change what is served" in e.value for e in app.error)


def test_the_same_confirmation_sent_twice_carries_the_same_key(server: StubServer, api: StubApi) -> None:
    for dialog_id in ("d1", "d1", "d2"):
        api.experiments.add("exp-x", S.RUNNING, plan_for(3), age=HOUR)
        confirm(dialog(api, "pause", "exp-x", dialog_id=dialog_id))
    sent = [headers["idempotency-key"] for method, path, headers, _ in api.calls if method == "POST" and path.endswith("/pause")]
    assert sent[0] == sent[1] != sent[2]


# Slices


def taken_apart(by: str, experiment_id: str = "exp-running") -> AppTest:
    app = opened(experiment=experiment_id)
    app.session_state[CHOICE] = by
    app.run()
    assert not app.exception
    return app


def test_slices_are_read_when_somebody_asks_for_them_and_labelled(server: StubServer, api: StubApi) -> None:
    app = opened()
    assert not [path for _, path, *_ in api.calls if path.endswith("/slices")]
    assert "Choose what it is taken apart by." in text(app)
    app = taken_apart("Scene")
    assert "Exploratory: not corrected for looking at many; decides nothing." in text(app)
    table = next(d.value for d in app.dataframe if "Scene" in d.value.columns)
    assert list(table["Scene"]) == ["a", "b", "c", "d"]
    assert table["Change"].iloc[2].startswith("−")
    assert table["Change"].iloc[3] == "too few units"
    assert len(app.get("plotly_chart")) == 2
    assert "2 more with fewer units are not listed" in text(app)


def test_slices_by_step_are_of_the_displacement(server: StubServer) -> None:
    app = taken_apart("Step")
    assert "Mean displacement at the step over agents" in text(app)


def test_no_slice_is_shown_while_the_data_are_invalid(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-bad", S.RUNNING, plan_for(3), age=HOUR, mean_m=0.4, units=620, joined=1)
    app = taken_apart("Speed", "exp-bad")
    assert "Nothing is shown: the data are not valid" in text(app)
    assert not [d for d in app.dataframe if "Speed band" in d.value.columns]


def with_errors(experiment_id: str = "exp-running") -> AppTest:
    app = opened(experiment=experiment_id)
    app.session_state[ERRORS] = True
    app.run()
    assert not app.exception
    return app


def test_errors_of_units_are_read_when_somebody_opens_them(server: StubServer, api: StubApi) -> None:
    opened()
    assert not [path for _, path, *_ in api.calls if path.endswith("/errors")]
    app = with_errors()
    assert "Exploratory: describes the units that were met, without an interval; decides nothing." in text(app)
    assert "Share of agents whose mean ADE is at most so much." in text(app)
    assert len(app.get("plotly_chart")) == 2


def test_no_error_of_a_unit_is_shown_while_the_data_are_invalid(server: StubServer, api: StubApi) -> None:
    api.experiments.add("exp-bad", S.RUNNING, plan_for(3), age=HOUR, mean_m=0.4, units=620, joined=1)
    app = with_errors("exp-bad")
    assert "Nothing is shown: the data are not valid" in text(app)
    assert not app.get("plotly_chart")


@pytest.mark.parametrize(("told", "wanted"), [("exp-2", ["exp-2"]), ("exp-1", [])], ids=["another one", "what is shown, once more"])
def test_only_a_choice_of_another_experiment_is_one(monkeypatch: pytest.MonkeyPatch, told: str, wanted: list[str]) -> None:
    """A busy browser tells the value of a box that has made way for the form, with the URL of before; to write that would close it."""
    chosen = list[str]()
    monkeypatch.setattr(ab_tests, "choose", chosen.append)
    monkeypatch.setattr(ab_tests.st, "session_state", {ab_tests.CHOICE: told})
    ab_tests.pick("exp-1")
    assert chosen == wanted
