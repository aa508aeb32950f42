"""Words, marks and figures as the console writes them: one place for units, dashes and states. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from trajops.contracts.figures import grouped
from trajops.contracts.status import StatusOut

Tone = Literal["ok", "warn", "bad", "info", "unknown"]
DASH = "–"


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as icon, word and colour together, so that none of the three is needed alone.

    Attributes:
        word: what is said.
        tone: which status colour.
        icon: name of a Material symbol.
    """

    word: str
    tone: Tone
    icon: str


_ICONS: dict[Tone, str] = {"ok": "check_circle", "warn": "warning", "bad": "error", "info": "info", "unknown": "help"}
_HEALTH: dict[str, Mark] = {
    "ok": Mark("Healthy", "ok", "check_circle"),
    "warn": Mark("Degraded", "warn", "warning"),
    "bad": Mark("Failing", "bad", "error"),
    "unknown": Mark("Unknown", "unknown", "help"),
}
_STANDINGS: dict[str, Mark] = {
    "healthy": _HEALTH["ok"],
    "worth_a_look": Mark("Worth a look", "info", "visibility"),
    "degraded": _HEALTH["warn"],
    "needs_attention": Mark("Needs attention", "warn", "notification_important"),
    "down": Mark("Down", "bad", "error"),
    "unknown": _HEALTH["unknown"],
}
# What an API says that tells no standing.
_STANDING_OF: dict[str, str] = {"ok": "healthy", "warn": "degraded", "bad": "needs_attention"}
_STATES: dict[str, Mark] = {
    "registered": Mark("Registered", "unknown", "inventory_2"),
    "staged": Mark("Staged", "info", "package_2"),
    "shadow": Mark("Shadow", "info", "visibility"),
    "canary": Mark("Canary", "info", "science"),
    "promoting": Mark("Promoting", "info", "hourglass_top"),
    "baking": Mark("Baking", "info", "hourglass_top"),
    "live": Mark("Live", "ok", "check_circle"),
    "paused": Mark("Paused", "warn", "pause_circle"),
    "inconclusive": Mark("Inconclusive", "warn", "help"),
    "rolled_back": Mark("Rolled back", "warn", "undo"),
    "retired": Mark("Retired", "unknown", "archive"),
}
_DRIFT: dict[str, Mark] = {
    "stable": Mark("Stable", "ok", "check_circle"),
    "warning": Mark("Warning", "warn", "warning"),
    "drift": Mark("Drift", "bad", "error"),
    "insufficient_data": Mark("Too little data", "unknown", "hourglass_empty"),
}
_SEVERITIES: dict[str, Mark] = {
    "critical": Mark("Critical", "bad", "error"),
    "warning": Mark("Warning", "warn", "warning"),
    "info": Mark("Info", "info", "info"),
}
_ALERTS: dict[str, Mark] = {
    "pending": Mark("Pending", "unknown", "hourglass_top"),
    "open": Mark("Open", "bad", "notifications_active"),
    "acknowledged": Mark("Acknowledged", "info", "how_to_reg"),
    "resolved": Mark("Resolved", "ok", "check_circle"),
}
_SILENCES: dict[str, Mark] = {
    "in_force": Mark("In force", "info", "notifications_off"),
    "waiting": Mark("Waiting", "unknown", "schedule"),
    "over": Mark("Over", "unknown", "history"),
}
SILENCED = Mark("Silenced", "unknown", "notifications_off")


_FIGURES: dict[str, Mark] = {
    "degraded": Mark("Worse than validated", "bad", "error"),
    "warning": Mark("Warning", "warn", "warning"),
    "unclear": Mark("Not sure yet", "unknown", "help"),
    "as_validated": Mark("As validated", "ok", "check_circle"),
    "better": Mark("Better than validated", "ok", "check_circle"),
    "no_figure": Mark("Not validated there", "unknown", "help"),
    "too_little_data": Mark("Too little data", "unknown", "hourglass_empty"),
}
_CALIBRATIONS: dict[str, Mark] = {
    "proposed": Mark("Proposed", "info", "pending_actions"),
    "applied": Mark("In force", "ok", "check_circle"),
    "superseded": Mark("Superseded", "unknown", "archive"),
    "reverted": Mark("Reverted", "warn", "undo"),
}


def health_mark(health: str) -> Mark:
    """Mark of a part of the product."""
    return _HEALTH.get(health, _HEALTH["unknown"])


def standing_mark(status: StatusOut) -> Mark:
    """Mark of the whole product, the same on every page; down is only what does not answer."""
    return _STANDINGS.get(status.standing or _STANDING_OF.get(status.verdict, ""), _STANDINGS["unknown"])


def state_mark(state: str) -> Mark:
    """Mark of a deployment's state."""
    return _STATES.get(state, Mark(state.replace("_", " ").capitalize(), "unknown", "help"))


def drift_mark(verdict: str | None) -> Mark:
    """Mark of a drift verdict; None where no check has run."""
    return _DRIFT.get(verdict or "", Mark("Not checked yet", "unknown", "hourglass_empty"))


def severity_mark(severity: str) -> Mark:
    """Mark of how bad an alert is."""
    return _SEVERITIES.get(severity, Mark(severity.capitalize(), "unknown", "help"))


def alert_mark(state: str) -> Mark:
    """Mark of where an alert stands."""
    return _ALERTS.get(state, Mark(state.capitalize(), "unknown", "help"))


def silence_mark(state: str) -> Mark:
    """Mark of where a silence stands."""
    return _SILENCES.get(state, Mark(state.capitalize(), "unknown", "help"))


def figure_mark(verdict: str) -> Mark:
    """Mark of a verdict on live figures."""
    return _FIGURES.get(verdict, _FIGURES["too_little_data"])


def calibration_mark(state: str) -> Mark:
    """Mark of a calibration's state."""
    return _CALIBRATIONS.get(state, Mark(state.replace("_", " ").capitalize(), "unknown", "help"))


def tone_icon(tone: Tone) -> str:
    """Name of the Material symbol that goes with a tone."""
    return _ICONS[tone]


# Figures as text


def metres(value: float | None, digits: int = 2) -> str:
    """A length, metres; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f} m"


def share(value: float | None, digits: int = 1) -> str:
    """A share of one as a percentage."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds."""
    if value is None:
        return DASH
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number."""
    return DASH if value is None else f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """A whole number with its thousands set apart."""
    return DASH if value is None else grouped(value)


def seconds(value: float | None) -> str:
    """A duration given in seconds, in the unit that reads best."""
    if value is None:
        return DASH
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, in words."""
    if at is None:
        return "never"
    return "just now" if now - at < timedelta(seconds=1) else f"{lasting(now - at)} ago"


def lasting(span: timedelta) -> str:
    """How long something lasts, in whole seconds or a longer unit."""
    length_s = span.total_seconds()
    return "a moment" if length_s < 1 else seconds(float(int(length_s))).replace(".0 s", " s")


def clock(at: datetime | None) -> str:
    """Time of day, UTC."""
    return DASH if at is None else at.astimezone(UTC).strftime("%H:%M:%S")


def moment(at: datetime | None) -> str:
    """Date and time, UTC, to the minute."""
    return DASH if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
