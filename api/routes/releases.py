"""Model versions, deployments and routes."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.contracts.deployments import (
    CanaryIn,
    ChangeOut,
    DeploymentOut,
    DeploymentsOut,
    RollbackIn,
    RouteHistoryOut,
    StageIn,
    TransitionIn,
)
from trajops.contracts.jobs import JobRunOut
from trajops.contracts.models import AdoptionOut, ModelsOut, ModelVersionOut
from trajops.contracts.validations import ValidationBriefOut, ValidationOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.records import ModelVersion

RECONCILE = "reconcile_aliases"  # the job that looks into the registry

router = APIRouter(prefix="/v1", tags=["releases"])


@router.get("/models", summary="Model versions", responses=READS)
def models(parts: PartsOf, _client: Reader) -> ModelsOut:
    """All versions of the registered model, newest first, with their metrics and where each one is deployed.

    Beside them, as `adoptions`, what was registered in MLflow and cannot be staged: it waits to be measured, or was refused.
    """

    def read() -> ModelsOut:
        with parts.unit_of_work(read_only=True) as uow:
            versions = uow.model_versions.all(parts.settings.model_name)
            deleted = {version.model_version for version in uow.model_versions.deleted(parts.settings.model_name)}
            deployed = {ModelRef(one.model_name, one.model_version): one for one in uow.deployments.all()}
            table = uow.routes.table()
            reconciled = uow.jobs.last_success(RECONCILE)
            validated = {one.model_version: one for one in uow.validations.latest(parts.settings.model_name)}
            asked = {one.model_version for one in uow.validations.asked(parts.settings.model_name)}
        rows = []
        for version in versions:
            found, is_asked = validated.get(version.model_version), version.model_version in asked
            rows.append(_version(parts, version, deployed.get(version.ref), table, found, is_asked=is_asked))
        adoptions = _adoptions(parts, reconciled, deleted | {version.model_version for version in versions})
        return ModelsOut(model_name=parts.settings.model_name, versions=rows, adoptions=adoptions)

    return parts.cached.get("models", read)


@router.get("/deployments", summary="Deployments", responses=READS)
def deployments(parts: PartsOf, _client: Reader) -> DeploymentsOut:
    """All deployments, newest first."""
    return parts.deployments.deployments()


@router.get("/routes", summary="Routes", responses=READS)
def routes(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> RouteHistoryOut:
    """Who answers now, and what was live when."""
    return parts.deployments.routes(limit)


@router.post("/deployments", summary="Stage a version", responses=CHANGES)
def stage(body: StageIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """Make a registered version ready to take traffic; routes stay as they are.

    Its newest battery must have passed: a version that has failed is refused with the reasons (`battery_failed`), one that has not been
    validated yet with what to do (`not_validated`).
    """
    change = parts.deployments.stage(body.model_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/deployments/{deployment_id}/canary", summary="Start a canary", responses=CHANGES)
def start_canary(deployment_id: str, body: CanaryIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """Compare a staged deployment with the champion on a share of the agents; half of them get the challenger.

    Its version is made warm first: one that this API cannot load is refused (`model_not_loadable`).
    """
    change = parts.deployments.start_canary(
        deployment_id, body.expected_version, body.coverage, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/deployments/{deployment_id}/canary/pause", summary="Pause a canary", responses=CHANGES)
def pause_canary(deployment_id: str, body: TransitionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """Take the traffic from the challenger; it stays warm, and starting the canary again puts nobody into another arm."""
    change = parts.deployments.pause_canary(
        deployment_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/deployments/{deployment_id}/canary/stop", summary="Stop a canary", responses=CHANGES)
def stop_canary(deployment_id: str, body: TransitionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """End the comparison; the champion answers everybody."""
    change = parts.deployments.stop_canary(
        deployment_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/deployments/{deployment_id}/promote", summary="Promote", responses=CHANGES)
def promote(deployment_id: str, body: TransitionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """Make a deployment the champion; the champion so far is kept warm for a rollback.

    Its version is made warm first: one that this API cannot load is refused (`model_not_loadable`).
    """
    change = parts.deployments.promote(
        deployment_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/routes/rollback", summary="Roll back", responses=CHANGES)
def rollback(body: RollbackIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ChangeOut:
    """Put the previous champion back."""
    change = parts.deployments.rollback(body.expected_epoch, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


def _followed(parts: Parts, change: ChangeOut) -> ChangeOut:
    """The change, with this process on its way to the new epoch instead of at its next look."""
    parts.host.wake()
    parts.cached.clear()
    return change


def _adoptions(parts: Parts, reconciled: JobRunOut | None, known: set[int]) -> list[AdoptionOut]:
    """What the workers last saw in the registry and had not adopted, without what has been adopted since."""
    rows = reconciled.result.get("adoptions", []) if reconciled is not None else []
    found = [AdoptionOut.model_validate(row) for row in rows]
    return [one.model_copy(update={"run_url": _run_url(parts, one.run_id)}) for one in found if one.model_version not in known]


def _run_url(parts: Parts, run_id: str | None) -> str | None:
    return None if run_id is None else f"{parts.settings.registry_url}/#/runs/{run_id}"


def _version(
    parts: Parts,
    version: ModelVersion,
    deployment: DeploymentOut | None,
    table: RouteTable,
    validation: ValidationOut | None,
    *,
    is_asked: bool,
) -> ModelVersionOut:
    aliases = [name for name in ("champion", "challenger", "previous_champion") if table.alias(name) == version.ref]
    return ModelVersionOut(
        model_name=version.model_name,
        model_version=version.model_version,
        family=version.family,
        run_id=version.run_id,
        run_url=_run_url(parts, version.run_id),
        created_at=version.created_at,
        aliases=aliases,
        metrics=version.metrics,
        params=version.params,
        deployment_id=deployment and deployment.deployment_id,
        state=State.REGISTERED if deployment is None else deployment.state,
        version=deployment and deployment.version,
        is_warm=version.ref in parts.host.warm,
        validation=None if validation is None else ValidationBriefOut.of(validation),
        is_validation_asked=is_asked,
    )
