"""Versions, deployments and routes."""

from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.deployments import CanaryIn, ChangeOut, DeploymentsOut, RollbackIn, RouteHistoryOut, StageIn, TransitionIn
from trajops.contracts.models import ModelsOut


class ReleaseRoutes:
    """Versions, deployments and routes."""

    @described
    def models(self) -> Call[ModelsOut]:
        """All versions of the registered model, newest first."""
        return get("/v1/models", ModelsOut)

    @described
    def deployments(self) -> Call[DeploymentsOut]:
        """All deployments, newest first."""
        return get("/v1/deployments", DeploymentsOut)

    @described
    def routes(self, limit: int | None = None) -> Call[RouteHistoryOut]:
        """Who answers now, and what was live when."""
        return get("/v1/routes", RouteHistoryOut, limit=limit)

    @described
    def stage(self, model_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Make a registered version ready to take traffic."""
        return post("/v1/deployments", ChangeOut, StageIn(model_version=model_version, reason=reason), Retry.KEYED, idempotency_key)

    @described
    def start_canary(
        self, deployment_id: str, expected_version: int, coverage: float, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ChangeOut]:
        """Compare a staged deployment with the champion on `coverage` (0–1] of the agents."""
        body = CanaryIn(expected_version=expected_version, coverage=coverage, reason=reason)
        return post(at("/v1/deployments/{}/canary", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def pause_canary(
        self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None
    ) -> Call[ChangeOut]:
        """Take the traffic from the challenger; starting the canary again puts nobody into another arm."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/canary/pause", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def stop_canary(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """End the comparison; the champion answers everybody."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/canary/stop", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def promote(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Make a deployment the champion; the champion so far is kept warm for a rollback."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return post(at("/v1/deployments/{}/promote", deployment_id), ChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def rollback(self, expected_epoch: int, reason: str, *, idempotency_key: str | None = None) -> Call[ChangeOut]:
        """Put the previous champion back."""
        body = RollbackIn(expected_epoch=expected_epoch, reason=reason)
        return post("/v1/routes/rollback", ChangeOut, body, Retry.KEYED, idempotency_key)
