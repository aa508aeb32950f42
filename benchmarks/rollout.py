"""Rollouts that nobody attends to, over recorded tracks, three API processes and the real worker.

First the network is rolled out over constant velocity, which it beats; it must come through shadow, canary, promotion and bake to live.
Then it is taken back by hand, and rolled out a second time. At last constant velocity is rolled out over the network: it must be rolled
back, before it has answered anybody.
"""

from typing import Any

from benchmarks.ab_product import PROCESSES, REASON, SCENES, Running, an_experiment_floor, wait_s
from benchmarks.record import Measurement
from tests.alert_receivers import wait_for
from trajops.contracts.rollouts import RolloutOut
from trajops.rollouts.lifecycle import ACTIVE

PATIENCE_S, AFTERWARDS_S = 240.0, 6.0
# A day's worth of agents comes in minutes here, so waits are seconds; gates are those of the shipped policies.
POLICY: dict[str, Any] = {
    "name": "benchmark",
    "shadow": {"min_units": 50, "min_s": 10},
    "canary": [{"coverage": coverage, "min_units": 20, "min_s": 5} for coverage in (0.5, 1.0)],
    "bake": {"min_units": 20, "min_s": 10, "roll_back_on": ["performance_degraded"]},
    "approval": [],
}


def rolled_out(floor: Running, version: int) -> RolloutOut:
    """Stage and roll out; the rollout once it is over."""
    found = next((one for one in floor.client.deployments().deployments if one.model_version == version), None)
    if found is None or found.state != "staged":
        floor.client.stage(version, REASON)
    deployment = next(one for one in floor.client.deployments().deployments if one.model_version == version)
    rollout = floor.client.start_rollout(deployment.deployment_id, deployment.version, REASON).rollout
    wait_for(lambda: floor.client.rollout(rollout.rollout_id).state not in ACTIVE, "the end of a rollout", PATIENCE_S)
    return floor.client.rollout(rollout.rollout_id)


def stages_s(floor: Running, rollout: RolloutOut) -> dict[str, float]:
    """When each step was begun, and when it was over, seconds from the start."""
    entries = reversed(floor.client.audit(100, f"rollout/{rollout.rollout_id}").entries)
    began = rollout.created_at
    return {entry.after["rollouts"][rollout.rollout_id]: round((entry.at - began).total_seconds(), 1) for entry in entries}


def switched_at_s(floor: Running, version: int) -> float:
    """When a version became champion the last time."""
    for row in floor.client.routes(200).history:
        if row.champion is None or row.champion.model_version != version:
            break
        at = row.changed_at
    assert at is not None
    return at.timestamp()


def run() -> Measurement:
    """Roll out, take back, roll out again; then what is worse."""
    rules = {"rollouts": {"default": POLICY["name"], "policies": [POLICY]}}
    with an_experiment_floor("constant_velocity", "gaussian_mlp", edits=rules) as floor:
        first = rolled_out(floor, 2)
        wait_s(AFTERWARDS_S)
        switched_s = switched_at_s(floor, 2)
        last_old_s, answers = floor.last_answer_of_s(1, switched_s)
        steps = stages_s(floor, first)
        route = floor.client.routes().current
        back_s = floor.client.rollback(route.epoch, REASON).route.changed_at
        assert back_s is not None
        wait_s(AFTERWARDS_S)
        last_new_s, _ = floor.last_answer_of_s(2, back_s.timestamp())
        again = rolled_out(floor, 2)
        worse = rolled_out(floor, 1)
        harmed_s, _ = floor.last_answer_of_s(1, worse.created_at.timestamp() + AFTERWARDS_S)
    return Measurement(
        max(0.0, (last_old_s or switched_s) - switched_s),
        {
            "processes": PROCESSES,
            "scenes": SCENES,
            "first_state": first.state,
            "steps_s": steps,
            "answers_after_the_switch": answers,
            "rollback_s": round(max(0.0, (last_new_s or 0.0) - back_s.timestamp()), 3),
            "again_state": again.state,
            "worse_state": worse.state,
            "worse_stage": worse.stage,
            "worse_sentence": worse.sentence,
            "went_live": int(first.state == "live") + int(again.state == "live"),
            "worse_was_stopped": int(worse.state == "rolled_back"),
            "worse_answered_somebody": int(harmed_s is not None and harmed_s > worse.created_at.timestamp()),
        },
    )
