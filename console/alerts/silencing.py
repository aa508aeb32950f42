"""Silences: conditions on labels as they are edited, what they hold for, for how long, and rows of the list. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from console.alerts.words import is_active, is_foreign
from console.wording import ago, lasting, moment
from trajops.contracts.alerts import AlertOut, MatcherIn, SilenceOut
from trajops.errors import InvalidInput

DURATIONS: dict[str, timedelta] = {
    "30 min": timedelta(minutes=30),
    "2 h": timedelta(hours=2),
    "8 h": timedelta(hours=8),
    "24 h": timedelta(days=1),
    "7 d": timedelta(days=7),
}
OPERATORS: dict[str, str] = {"=": "is", "!=": "is not", "=~": "matches", "!~": "does not match"}
MAX_MATCHERS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One condition as it is typed."""

    label: str
    operator: str
    value: str


def rows_for(alert: AlertOut) -> tuple[Row, ...]:
    """Conditions that hold for this alert, and for it again when it comes back: its rule and all of its labels."""
    return (Row("rule", "=", alert.rule), *(Row(name, "=", value) for name, value in sorted(alert.labels.items())))


def parse(rows: Sequence[Row]) -> tuple[list[MatcherIn], list[str]]:
    """Conditions as the API takes them, and what is wrong with the others; rows without a label and a value are passed over."""
    matchers, problems = [], []
    for row in rows:
        label = row.label.strip()
        if not label and not row.value:
            continue
        try:
            matcher = MatcherIn.model_validate({"label": label, "operator": row.operator, "value": row.value})
            matcher.matcher()
        except ValidationError as error:
            is_label = error.errors()[0]["loc"][:1] == ("label",)
            problems.append(
                f"“{label}” is no label: write letters, digits and underscores, and no digit first."
                if is_label
                else f"The value of “{label}” is too long: at most 512 characters."
            )
        except InvalidInput as error:
            problems.append(f"“{label}”: {error.message}.")
        else:
            matchers.append(matcher)
    if not matchers and not problems:
        problems.append("Give at least one condition; a silence without any would hold for everything.")
    return matchers, problems


def held(matchers: Sequence[MatcherIn], alerts: Sequence[AlertOut]) -> list[AlertOut]:
    """Those of the active alerts that all conditions hold for."""
    conditions = [matcher.matcher() for matcher in matchers]
    return [a for a in alerts if is_active(a) and not is_foreign(a) and all(c.matches(matchable(a)) for c in conditions)]


def matchable(alert: AlertOut) -> dict[str, str]:
    """What conditions look at: the labels, and rule, severity and origin beside them."""
    return {**alert.labels, "rule": alert.rule, "severity": alert.severity.value, "origin": alert.origin}


def preview(matchers: Sequence[MatcherIn], alerts: Sequence[AlertOut]) -> str:
    """How many of the active alerts the conditions hold for, in one sentence."""
    active = [a for a in alerts if is_active(a) and not is_foreign(a)]
    found = held(matchers, active)
    if not active:
        return "No alert is firing now; the silence holds for those that come."
    if len(active) == 1:
        said = "Holds for" if found else "Does not hold for"
        return f"{said} the only alert that is firing now{'' if found else ', only for such that come'}."
    if not found:
        return f"Holds for none of the {len(active)} alerts that are firing now, only for such that come."
    return f"Holds for {len(found)} of the {len(active)} alerts that are firing now."


def matcher_words(matchers: Sequence[MatcherIn]) -> list[str]:
    """Conditions as they are written elsewhere: `job="prune"`."""
    return [str(matcher.matcher()) for matcher in matchers]


def time_words(silence: SilenceOut, now: datetime) -> str:
    """From when to when, and how long still."""
    window = f"{moment(silence.starts_at)} – {moment(silence.ends_at)}"
    if silence.state == "in_force":
        return f"{window}, for {lasting(silence.ends_at - now)} more"
    if silence.state == "waiting":
        return f"{window}, begins in {lasting(silence.starts_at - now)}"
    return f"{window}, ended {ago(silence.ends_at, now)}"


def end_after(duration: str, starts_at: datetime | None, now: datetime) -> datetime:
    """When a silence of this length ends; it begins now where no time is given."""
    return (starts_at or now).astimezone(UTC) + DURATIONS[duration]
