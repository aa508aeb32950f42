"""Silences: for a while nobody is told about alerts with certain labels. Matchers are those of Alertmanager."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from trajops.errors import InvalidInput

Operator = Literal["=", "!=", "=~", "!~"]
SilenceState = Literal["waiting", "in_force", "over"]
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
            _compiled(self.value)

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """A matcher as it is written: `job="prune"`, `severity=~"warning|critical"`; the quotes may be left out.

        Raises:
            InvalidInput: if it is not written so.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InvalidInput(f'{text!r} is no matcher; write for example job="prune" or severity=~"warning|critical"')
        value = found["value"]
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        return cls(found["label"], found["operator"], value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{self.value}"'

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the condition holds for these labels."""
        present = labels.get(self.label, "")
        if self.operator in {"=", "!="}:
            return (present == self.value) == (self.operator == "=")
        return (_compiled(self.value).fullmatch(present) is not None) == (self.operator == "=~")


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every condition holds; none at all hold for everything."""
    return all(matcher.matches(labels) for matcher in matchers)


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


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{pattern!r} is no regular expression: {error}") from error
