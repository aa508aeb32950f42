"""Audit: who changed what, when and why."""

from typing import Any

from pydantic import AwareDatetime

from trajops.contracts.wire import Wire


class AuditOut(Wire):
    """One change."""

    audit_id: str
    at: AwareDatetime
    actor: str
    action: str
    subject: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class AuditPage(Wire):
    """Changes, newest first."""

    entries: list[AuditOut]
