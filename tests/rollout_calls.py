"""What the clients' methods about rollouts send, and answers of the API's form: one row a call, as in `tests.client_calls`."""

from typing import Any

from tests.rollout_builders import a_policy, a_rollout

REASON = "a reason that is long enough"
ROLLOUT = a_rollout("r 1").model_dump(mode="json")
CHANGE = {"rollout": ROLLOUT, "epoch": 4, "audit_id": "aud-1"}
SEEN = {"expected_version": 2, "reason": REASON}
START = {"deployment_id": "d2", "expected_version": 3, "policy": "quick", "reason": REASON}
CALLS: dict[str, tuple[Any, str, str, Any, Any]] = {
    "rollouts": (lambda c: c.rollouts(), "GET", "/v1/rollouts?limit=100", None, {"rollouts": [ROLLOUT]}),
    "rollout_policies": (
        lambda c: c.rollout_policies(),
        "GET",
        "/v1/rollouts/policies",
        None,
        {"default": "unattended", "policies": [a_policy().model_dump(mode="json")]},
    ),
    "rollout": (lambda c: c.rollout("r 1"), "GET", "/v1/rollouts/r%201", None, ROLLOUT),
    "start_rollout": (lambda c: c.start_rollout("d2", 3, REASON, policy="quick"), "POST", "/v1/rollouts", START, CHANGE),
    "approve_rollout": (lambda c: c.approve_rollout("r 1", 2, REASON), "POST", "/v1/rollouts/r%201/approve", SEEN, CHANGE),
    "pause_rollout": (lambda c: c.pause_rollout("r 1", 2, REASON), "POST", "/v1/rollouts/r%201/pause", SEEN, CHANGE),
    "resume_rollout": (lambda c: c.resume_rollout("r 1", 2, REASON), "POST", "/v1/rollouts/r%201/resume", SEEN, CHANGE),
    "stop_rollout": (lambda c: c.stop_rollout("r 1", 2, REASON), "POST", "/v1/rollouts/r%201/stop", SEEN, CHANGE),
    "roll_back_rollout": (lambda c: c.roll_back_rollout("r 1", 2, REASON), "POST", "/v1/rollouts/r%201/rollback", SEEN, CHANGE),
}
CHANGES = tuple(name for name in CALLS if name not in {"rollouts", "rollout_policies", "rollout"})
