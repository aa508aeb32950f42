"""What may be done on the A/B tests page: actions, endings, coverage, plans and their launch."""

from datetime import timedelta
from typing import Any

import pytest

from console.ab.actions import (
    actions,
    changes_between,
    conflict_sentence,
    endings,
    enrolled_words,
    switch_action,
    typed_problem,
)
from console.ab.planning import (
    Fields,
    candidates,
    check_mark,
    check_title,
    duration_words,
    even_weights,
    launch_refusal,
    no_plan_reason,
    plan_of,
    variants,
)
from console.ab.tables import plan_lines
from console.ab.words import (
    first_shown,
    of_challenger,
    overview_words,
)
from tests.experiment_builders import STARTED, a_plan, an_entry, an_experiment, three_arms
from trajops.contracts.deployments import ModelRefOut, RouteOut
from trajops.contracts.models import ModelsOut, ModelVersionOut
from trajops.experiments.lifecycle import ExperimentState as S

NOW = STARTED + timedelta(hours=1)


# Actions


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (S.DRAFT, ["launch", "discard"]),
        (S.RUNNING, ["cover", "pause", "stop", "override"]),
        (S.PAUSED, ["resume", "stop", "override"]),
        (S.RECOMMENDED, ["promote", "cover", "pause", "stop", "override"]),
        (S.PROMOTED, []),
        (S.DISCARDED, []),
    ],
)
def test_what_each_state_allows(state: S, names: list[str]) -> None:
    assert [one.name for one in actions(an_experiment(state=state), "operator")] == names
    assert all("viewer" in (one.refusal or "") for one in actions(an_experiment(state=state), "viewer"))


def test_the_kill_switch_needs_a_role_and_an_epoch() -> None:
    assert switch_action("operator", is_stopped=False, epoch=4).refusal is None
    assert switch_action("operator", is_stopped=True, epoch=4).name == "go_on"
    assert "viewer" in (switch_action("viewer", is_stopped=False, epoch=4).refusal or "")
    assert "cannot be read" in (switch_action("operator", is_stopped=False, epoch=None).refusal or "")


def test_who_may_win() -> None:
    found = endings(an_experiment(plan=three_arms(), closed_arms=["wide"]))
    assert [(one.winner, one.model_version) for one in found] == [(None, None), ("control", None), ("deep", 3)]
    arms = [{"variant": name, "model_version": 1, "weight": 0.5} for name in ("control", "treatment")]
    assert [one.winner for one in endings(an_experiment(plan=a_plan(arms=arms)))] == [None, "control"], "A/A has nothing to promote"


@pytest.mark.parametrize(
    ("typed", "wanted", "is_right"), [("v3", "3", True), (" 3 ", "3", True), ("4", "3", False), ("stop", "STOP", True), ("", "STOP", False)]
)
def test_what_is_typed_to_confirm(typed: str, wanted: str, *, is_right: bool) -> None:
    assert (typed_problem(typed, wanted) is None) == is_right


def test_coverage_is_told_for_each_arm() -> None:
    assert enrolled_words(an_experiment(), 0.5) == "Of all agents: A 25 %, B 25 %."
    part = a_plan(namespace={"name": "main", "begin": 0.0, "end": 0.1})
    assert enrolled_words(an_experiment(plan=part), 0.5) == "Of all agents: A 2.5 %, B 2.5 %."
    assert enrolled_words(an_experiment(), 1.0, 0.2) == "Of all agents: A 40 %, B 40 %. 20.0 % are held out."
    assert enrolled_words(an_experiment(plan=a_plan(mode="shadow")), 1.0, 0.2) == "Of all agents: A 50 %, B 50 %."


def test_a_change_that_came_too_late_says_what_changed_and_who_did_it() -> None:
    seen = an_experiment(state=S.RUNNING)
    present = an_experiment(state=S.PAUSED, version=2, coverage=0.0)
    said = conflict_sentence(
        "pause", seen, present, [an_entry("experiment.pause")], detail="has version 2", now=STARTED + timedelta(seconds=5)
    )
    assert "it went from running to paused (ben, 5 s ago: “it wins”)" in said
    assert "once more" not in said, "a paused experiment cannot be paused again"
    assert "once more" in conflict_sentence("stop", seen, present, [], detail="", now=NOW)
    kept = conflict_sentence("launch", seen, seen, [], detail="units: v2 is being compared already.", now=NOW)
    assert kept.startswith("Nothing was done: units: v2 is being compared already. ")
    halved = an_experiment(state=S.RUNNING, version=2, coverage=0.5)
    assert changes_between(seen, halved) == ["50 % of the units are enrolled, no longer 100 %"]
    assert changes_between(seen, an_experiment(state=S.RUNNING, version=2, closed_arms=["treatment"])) == ["B was rolled back"]
    assert changes_between(seen, an_experiment(state=S.RUNNING, version=2)) == ["somebody changed it, for example an override"]
    assert changes_between(seen, seen) == []


# Which one is shown


def test_what_runs_comes_first_and_other_pages_find_it() -> None:
    over, running = an_experiment(state=S.STOPPED, experiment_id="new"), an_experiment("old")
    assert first_shown([over, running]) is running
    assert first_shown([over]) is over
    assert first_shown([]) is None
    assert of_challenger([over, running], 2) is running
    assert of_challenger([over], 2) is None
    assert overview_words([over]) is None
    assert overview_words([running, over]) == "A/B test “wider net”, v2 against v1"
    assert (overview_words([running, running]) or "").startswith("2 A/B tests; the newest is")


# Plans


def fields(**changes: Any) -> Fields:
    values = {"name": "wider net", "hypothesis": "it is nearer to the truth", "control": 1, "treatments": [2], "weights": [50.0, 50.0]}
    return Fields(**(values | changes))


def test_what_is_filled_in_becomes_a_plan_with_the_usual_rules() -> None:
    plan, problems = plan_of(fields())
    assert not problems
    assert plan is not None
    usual = a_plan(name="wider net", hypothesis="it is nearer to the truth", stop={})
    assert plan == usual


def test_four_treatments_in_thirds_of_a_per_cent_add_up() -> None:
    weights = even_weights(3)
    assert sum(weights) == pytest.approx(100)
    plan, problems = plan_of(fields(treatments=[2, 3], weights=weights, namespace=("main", 0, 50), horizon_days=1, errors=None))
    assert not problems
    assert plan is not None
    assert [arm.variant for arm in plan.arms] == ["control", "v2", "v3"]
    assert (plan.stop.horizon_s, plan.namespace and plan.namespace.end) == (86_400, 0.5)
    assert [one.kind for one in plan.guardrails] == ["slow_answers"]
    assert variants([7]) == ["control", "treatment"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": " "}, "Give it a name."),
        ({"hypothesis": "short"}, "at least 10 characters"),
        ({"treatments": [], "weights": [100.0]}, "Choose a staged version"),
        ({"weights": [50.0, 60.0]}, "add up to 100 %, not 110 %"),
        ({"namespace": (" ", 0, 50)}, "Give the namespace a name."),
        ({"namespace": ("main", 50, 50)}, "is empty; move one of its ends."),
        ({"min_units": 5}, "greater than or equal to 20"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    plan, problems = plan_of(fields(**changes))
    assert plan is None
    assert any(said in one for one in problems), problems
    assert all(one[0].isupper() and one.endswith(".") for one in problems)


def test_launch_says_why_it_is_disabled() -> None:
    assert launch_refusal("a viewer", [], True) == "a viewer"
    assert launch_refusal(None, ["Give it a name."], None) == "Give it a name."
    assert "cannot be checked" in (launch_refusal(None, [], None) or "")
    assert "checklist blocks it" in (launch_refusal(None, [], False) or "")
    assert launch_refusal(None, [], True) is None


def test_lines_of_the_checklist_have_words() -> None:
    assert (check_mark("blocked").word, check_title("join rate"), check_title("new_rule")) == ("Blocked", "Truth arrives", "New rule")
    assert (duration_words(None), duration_words(7200), duration_words(129_600)) == ("–", "2 h", "1.5 d")


def test_nothing_can_be_planned_without_a_champion_or_a_staged_version() -> None:
    def version(number: int, state: str) -> ModelVersionOut:
        return ModelVersionOut(
            model_name="trajectory", model_version=number, family="kalman", run_id="r", run_url=None, created_at=STARTED, aliases=[],
            metrics={}, params={}, deployment_id="d", state=state, version=1, is_warm=True,
        )  # fmt: skip

    route = RouteOut(epoch=1, champion=None, challenger=None, previous=None, coverage=0, changed_at=None, actor=None, reason=None)
    models = ModelsOut(model_name="trajectory", versions=[version(1, "live"), version(2, "retired")], adoptions=[])
    assert "no champion" in (no_plan_reason(models, route) or "")
    route = route.model_copy(update={"champion": ModelRefOut(model_name="trajectory", model_version=1)})
    assert "Stage one" in (no_plan_reason(models, route) or "")
    staged = models.model_copy(update={"versions": [*models.versions, version(3, "staged")]})
    assert no_plan_reason(staged, route) is None
    assert [one.model_version for one in candidates(staged)] == [3]


def test_a_plan_tells_all_that_it_fixes() -> None:
    """So that it is seen before the launch where a field of the form has refused a value, and sends the one before."""
    plan, problems = plan_of(
        fields(alpha=1.0, errors=1.5, slow_answers=None, coverage=50.0, min_units=80, min_minutes=20, horizon_units=5000, tuned_units=300)
    )
    assert plan is not None, problems
    lines = dict(plan_lines(plan))
    assert lines["Unit"] == "agent, 50 % enrolled at the launch"
    assert lines["Decides"] == "with α 1 %, from 80 units an arm and 20 min on; harm, from 25 units an arm on; narrowest at 300 units"
    assert lines["Guardrails"] == "Failed answers, up to × 1.5"
    assert lines["Data"] == "truth of 20 % in each arm, 5 points apart at most, 180 s old at most; paused after 60 s without"
    assert lines["Ends"].replace("\u202f", "") == "after 7 d without a decision, or 5000 units"
