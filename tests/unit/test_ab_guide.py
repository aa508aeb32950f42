"""The guide's examples say what the code says."""

import doctest
from pathlib import Path

from benchmarks.ab_false_positives import run
from trajops.configs import load
from trajops.contracts.experiments import StopRules
from trajops.rollouts.lifecycle import Stage
from trajops.rollouts.rules import RolloutRules
from trajops.services.rollout_steps import stage_plan

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "ab_testing.md"


def test_every_number_of_the_guide_is_what_the_code_says() -> None:
    failed, tried = doctest.testfile(str(GUIDE), module_relative=False)
    assert failed == 0
    assert tried >= 20


def test_the_guide_quotes_the_benchmark() -> None:
    found = run()
    text = GUIDE.read_text(encoding="utf-8")
    assert f"found a difference in {found.details['peeking_t_test']:.2f} of them" in text
    assert f"and the sequence in {found.value:.2f}" in text


def test_the_guide_says_from_how_many_units_on_something_is_decided() -> None:
    text, usual = " ".join(GUIDE.read_text(encoding="utf-8").split()), StopRules()
    assert (usual.min_units, usual.min_harmed_units, usual.min_s) == (50, 25, 600)
    assert "from 50 units an arm and ten minutes on" in text
    assert "from 25 units an arm on" in text
    rules = load(ROOT / "configs" / "rollouts.yaml", RolloutRules, {"alerts": {"performance_degraded"}})
    plans = {policy.name: stage_plan(policy, Stage.CANARY, 1, 2).stop for policy in rules.policies}
    found = {name: (stop.min_units, stop.min_harmed_units, stop.min_s) for name, stop in plans.items()}
    assert found == {"careful": (25, 25, 0), "unattended": (25, 25, 0), "quick": (20, 20, 0)}
    assert "`careful` and `unattended` is judged from 25 units an arm on, that of `quick` from 20, and harm as well" in text
