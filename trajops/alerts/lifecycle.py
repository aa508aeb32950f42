"""An alert, its states and the one table of transitions between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from trajops.errors import IllegalTransition

# Where an alert comes from: our own rules, or an Alertmanager that posted it to us.
Origin = Literal["rules", "external"]


class Severity(StrEnum):
    """How bad it is, mildest first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 is the mildest."""
        return list(Severity).index(self)


class AlertState(StrEnum):
    """Where an alert stands. One that is silenced stays in its state: it is only not talked about."""

    PENDING = "pending"  # its condition holds, but not for long enough yet
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"  # somebody looks after it
    RESOLVED = "resolved"


S = AlertState
ACTIVE = frozenset({S.OPEN, S.ACKNOWLEDGED})
# A pending alert whose condition ceases is forgotten, and one that comes again after its end is another alert.
TRANSITIONS: dict[AlertState, frozenset[AlertState]] = {
    S.PENDING: frozenset({S.OPEN}),
    S.OPEN: frozenset({S.ACKNOWLEDGED, S.RESOLVED}),
    S.ACKNOWLEDGED: frozenset({S.RESOLVED}),
    S.RESOLVED: frozenset(),
}


def check_transition(before: AlertState, after: AlertState) -> None:
    """Raise IllegalTransition unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing: it is over"
        raise IllegalTransition(f"an alert that is {before} cannot become {after}; it may become {allowed}")


@dataclass(frozen=True, slots=True)
class Mark:
    """What one receiver was last told of an alert, and when."""

    at: datetime
    state: AlertState
    severity: Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """One occurrence of one rule on one set of labels.

    Attributes:
        alert_id: of this occurrence.
        fingerprint: of rule and labels: at most one alert with it is not resolved.
        rule: name of the rule; of an external alert, its `alertname`.
        origin: who raised it.
        title: a few words.
        summary: one sentence on what is wrong, with its figures.
        detail: what more the source has to say; may be empty.
        labels: what it is about, for example the job.
        severity: how bad it is now.
        state: where it stands.
        version: counts changes of state, severity and assignee; what merely refreshes it does not count.
        started_at: when its condition began to hold.
        seen_at: when its condition was last known to hold.
        updated_at: of the last change that counts.
        value: of the signal, when it was last looked at.
        condition: of the rule, for example `>= 2`.
        opened_at: when the condition had held for long enough.
        clear_at: since when the condition has ceased, while its end is waited for.
        acknowledged_at, acknowledged_by: who looks after it.
        assigned_to: who is to mend it.
        escalated_at: when nobody had acknowledged it for too long.
        resolved_at, resolved_by: its end; `rules` where the condition ceased.
        silence_id: the silence that holds for it now.
        runbook: address of what to do about it; a path is one of the console.
        link: address at the source of an external alert.
        marks: what each receiver was last told.
    """

    alert_id: str
    fingerprint: str
    rule: str
    origin: Origin
    title: str
    summary: str
    detail: str
    labels: Mapping[str, str]
    severity: Severity
    state: AlertState
    version: int
    started_at: datetime
    seen_at: datetime
    updated_at: datetime
    value: float | None = None
    condition: str | None = None
    opened_at: datetime | None = None
    clear_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    assigned_to: str | None = None
    escalated_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    silence_id: str | None = None
    runbook: str | None = None
    link: str | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether it is open or acknowledged."""
        return self.state in ACTIVE

    @property
    def matchable(self) -> dict[str, str]:
        """What matchers of silences and routes look at: its labels, and `rule`, `severity` and `origin` beside them."""
        return {**self.labels, "rule": self.rule, "severity": self.severity.value, "origin": self.origin}

    @property
    def subject(self) -> str:
        """Its name in the audit."""
        return f"alert/{self.alert_id}"
