"""Rollouts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import rollouts
from trajops.contracts.rollouts import GateOut, RolloutOut
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.rollouts.lifecycle import RolloutState


class SqlRollouts:
    """Implements `trajops.stores.RolloutStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, rollout_id: str) -> RolloutOut:
        """One rollout; NotFound if there is none with that id."""
        body = self._connection.execute(select(rollouts.c.body).where(rollouts.c.rollout_id == rollout_id)).scalar_one_or_none()
        if body is None:
            raise NotFound(f"there is no rollout {rollout_id!r}; list them with GET /v1/rollouts")
        return RolloutOut.model_validate(body)

    def newest(self, *, states: Collection[RolloutState] | None = None, limit: int = 100) -> list[RolloutOut]:
        """Newest first; only of some states, where they are given."""
        found = select(rollouts.c.body).order_by(rollouts.c.created_at.desc(), rollouts.c.rollout_id).limit(limit)
        if states is not None:
            found = found.where(rollouts.c.state.in_([state.value for state in states]))
        return [RolloutOut.model_validate(body) for body in self._connection.execute(found).scalars()]

    def add(self, rollout: RolloutOut) -> None:
        """Write a new rollout; Conflict if one is active."""
        # DO NOTHING rather than an error, which would end the whole transaction on PostgreSQL.
        written = insert_or(self._connection, rollouts).values(**_row(rollout)).on_conflict_do_nothing().returning(rollouts.c.rollout_id)
        if self._connection.execute(written).first() is None:
            raise Conflict("another version is being rolled out; stop that rollout first, or wait until it is over")

    def save(self, rollout: RolloutOut, expected_version: int) -> None:
        """Write all of a known rollout, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        if not self._written(rollout, expected_version):
            present = self.get(rollout.rollout_id)
            raise StaleVersion(
                f"the rollout {rollout.rollout_id} has version {present.version}, not {expected_version}: somebody changed it; "
                "read it again and repeat",
                present_version=present.version,
            )

    def note(self, rollout_id: str, version: int, gates: Sequence[GateOut], sentence: str, at: datetime) -> None:
        """Write how the gates stand, unless the rollout has changed since that version."""
        present = self.get(rollout_id)
        noted = present.model_copy(update={"gates": list(gates), "sentence": sentence, "looked_at": at})
        if present.version == version:
            self._written(noted, version)

    def _written(self, rollout: RolloutOut, expected_version: int) -> bool:
        is_expected = (rollouts.c.rollout_id == rollout.rollout_id, rollouts.c.version == expected_version)
        return bool(self._connection.execute(update(rollouts).where(*is_expected).values(**_row(rollout))).rowcount)


def _row(rollout: RolloutOut) -> dict[str, Any]:
    names = ("rollout_id", "model_name", "model_version", "version", "created_at", "updated_at")
    return {name: getattr(rollout, name) for name in names} | {"state": rollout.state.value, "body": rollout.model_dump(mode="json")}
