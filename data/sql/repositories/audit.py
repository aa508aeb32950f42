"""The audit in SQL: entries are written once, and found among millions."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select

from data.sql.tables import AUDIT_WORDS, audit_entries, new_id
from trajops.audit import AuditQuery, is_prefix
from trajops.contracts.audit import AuditOut
from trajops.errors import NotFound

# Of so few entries the newest are found by sorting them; of more, by walking back from the newest of all until there are enough.
FEW = 5_000
# The same for words, which cost more to count.
FEW_WORDS = 2_000
# What the index of PostgreSQL needs of a text.
TRIGRAM = re.compile(r"[^\W_]{3}")
_WILD = re.compile(r"[%_/]")
_at, _id, _reason = audit_entries.c.at, audit_entries.c.audit_id, audit_entries.c.reason


class SqlAuditLog:
    """Implements `trajops.ports.AuditLog`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"

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
        if query.text is not None and (ids := self._saying(query.text, query, limit)) is not None:
            named = [_is(column, wanted) for column, wanted in _named(query)]
            few = select(audit_entries).where(_id.in_(ids), *named).order_by(_at.desc(), _id).limit(limit)
            return [AuditOut(**row) for row in self._connection.execute(few).mappings()]
        found = select(audit_entries).where(*_within(query))
        order: ColumnElement[datetime] = _at
        is_narrowed = False
        for column, wanted in _named(query):
            if is_prefix(wanted) and not is_narrowed and self._is_rare(column, wanted):
                # Ordered by the time in the short list, so that no plan begins with the index of all times.
                rare = select(_id, _at).where(self._begins(column, wanted)).cte("rare").prefix_with("MATERIALIZED")
                found, order, is_narrowed = found.join(rare, rare.c.audit_id == _id), rare.c.at, True
            else:
                found = found.where(_is(column, wanted))
        if query.text is not None:
            # On PostgreSQL in a form that no index serves, for the same reason as in `_is`.
            found = found.where(self._says(query.text) if self._is_sqlite else _reason.icontains(query.text, autoescape=True))
        found = found.order_by(order.desc(), _id).limit(limit)
        return [AuditOut(**row) for row in self._connection.execute(found).mappings()]

    def get(self, audit_id: str) -> AuditOut:
        """One entry; NotFound if there is none with that id."""
        row = self._connection.execute(select(audit_entries).where(_id == audit_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no audit entry {audit_id!r}")
        return AuditOut(**row)

    def _saying(self, text: str, query: AuditQuery, limit: int) -> list[str] | None:
        """Ids among which is all that a query with words asks for; None: too many, or no index would find them."""
        if not self._has_words(text):
            return None
        # The index of SQLite holds times and reasons; to look for names, too, it would have to read whole entries.
        named = [] if self._is_sqlite else [_is(column, wanted) for column, wanted in _named(query)]
        some = select(_id, _at).where(*_within(query), *named, self._says(text)).limit(FEW_WORDS + 1)
        found = self._connection.execute(some).all()
        if len(found) > FEW_WORDS:
            return None
        newest = sorted(sorted(found, key=lambda one: one[0]), key=lambda one: one[1], reverse=True)
        return [audit_id for audit_id, _ in (newest if self._is_sqlite else newest[:limit])]

    def _has_words(self, text: str) -> bool:
        """Whether an index helps to find a text: of any on SQLite, of one with a trigram on PostgreSQL, if it has the extension."""
        if self._is_sqlite:
            return True
        if TRIGRAM.search(text) is None:
            return False
        return self._connection.execute(select(func.to_regclass(AUDIT_WORDS))).scalar_one() is not None

    def _says(self, text: str) -> ColumnElement[bool]:
        """Whether a reason holds a text in any case, in the form that the index of this database serves."""
        pattern = f"%{_WILD.sub(lambda found: f'/{found[0]}', text)}%"
        return _reason.like(pattern, escape="/") if self._is_sqlite else _reason.ilike(pattern, escape="/")

    def _is_rare(self, column: ColumnElement[str], prefix: str) -> bool:
        some = select(_id).where(self._begins(column, prefix)).limit(FEW + 1).subquery()
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one() <= FEW

    def _begins(self, column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
        """Whether a column begins so, in the form that the index of this database serves."""
        if self._is_sqlite:
            return (column >= prefix) & (column < prefix[:-1] + chr(ord(prefix[-1]) + 1))
        return column.startswith(prefix, autoescape=True)


def _within(query: AuditQuery) -> Iterator[ColumnElement[bool]]:
    """Bounds of time and place."""
    if query.since is not None:
        yield _at >= query.since
    if query.until is not None:
        yield _at < query.until
    if query.after is not None:
        yield _at <= query.after.at
        yield or_(_at < query.after.at, _id > query.after.audit_id)


def _named(query: AuditQuery) -> Iterator[tuple[ColumnElement[str], str]]:
    """Columns of which something is wanted, and what."""
    columns = audit_entries.c
    asked = ((columns.subject, query.subject), (columns.action, query.action), (columns.actor, query.actor))
    return ((column, wanted) for column, wanted in asked if wanted is not None)


def _is(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """Whether a column is so or begins so, the latter in a form that no index serves: sorting the many that begin so would take longer."""
    return func.substr(column, 1, len(wanted)) == wanted if is_prefix(wanted) else column == wanted
