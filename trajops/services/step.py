"""One change of what is live in the making: what was before, what is written, and the audit entry over both."""

from datetime import datetime
from typing import Any

from trajops.clock import now
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import ChangeOut, DeploymentOut, RouteOut
from trajops.contracts.experiments import ExperimentChangeOut, ExperimentOut, VerdictOut
from trajops.contracts.rollouts import RolloutChangeOut, RolloutOut
from trajops.deployments.lifecycle import State, check_transition
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, StaleVersion
from trajops.experiments import lifecycle
from trajops.experiments.lifecycle import ExperimentState
from trajops.ports import Clock
from trajops.rollouts.lifecycle import Stage
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
        route: as it is by now.
    """

    def __init__(self, uow: UnitOfWork, clock: Clock, action: str, actor: str, reason: str) -> None:
        self.uow = uow
        self.action, self.actor, self.reason = action, actor, reason
        self.at: datetime = now(clock)
        self.route: RouteTable = uow.routes.table()
        self._first_route: RouteTable = self.route
        self._shown: RouteOut = uow.routes.current()
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}
        self._experiments: dict[str, tuple[str, str]] = {}
        self._rollouts: dict[str, tuple[str, str]] = {}

    def expect(self, deployment_id: str, version: int) -> tuple[DeploymentOut, ModelRef]:
        """The deployment that the caller has seen, or StaleVersion."""
        deployment = expected_deployment(self.uow, deployment_id, version)
        return deployment, ModelRef(deployment.model_name, deployment.model_version)

    def reroute(self, **changes: Any) -> None:
        """Append the next epoch. Done before any state, so that two changes at once queue here and never deadlock."""
        self.route = self.route.next(**changes)
        self._shown = self.uow.routes.append(self.route, at=self.at, actor=self.actor, reason=self.reason)

    def move(self, deployment: DeploymentOut, state: State, *, is_repeat: bool = False) -> DeploymentOut:
        """Write the next state by compare-and-set; `is_repeat` keeps the state and only counts the version up."""
        if not is_repeat:
            check_transition(deployment.state, state)
        name = str(ModelRef(deployment.model_name, deployment.model_version))
        self._before.setdefault(name, deployment.state)
        self._after[name] = state
        return self.uow.deployments.move(deployment.deployment_id, deployment.version, state, self.at)

    def check_kept(self, ref: ModelRef) -> None:
        """Look after the move of a version whether it is still there: whoever deletes it moves its deployment first, and waits for ours.

        Raises:
            NotFound: if it was deleted after it was last read, as a database without locks allows.
        """
        self.uow.model_versions.get(ref)

    def move_model(self, ref: ModelRef, state: State) -> DeploymentOut:
        """Write the next state of a version that the routes name; one that is in it already stays as it is."""
        deployment = self.uow.deployments.of_model(ref)
        if deployment is None:
            raise Conflict(f"the routes name {ref}, which has no deployment; stage and promote a version to repair them")
        if deployment.state == state:
            return deployment
        if deployment.state in {State.PAUSED, State.INCONCLUSIVE}:  # what the routes fall back on is there, whatever was compared with it
            deployment = self.move(deployment, State.STAGED)
        return self.move(deployment, state)

    def move_experiment(self, experiment: ExperimentOut, state: ExperimentState, **changes: Any) -> ExperimentOut:
        """Write the next state of an experiment and what else changes; the same state only counts the version up."""
        if state != experiment.state:
            lifecycle.check_transition(experiment.state, state)
        self._experiments[experiment.experiment_id] = (experiment.state, state)
        update = {"state": state, "version": experiment.version + 1, "updated_at": self.at, **changes}
        moved = experiment.model_copy(update=update)
        self.uow.experiments.save(moved, experiment.version)
        return moved

    def add_rollout(self, rollout: RolloutOut) -> None:
        """Write a new rollout."""
        self._rollouts[rollout.rollout_id] = ("", _place(rollout))
        self.uow.rollouts.add(rollout)

    def move_rollout(self, rollout: RolloutOut, before: RolloutOut) -> RolloutOut:
        """Write what has become of a rollout, by compare-and-set."""
        self._rollouts[rollout.rollout_id] = (_place(before), _place(rollout))
        moved = rollout.model_copy(update={"version": before.version + 1, "updated_at": self.at})
        self.uow.rollouts.save(moved, before.version)
        return moved

    def finish(self, deployment: DeploymentOut) -> ChangeOut:
        """Write the audit entry; answer with the deployment and the routes after the change."""
        entry = self._audited(f"{deployment.model_name}/{deployment.model_version}")
        return ChangeOut(deployment=deployment, route=self._shown, audit_id=entry.audit_id)

    def finish_experiment(self, experiment: ExperimentOut, cause: VerdictOut | None = None) -> ExperimentChangeOut:
        """The same with an experiment; `cause` are the exact figures that it was decided by."""
        figures = {} if cause is None else {"cause": cause.model_dump(mode="json")}
        named = ("coverage", "closed_arms", "winner", "sentence")
        about = {name: getattr(experiment, name) for name in named}
        entry = self._audited(f"experiment/{experiment.experiment_id}", **about, **figures)
        return ExperimentChangeOut(experiment=experiment, epoch=self.route.epoch, audit_id=entry.audit_id)

    def finish_rollout(self, rollout: RolloutOut, **cause: Any) -> RolloutChangeOut:
        """The same with a rollout; `cause` are the exact figures that it was changed by."""
        entry = self._audited(f"rollout/{rollout.rollout_id}", sentence=rollout.sentence, **cause)
        return RolloutChangeOut(rollout=rollout, epoch=self.route.epoch, audit_id=entry.audit_id)

    def finish_switch(self) -> tuple[str, int]:
        """The same where only the routes have changed: id of the audit entry, and the epoch."""
        return self._audited("routes").audit_id, self.route.epoch

    def _audited(self, subject: str, **more: Any) -> AuditOut:
        moved = {"experiments": self._experiments, "rollouts": self._rollouts}
        before, after = (
            {kind: {name: pair[place] for name, pair in pairs.items()} for kind, pairs in moved.items() if pairs} for place in (0, 1)
        )
        return self.uow.audit.append(
            at=self.at,
            actor=self.actor,
            action=self.action,
            subject=subject,
            reason=self.reason,
            before={"route": self._first_route.to_json(), "states": self._before, **before},
            after={"route": self.route.to_json(), "states": self._after, **after, **more},
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


def expected_rollout(uow: UnitOfWork, rollout_id: str, version: int) -> RolloutOut:
    """The rollout that the caller has seen, or StaleVersion."""
    rollout = uow.rollouts.get(rollout_id)
    if rollout.version != version:
        raise StaleVersion(
            f"rollout {rollout_id} has version {rollout.version}, not {version}: somebody changed it; read it again and repeat",
            present_version=rollout.version,
        )
    return rollout


def expected_experiment(uow: UnitOfWork, experiment_id: str, version: int) -> ExperimentOut:
    """The experiment that the caller has seen, or StaleVersion."""
    experiment = uow.experiments.get(experiment_id)
    if experiment.version != version:
        raise StaleVersion(
            f"experiment {experiment_id} has version {experiment.version}, not {version}: somebody changed it; read it again and repeat",
            present_version=experiment.version,
        )
    return experiment


def _place(rollout: RolloutOut) -> str:
    step = f" {rollout.step + 1}/{len(rollout.policy.canary)}" if rollout.stage == Stage.CANARY else ""
    return f"{rollout.stage}{step}, {rollout.state}"
