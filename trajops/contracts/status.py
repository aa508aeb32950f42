"""Status: the whole product in one glance."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import RouteOut
from trajops.contracts.jobs import JobOut
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.wire import Wire

Health = Literal["ok", "warn", "bad", "unknown"]
Standing = Literal["healthy", "worth_a_look", "degraded", "needs_attention", "down", "unknown"]
_TITLES = {"api": "Prediction API", "mlflow": "MLflow"}


def service_title(service: str) -> str:
    """What a part of the product is called where a person reads of it."""
    return _TITLES.get(service) or service.replace("_", " ").capitalize()


class ServiceOut(Wire):
    """One part of the product."""

    service: str
    health: Health
    detail: str


class ProcessOut(Wire):
    """One process of the API on the machine that answers, as of at most a second ago."""

    epoch: int = Field(description="Routing epoch that it answers in.")
    newest_epoch: int = Field(description="Newest one that it knows.")
    is_ready: bool
    has_stand_in: bool


class TrafficPoint(Wire):
    """Predictions in one time bucket."""

    at: AwareDatetime
    predictions: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class StatusOut(Wire):
    """What an operator sees first."""

    at: AwareDatetime
    verdict: Health = Field(
        description="The worst of the parts, the open alerts (critical: bad) and drift; it does not say whether anybody answers."
    )
    standing: Standing | None = Field(
        None, description="What that means: `down` only where predictions are not answered. Null from an API that does not tell it."
    )
    sentence: str = Field(description="The state of the product in one sentence.")
    environment: str
    route: RouteOut
    services: list[ServiceOut]
    processes: list[ProcessOut] = Field(default_factory=list, description="Of the API; the one that answers comes first.")
    traffic: list[TrafficPoint]
    performance: list[PerformanceRow]
    changes: list[AuditOut]
    jobs: list[JobOut]
    drift_verdict: str | None
    open_alerts: int = Field(0, description="Alerts that nobody looks after and that are not silenced.")
    budget_left: float | None = Field(None, description="Share of the error budget that is left; null where nobody has probed.")


class Liveness(Wire):
    """Liveness."""

    status: Literal["alive"]


class Readiness(Wire):
    """Readiness: every version that may answer is warm, or somebody stands in."""

    status: Literal["ready", "not_ready"]
    epoch: int
    warm: list[str]
    missing: list[str]
    stand_in: str | None = Field(None, description="Answers everybody, because a routed version cannot be loaded. Null: nobody has to.")
    detail: str
