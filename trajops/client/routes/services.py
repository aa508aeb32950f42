"""How the product itself stands: jobs, availability, status, health."""

from dataclasses import replace

from trajops.client.call import Call, at, described, get, post, text
from trajops.client.retries import Retry
from trajops.contracts.availability import AvailabilityOut
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, JobsOut, PauseIn
from trajops.contracts.status import Liveness, Readiness, StatusOut


class ServiceRoutes:
    """How the product itself stands: jobs, availability, status, health."""

    @described
    def jobs(self) -> Call[JobsOut]:
        """What the workers do in the background, and how it went."""
        return get("/v1/jobs", JobsOut)

    @described
    def job_runs(self, job: str, limit: int | None = None) -> Call[JobRunsOut]:
        """The newest runs of one job, and what they add up to."""
        return get(at("/v1/jobs/{}/runs", job), JobRunsOut, limit=limit)

    @described
    def run_job(self, job: str, *, idempotency_key: str | None = None) -> Call[JobRunOut]:
        """Run one job now."""
        return post(at("/v1/jobs/{}/run", job), JobRunOut, None, Retry.KEYED, idempotency_key)

    @described
    def pause_job(self, job: str, reason: str, *, idempotency_key: str | None = None) -> Call[JobOut]:
        """Let a job run by hand only, until it is resumed."""
        return post(at("/v1/jobs/{}/pause", job), JobOut, PauseIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def resume_job(self, job: str, reason: str, *, idempotency_key: str | None = None) -> Call[JobOut]:
        """Let a paused job run by its schedule again."""
        return post(at("/v1/jobs/{}/resume", job), JobOut, PauseIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def availability(self, hours: int | None = None) -> Call[AvailabilityOut]:
        """How available the API was, what is left of its error budget, and the last hours as a series."""
        return get("/v1/availability", AvailabilityOut, hours=hours)

    @described
    def status(self) -> Call[StatusOut]:
        """The whole product in one glance."""
        return get("/v1/status", StatusOut)

    @described
    def health(self) -> Call[Liveness]:
        """Whether the API process lives."""
        return get("/healthz", Liveness)

    @described
    def ready(self) -> Call[Readiness]:
        """Whether every routed model is warm; a `not_ready` answer (503) is returned, not raised."""
        return replace(get("/readyz", Readiness), passes=frozenset({503}))

    @described
    def metrics(self) -> Call[str]:
        """Counters in the Prometheus text format."""
        return text("/metrics", "text/plain")
