"""Audit: what an entry says, what it changed and what it is about, in words; and rows for a file. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from console.names import action_words, actor_words
from console.wording import DASH, ago, count, metres, milliseconds, moment, seconds, share
from trajops.contracts.audit import AuditOut

MAX_ROWS = 5_000
MOST_SHOWN = 200  # characters of one value
# What the filter offers → what the API is asked for: all actions that begin so.
KINDS = {
    "Releases": "deployment.",
    "Model versions": "model.",
    "Rollouts": "rollout.",
    "Experiments": "experiment.",
    "All experiments": "experiments.",
    "Calibrations": "calibration.",
    "Performance": "performance.",
    "Drift": "drift.",
    "Alerts": "alert.",
    "Answers to alerts": "answer.",
    "Silences": "silence.",
    "Messages": "notification.",
    "Receivers": "receiver.",
    "Jobs": "job.",
    "Users": "user.",
    "API keys": "api_key.",
}
# Who is no person: as the audit names them → as people do.
PARTIES = {"worker:": "The workers", "policy:": "The policy", "rules": "The rules", "key:": "API keys", "jwt:": "External sign-ins"}
DAYS = (date(1970, 1, 1), date(2999, 12, 31))
SPANS: dict[str, timedelta | None] = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last 24 h": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
BETWEEN = "Between days"

# Which are shown


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What an operator wants to see; empty fields leave everything in.

    Attributes:
        who: an actor, or what it begins with.
        what: an action, or what it begins with.
        subject: exactly this, or what it begins with.
        words: stand in the reason.
        span: one of SPANS, or BETWEEN.
        first, last: days (UTC), both included; for BETWEEN.
    """

    who: str = ""
    what: str = ""
    subject: str = ""
    words: str = ""
    span: str = "Any time"
    first: date | None = None
    last: date | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left out."""
        return self == AuditFilter()

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """From when on, and before when."""
        if self.span == BETWEEN:
            since = None if self.first is None else datetime.combine(self.first, time(), UTC)
            return since, None if self.last is None else datetime.combine(self.last, time(), UTC) + timedelta(days=1)
        span = SPANS.get(self.span)
        return (None if span is None else now - span), None


def shown_day(text: str | None) -> date | None:
    """A day of the URL; None where it is none, or one on which nothing can have been changed."""
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return None
    return day if DAYS[0] <= day <= DAYS[1] else None


# What was changed


class Change(NamedTuple):
    """One value that is another one than before.

    Attributes:
        path: where it stands, its names set apart by `›`.
        before, after: in words; a dash where there was or is none.
    """

    path: str
    before: str
    after: str


def changes(entry: AuditOut) -> list[Change]:
    """What an entry changed, in the order in which it is kept; what stayed the same is left out."""
    before, after = dict(_leaves(entry.before)), dict(_leaves(entry.after))
    paths = list(dict.fromkeys([*before, *after]))
    missing = object()
    return [
        Change(_path_words(path), _shown(path, before.get(path)), _shown(path, after.get(path)))
        for path in paths
        if before.get(path, missing) != after.get(path, missing) and not (_is_nothing(before.get(path)) and _is_nothing(after.get(path)))
    ]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*path, str(name)))]
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        return [leaf for number, inner in enumerate(value, 1) for leaf in _leaves(inner, (*path, str(number)))]
    return [(path, value)] if path else []


def _is_nothing(value: Any) -> bool:
    return value is None or value in ({}, [], "")


def _path_words(path: Sequence[str]) -> str:
    return " › ".join(_unit_of(name)[0].replace("_", " ") for name in path)


_UNITS = {"_mps": "m/s", "_ms": "ms", "_m": "m", "_s": "s"}
_SHARES = frozenset({"coverage", "share", "holdout_share"})


def _unit_of(name: str) -> tuple[str, str | None]:
    for ending, unit in _UNITS.items():
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending), unit
    return name.removesuffix("_at") if name.endswith("_at") else name, None


def _shown(path: Sequence[str], value: Any) -> str:
    if _is_nothing(value):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _figure(path[-1], value)
    if isinstance(value, list):
        return _listed(path, value)
    text = _time_words(str(value)) if path[-1].endswith("_at") else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _figure(name: str, value: float) -> str:
    if name in _SHARES and 0 <= value <= 1:
        return share(value)
    unit = _unit_of(name)[1]
    if unit == "m":
        return metres(value)
    if unit == "ms":
        return milliseconds(value)
    if unit == "s":
        return seconds(value)
    text = count(value) if isinstance(value, int) else f"{value:.6g}"
    return text if unit is None else f"{text} {unit}"


def _listed(path: Sequence[str], value: list[Any]) -> str:
    if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int) and not isinstance(value[1], bool):
        return f"{value[0]} v{value[1]}"
    text = ", ".join(_shown(path, inner) for inner in value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _time_words(text: str) -> str:
    try:
        return moment(datetime.fromisoformat(text))
    except ValueError:
        return text


# What it is about


class Place(NamedTuple):
    """Where what an entry is about is shown.

    Attributes:
        view: file of the page, relative to `console/`.
        label: of the link.
        query: parameters of its address.
        icon: of the link.
    """

    view: str
    label: str
    query: Mapping[str, str]
    icon: str = "arrow_forward"


def places(entry: AuditOut) -> list[Place]:
    """Pages that show what an entry is about; each once."""
    kind, _, name = entry.subject.partition("/")
    found = []
    experiments = [name] if kind == "experiment" else list(entry.after.get("experiments") or {})
    found += [Place("views/ab_tests.py", "Its experiment", {"experiment": one}, "science") for one in experiments[:3]]
    area = entry.action.partition(".")[0]
    if kind == "alert":
        found.append(Place("views/alerts.py", "Its alert", {"alert": name}, "notifications"))
    elif kind in {"silence", "receiver"} or area in {"silence", "receiver", "notification"}:
        section = {"silence": "Silences", "receiver": "Receivers"}.get(area, "Notifications")
        found.append(Place("views/alerts.py", f"{section} on the Alerts page", {"section": section}, "notifications"))
    elif area == "job":
        found.append(Place("views/services.py", "Its job", {"job": entry.subject}, "dns"))
    elif area in {"performance", "calibration"}:
        found.append(Place("views/performance.py", "Live figures and calibrations", {}, "speed"))
    elif area == "drift":
        found.append(Place("views/drift.py", "Drift checks", {}, "query_stats"))
    elif area == "user":
        found.append(Place("views/admin.py", "Its user", {"section": "Users"}, "group"))
    elif area == "api_key":
        found.append(Place("views/admin.py", "Its key", {"section": "API keys"}, "key"))
    if area in {"deployment", "model", "rollout"}:
        what = "Its rollout, on the Models page" if area == "rollout" else "Its version, on the Models page"
        found.append(Place("views/models.py", what, {}, "model_training"))
    return found


# One line each


def when_words(entry: AuditOut, now: datetime) -> str:
    """When, and by whom."""
    return f"{moment(entry.at)} · {ago(entry.at, now)} · {actor_words(entry.actor)}"


def last_words(entry: AuditOut, now: datetime) -> str:
    """The newest entry, as the answer to “what happened last?”."""
    return f"{action_words(entry)}, {ago(entry.at, now)}, by {actor_words(entry.actor)}"


def page_words(entries: Sequence[AuditOut], *, is_filtered: bool, has_more: bool) -> str:
    """How many are shown, and from when to when."""
    if not entries:
        return ""
    found = "1 entry" if len(entries) == 1 else f"{count(len(entries))} entries"
    kept = " of those that pass the filters" if is_filtered else ""
    end = "older ones follow" if has_more else "nothing older"
    return f"{found}{kept}, {moment(entries[0].at)} back to {moment(entries[-1].at)}; {end}"


# As a file


def as_csv(entries: Sequence[AuditOut]) -> str:
    """Rows for a spreadsheet, which must not take a text for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["at_utc", "actor", "action", "subject", "reason", "changes", "audit_id"])
    for entry in entries:
        said = "; ".join(f"{one.path}: {one.before} → {one.after}" for one in changes(entry))
        at = entry.at.astimezone(UTC).isoformat(timespec="milliseconds")
        writer.writerow([at, *map(_safe, (entry.actor, entry.action, entry.subject, entry.reason, said)), entry.audit_id])
    return out.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
