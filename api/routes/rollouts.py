"""Rollouts: started, approved, paused, stopped and taken back; the workers take their steps."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.contracts.rollouts import RolloutChangeIn, RolloutChangeOut, RolloutIn, RolloutOut, RolloutPoliciesOut, RolloutsOut

router = APIRouter(prefix="/v1/rollouts", tags=["rollouts"])


@router.get("", summary="Rollouts", responses=READS)
def rollouts(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> RolloutsOut:
    """All rollouts with their gates as they stood at the last look, newest first; at most one is active."""
    return parts.rollouts.newest(limit)


@router.get("/policies", summary="Policies of rollouts", responses=READS)
def rollout_policies(parts: PartsOf, _client: Reader) -> RolloutPoliciesOut:
    """What a rollout may follow: the policies of `configs/rollouts.yaml`."""
    return parts.rollouts.policies()


@router.get("/{rollout_id}", summary="One rollout", responses=READS)
def rollout(rollout_id: str, parts: PartsOf, _client: Reader) -> RolloutOut:
    """One rollout: how far it has come, and what it waits for."""
    return parts.rollouts.get(rollout_id)


@router.post("", summary="Roll a version out", responses=CHANGES)
def start_rollout(body: RolloutIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> RolloutChangeOut:
    """Begin the first stage of a staged version, which is made warm first."""
    change = parts.rollouts.start(
        body.deployment_id, body.expected_version, body.policy, actor=client.client_id, reason=body.reason, idempotency_key=key
    )
    return _followed(parts, change)


@router.post("/{rollout_id}/approve", summary="Approve", responses=CHANGES)
def approve_rollout(
    rollout_id: str, body: RolloutChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> RolloutChangeOut:
    """Let it go on, where only a person's word is missing."""
    change = parts.rollouts.approve(rollout_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{rollout_id}/pause", summary="Pause", responses=CHANGES)
def pause_rollout(rollout_id: str, body: RolloutChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> RolloutChangeOut:
    """Take the traffic from the version, which stays warm; everybody's arm is kept."""
    change = parts.rollouts.pause(rollout_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{rollout_id}/resume", summary="Resume", responses=CHANGES)
def resume_rollout(
    rollout_id: str, body: RolloutChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> RolloutChangeOut:
    """Go on after a pause: the step begins anew, and everybody comes back to the same arm."""
    change = parts.rollouts.resume(rollout_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{rollout_id}/stop", summary="Stop", responses=CHANGES)
def stop_rollout(rollout_id: str, body: RolloutChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> RolloutChangeOut:
    """End it without a judgement: the version is staged again, or, where it bakes, stays champion."""
    change = parts.rollouts.stop(rollout_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


@router.post("/{rollout_id}/rollback", summary="Roll back", responses=CHANGES)
def roll_back_rollout(
    rollout_id: str, body: RolloutChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> RolloutChangeOut:
    """Take it back at once: the champion of before answers everybody, within two seconds in every process."""
    change = parts.rollouts.roll_back(rollout_id, body.expected_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _followed(parts, change)


def _followed(parts: Parts, change: RolloutChangeOut) -> RolloutChangeOut:
    """The change, with this process on its way to the new epoch instead of at its next look."""
    parts.host.wake()
    parts.cached.clear()
    return change
