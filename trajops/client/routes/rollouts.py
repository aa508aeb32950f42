"""Rollouts of versions."""

from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.rollouts import RolloutChangeIn, RolloutChangeOut, RolloutIn, RolloutOut, RolloutPoliciesOut, RolloutsOut


class RolloutRoutes:
    """Rollouts of versions."""

    @described
    def rollouts(self, limit: int = 100) -> Call[RolloutsOut]:
        """All rollouts, newest first; at most one is active."""
        return get("/v1/rollouts", RolloutsOut, limit=limit)

    @described
    def rollout_policies(self) -> Call[RolloutPoliciesOut]:
        """What a rollout may follow."""
        return get("/v1/rollouts/policies", RolloutPoliciesOut)

    @described
    def rollout(self, rollout_id: str) -> Call[RolloutOut]:
        """One rollout: how far it has come, and what it waits for."""
        return get(at("/v1/rollouts/{}", rollout_id), RolloutOut)

    @described
    def start_rollout(
        self, deployment_id: str, expected_version: int, reason: str, *, policy: str | None = None, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """Roll a staged version out: shadow, canary, promotion, bake, by a policy."""
        body = RolloutIn(deployment_id=deployment_id, expected_version=expected_version, policy=policy, reason=reason)
        return post("/v1/rollouts", RolloutChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def approve_rollout(
        self, rollout_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """Let it go on, where only a person's word is missing."""
        body = RolloutChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/rollouts/{}/approve", rollout_id), RolloutChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def pause_rollout(
        self, rollout_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """Take the traffic from the version; everybody's arm is kept."""
        body = RolloutChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/rollouts/{}/pause", rollout_id), RolloutChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def resume_rollout(
        self, rollout_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """Go on after a pause; the step begins anew."""
        body = RolloutChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/rollouts/{}/resume", rollout_id), RolloutChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def stop_rollout(
        self, rollout_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """End it without a judgement: staged again, or, where it bakes, champion."""
        body = RolloutChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/rollouts/{}/stop", rollout_id), RolloutChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def roll_back_rollout(
        self, rollout_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[RolloutChangeOut]:
        """Take it back at once: the champion of before answers everybody."""
        body = RolloutChangeIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/rollouts/{}/rollback", rollout_id), RolloutChangeOut, body, Retry.KEYED, idempotency_key)
