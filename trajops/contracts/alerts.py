"""Alerts: what is wrong, who was told, who looks after it; silences, notifications and their receivers."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState, Occasion
from trajops.alerts.silences import Matcher, Operator, Silence, SilenceState
from trajops.contracts.wire import ForeignTime, Name, Reason, Time, Wire

# `rules`: our own; `external`: posted to us by an Alertmanager, and kept; `alertmanager`: read from it just now, and not kept.
AlertOrigin = Literal["rules", "external", "alertmanager"]
ReceiverKind = Literal["email", "slack", "alertmanager"]
EventKind = Literal[
    "fired", "notified", "undelivered", "acknowledged", "assigned", "escalated", "silenced", "unsilenced", "answered", "resolved", "changed"
]
LabelName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class AlertOut(Wire):
    """One occurrence of one rule on one set of labels."""

    alert_id: str
    fingerprint: str = Field(description="Of rule and labels; the same when it comes again.")
    rule: str
    origin: AlertOrigin
    title: str
    summary: str
    detail: str
    labels: dict[str, str]
    severity: Severity
    state: AlertState
    version: int = Field(description="For `expected_version` of a change; 0 where it cannot be changed here.")
    value: float | None
    condition: str | None = Field(description="Of the rule, for example `>= 2`.")
    started_at: AwareDatetime = Field(description="When its condition began to hold.")
    opened_at: AwareDatetime | None
    seen_at: AwareDatetime = Field(description="When its condition was last known to hold.")
    updated_at: AwareDatetime
    acknowledged_at: AwareDatetime | None
    acknowledged_by: str | None
    assigned_to: str | None
    escalated_at: AwareDatetime | None
    resolved_at: AwareDatetime | None
    resolved_by: str | None = Field(description="`rules` where its condition ceased.")
    is_silenced: bool
    silence_id: str | None
    runbook: str | None = Field(description="Address of what to do about it; a path is one of the console.")
    link: str | None = Field(description="Address at the source of an external alert.")
    told: list[str] = Field(description="Receivers that a notification about it was written for.")

    @classmethod
    def of(cls, alert: Alert) -> Self:
        """An alert as it is shown."""
        shown = {name: getattr(alert, name) for name in cls.model_fields if name not in {"is_silenced", "labels", "told"}}
        return cls(**shown, labels=dict(alert.labels), is_silenced=alert.silence_id is not None, told=sorted(alert.marks))


class AlertCounts(Wire):
    """How many alerts there are now, whatever the filter shows. Those of an Alertmanager that was read are not counted."""

    open: int
    acknowledged: int
    silenced: int = Field(description="Of the open and acknowledged ones.")
    loud: int = Field(0, description="Open ones that are not silenced.")
    pending: int
    resolved_today: int = Field(description="In the last 24 hours.")
    by_severity: dict[Severity, int] = Field(description="Open and acknowledged ones.")
    dead_letters: int


class AlertmanagerOut(Wire):
    """What the Alertmanager said that alerts are read from."""

    url: str
    is_reachable: bool
    detail: str = Field(description="A sentence: how many alerts, or why it could not be asked.")
    alerts: int


class AlertsOut(Wire):
    """Alerts: those that are not over by severity and age, then the others, newest first."""

    alerts: list[AlertOut]
    counts: AlertCounts
    evaluated_at: AwareDatetime | None = Field(description="When the rules were last looked at; null: never.")
    is_evaluated: bool = Field(description="Whether that was so recently that what is shown is the present.")
    alertmanager: AlertmanagerOut | None = Field(description="Null where none is set.")


class AlertEvent(Wire):
    """One thing that happened to an alert."""

    at: AwareDatetime
    kind: EventKind
    actor: str = Field(description="Who did it; `rules` and `delivery` are the workers.")
    text: str = Field(description="A sentence.")
    receiver: str | None = None
    notification_id: str | None = None


class AlertDetailOut(Wire):
    """One alert with what happened to it, oldest first."""

    alert: AlertOut
    events: list[AlertEvent]


class AlertChangeIn(Wire):
    """Acknowledge or resolve, refused when somebody else was faster."""

    expected_version: int = Field(ge=1, description="Version of the alert that the caller has seen.")
    reason: Reason


class AssignIn(AlertChangeIn):
    """Say who is to mend it."""

    assignee: Name | None = Field(description="A name; null: nobody.")


class MatcherIn(Wire):
    """One condition on one label: Alertmanager's matchers. `rule`, `severity` and `origin` may be matched like labels."""

    label: LabelName
    operator: Operator = "="
    value: str = Field(max_length=512)

    def matcher(self) -> Matcher:
        """As the domain has it.

        Raises:
            InvalidInput: if it is no regular expression, or one that could take too long.
        """
        return Matcher(self.label, self.operator, self.value).bounded()


class SilenceIn(Wire):
    """For a while nobody is told about alerts that all matchers hold for."""

    matchers: list[MatcherIn] = Field(min_length=1, max_length=20)
    starts_at: Time | None = Field(None, description="Left out: now.")
    ends_at: Time
    reason: Reason


class ExpireSilenceIn(Wire):
    """End a silence now."""

    reason: Reason


class SilenceOut(Wire):
    """One silence."""

    silence_id: str
    matchers: list[MatcherIn]
    state: SilenceState
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    created_at: AwareDatetime
    created_by: str
    reason: str
    alerts: int = Field(description="Active alerts that it holds for now.")

    @classmethod
    def of(cls, silence: Silence, at: datetime, alerts: int) -> Self:
        """A silence as it is shown."""
        return cls(
            silence_id=silence.silence_id,
            matchers=[MatcherIn(label=one.label, operator=one.operator, value=one.value) for one in silence.matchers],
            state=silence.state(at),
            starts_at=silence.starts_at,
            ends_at=silence.ends_at,
            created_at=silence.created_at,
            created_by=silence.created_by,
            reason=silence.reason,
            alerts=alerts,
        )


class SilencesOut(Wire):
    """Silences: those in force, then those that wait, then those that are over, newest first."""

    silences: list[SilenceOut]


class NotificationOut(Wire):
    """One message for one receiver, from the time when it was written until it has arrived or is a dead letter."""

    notification_id: str
    receiver: str
    occasion: Occasion
    severity: Severity
    title: str
    group: dict[str, str]
    alert_ids: list[str]
    state: NotificationState
    attempts: int
    created_at: AwareDatetime
    next_attempt_at: AwareDatetime
    delivered_at: AwareDatetime | None
    error: str | None = Field(description="Why the last attempt failed.")

    @classmethod
    def of(cls, notification: Notification) -> Self:
        """A notification as it is shown."""
        return cls(
            **{name: getattr(notification, name) for name in cls.model_fields if name != "alert_ids"},
            alert_ids=list(notification.alert_ids),
        )


class NotificationsOut(Wire):
    """Notifications, newest first."""

    notifications: list[NotificationOut]


class ResendIn(Wire):
    """Try a dead letter again."""

    reason: Reason


class ReceiverOut(Wire):
    """Who is told."""

    name: str
    kind: ReceiverKind
    target: str = Field(description="Where it goes, without secrets.")
    is_ready: bool = Field(description="Whether everything that it needs is set.")
    detail: str = Field(description="What is missing, as a sentence; empty where nothing is.")
    last_delivered_at: AwareDatetime | None
    last_error: str | None = Field(description="Of its newest notification, where that has not arrived.")
    dead_letters: int


class ReceiversOut(Wire):
    """All receivers, in the order of the file."""

    receivers: list[ReceiverOut]


class TestReceiverIn(Wire):
    """Send a test."""

    __test__ = False  # pytest takes it for a test otherwise

    reason: Reason


class AlertRuleOut(Wire):
    """One rule of `configs/alerts.yaml`, and the alerts that it has raised and that are not over."""

    name: str
    title: str
    signal: str
    condition: str
    severity: Severity
    for_s: float
    resolve_after_s: float
    receivers: list[str] = Field(description="Who is told of an alert with the rule's own labels.")
    runbook: str | None
    active: int


class AlertRulesOut(Wire):
    """All rules, in the order of the file."""

    rules: list[AlertRuleOut]
    file: str


class _Foreign(BaseModel):
    """Of another product, whose newer releases may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AlertmanagerAlertIn(_Foreign):
    """One alert as an Alertmanager posts it."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: ForeignTime  # noqa: N815 - the name is Alertmanager's
    endsAt: ForeignTime | None = None  # noqa: N815
    generatorURL: str = ""  # noqa: N815
    fingerprint: str = Field(pattern=r"^[0-9a-fA-F]{1,32}$")


class AlertmanagerWebhookIn(_Foreign):
    """What an Alertmanager posts to a webhook, version 4."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    receiver: str = ""
    groupKey: str = ""  # noqa: N815
    truncatedAlerts: int = 0  # noqa: N815
    externalURL: str = ""  # noqa: N815
    alerts: list[AlertmanagerAlertIn] = Field(max_length=10_000)


class AlertmanagerTakenOut(Wire):
    """What became of the alerts of one post."""

    opened: int
    refreshed: int
    resolved: int
    ignored: int = Field(description="Our own, which came back, and ends of what was never open here.")


def shown_alerts(alerts: list[Alert]) -> list[dict[str, Any]]:
    """Alerts as a notification keeps them."""
    return [AlertOut.of(alert).model_dump(mode="json") for alert in alerts]
