"""Training runs in memory."""

from collections.abc import Mapping
from dataclasses import replace

from data.stubs.serving import MemoryRegistry
from trajops.errors import InvalidInput, NotFound, RegistryUnavailable
from trajops.training_runs import COMMIT_TAG, Run, RunPage, RunQuery


class MemoryRuns:
    """Implements `trajops.training_runs.TrainingRuns`; versions go into a registry in memory, whose outage is theirs.

    Args:
        registry: where versions are registered.
    """

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry
        self._runs: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        """Keep a run."""
        self._runs[run.run_id] = run

    def search(self, query: RunQuery) -> RunPage:
        """Runs, newest first."""
        self._answer()
        found = [run for run in sorted(self._runs.values(), key=lambda run: run.started_at, reverse=True) if _is_meant(run, query)]
        if query.page_token and not query.page_token.isdigit():
            raise InvalidInput("the page token is none of ours; ask without one first")
        begin = int(query.page_token or 0)
        end = begin + query.limit
        return RunPage(found[begin:end], str(end) if end < len(found) else None)

    def get(self, run_id: str) -> Run:
        """One run. NotFound if there is none."""
        self._answer()
        if run_id not in self._runs:
            raise NotFound(f"the registry has no run {run_id}")
        return self._runs[run_id]

    def model_source(self, run: Run) -> str | None:
        """Where the newest model of a run is; None: it has none."""
        self._answer()
        return f"models:/{run.model_ids[-1]}" if run.model_ids else None

    def register(self, name: str, run: Run, source: str, tags: Mapping[str, str]) -> int:
        """Register a model of a run as the next version of `name`."""
        self._answer()
        return self._registry.register(name, source, run_id=run.run_id, tags=tags)

    def end(self, run_id: str, **changed: object) -> None:
        """Change a run."""
        self._runs[run_id] = replace(self._runs[run_id], **changed)  # type: ignore[arg-type]

    def _answer(self) -> None:
        if self._registry.is_away:
            raise RegistryUnavailable("the registry is away")


def _is_meant(run: Run, query: RunQuery) -> bool:
    wanted = ((query.family, run.params.get("family")), (query.dataset, run.params.get("dataset")), (query.status, run.status))
    if any(value and value != own for value, own in wanted):
        return False
    text = (query.text or "").lower()
    return not text or text in run.name.lower() or text == run.run_id or (len(text) >= 7 and run.tags.get(COMMIT_TAG, "").startswith(text))
