"""Experiments in memory."""

from collections.abc import Collection
from datetime import datetime

from data.stubs.tables import Repository
from trajops.contracts.experiments import ExperimentOut, VerdictOut
from trajops.errors import NotFound, StaleVersion
from trajops.experiments.lifecycle import ROUTED, ExperimentState


class MemoryExperiments(Repository):
    """Implements `trajops.stores.ExperimentStore`."""

    def get(self, experiment_id: str) -> ExperimentOut:
        """One experiment; NotFound if there is none with that id."""
        found = self._tables.experiments.get(experiment_id)
        if found is None:
            raise NotFound(f"there is no experiment {experiment_id!r}")
        return found

    def newest(self, *, states: Collection[ExperimentState] | None = None, limit: int = 100) -> list[ExperimentOut]:
        """Newest first; only of some states, where they are given."""
        found = [one for one in self._tables.experiments.rows() if states is None or one.state in states]
        ordered = sorted(sorted(found, key=lambda one: one.experiment_id), key=lambda one: one.created_at, reverse=True)
        return ordered[:limit]

    def add(self, experiment: ExperimentOut) -> None:
        """Write a new experiment."""
        self._tables.experiments.put(experiment.experiment_id, experiment)

    def save(self, experiment: ExperimentOut, expected_version: int) -> None:
        """Write all of a known experiment, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        present = self.get(experiment.experiment_id)
        if present.version != expected_version:
            raise StaleVersion(f"the experiment has version {present.version}", present_version=present.version)
        self._tables.experiments.put(experiment.experiment_id, experiment)

    def note(self, experiment_id: str, verdict: VerdictOut, *, keep: bool) -> bool:
        """Write the newest verdict of an experiment whose units are routed, and whether it is one."""
        present = self._tables.experiments.get(experiment_id)
        if present is None or present.state not in ROUTED:
            return False
        self._tables.experiments.put(experiment_id, present.model_copy(update={"verdict": verdict}))
        if keep:
            self._tables.experiment_verdicts.put(experiment_id, [*self.verdicts(experiment_id), verdict])
        return True

    def verdicts(self, experiment_id: str) -> list[VerdictOut]:
        """Kept verdicts, oldest first."""
        return sorted(self._tables.experiment_verdicts.get(experiment_id) or [], key=lambda one: one.at)

    def last_kept_at(self, experiment_id: str) -> datetime | None:
        """When the newest kept verdict was made."""
        return max((one.at for one in self.verdicts(experiment_id)), default=None)
