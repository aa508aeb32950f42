"""One change of what is live in the making: what was before, what is written, and the audit entry over both."""

from datetime import datetime
from typing import Any

from trajops.clock import now
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import ChangeOut, DeploymentOut, RouteOut
from trajops.contracts.experiments import ExperimentChangeOut, ExperimentOut, VerdictOut
from trajops.deployments.lifecycle import State, check_transition
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, StaleVersion
from trajops.experiments import lifecycle
from trajops.experiments.lifecycle import ExperimentState
from trajops.ports import Clock
from trajops.stores import UnitOfWork


class Step:
    """States, routes and the audit entry of one transaction.

    Args:
        uow: the transaction.
        clock: stamps the change.
        action: its name in the audit.
        actor: who changes.
        reason: why.

    Attributes:
        at: when.
        route: before the change.
    """

    def __init__(self, uow: UnitOfWork, clock: Clock, action: str, actor: str, reason: str) -> None:
        self.uow = uow
        self.action, self.actor, self.reason = action, actor, reason
        self.at: datetime = now(clock)
        self.route: RouteTable = uow.routes.table()
        self._new_route: RouteTable = self.route
        self._shown: RouteOut = uow.routes.current()
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}
        self._experiments: dict[str, tuple[str, str]] = {}

    def expect(self, deployment_id: str, version: int) -> tuple[DeploymentOut, ModelRef]:
        """The deployment that the caller has seen, or StaleVersion."""
        deployment = expected_deployment(self.uow, deployment_id, version)
        return deployment, ModelRef(deployment.model_name, deployment.model_version)

    def reroute(self, **changes: Any) -> None:
        """Append the next epoch. Done before any state, so that two changes at once queue here and never deadlock."""
        self._new_route = self.route.next(**changes)
        self._shown = self.uow.routes.append(self._new_route, at=self.at, actor=self.actor, reason=self.reason)

    def move(self, deployment: DeploymentOut, state: State, *, is_repeat: bool = False) -> DeploymentOut:
        """Write the next state by compare-and-set; `is_repeat` keeps the state and only counts the version up."""
        if not is_repeat:
            check_transition(deployment.state, state)
        name = str(ModelRef(deployment.model_name, deployment.model_version))
        self._before[name], self._after[name] = deployment.state, state
        return self.uow.deployments.move(deployment.deployment_id, deployment.version, state, self.at)

    def move_model(self, ref: ModelRef, state: State) -> DeploymentOut:
        """Write the next state of a version that the routes name; one that is in it already stays as it is."""
        deployment = self.uow.deployments.of_model(ref)
        if deployment is None:
            raise Conflict(f"the routes name {ref}, which has no deployment; stage and promote a version to repair them")
        return deployment if deployment.state == state else self.move(deployment, state)

    def move_experiment(self, experiment: ExperimentOut, state: ExperimentState, **changes: Any) -> ExperimentOut:
        """Write the next state of an experiment and what else changes; the same state only counts the version up."""
        if state != experiment.state:
            lifecycle.check_transition(experiment.state, state)
        self._experiments[experiment.experiment_id] = (experiment.state, state)
        update = {"state": state, "version": experiment.version + 1, "updated_at": self.at, **changes}
        moved = experiment.model_copy(update=update)
        self.uow.experiments.save(moved, experiment.version)
        return moved

    def finish(self, deployment: DeploymentOut) -> ChangeOut:
        """Write the audit entry; answer with the deployment and the routes after the change."""
        entry = self._audited(f"{deployment.model_name}/{deployment.model_version}")
        return ChangeOut(deployment=deployment, route=self._shown, audit_id=entry.audit_id)

    def finish_experiment(self, experiment: ExperimentOut, cause: VerdictOut | None = None) -> ExperimentChangeOut:
        """The same with an experiment; `cause` are the exact figures that it was decided by."""
        figures = {} if cause is None else {"cause": cause.model_dump(mode="json")}
        about = {"coverage": experiment.coverage, "closed_arms": experiment.closed_arms, "sentence": experiment.sentence}
        entry = self._audited(f"experiment/{experiment.experiment_id}", **about, **figures)
        return ExperimentChangeOut(experiment=experiment, epoch=self._new_route.epoch, audit_id=entry.audit_id)

    def finish_switch(self) -> tuple[str, int]:
        """The same where only the routes have changed: id of the audit entry, and the epoch."""
        return self._audited("routes").audit_id, self._new_route.epoch

    def _audited(self, subject: str, **more: Any) -> AuditOut:
        before, after = ({name: pair[place] for name, pair in self._experiments.items()} for place in (0, 1))
        return self.uow.audit.append(
            at=self.at,
            actor=self.actor,
            action=self.action,
            subject=subject,
            reason=self.reason,
            before={"route": self.route.to_json(), "states": self._before, **({"experiments": before} if before else {})},
            after={"route": self._new_route.to_json(), "states": self._after, **({"experiments": after} if after else {}), **more},
        )


def expected_deployment(uow: UnitOfWork, deployment_id: str, version: int) -> DeploymentOut:
    """The deployment that the caller has seen, or StaleVersion."""
    deployment = uow.deployments.get(deployment_id)
    if deployment.version != version:
        raise StaleVersion(
            f"deployment {deployment_id} has version {deployment.version}, not {version}: somebody changed it; read it again and repeat",
            present_version=deployment.version,
        )
    return deployment


def expected_experiment(uow: UnitOfWork, experiment_id: str, version: int) -> ExperimentOut:
    """The experiment that the caller has seen, or StaleVersion."""
    experiment = uow.experiments.get(experiment_id)
    if experiment.version != version:
        raise StaleVersion(
            f"experiment {experiment_id} has version {experiment.version}, not {version}: somebody changed it; read it again and repeat",
            present_version=experiment.version,
        )
    return experiment
