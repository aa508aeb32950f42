"""`configs/rollouts.yaml`: the shipped file, and what is refused, with its line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rollout_builders import UNATTENDED, a_policy
from trajops import configs
from trajops.errors import InvalidInput
from trajops.rollouts.gates import following, waits_for_person
from trajops.rollouts.lifecycle import Stage
from trajops.rollouts.rules import RolloutRules
from trajops.services.rollout_steps import stage_plan

SHIPPED = Path("configs/rollouts.yaml")


def refusal(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "rollouts.yaml"
    path.write_text(yaml.safe_dump({"default": "unattended", "policies": [UNATTENDED | changes]}))
    with pytest.raises(InvalidInput) as caught:
        configs.load(path, RolloutRules, {"alerts": {"performance_degraded"}})
    return str(caught.value)


def test_the_shipped_policies_cover_more_from_step_to_step_and_one_of_them_needs_no_hand() -> None:
    rules = configs.load(SHIPPED, RolloutRules, {"alerts": {"performance_degraded"}})
    usual = rules.policy(None)
    assert usual is not None
    assert ([step.coverage for step in usual.canary], usual.approval) == ([0.02, 0.1, 0.2, 0.5, 1.0], ("promoting",))
    unattended = rules.policy("unattended")
    assert unattended is not None
    assert unattended.approval == ()
    assert rules.policy("nobody knows it") is None


@pytest.mark.parametrize("policy", configs.load(SHIPPED, RolloutRules).policies, ids=lambda policy: policy.name)
def test_every_stage_of_a_shipped_policy_has_a_plan(policy: Any) -> None:
    stage, step = Stage.SHADOW, 0
    places = [(stage, step)]
    while (after := following(policy, stage, step)) is not None:
        stage, step = after
        places.append(after)
    assert places[-1] == (Stage.BAKING, 0)
    assert len(places) == 3 + len(policy.canary)
    for place in (Stage.SHADOW, Stage.CANARY, Stage.BAKING):
        plan = stage_plan(policy, place, 1, 2)
        assert (plan.metric, plan.margin, plan.stop.aim) == (policy.metric, policy.margin, policy.aim)
        assert plan.is_beside == (place != Stage.CANARY)


def test_only_the_entry_of_a_stage_waits_for_a_person() -> None:
    policy = a_policy(approval=["canary", "promoting"])
    waiting = [(Stage.SHADOW, 0), (Stage.CANARY, 0), (Stage.CANARY, 1), (Stage.CANARY, 2), (Stage.PROMOTING, 0), (Stage.BAKING, 0)]
    assert [waits_for_person(policy, *place) for place in waiting] == [True, False, False, True, False, False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"canary": [{"coverage": 0.5}, {"coverage": 0.5}]}, "each step of the canary covers more"),
        ({"canary": []}, "at least 1 item"),
        ({"canary": [{"coverage": 1.5}]}, "less than or equal to 1"),
        ({"canary": [{"coverage": 0.5, "min_units": 3}]}, "greater than or equal to 20"),
        ({"bake": {"roll_back_on": ["typo"]}}, "'typo': no critical rule of alerts.yaml"),
        ({"approval": ["bake"]}, "'canary' or 'promoting'"),
        ({"approval": ["promoting", "promoting"]}, "stands twice"),
        ({"approval": ["canary"], "shadow": None}, "nothing comes before the canary"),
        ({"horizon_s": float("inf")}, "finite"),
        ({"horizon_s": 3600, "told_after_s": 3500}, "must be more than both together"),
        ({"shown_in": []}, "at least 1 item"),
        ({"shown_in": ["shadow", "shadow"]}, "stands twice in shown_in"),
        ({"shown_in": ["shadow"], "shadow": None}, "can show nothing in it"),
        ({"told_after_s": 0}, "greater than 0"),
        ({"marign": 0.1}, "Extra inputs"),
    ],
)
def test_a_mistake_is_reported_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    told = refusal(tmp_path, **changes)
    assert said in told
    assert "rollouts.yaml:" in told


def test_the_usual_policy_exists(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.yaml"
    path.write_text(yaml.safe_dump({"default": "bold", "policies": [UNATTENDED]}))
    with pytest.raises(InvalidInput, match="there is no policy 'bold'; there are unattended"):
        configs.load(path, RolloutRules)
    path.write_text(yaml.safe_dump({"default": "unattended", "policies": [UNATTENDED, UNATTENDED]}))
    with pytest.raises(InvalidInput, match="two policies have the same name"):
        configs.load(path, RolloutRules)
