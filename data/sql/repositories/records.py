"""What is written once and never changed: remembered answers."""

from datetime import datetime

from sqlalchemy import Connection, select

from data.sql.repositories.statements import insert_or
from data.sql.tables import idempotency_keys
from trajops.errors import Conflict
from trajops.records import Remembered


class SqlIdempotency:
    """Implements `trajops.ports.IdempotencyStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, actor: str, key: str) -> Remembered | None:
        """What this actor was answered under this key."""
        found = select(idempotency_keys.c.fingerprint, idempotency_keys.c.response).where(
            idempotency_keys.c.actor == actor, idempotency_keys.c.idempotency_key == key
        )
        row = self._connection.execute(found).mappings().first()
        return None if row is None else Remembered(**row)

    def remember(self, actor: str, key: str, remembered: Remembered, at: datetime) -> None:
        """Keep an answer; Conflict if this actor has used the key already."""
        written = insert_or(self._connection, idempotency_keys).values(
            actor=actor,
            idempotency_key=key,
            fingerprint=remembered.fingerprint,
            response=remembered.response,
            created_at=at,
        )
        if self._connection.execute(written.on_conflict_do_nothing().returning(idempotency_keys.c.actor)).first() is None:
            raise Conflict(f"the idempotency key {key!r} is in use; send another key, or the same request again")
