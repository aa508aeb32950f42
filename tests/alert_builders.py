"""Readable defaults for tests of alerts: an open warning, a pending notification by mail, and rules with one rule and two receivers."""

from datetime import datetime
from typing import Any

from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.rules import AlertRules

MAIL = {"kind": "email", "name": "mail", "host": "127.0.0.1", "sender": "trajops@example.org", "to": ["ops@example.org"]}
CHAT = {"kind": "slack", "name": "chat", "url_env": "CHAT_URL"}
RULE = {"name": "late", "title": "A job is late", "signal": "job_late", "when": ">= 1", "severity": "warning", "resolve_after_s": 0}


def an_alert(alert_id: str, at: datetime, **changes: Any) -> Alert:
    """An open warning of the rule `late`."""
    values: dict[str, Any] = {
        "alert_id": alert_id,
        "fingerprint": "f" * 32,
        "rule": "late",
        "origin": "rules",
        "title": "A job is late",
        "summary": "The job prune is late.",
        "detail": "",
        "labels": {},
        "severity": Severity.WARNING,
        "state": AlertState.OPEN,
        "version": 1,
        "started_at": at,
        "seen_at": at,
        "updated_at": at,
        "opened_at": at,
    }
    return Alert(**{**values, **changes})


def a_notification(notification_id: str, at: datetime, **changes: Any) -> Notification:
    """A notification by mail that is due."""
    values: dict[str, Any] = {
        "notification_id": notification_id,
        "receiver": "mail",
        "occasion": "fired",
        "group": {},
        "severity": Severity.WARNING,
        "title": "Warning: A job is late",
        "alert_ids": (),
        "content": (),
        "state": NotificationState.PENDING,
        "attempts": 0,
        "created_at": at,
        "next_attempt_at": at,
    }
    return Notification(**{**values, **changes})


def some_rules(*rules: dict[str, Any], **changes: Any) -> AlertRules:
    """Rules, each over the default one, of which every alert goes to `mail` and `chat`."""
    values: dict[str, Any] = {
        "rules": [{**RULE, **rule} for rule in rules or ({},)],
        "receivers": [MAIL, CHAT],
        "routes": [{"receivers": ["mail", "chat"]}],
        "grouping": {"wait_s": 10, "interval_s": 60, "repeat_s": 600},
    }
    return AlertRules.model_validate({**values, **changes})
