"""Silences: for a while nobody is told about alerts with certain labels. Matchers are those of Alertmanager."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trajops.alerts.patterns import ANY_VALUE, compiled, is_bounded
from trajops.errors import InvalidInput

Operator = Literal["=", "!=", "=~", "!~"]
SilenceState = Literal["waiting", "in_force", "over"]
# May be matched like labels, and every alert has them.
ALWAYS_PRESENT = frozenset({"rule", "severity", "origin"})
_WRITTEN = re.compile(r"\s*(?P<label>[A-Za-z_][A-Za-z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*(?P<value>.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. A label that is absent counts as empty; patterns are anchored at both ends.

    Raises:
        InvalidInput: if the pattern is no regular expression.
    """

    label: str
    operator: Operator
    value: str

    def __post_init__(self) -> None:
        """Compile the pattern once, to refuse one that is none."""
        if self.operator in {"=~", "!~"}:
            compiled(self.value)

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """A matcher as it is written: `job="prune"`, `severity=~"warning|critical"`; the quotes may be left out.

        Raises:
            InvalidInput: if it is not written so, or its pattern could take too long.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InvalidInput(f'{text!r} is no matcher; write for example job="prune" or severity=~"warning|critical"')
        value = found["value"]
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        return cls(found["label"], found["operator"], value).bounded()  # type: ignore[arg-type]

    def bounded(self) -> "Matcher":
        """Itself, as somebody asks for it.

        Raises:
            InvalidInput: if its pattern could take too long, such as `(a+)+b`.
        """
        if self.operator in {"=~", "!~"} and not is_bounded(self.value, ANY_VALUE):
            text = "could take too long to match; repeat nothing that repeats or has alternatives itself, and repeat less"
            raise InvalidInput(f"the regular expression {self.value!r} {text}")
        return self

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value}"'

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the condition holds for these labels; one whose pattern would take too long for the value does not."""
        present = labels.get(self.label, "")
        if self.operator in {"=", "!="}:
            return (present == self.value) == (self.operator == "=")
        if not is_bounded(self.value, len(present)):
            return False
        return (compiled(self.value).fullmatch(present) is not None) == (self.operator == "=~")


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every condition holds; none at all hold for everything."""
    return all(matcher.matches(labels) for matcher in matchers)


def are_narrow(matchers: Iterable[Matcher]) -> bool:
    """Whether some condition fails for alerts without its label; else a value left blank, or a label that none has, means all alerts."""
    return any(one.label in ALWAYS_PRESENT or not one.matches({}) for one in matchers)


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told about alerts that all matchers hold for, from `starts_at` until before `ends_at`."""

    silence_id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_at: datetime
    created_by: str
    reason: str

    def state(self, at: datetime) -> SilenceState:
        """Where it stands."""
        return "waiting" if at < self.starts_at else "in_force" if at < self.ends_at else "over"

    def covers(self, labels: Mapping[str, str], at: datetime) -> bool:
        """Whether it holds for an alert with these labels now."""
        return self.state(at) == "in_force" and all_match(self.matchers, labels)
