"""Experiments, and how their verdicts went over time."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from trajops.contracts.experiments import ExperimentOut, VerdictOut
from trajops.experiments.lifecycle import ExperimentState


class ExperimentStore(Protocol):
    """Experiments, changed by compare-and-set on their version."""

    def get(self, experiment_id: str) -> ExperimentOut:
        """One experiment, with its newest verdict.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def newest(self, *, states: Collection[ExperimentState] | None = None, limit: int = 100) -> list[ExperimentOut]:
        """Newest first; only of some states, where they are given."""
        ...

    def add(self, experiment: ExperimentOut) -> None:
        """Write a new experiment."""
        ...

    def save(self, experiment: ExperimentOut, expected_version: int) -> None:
        """Write all of a known experiment, if its version is still the expected one; the new version is the caller's affair.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def note(self, experiment_id: str, verdict: VerdictOut, *, keep: bool) -> bool:
        """Write the newest verdict of an experiment whose units are routed, and whether it is one; its version stays.

        Args:
            experiment_id: of the experiment.
            verdict: of now.
            keep: whether it is kept beside those of before, for the chart over time.
        """
        ...

    def verdicts(self, experiment_id: str) -> list[VerdictOut]:
        """Kept verdicts, oldest first."""
        ...

    def last_kept_at(self, experiment_id: str) -> datetime | None:
        """When the newest kept verdict was made."""
        ...
