"""What happened to alerts and around them: bars over time, the steps of one alert, and what was changed before it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from console.alerts.words import is_foreign, label_words
from console.names import action_words, actor_words
from console.wording import Tone, clock, lasting, moment
from trajops.contracts.alerts import AlertDetailOut, AlertEvent, AlertOut
from trajops.contracts.audit import AuditOut

BEFORE = timedelta(minutes=30)
MAX_SPANS = 200
MAX_LANES = 12
_STEPS: dict[str, tuple[str, Tone]] = {
    "fired": ("Fired", "bad"),
    "notified": ("Told", "unknown"),
    "undelivered": ("Not delivered", "bad"),
    "acknowledged": ("Acknowledged", "info"),
    "assigned": ("Assigned", "info"),
    "escalated": ("Escalated", "warn"),
    "silenced": ("Silenced", "unknown"),
    "unsilenced": ("Silence over", "unknown"),
    "answered": ("Answered", "info"),
    "resolved": ("Resolved", "ok"),
    "changed": ("Changed", "info"),
}
# Consequences of alerts, and what was done about them, are not what an alert comes from.
_NO_CAUSE = ("alert.", "answer.", "silence.", "notification.", "receiver.")

# Bars over time


@dataclass(frozen=True, slots=True)
class AlertSpan:
    """One alert as a bar.

    Attributes:
        lane: what stands beside it; the same for all alerts of one rule and one set of labels.
        severity: how bad it is, or was at its end.
        since, until: aware times; `until` is now for what is not over.
        is_over: whether it has ended.
        text: what it said, and who looked after it.
    """

    lane: str
    severity: str
    since: datetime
    until: datetime
    is_over: bool
    text: str


def alert_spans(alerts: Sequence[AlertOut], begin: datetime, now: datetime) -> list[AlertSpan]:
    """Alerts that were open at some time since `begin`, as bars, oldest first: the newest lanes, and of them the newest bars."""
    mine = [a for a in alerts if _was_open(a, begin)]
    newest = sorted(mine, key=lambda a: a.opened_at or now, reverse=True)
    lanes = list(dict.fromkeys(lane(a) for a in newest))[:MAX_LANES]
    kept = [a for a in newest if lane(a) in lanes][:MAX_SPANS]
    return [
        AlertSpan(lane(a), a.severity.value, max(a.opened_at or now, begin), a.resolved_at or now, a.resolved_at is not None, a.summary)
        for a in reversed(kept)
    ]


def lane(alert: AlertOut) -> str:
    """Its title, and the values of its labels where it has any."""
    labels = ", ".join(value for _, value in sorted(alert.labels.items()))
    return f"{alert.title} ({labels})" if labels else alert.title


def is_cut(alerts: Sequence[AlertOut], spans: Sequence[AlertSpan], begin: datetime) -> bool:
    """Whether some alerts of the time range are not among the bars."""
    return len(spans) < sum(_was_open(a, begin) for a in alerts)


def _was_open(alert: AlertOut, begin: datetime) -> bool:
    return alert.opened_at is not None and not is_foreign(alert) and (alert.resolved_at is None or alert.resolved_at >= begin)


# The steps of one alert


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an alert, as the time line shows it.

    Attributes:
        word: what happened.
        tone: which status colour.
        is_message: whether somebody was told, which leaves the alert as it was.
        at: time of day, with the date where it is another day than the one before.
        after: how long after the step before; empty for the first.
        text: a sentence.
        actor: who did it.
    """

    word: str
    tone: Tone
    is_message: bool
    at: str
    after: str
    text: str
    actor: str


def steps(detail: AlertDetailOut) -> list[Step]:
    """What happened to an alert, oldest first."""
    found: list[Step] = []
    before: AlertEvent | None = None
    for event in sorted(detail.events, key=lambda e: e.at):
        word, tone = _STEPS.get(event.kind, (event.kind.replace("_", " ").capitalize(), "unknown"))
        is_same_day = before is not None and before.at.astimezone(UTC).date() == event.at.astimezone(UTC).date()
        after = "" if before is None else f"{lasting(event.at - before.at)} later"
        at = f"{clock(event.at)} UTC" if is_same_day else f"{moment(event.at)[:10]} {clock(event.at)} UTC"
        found.append(Step(word, tone, event.kind in {"notified", "undelivered"}, at, after, event.text, actor_words(event.actor)))
        before = event
    return found


# What was changed before


@dataclass(frozen=True, slots=True)
class LinkedChange:
    """A change of the product shortly before an alert began.

    Attributes:
        words: what was done.
        before: how long before, in words.
        actor, reason, audit_id: of the audit entry.
        is_release: whether it is about versions, which the Models page explains.
    """

    words: str
    before: str
    actor: str
    reason: str
    audit_id: str
    is_release: bool


def linked_changes(entries: Sequence[AuditOut], alert: AlertOut) -> list[LinkedChange]:
    """What was changed in the half hour before its condition began to hold, newest first."""
    return [
        LinkedChange(
            action_words(entry),
            f"{lasting(alert.started_at - entry.at)} before",
            actor_words(entry.actor),
            entry.reason,
            entry.audit_id,
            entry.action.startswith(("deployment.", "model.")),
        )
        for entry in sorted(entries, key=lambda e: e.at, reverse=True)
        if alert.started_at - BEFORE <= entry.at <= alert.started_at and not entry.action.startswith(_NO_CAUSE)
    ]


def reaches_back(entries: Sequence[AuditOut], limit: int, alert: AlertOut) -> bool:
    """Whether the newest `limit` entries of the audit cover the half hour before it began."""
    return len(entries) < limit or min(entry.at for entry in entries) <= alert.started_at - BEFORE


def alert_label(alert: AlertOut) -> str:
    """An alert in one line: its title and its labels."""
    labels = ", ".join(label_words(alert))
    return f"{alert.title} · {labels}" if labels else alert.title
