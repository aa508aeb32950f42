"""Training runs, and the way from a run to a version."""

from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.runs import RegisterRunIn, RegistrationOut, RunDetailOut, RunsOut
from trajops.training_runs import RunStatus


class RunRoutes:
    """Training runs, and the way from a run to a version."""

    @described
    def runs(
        self,
        *,
        family: str | None = None,
        dataset: str | None = None,
        status: RunStatus | None = None,
        text: str | None = None,
        limit: int = 50,
        page_token: str | None = None,
    ) -> Call[RunsOut]:
        """Training runs, newest first; `text` is a part of the name, the start of the commit, or the whole id."""
        asked = {"family": family, "dataset": dataset, "status": status, "text": text, "page_token": page_token}
        return get("/v1/runs", RunsOut, limit=limit, **asked)

    @described
    def run(self, run_id: str) -> Call[RunDetailOut]:
        """One training run with its curves."""
        return get(at("/v1/runs/{}", run_id), RunDetailOut)

    @described
    def register_run(self, run_id: str, reason: str, *, idempotency_key: str | None = None) -> Call[RegistrationOut]:
        """Register a run's model as the next version; the workers adopt it."""
        return post(at("/v1/runs/{}/register", run_id), RegistrationOut, RegisterRunIn(reason=reason), Retry.KEYED, idempotency_key)
