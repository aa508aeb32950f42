"""Alerts: what is said of them, which are shown, what may be done with one, and what to say after a change that came too late. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from console.changes import Action, role_refusal
from console.names import actor_words
from console.wording import DASH, Mark, ago, alert_mark, count, lasting, moment, severity_mark
from trajops.contracts.alerts import AlertCounts, AlertEvent, AlertmanagerOut, AlertOut, AlertsOut
from trajops.contracts.session import Role

# What the filter offers → whether an alert belongs to it.
STATES = ("Active", "Open", "Acknowledged", "Silenced", "Pending", "Resolved", "All")
AlertState = Literal["active", "pending", "open", "acknowledged", "resolved"]
_ASKED: dict[str, AlertState] = {"Active": "active", "Silenced": "active", "Open": "open", "Acknowledged": "acknowledged",
                                 "Pending": "pending", "Resolved": "resolved"}  # fmt: skip
Severity = Literal["info", "warning", "critical"]
SEVERITIES: dict[str, Severity] = {"Critical": "critical", "Warning": "warning", "Info": "info"}
ActionName = Literal["acknowledge", "assign", "silence", "resolve"]
LABELS: dict[ActionName, str] = {"acknowledge": "Acknowledge", "assign": "Assign", "silence": "Silence", "resolve": "Resolve"}

# The verdict


def firing(counts: AlertCounts) -> int:
    """How many alerts are firing, whether somebody looks after them or not."""
    return counts.open + counts.acknowledged


def by_severity(counts: AlertCounts) -> list[tuple[Mark, int]]:
    """How many are firing of each severity, worst first, also where there are none."""
    return [
        (severity_mark(severity), sum(n for name, n in counts.by_severity.items() if name == severity)) for severity in SEVERITIES.values()
    ]


def verdict(alerts: AlertsOut, now: datetime) -> tuple[Mark, str]:
    """How things stand, in one sentence; never well while nobody looks at the rules."""
    counts, sentence = alerts.counts, firing_sentence(alerts.counts)
    if not alerts.is_evaluated:
        return Mark("Not watched", "bad", "visibility_off"), f"{_last_look(alerts, now)}; then: {sentence[0].lower()}{sentence[1:]}"
    worst = next((mark for mark, n in by_severity(counts) if n), None)
    return (Mark("Firing", worst.tone, worst.icon) if worst else Mark("All quiet", "ok", "check_circle")), sentence


def foreign_words(source: AlertmanagerOut) -> str:
    """What an Alertmanager has of which nothing is shown."""
    said = source.detail.removesuffix(".")
    return f"Nothing of its own passes the filter above; it has {said}." if source.alerts else f"{said}."


def firing_sentence(counts: AlertCounts) -> str:
    """What is firing, who looks after it, and what may fire soon."""
    total = firing(counts)
    if not total:
        said = "No alert is firing"
    else:
        said = "1 alert is firing" if total == 1 else f"{count(total)} alerts are firing"
        if counts.open == total:
            said += ", and nobody has acknowledged it" if total == 1 else ", and nobody has acknowledged any of them"
        elif counts.open:
            said += f"; {count(counts.open)} of them {'waits' if counts.open == 1 else 'wait'} to be acknowledged"
        else:
            said += ", and it is acknowledged" if total == 1 else ", and all are acknowledged"
        if counts.silenced:
            said += f"; {count(counts.silenced)} {'is' if counts.silenced == 1 else 'are'} silenced"
    if counts.pending:
        holds = "1 more condition holds" if counts.pending == 1 else f"{count(counts.pending)} more conditions hold"
        said += f"; {holds}, but not for long enough yet"
    return f"{said}."


def evaluation_problem(alerts: AlertsOut, now: datetime) -> str | None:
    """Why what is shown may not be the present, and what to do about it, as Markdown; None while the rules are looked at."""
    if alerts.is_evaluated:
        return None
    meaning = "nothing is raised" if alerts.evaluated_at is None else "what is shown may be past, and nothing new is raised"
    return f"**{_last_look(alerts, now)}: {meaning}.** Start the workers with `python -m workers`; their jobs stand under Services."


def _last_look(alerts: AlertsOut, now: datetime) -> str:
    if alerts.evaluated_at is None:
        return "The rules have never been looked at"
    return f"The rules are not looked at any more, the last time was {ago(alerts.evaluated_at, now)}"


# Which are shown


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What an operator wants to see; empty fields leave everything in.

    Attributes:
        state: one of STATES.
        severity: one of the values of SEVERITIES.
        rule: its name.
        text: words that must all stand somewhere in the alert, in any case.
    """

    state: str = "Active"
    severity: Severity | None = None
    rule: str | None = None
    text: str = ""

    @property
    def asked_state(self) -> AlertState | None:
        """The state to ask the API for; None: all."""
        return _ASKED.get(self.state)

    def holds(self, alert: AlertOut) -> bool:
        """Whether an alert is to be shown."""
        return (
            self._is_of_state(alert)
            and self.severity in {None, alert.severity.value}
            and self.rule in {None, alert.rule}
            and all(word in _written(alert) for word in self.text.casefold().split())
        )

    def _is_of_state(self, alert: AlertOut) -> bool:
        if self.state == "All":
            return True
        if self.state in {"Active", "Silenced"}:
            return is_active(alert) and (self.state == "Active" or alert.is_silenced)
        return alert.state.value == self.asked_state


def is_active(alert: AlertOut) -> bool:
    """Whether it is open or acknowledged."""
    return alert.state.value in {"open", "acknowledged"}


def is_foreign(alert: AlertOut) -> bool:
    """Whether it was read from an Alertmanager just now: it is not kept here, and cannot be changed here."""
    return alert.origin == "alertmanager"


def label_words(alert: AlertOut) -> list[str]:
    """Its labels, as matchers have them."""
    return [f"{name}={value}" for name, value in sorted(alert.labels.items())]


def _written(alert: AlertOut) -> str:
    parts = (alert.title, alert.summary, alert.detail, alert.rule, alert.assigned_to or "", alert.alert_id, *label_words(alert))
    return "\n".join(parts).casefold()


# What is said of one


def since_words(alert: AlertOut, now: datetime) -> str:
    """For how long it has been firing, or when it ended."""
    if alert.resolved_at is not None:
        return f"ended {ago(alert.resolved_at, now)}, after {lasting(alert.resolved_at - (alert.opened_at or alert.started_at))}"
    if alert.opened_at is None:
        return f"holds for {lasting(now - alert.started_at)}"
    return f"firing for {lasting(now - alert.opened_at)}"


def value_words(alert: AlertOut) -> str:
    """The figure against the condition of the rule."""
    if alert.value is None:
        return DASH if alert.condition is None else f"no figure; fires where it is {alert.condition}"
    return f"{alert.value:.6g}" if alert.condition is None else f"{alert.value:.6g}; fires where it is {alert.condition}"


def carer_words(alert: AlertOut) -> str:
    """Who looks after it."""
    parts = []
    if alert.assigned_to is not None:
        parts.append(f"assigned to {alert.assigned_to}")
    if alert.acknowledged_by is not None:
        parts.append(f"acknowledged by {actor_words(alert.acknowledged_by)}")
    return ", ".join(parts) or "nobody looks after it"


def facts(alert: AlertOut) -> list[tuple[str, str]]:
    """What is known of one alert, a line each; what does not apply is left out."""
    ended = f"{moment(alert.resolved_at)}, by {actor_words(alert.resolved_by or 'unknown')}"
    lines = [
        ("Rule", alert.rule if alert.origin == "rules" else f"{alert.rule}, raised by {_SOURCES[alert.origin]}"),
        ("Value", value_words(alert)),
        ("Labels", ", ".join(label_words(alert)) or "none"),
        ("Condition holds since", moment(alert.started_at)),
        ("Opened", moment(alert.opened_at) if alert.opened_at else "not yet: the condition must hold for longer"),
        ("Last known to hold", moment(alert.seen_at)),
        ("Looked after", carer_words(alert)),
        ("Escalated", moment(alert.escalated_at) if alert.escalated_at else None),
        ("Told", ", ".join(alert.told) or "nobody"),
        ("Ended", ended if alert.resolved_at else None),
    ]
    return [(name, value) for name, value in lines if value is not None]


_SOURCES = {"rules": "the rules", "external": "an Alertmanager, which posted it", "alertmanager": "the Alertmanager"}


@dataclass(frozen=True, slots=True)
class Place:
    """A page of the console where an alert is explained.

    Attributes:
        view: its file, relative to `console/`.
        label: what the link says.
    """

    view: str
    label: str


def place(alert: AlertOut) -> Place:
    """Where to look first, after its rule and its labels."""
    about = f"{alert.rule} {' '.join(alert.labels)}".casefold()
    if "drift" in about or alert.labels.get("job") == "check_drift":
        return Place("views/drift.py", "Look at the drift checks")
    if any(word in about for word in ("performance", "accuracy", "coverage", "calibration", "error_m")):
        return Place("views/performance.py", "Look at the performance")
    if any(word in about for word in ("model", "version", "variant", "canary", "rollback", "guardrail")):
        return Place("views/models.py", "Look at the versions")
    return Place("views/services.py", "Look at services and jobs")


# What may be done


def alert_actions(alert: AlertOut, role: Role) -> list[Action[ActionName]]:
    """What can be done with one alert in its present state."""
    if is_foreign(alert) or alert.version < 1 or alert.state.value == "resolved":
        return []
    names: tuple[ActionName, ...] = {
        "pending": ("silence",),
        "open": ("acknowledge", "assign", "silence", "resolve"),
        "acknowledged": ("assign", "silence", "resolve"),
    }[alert.state.value]
    refusal = role_refusal(role)
    held = "A silence holds for it already; it is listed under Silences." if alert.is_silenced else None
    return [Action(name, LABELS[name], refusal or (held if name == "silence" else None)) for name in names]


# A change that came too late


def conflict_sentence(
    label: str, seen: AlertOut, present: AlertOut | None, events: Sequence[AlertEvent], *, detail: str, now: datetime
) -> str:
    """The whole message after a refused change.

    Args:
        label: of the button that was pressed, for example “Resolve”.
        seen: the alert when the button was drawn.
        present: the alert after the refusal; None where it could not be read.
        events: what happened to it, oldest first.
        detail: what the API said; shown where no change can be seen.
        now: aware time.
    """
    found = [] if present is None else changes_between(seen, present)
    if not found:
        return (
            f"Nothing was done: {detail.removesuffix('.')}. The page has been read again: look at how the alert stands now, "
            f"and press “{label}” once more if it is still right."
        )
    last = next((event for event in reversed(events) if event.kind not in {"notified", "undelivered"}), None)
    by = f" ({actor_words(last.actor)}, {ago(last.at, now)}: “{last.text.removesuffix('.')}”)" if last is not None else ""
    is_over = present is not None and present.state.value == "resolved"
    then = "there is nothing left to do" if is_over else f"look at it, and press “{label}” once more if it is still right"
    return (
        f"Nothing was done, because the alert changed while you were deciding: {'; '.join(found)}{by}. "
        f"The page has been read again: {then}."
    )


def changes_between(seen: AlertOut, present: AlertOut) -> list[str]:
    """What is different, one clause each; empty where nothing is."""
    found = []
    state = alert_mark(present.state.value).word.lower()
    if seen.state != present.state:
        found.append(f"it went from {alert_mark(seen.state.value).word.lower()} to {state}")
    if seen.severity != present.severity:
        found.append(f"it is of severity {present.severity.value}, no longer {seen.severity.value}")
    if seen.assigned_to != present.assigned_to:
        now_with = f"it is assigned to {present.assigned_to}" if present.assigned_to else "it is assigned to nobody"
        found.append(now_with + (f", no longer to {seen.assigned_to}" if seen.assigned_to else ""))
    if not found and seen.version != present.version:
        found.append(f"it was changed and is {state} as before")
    return found
