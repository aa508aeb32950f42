"""The audit in SQL: entries are written once, and found among millions."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select

from data.sql.tables import audit_entries, new_id
from trajops.audit import AuditQuery, is_prefix
from trajops.contracts.audit import AuditOut
from trajops.errors import NotFound

# Of so few entries the newest are found by sorting them; of more, by walking back from the newest of all until there are enough.
FEW = 5_000
_at, _id = audit_entries.c.at, audit_entries.c.audit_id


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
        wanted = () if subject is None else (audit_entries.c.subject == subject,)
        found = select(audit_entries).where(*wanted).order_by(_at.desc(), _id).limit(limit)
        return [AuditOut(**row) for row in self._connection.execute(found).mappings()]

    def find(self, query: AuditQuery, limit: int) -> list[AuditOut]:
        """What a query asks for, newest first; of those written at once, by id."""
        asked = ((audit_entries.c.subject, query.subject), (audit_entries.c.action, query.action), (audit_entries.c.actor, query.actor))
        found = select(audit_entries)
        order: ColumnElement[datetime] = _at
        is_narrowed = False
        for column, wanted in asked:
            if wanted is None:
                continue
            if not is_prefix(wanted):
                found = found.where(column == wanted)
            elif not is_narrowed and self._is_rare(column, wanted):
                # Ordered by the time in the short list, so that no plan begins with the index of all times.
                rare = select(_id, _at).where(self._begins(column, wanted)).cte("rare").prefix_with("MATERIALIZED")
                found, order, is_narrowed = found.join(rare, rare.c.audit_id == _id), rare.c.at, True
            else:
                # In a form that no index serves: sorting the many that begin so would take longer.
                found = found.where(func.substr(column, 1, len(wanted)) == wanted)
        if query.since is not None:
            found = found.where(_at >= query.since)
        if query.until is not None:
            found = found.where(_at < query.until)
        if query.text is not None:
            found = found.where(audit_entries.c.reason.icontains(query.text, autoescape=True))
        if query.after is not None:
            found = found.where(_at <= query.after.at, or_(_at < query.after.at, _id > query.after.audit_id))
        found = found.order_by(order.desc(), _id).limit(limit)
        return [AuditOut(**row) for row in self._connection.execute(found).mappings()]

    def get(self, audit_id: str) -> AuditOut:
        """One entry; NotFound if there is none with that id."""
        row = self._connection.execute(select(audit_entries).where(_id == audit_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no audit entry {audit_id!r}")
        return AuditOut(**row)

    def _is_rare(self, column: ColumnElement[str], prefix: str) -> bool:
        some = select(_id).where(self._begins(column, prefix)).limit(FEW + 1).subquery()
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one() <= FEW

    def _begins(self, column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
        """Whether a column begins so, in the form that the index of this database serves."""
        if self._connection.dialect.name == "sqlite":
            return (column >= prefix) & (column < prefix[:-1] + chr(ord(prefix[-1]) + 1))
        return column.startswith(prefix, autoescape=True)
