"""Rollouts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from trajops.contracts.rollouts import GateOut, RolloutOut
from trajops.rollouts.lifecycle import RolloutState


class RolloutStore(Protocol):
    """Rollouts, changed by compare-and-set on their version. At most one is active."""

    def get(self, rollout_id: str) -> RolloutOut:
        """One rollout.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def newest(self, *, states: Collection[RolloutState] | None = None, limit: int = 100) -> list[RolloutOut]:
        """Newest first; only of some states, where they are given."""
        ...

    def add(self, rollout: RolloutOut) -> None:
        """Write a new rollout.

        Raises:
            Conflict: if one is active.
        """
        ...

    def save(self, rollout: RolloutOut, expected_version: int) -> None:
        """Write all of a known rollout, if its version is still the expected one; the new version is the caller's affair.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def note(self, rollout_id: str, version: int, gates: Sequence[GateOut], sentence: str, at: datetime) -> None:
        """Write how the gates stand; the version stays, and a rollout that has changed since that version is left alone."""
        ...
