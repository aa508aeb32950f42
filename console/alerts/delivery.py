"""Who is told of alerts, whether it arrives, and when alerts are raised: rows and sentences. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from console.wording import DASH, Mark, ago, count, lasting, seconds, severity_mark
from trajops.contracts.alerts import AlertRuleOut, NotificationOut, ReceiverOut

_STATES: dict[str, Mark] = {
    "pending": Mark("On its way", "info", "outgoing_mail"),
    "delivered": Mark("Arrived", "ok", "check_circle"),
    "dead": Mark("Dead letter", "bad", "error"),
    "superseded": Mark("Replaced", "info", "update"),
}
_GLYPHS = {"pending": "◌", "delivered": "●", "dead": "✕", "superseded": "○"}
_OCCASIONS = {
    "fired": "it fired",
    "escalated": "nobody had acknowledged it",
    "resolved": "it ended",
    "repeated": "it went on",
    "test": "it is a test",
}
_KINDS = {"email": "e-mail", "slack": "Slack", "alertmanager": "Alertmanager"}


def is_address(text: str) -> bool:
    """Whether it can be a link: an address on the web, or a path of the console."""
    return text.startswith(("https://", "http://")) or (text.startswith("/") and not text.startswith("//"))


def notification_mark(state: str) -> Mark:
    """Mark of where a message stands."""
    return _STATES.get(state, Mark(state.capitalize(), "unknown", "help"))


def occasion_words(occasion: str) -> str:
    """Why a message was written."""
    return _OCCASIONS.get(occasion) or occasion


def kind_words(kind: str) -> str:
    """What kind of receiver it is."""
    return _KINDS.get(kind) or kind


def receiver_mark(receiver: ReceiverOut) -> Mark:
    """Whether a receiver can be told anything, and whether that arrives."""
    if not receiver.is_ready:
        return Mark("Not set up", "unknown", "settings_alert")
    if receiver.last_error is not None or receiver.dead_letters:
        return Mark("Does not arrive", "bad", "error")
    return Mark("Ready", "ok", "check_circle") if receiver.last_delivered_at else Mark("Not tried yet", "info", "info")


def receiver_sentence(receiver: ReceiverOut, now: datetime) -> str:
    """What is missing, or how the newest messages fared."""
    if not receiver.is_ready:
        return receiver.detail or "Something that it needs is not set."
    at = receiver.last_delivered_at
    arrived = f"The last message arrived {ago(at, now)}." if at else "Nothing has arrived yet."
    failed = f" The newest has not: {receiver.last_error.removesuffix('.')}." if receiver.last_error else ""
    dead = ""
    if receiver.dead_letters:
        dead = " 1 message was given up." if receiver.dead_letters == 1 else f" {count(receiver.dead_letters)} messages were given up."
    return f"{arrived}{failed}{dead}"


def attempt_sentence(notification: NotificationOut, now: datetime) -> str:
    """What became of one message so far."""
    if notification.state.value == "delivered":
        return ago(notification.delivered_at, now)
    why = f": {notification.error.removesuffix('.')}" if notification.error else ""
    if notification.state.value == "superseded":
        return f"not sent{why}"
    tries = "1 try" if notification.attempts == 1 else f"{count(notification.attempts)} tries"
    if notification.state.value == "dead":
        return f"given up after {tries}{why}"
    if not notification.attempts:
        return "waits to be sent"
    wait = notification.next_attempt_at - now
    return f"tried again in {lasting(wait)}, after {tries}{why}" if wait >= timedelta(seconds=1) else f"being tried again{why}"


def notification_rows(notifications: Sequence[NotificationOut]) -> list[dict[str, Any]]:
    """Rows of the table of messages, newest first."""
    return [
        {
            "Written (UTC)": n.created_at.astimezone(UTC).replace(tzinfo=None),
            "State": f"{_GLYPHS.get(n.state.value, '○')} {notification_mark(n.state.value).word}",
            "Receiver": n.receiver,
            "Severity": severity_mark(n.severity.value).word,
            "Message": n.title,
            "Because": occasion_words(n.occasion),
            "Alerts": len(n.alert_ids),
            "Tries": n.attempts,
            "Arrived (UTC)": n.delivered_at.astimezone(UTC).replace(tzinfo=None) if n.delivered_at else None,
            "Last error": n.error or DASH,
            "Id": n.notification_id,
        }
        for n in notifications
    ]


def rule_rows(rules: Sequence[AlertRuleOut]) -> list[dict[str, Any]]:
    """Rows of the table of rules, in the order of the file."""
    return [
        {
            "Rule": rule.title,
            "Fires where": f"{rule.signal} {rule.condition}",
            "For": seconds(rule.for_s) if rule.for_s else "at once",
            "Severity": severity_mark(rule.severity.value).word,
            "Firing": rule.active,
            "Ends after": seconds(rule.resolve_after_s) if rule.resolve_after_s else "at once",
            "Tells": ", ".join(rule.receivers) or "nobody",
            "What to do": rule.runbook if rule.runbook and is_address(rule.runbook) else None,
            "Raw name": rule.name,
        }
        for rule in rules
    ]
