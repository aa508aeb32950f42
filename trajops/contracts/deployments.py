"""Deployments and routes: staging, canary, promotion, rollback; who is live in which epoch."""

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable


class ModelRefOut(Wire):
    """One version of one registered model."""

    model_name: str
    model_version: int


class StageIn(Wire):
    """Make a registered version ready to take traffic."""

    model_version: int = Field(ge=1, le=2**31 - 1)
    reason: Reason


class TransitionIn(Wire):
    """A change of one deployment, refused when somebody else was faster."""

    expected_version: int = Field(ge=1, description="Version of the deployment that the caller has seen.")
    reason: Reason


class CanaryIn(TransitionIn):
    """Compare a staged deployment with the champion."""

    coverage: float = Field(gt=0, le=1, description="Share of agents enrolled; half of them get the challenger.")


class RollbackIn(Wire):
    """Put the previous champion back."""

    expected_epoch: int = Field(ge=1, description="Routing epoch that the caller has seen.")
    reason: Reason


class DeploymentOut(Wire):
    """One deployed model version."""

    deployment_id: str
    model_name: str
    model_version: int
    state: State
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class DeploymentsOut(Wire):
    """All deployments, newest first."""

    deployments: list[DeploymentOut]


class RouteOut(Wire):
    """Who answers whom in one routing epoch."""

    epoch: int
    champion: ModelRefOut | None
    challenger: ModelRefOut | None
    previous: ModelRefOut | None
    coverage: float
    is_stopped: bool = Field(default=False, description="The kill switch: the champion answers everybody, whatever is being compared.")
    held_out: float = Field(default=0.0, description="Share of all units that no experiment enrols.")
    changed_at: AwareDatetime | None
    actor: str | None
    reason: str | None

    @classmethod
    def of(cls, table: RouteTable, *, at: datetime | None = None, actor: str | None = None, reason: str | None = None) -> Self:
        """A route table as it is shown."""

        def shown(ref: ModelRef | None) -> ModelRefOut | None:
            return None if ref is None else ModelRefOut(model_name=ref.name, model_version=ref.version)

        return cls(
            epoch=table.epoch,
            champion=shown(table.champion),
            challenger=shown(table.challenger),
            previous=shown(table.previous),
            coverage=table.coverage,
            is_stopped=table.is_stopped,
            held_out=0.0 if table.holdout is None else table.holdout.share,
            changed_at=at,
            actor=actor,
            reason=reason,
        )


class RouteHistoryOut(Wire):
    """What was live when, newest epoch first."""

    current: RouteOut
    history: list[RouteOut]


class ChangeOut(Wire):
    """The state after a change: what the console draws."""

    deployment: DeploymentOut
    route: RouteOut
    audit_id: str
