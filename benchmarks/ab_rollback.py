"""From a verdict of harm to the last answer of the treatment, over several API processes, and how long it took to find the harm.

The champion network is compared with constant velocity on recorded tracks; nothing is told to the product but the plan. Beside it runs the
negative control: the champion against itself, which must not be rolled back.
"""

from benchmarks.ab_product import PROCESSES, SCENES, an_experiment_floor, wait_s
from benchmarks.record import Measurement
from trajops.contracts.experiments import ArmIn, ExperimentPlan, StopRules

PATIENCE_S, AFTERWARDS_S, CONTROL_S = 240.0, 8.0, 60.0


def plan(control: int, treatment: int, name: str) -> ExperimentPlan:
    """Everybody is enrolled, half each."""
    return ExperimentPlan(
        name=name,
        hypothesis="The treatment is nearer to the truth.",
        arms=(ArmIn(variant="control", model_version=control, weight=0.5), ArmIn(variant="treatment", model_version=treatment, weight=0.5)),
        stop=StopRules(min_s=30),
        min_join_rate=0.05,
        max_join_gap=0.2,
    )


def run() -> Measurement:
    """Compare the champion with itself for a minute, and then with what is worse until it is rolled back."""
    with an_experiment_floor("gaussian_mlp", "constant_velocity") as floor:
        same = floor.launch(plan(1, 1, "A/A"))
        wait_s(CONTROL_S)
        same = floor.client.experiment(same.experiment_id)
        floor.client.stop_experiment(same.experiment_id, same.version, "the control has run for long enough")
        worse = floor.launch(plan(1, 2, "worse"))
        over = floor.until(worse, "rolled_back", patience_s=PATIENCE_S)
        assert over.ended_at is not None
        assert over.started_at is not None
        assert over.verdict is not None
        wait_s(AFTERWARDS_S)
        decided_s = over.ended_at.timestamp()
        last_s, answers = floor.last_answer_at_s("treatment", decided_s)
        true_change = floor.true_change(1, 2)
    effect, arms = over.verdict.effects[0], over.verdict.arms
    details = {
        "processes": PROCESSES,
        "scenes": SCENES,
        "harm_found_after_s": round(decided_s - over.started_at.timestamp(), 1),
        "treated_agents": arms[1].units,
        "scored_agents": arms[0].scored_units + arms[1].scored_units,
        "change_said": effect.change,
        "sequence": [effect.low, effect.high],
        "change_offline": round(true_change, 4),
        "answers_after_the_verdict": answers,
        "same_version_state": same.state,
        "same_version_verdict": same.verdict and same.verdict.kind,
        "same_version_was_rolled_back": int(same.state == "rolled_back"),
    }
    return Measurement(0.0 if last_s is None else max(0.0, last_s - decided_s), details)
