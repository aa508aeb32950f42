"""When the demo is healthy: traffic flows, truth arrives, two models are compared, the console stands."""

from datetime import UTC, datetime, timedelta

import httpx

from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.performance import PerformanceOut
from trajops.settings import Settings

MIN_SCORED = 100


class Health:
    """Asks the running product what is still missing."""

    def __init__(self, client: TrajOpsClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._since = datetime.now(UTC)
        self._performance: PerformanceOut | None = None

    def missing(self) -> list[str]:
        """What is not there yet, each as half a sentence; empty when the product is healthy."""
        try:
            route = self._client.routes().current
            self._performance = self._client.performance(since=self._since, until=datetime.now(UTC) + timedelta(seconds=1))
            jobs = self._client.jobs().jobs
        except (ApiUnavailable, ApiProblem) as error:
            return [f"the API does not answer ({error})"]
        live = self._performance.rows
        scored = sum(row.complete for row in live)
        failing = [job.job for job in jobs if job.last_run is not None and job.last_run.state == "failed"]
        missing = []
        if route.champion is None:
            missing.append("no champion is deployed")
        if scored < MIN_SCORED:
            missing.append(f"{scored} of {MIN_SCORED} predictions are scored by truth")
        if not {"join_truth", "compact_lake"} <= {job.job for job in jobs if job.last_success_at is not None}:
            missing.append("the workers have not finished a first round")
        if failing:
            missing.append(f"jobs fail: {', '.join(failing)}")
        if not self._console_answers():
            missing.append("the console does not answer")
        return missing

    def sentence(self) -> str:
        """The live figures in one line."""
        assert self._performance is not None
        rows = [row for row in self._performance.rows if row.ade_m is not None]
        figures = ", ".join(f"version {row.model_version} ({row.variant}) ADE {row.ade_m:.2f} m over {row.complete}" for row in rows)
        return f"healthy: truth has arrived: {figures}"

    def _console_answers(self) -> bool:
        try:
            answer = httpx.get(f"http://{self._settings.host}:{self._settings.console_port}/readyz", timeout=2.0, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200
