"""Notifications on their way: written with what caused them, sent until they arrive, or set aside as dead letters."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from trajops.alerts.lifecycle import Severity

Occasion = Literal["fired", "escalated", "resolved", "repeated", "test"]


class NotificationState(StrEnum):
    """Where a notification stands. A dead letter may be sent again by hand; one that a newer one replaced before it arrived is not sent."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one receiver about one group of alerts.

    Attributes:
        notification_id: the same in every attempt, so that one that arrives twice can be told (Message-ID, and in the text for Slack).
        receiver: its name in `configs/alerts.yaml`.
        occasion: the most important reason why it is sent.
        group: what its alerts have in common, by label.
        severity: of its worst alert.
        title: its subject.
        alert_ids: whom it is about; empty for a test.
        content: the alerts as they were then, each as `AlertOut` has it.
        state: where it stands.
        attempts: that were begun.
        created_at: when it was written.
        next_attempt_at: not earlier; while an attempt is going on, when it counts as lost.
        claimed_by: the process that makes the present attempt.
        delivered_at: when the receiver took it.
        error: why the last attempt failed, or which notification replaced it.
    """

    notification_id: str
    receiver: str
    occasion: Occasion
    group: dict[str, str]
    severity: Severity
    title: str
    alert_ids: tuple[str, ...]
    content: tuple[dict[str, Any], ...]
    state: NotificationState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    claimed_by: str | None = None
    delivered_at: datetime | None = None
    error: str | None = None


def retry_at(attempts: int, at: datetime, *, first_s: float, longest_s: float, chance: float) -> datetime:
    """When the next attempt is due after a failed one: the pause doubles, up to the longest, and is shortened by chance.

    Args:
        attempts: made so far, at least 1.
        at: now.
        first_s: pause after the first, seconds.
        longest_s: longest pause, seconds.
        chance: drawn from [0, 1), so that what failed together does not come back together.
    """
    pause_s = min(longest_s, first_s * 2.0 ** min(attempts - 1, 32))
    return at + timedelta(seconds=pause_s * (1 - 0.25 * chance))


def superseded_by(newer: Notification) -> str:
    """What is said of a notification that a newer one replaced."""
    return f"the newer notification {newer.notification_id} about the same alerts was written before this one had arrived"
