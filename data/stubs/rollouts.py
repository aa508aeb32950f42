"""Rollouts in memory."""

from collections.abc import Collection, Sequence
from datetime import datetime

from data.stubs.tables import Repository
from trajops.contracts.rollouts import GateOut, RolloutOut
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.rollouts.lifecycle import ACTIVE, RolloutState


class MemoryRollouts(Repository):
    """Implements `trajops.stores.RolloutStore`."""

    def get(self, rollout_id: str) -> RolloutOut:
        """One rollout; NotFound if there is none with that id."""
        found = self._tables.rollouts.get(rollout_id)
        if found is None:
            raise NotFound(f"there is no rollout {rollout_id!r}")
        return found

    def newest(self, *, states: Collection[RolloutState] | None = None, limit: int = 100) -> list[RolloutOut]:
        """Newest first; only of some states, where they are given."""
        found = [one for one in self._tables.rollouts.rows() if states is None or one.state in states]
        ordered = sorted(sorted(found, key=lambda one: one.rollout_id), key=lambda one: one.created_at, reverse=True)
        return ordered[:limit]

    def add(self, rollout: RolloutOut) -> None:
        """Write a new rollout; Conflict if one is active."""
        if any(one.state in ACTIVE and one.model_name == rollout.model_name for one in self._tables.rollouts.rows()):
            raise Conflict("another version is being rolled out")
        self._tables.rollouts.put(rollout.rollout_id, rollout)

    def save(self, rollout: RolloutOut, expected_version: int) -> None:
        """Write all of a known rollout, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        present = self.get(rollout.rollout_id)
        if present.version != expected_version:
            raise StaleVersion(f"the rollout has version {present.version}", present_version=present.version)
        self._tables.rollouts.put(rollout.rollout_id, rollout)

    def note(self, rollout_id: str, version: int, gates: Sequence[GateOut], sentence: str, at: datetime) -> None:
        """Write how the gates stand, unless the rollout has changed since that version."""
        present = self.get(rollout_id)
        if present.version == version:
            noted = present.model_copy(update={"gates": list(gates), "sentence": sentence, "looked_at": at})
            self._tables.rollouts.put(rollout_id, noted)
