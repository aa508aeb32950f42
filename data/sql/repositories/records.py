"""What is written once and never changed: audit entries and remembered answers."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from data.sql.repositories.statements import insert_or
from data.sql.tables import audit_entries, idempotency_keys, new_id
from trajops.contracts.audit import AuditOut
from trajops.errors import Conflict
from trajops.records import Remembered


class SqlAuditLog:
    """Implements `trajops.ports.AuditLog`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(
        self, *, at: datetime, actor: str, action: str, subject: str, reason: str, before: dict[str, Any], after: dict[str, Any]
    ) -> AuditOut:
        """Write one entry."""
        entry = AuditOut(audit_id=new_id(), at=at, actor=actor, action=action, subject=subject, reason=reason, before=before, after=after)
        self._connection.execute(insert(audit_entries), dict(entry))
        return entry

    def newest(self, limit: int = 50, subject: str | None = None) -> list[AuditOut]:
        """Newest first; of one subject, where it is given."""
        found = select(audit_entries).order_by(audit_entries.c.at.desc(), audit_entries.c.audit_id).limit(limit)
        if subject is not None:
            found = found.where(audit_entries.c.subject == subject)
        return [AuditOut(**row) for row in self._connection.execute(found).mappings()]


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
