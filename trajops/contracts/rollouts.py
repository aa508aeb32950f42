"""Rollouts: how a staged version becomes the champion, what each step waits for, and how it ended."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.experiments import LAST
from trajops.contracts.wire import Reason, Wire
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.rollouts.rules import RolloutPolicy

GateName = Literal[
    "horizon",
    "switch",
    "time",
    "units",
    "freshness",
    "health",
    "guardrails",
    "harm",
    "accuracy",
    "approval",
    "predecessor",
    "alerts",
    "coverage",
    "obstacle",
]
GateState = Literal["passed", "waiting", "failed"]


class GateOut(Wire):
    """One thing that the next step waits for."""

    name: GateName
    state: GateState = Field(description="`failed`: it will not pass by waiting alone.")
    detail: str


class RolloutOut(Wire):
    """One rollout."""

    rollout_id: str
    model_name: str
    model_version: int
    deployment_id: str
    champion_version: int = Field(description="The champion when it started.")
    policy: RolloutPolicy
    stage: Stage
    step: int = Field(description="Of the canary, from 0.")
    state: RolloutState
    version: int = Field(description="For `expected_version` of a change.")
    experiment_id: str | None = Field(description="What compares the versions in the present stage.")
    entered_at: AwareDatetime = Field(description="When the present step began.")
    units_before: dict[str, int] = Field(default_factory=dict, description="Empty: read by the release before only.")
    is_approved: bool = Field(description="A person has let it go on.")
    gates: list[GateOut] = Field(description="As they stood at the last look.")
    looked_at: AwareDatetime | None
    sentence: str = Field(description="What it waits for, or how it ended.")
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    ended_at: AwareDatetime | None


class RolloutsOut(Wire):
    """Rollouts, newest first."""

    rollouts: list[RolloutOut]


class RolloutPoliciesOut(Wire):
    """Ways to roll out."""

    default: str
    policies: list[RolloutPolicy]


class RolloutIn(Wire):
    """Roll a staged version out."""

    deployment_id: str
    expected_version: int = Field(ge=1, le=LAST, description="Version of the deployment that the caller has seen.")
    policy: str | None = Field(default=None, max_length=64, description="Name of one in `configs/rollouts.yaml`; None: the usual one.")
    reason: Reason


class RolloutChangeIn(Wire):
    """A change of one rollout, refused when somebody else was faster."""

    expected_version: int = Field(ge=1, le=LAST)
    reason: Reason


class RolloutChangeOut(Wire):
    """The state after a change."""

    rollout: RolloutOut
    epoch: int
    audit_id: str
