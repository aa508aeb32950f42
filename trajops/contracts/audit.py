"""Audit: who changed what, when and why."""

from typing import Any

from pydantic import AwareDatetime, Field

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
    next_cursor: str | None = Field(None, description="Send it as `cursor` to read on towards the oldest; null: there is nothing older.")
