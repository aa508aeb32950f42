"""Experiments: drafts, launches, coverage, pauses and ends, and how their verdicts go."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.contracts.experiments import (
    ChecklistOut,
    CoverageIn,
    ExperimentChangeIn,
    ExperimentChangeOut,
    ExperimentErrorsOut,
    ExperimentIn,
    ExperimentOut,
    ExperimentPlan,
    ExperimentSliceBy,
    ExperimentSlicesOut,
    ExperimentsOut,
    HoldoutIn,
    HoldoutOut,
    KillSwitchIn,
    KillSwitchOut,
    OverrideIn,
    StopIn,
    VerdictsOut,
)

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.get("", summary="Experiments", responses=READS)
def experiments(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> ExperimentsOut:
    """All experiments with their newest verdicts, newest first."""
    return parts.experiments.newest(limit)


@router.get("/{experiment_id}", summary="One experiment", responses=READS)
def experiment(experiment_id: str, parts: PartsOf, _client: Reader) -> ExperimentOut:
    """One experiment with its newest verdict; of one that was decided, the verdict that caused it."""
    return parts.experiments.get(experiment_id)


@router.get("/{experiment_id}/verdicts", summary="Verdicts over time", responses=READS)
def verdicts(experiment_id: str, parts: PartsOf, _client: Reader) -> VerdictsOut:
    """How the verdict went, oldest first; the farther from the start, the fewer are kept."""
    return parts.experiments.verdicts(experiment_id)


@router.get("/{experiment_id}/slices", summary="An experiment taken apart", responses=READS)
def experiment_slices(
    experiment_id: str,
    parts: PartsOf,
    _client: Reader,
    by: Annotated[ExperimentSliceBy, Query(description="What it is taken apart by.")] = "scene",
) -> ExperimentSlicesOut:
    """Exploratory: the effect by scene, speed band, step or client. Not corrected for looking at many; decides nothing."""
    key = ("experiment slices", experiment_id, by)
    return parts.experiment_slices.of(experiment_id, by, remember=lambda read: parts.cached_longer.get(key, read))


@router.get("/{experiment_id}/errors", summary="Errors of units by arm", responses=READS)
def experiment_errors(experiment_id: str, parts: PartsOf, _client: Reader) -> ExperimentErrorsOut:
    """Exploratory: which share of the units of each arm has an error of at most so much. Decides nothing."""
    key = ("experiment errors", experiment_id)
    return parts.experiment_slices.errors(experiment_id, remember=lambda read: parts.cached_longer.get(key, read))


@router.post("/check", summary="Checklist of a plan", responses=READS)
def check_experiment(plan: ExperimentPlan, parts: PartsOf, _client: Reader) -> ChecklistOut:
    """Whether a plan can be launched on the recent traffic, what blocks it, and how long it will take. Nothing is changed."""
    return parts.experiment_checks.of(plan)


@router.post("", summary="Create an experiment", responses=CHANGES)
def create_experiment(body: ExperimentIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ExperimentChangeOut:
    """Write a draft; with `is_launched`, launch it, if nothing blocks it."""
    change = parts.experiments.create(
        body.plan, actor=client.client_id, reason=body.reason, is_launched=body.is_launched, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/switch", summary="Kill switch", responses=CHANGES)
def switch_experiments(body: KillSwitchIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> KillSwitchOut:
    """Let the champion answer everybody, whatever is being compared, or end that."""
    change = parts.experiments.switch(
        body.expected_epoch, is_stopped=body.is_stopped, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    parts.host.wake()
    parts.cached.clear()
    return change


@router.post("/holdout", summary="Hold units out of all experiments", responses=CHANGES)
def hold_out(body: HoldoutIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> HoldoutOut:
    """Keep a share of all units out of every experiment; the champion answers them. 0: nobody."""
    change = parts.experiments.hold_out(body.expected_epoch, body.share, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.host.wake()
    parts.cached.clear()
    return change


@router.post("/{experiment_id}/launch", summary="Launch a draft", responses=CHANGES)
def launch_experiment(
    experiment_id: str, body: ExperimentChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> ExperimentChangeOut:
    """Route the units of a draft, if nothing on its checklist blocks it; its versions are made warm first."""
    change = parts.experiments.launch(experiment_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{experiment_id}/cover", summary="Change the coverage", responses=CHANGES)
def cover_experiment(
    experiment_id: str, body: CoverageIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> ExperimentChangeOut:
    """Enrol another share of the units, or go on after a pause; nobody changes arms."""
    change = parts.experiments.cover(
        experiment_id, body.expected_version, body.coverage, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/{experiment_id}/pause", summary="Pause", responses=CHANGES)
def pause_experiment(
    experiment_id: str, body: ExperimentChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> ExperimentChangeOut:
    """Take the traffic from the treatments, which stay warm; everybody's arm is kept."""
    change = parts.experiments.pause(experiment_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{experiment_id}/stop", summary="Stop", responses=CHANGES)
def stop_experiment(experiment_id: str, body: StopIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> ExperimentChangeOut:
    """End it; a treatment that is named as the winner is promoted. A draft is discarded."""
    change = parts.experiments.stop(
        experiment_id, body.expected_version, body.winner, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/{experiment_id}/override", summary="Override a unit's arm", responses=CHANGES)
def override_unit(
    experiment_id: str, body: OverrideIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> ExperimentChangeOut:
    """Put a unit into an arm by hand, out of every figure; without a variant, back to where it belongs."""
    change = parts.experiments.override(
        experiment_id, body.expected_version, body.unit_id, body.variant, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


def _followed(parts: Parts, change: ExperimentChangeOut) -> ExperimentChangeOut:
    """The change, with this process on its way to the new epoch instead of at its next look."""
    parts.host.wake()
    parts.cached.clear()
    return change
