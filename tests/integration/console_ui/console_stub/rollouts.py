"""Rollouts of the stub API: one under way, with the gates of a real look."""

from datetime import datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from tests.rollout_builders import a_policy, a_rollout
from trajops.contracts.audit import AuditOut
from trajops.contracts.rollouts import GateOut, RolloutChangeOut, RolloutOut, RolloutPoliciesOut, RolloutsOut
from trajops.rollouts.lifecycle import RolloutState, Stage

STATES = {"pause": RolloutState.PAUSED, "resume": RolloutState.RUNNING, "stop": RolloutState.STOPPED, "rollback": RolloutState.ROLLED_BACK}
GATES = [
    GateOut(name="time", state="passed", detail="812 of 600 s"),
    GateOut(name="freshness", state="passed", detail="the figures were looked at just now"),
    GateOut(name="units", state="waiting", detail="31 of 50 agents with truth in each arm in this step"),
    GateOut(name="health", state="passed", detail="split, truth and its age are right"),
    GateOut(name="guardrails", state="passed", detail="12 % of what trips one"),
    GateOut(name="harm", state="passed", detail="harm is at least −11.4 %"),
]


class StubRollouts:
    """What is being rolled out.

    Attributes:
        known: the only rollout; None: there was none.
        conflict_next: whether somebody else is faster with the next change.
    """

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.conflict_next = False
        self.known: RolloutOut | None = None
        if not is_empty:
            self.known = a_rollout(
                model_version=3,
                champion_version=2,
                step=1,
                policy=a_policy(name="careful", approval=["promoting"]),
                gates=GATES,
                sentence="The canary at 50 % waits: 31 of 50 agents with truth in each arm in this step.",
                created_at=started - timedelta(hours=1),
                entered_at=started - timedelta(minutes=13),
                looked_at=started + timedelta(minutes=5),
            )

    def ready(self) -> None:
        """Everything is passed but a person's word."""
        assert self.known is not None
        gates = [gate.model_copy(update={"state": "passed", "detail": gate.detail.replace("31 of", "61 of")}) for gate in GATES]
        asked = GateOut(name="approval", state="waiting", detail="a person approves what comes next")
        sentence = "The canary at 100 % waits: a person approves what comes next."
        self.known = self.known.model_copy(update={"step": 2, "gates": [*gates, asked], "sentence": sentence})

    def bakes(self) -> None:
        """It is champion, and its predecessor watches."""
        assert self.known is not None
        watch = GateOut(name="predecessor", state="passed", detail="the predecessor's error is +8.1 %")
        self.known = self.known.model_copy(update={"stage": Stage.BAKING, "step": 0, "gates": [GATES[0], watch]})

    def read(self, path: str) -> Any:
        if path == "/v1/rollouts/policies":
            return RolloutPoliciesOut(default="careful", policies=[a_policy(name="careful", approval=["promoting"]), a_policy(name="bold")])
        return RolloutsOut(rollouts=[] if self.known is None else [self.known])

    def audit(self) -> list[AuditOut]:
        if self.known is None:
            return []
        name = self.known.rollout_id
        places = [("rollout.next", "canary 2/3, running"), ("rollout.next", "canary 1/3, running"), ("rollout.start", "shadow, running")]
        return [
            AuditOut(
                audit_id=f"aud-r{number}",
                at=self.started - timedelta(minutes=20 * number),
                actor="ada" if action == "rollout.start" else "worker:advance_rollouts",
                action=action,
                subject=f"rollout/{name}",
                reason="All gates are passed." if action == "rollout.next" else "the new network is ready",
                before={},
                after={"rollouts": {name: place}, "gates": [{"name": "units", "detail": "61 of 50 agents"}]},
            )
            for number, (action, place) in enumerate(places, 1)
        ]

    def post(self, path: str, body: Any, username: str) -> RolloutChangeOut:
        if self.conflict_next:
            self.conflict_next = False
            raise Refused(409, "stale_version", "the rollout has version 9, not 1: somebody changed it")
        action = path.rpartition("/")[2]
        if action == "rollouts":
            policy = a_policy(name=body["policy"])
            self.known = a_rollout(model_version=4, champion_version=2, stage=Stage.SHADOW, policy=policy, created_by=username)
        elif self.known is not None:
            update: dict[str, Any] = {"version": self.known.version + 1, "state": STATES.get(action, self.known.state)}
            if action == "approve":
                update |= {"is_approved": True}
            if update["state"] not in {RolloutState.RUNNING, RolloutState.PAUSED}:
                update |= {"ended_at": self.started, "sentence": f"Ended: {body['reason']}"}
            self.known = self.known.model_copy(update=update)
        assert self.known is not None
        return RolloutChangeOut(rollout=self.known, epoch=8, audit_id="aud-9")
