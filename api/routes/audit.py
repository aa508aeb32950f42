"""Who changed what, when and why: a page of the audit, and one entry."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import READS, PartsOf, Reader
from api.errors import DOCUMENTED
from trajops.audit import AuditQuery, Place
from trajops.contracts.audit import AuditOut, AuditPage
from trajops.contracts.wire import Time

router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=READS)


@router.get("", summary="Audit")
def audit(
    parts: PartsOf,
    _client: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    subject: Annotated[
        str | None,
        Query(max_length=256, description="Only changes of this subject, for example `trajectory/3`; `trajectory/`: of all that begin so."),
    ] = None,
    actor: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Only by this actor, for example `ada`; `key:`: by all keys.")
    ] = None,
    action: Annotated[
        str | None,
        Query(min_length=1, max_length=64, description="Only this action, for example `deployment.promote`; `experiment.`: all such."),
    ] = None,
    text: Annotated[str | None, Query(min_length=1, max_length=200, description="Stands in the reason, in any case.")] = None,
    since: Annotated[Time | None, Query(description="At or after this time.")] = None,
    until: Annotated[Time | None, Query(description="Before this time.")] = None,
    cursor: Annotated[str | None, Query(min_length=1, max_length=80, description="`next_cursor` of the page before.")] = None,
) -> AuditPage:
    """Who changed what, when and why; newest first.

    `actor`, `action` and `subject` that end in `.`, `/` or `:` stand for all that begins with them. What is written meanwhile
    does not move the pages behind a cursor.
    """
    after = None if cursor is None else Place.of(cursor)
    query = AuditQuery(since, until, actor, action, subject, text, after)
    with parts.unit_of_work(read_only=True) as uow:
        found = uow.audit.find(query, limit + 1)
    entries = found[:limit]
    more = Place(entries[-1].at, entries[-1].audit_id).cursor() if len(found) > limit else None
    return AuditPage(entries=entries, next_cursor=more)


@router.get("/{audit_id}", summary="One audit entry", responses={404: DOCUMENTED[404]})
def audit_entry(audit_id: str, parts: PartsOf, _client: Reader) -> AuditOut:
    """One entry with what it changed."""
    with parts.unit_of_work(read_only=True) as uow:
        return uow.audit.get(audit_id)
