"""Registered versions: delete those that nobody needs any more."""

from contextlib import suppress
from dataclasses import replace

from trajops.clock import SystemClock, now
from trajops.contracts.models import DeletionOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.experiments.lifecycle import OVER, ExperimentState
from trajops.ports import Clock
from trajops.rollouts.lifecycle import ACTIVE
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory

JOB = "reconcile_aliases"
MOST = 10_000
IDLE = frozenset({State.REGISTERED, State.STAGED, State.INCONCLUSIVE, State.ROLLED_BACK, State.RETIRED})
HELD = {
    "champion": "is the champion; promote another version first",
    "challenger": "is being compared with the champion; stop that first",
    "previous_champion": "is kept for a rollback, until another version is promoted",
}


class Versions:
    """The registered versions of one model.

    Args:
        unit_of_work: opens transactions of the control state.
        model_name: the registered model.
        clock: stamps changes.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, *, model_name: str = "trajectory", clock: Clock | None = None) -> None:
        self._unit_of_work = unit_of_work
        self._model_name = model_name
        self._clock: Clock = clock or SystemClock()

    def delete(self, model_version: int, *, actor: str, reason: str, idempotency_key: str | None = None) -> DeletionOut:
        """Delete a version: it is retired, listed no more, and the workers remove it from the registry.

        What it did stays on record. A registry would drop an alias with its version and say nothing, so one that has an alias is kept.

        Raises:
            NotFound: if the version is not known.
            Conflict: if it was deleted before, answers, is kept for a rollback, or takes part in an experiment or a rollout that is not
                over.
        """
        ref = ModelRef(self._model_name, model_version)

        def change(uow: UnitOfWork) -> DeletionOut:
            at = now(self._clock)
            if any(one.model_version == model_version for one in uow.model_versions.deleted(ref.name)):
                raise Conflict(f"{ref} was deleted before; GET /v1/audit?subject={ref} says by whom, and why")
            version = uow.model_versions.get(ref)
            # First of all: whatever makes a version needed moves its deployment, and is seen below or makes the move fail.
            found = uow.deployments.of_model(ref) or uow.deployments.add(ref, State.REGISTERED, at)
            obstacle = _obstacle(uow, ref)
            if obstacle is not None or found.state not in IDLE:
                raise Conflict(f"{ref} {obstacle or f'is {found.state}; stop that first'}")
            uow.deployments.move(found.deployment_id, found.version, State.RETIRED, at)
            uow.model_versions.put(replace(version, deleted_at=at))
            with suppress(NotFound):
                uow.jobs.request(JOB, at)
            entry = uow.audit.append(
                at=at,
                actor=actor,
                action="model.deleted",
                subject=str(ref),
                reason=reason,
                before={"state": found.state.value},
                after={"state": State.RETIRED.value, "job": JOB},
            )
            return DeletionOut(model_name=ref.name, model_version=ref.version, deleted_at=at, by=actor, audit_id=entry.audit_id, job=JOB)

        payload = {"model_version": model_version, "reason": reason}
        return once(self._unit_of_work, self._clock, Asked(actor, "delete_version", payload, idempotency_key), DeletionOut, change)


def _obstacle(uow: UnitOfWork, ref: ModelRef) -> str | None:
    """Why a version is needed, and what to do about it; None where it is not."""
    table = uow.routes.table()
    held = next((words for alias, words in HELD.items() if table.alias(alias) == ref), None)
    if held is not None:
        return held
    for one in uow.experiments.newest(states=set(ExperimentState) - OVER, limit=MOST):
        if any(arm.model_version == ref.version for arm in one.plan.arms):
            return f"takes part in the experiment {one.plan.name!r}, which is {one.state}; stop it first, or discard it"
    for rollout in uow.rollouts.newest(states=ACTIVE, limit=MOST):
        if rollout.model_version == ref.version:
            return f"is being rolled out, which is {rollout.state}; stop that first"
    return None
