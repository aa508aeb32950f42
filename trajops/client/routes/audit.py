"""Who changed what, when and why."""

from datetime import datetime

from trajops.client.call import Call, at, described, get, iso
from trajops.contracts.audit import AuditOut, AuditPage


class AuditRoutes:
    """Who changed what, when and why."""

    @described
    def audit(
        self,
        limit: int = 50,
        subject: str | None = None,
        *,
        actor: str | None = None,
        action: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
    ) -> Call[AuditPage]:
        """Changes, newest first; `subject` is for example `trajectory/3`, and `action="experiment."` stands for all such.

        `cursor` is the `next_cursor` of the page before.
        """
        return get(
            "/v1/audit",
            AuditPage,
            limit=limit,
            subject=subject,
            actor=actor,
            action=action,
            text=text,
            since=iso(since),
            until=iso(until),
            cursor=cursor,
        )

    @described
    def audit_entry(self, audit_id: str) -> Call[AuditOut]:
        """One change."""
        return get(at("/v1/audit/{}", audit_id), AuditOut)
