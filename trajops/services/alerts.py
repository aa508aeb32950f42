"""What people and other programs do with alerts; each change is one transaction with its audit entry."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from trajops.alerts.evaluation import RULES, silence
from trajops.alerts.lifecycle import Alert, AlertState, Severity, check_transition
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.rules import AlertRules
from trajops.alerts.silences import Silence, are_narrow
from trajops.clock import SystemClock, now
from trajops.contracts.alerts import (
    AlertChangeIn,
    AlertDetailOut,
    AlertEvent,
    AlertmanagerAlertIn,
    AlertmanagerTakenOut,
    AlertmanagerWebhookIn,
    AlertOut,
    AssignIn,
    EventKind,
    NotificationOut,
    SilenceIn,
    SilenceOut,
    SilencesOut,
)
from trajops.contracts.audit import AuditOut
from trajops.errors import Conflict, InvalidInput, NotFound, StaleVersion, Unavailable
from trajops.ports import Clock
from trajops.services.alert_rounds import ACTOR, again_after_conflict, ask_for_delivery, audit
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory

# The label by which an Alertmanager's alert is known to be one of ours.
OURS = "trajops_alert_id"
EXTERNAL_PREFIX = "am-"
MOST_EVENTS = 500
NOT_NARROW = "these matchers hold for every alert without such labels; give one a value, or match rule, severity or origin"
# Of an alert that an Alertmanager posts, in characters; it sets no bounds itself.
MOST_NAME = 256
MOST_LABEL = 2_000
MOST_SUMMARY = 2_000
MOST_DETAIL = 10_000
MOST_LABELS = 100
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_HALVES = re.compile("[\ud800-\udfff]")
_ADDRESS = re.compile(r"https?://[^\s<>|\x00-\x1f\ud800-\udfff]+")
_SEVERITIES = {"critical": Severity.CRITICAL, "page": Severity.CRITICAL, "info": Severity.INFO, "none": Severity.INFO}

Answer = TypeVar("Answer", bound=BaseModel)


class Alerts:
    """The use cases around alerts.

    Args:
        unit_of_work: opens a transaction.
        rules: gives them, with the receivers; asked for where they matter only, so that a mistake in the file stops nothing else.
        clock: what time it is.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, rules: Callable[[], AlertRules], clock: Clock | None = None) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._clock: Clock = clock or SystemClock()

    def detail(self, alert_id: str) -> AlertDetailOut:
        """One alert with what happened to it, oldest first.

        Raises:
            NotFound: if there is none with that id.
        """
        with self._unit_of_work(read_only=True) as uow:
            alert = uow.alerts.get(alert_id)
            entries = uow.audit.newest(MOST_EVENTS, alert.subject)
            sent = uow.notifications.of_alert(alert_id)
        events = [*(_event(entry) for entry in entries), *(event for one in sent if (event := _delivery(one)) is not None)]
        return AlertDetailOut(alert=AlertOut.of(alert), events=sorted(events, key=lambda event: event.at))

    def acknowledge(self, alert_id: str, body: AlertChangeIn, *, actor: str, key: str | None = None) -> AlertOut:
        """Say that somebody looks after it: it is neither repeated nor escalated any more.

        Raises:
            NotFound, StaleVersion: as the alert is gone or has changed.
            IllegalTransition: if it is not open.
        """

        def change(alert: Alert, at: datetime) -> Alert:
            check_transition(alert.state, AlertState.ACKNOWLEDGED)
            return replace(alert, state=AlertState.ACKNOWLEDGED, acknowledged_at=at, acknowledged_by=actor)

        return self._change(alert_id, body, change, "acknowledged", actor, key)

    def resolve(self, alert_id: str, body: AlertChangeIn, *, actor: str, key: str | None = None) -> AlertOut:
        """End an alert by hand; if its condition holds on, it comes again as another one.

        Raises:
            NotFound, StaleVersion: as the alert is gone or has changed.
            IllegalTransition: if it is over, or never opened.
        """

        def change(alert: Alert, at: datetime) -> Alert:
            check_transition(alert.state, AlertState.RESOLVED)
            return replace(alert, state=AlertState.RESOLVED, resolved_at=at, resolved_by=actor)

        return self._change(alert_id, body, change, "resolved", actor, key)

    def assign(self, alert_id: str, body: AssignIn, *, actor: str, key: str | None = None) -> AlertOut:
        """Say who is to mend it.

        Raises:
            NotFound, StaleVersion: as the alert is gone or has changed.
        """
        return self._change(alert_id, body, lambda alert, _at: replace(alert, assigned_to=body.assignee), "assigned", actor, key)

    def silences(self) -> SilencesOut:
        """All silences: those in force, then those that wait, then those that are over, newest first."""
        at = now(self._clock)
        with self._unit_of_work(read_only=True) as uow:
            silences, alerts = uow.silences.all(), uow.alerts.unresolved()
        shown = [SilenceOut.of(one, at, _covered(one, alerts, at)) for one in silences]
        order = ("in_force", "waiting", "over")
        return SilencesOut(silences=sorted(shown, key=lambda one: order.index(one.state)))

    def create_silence(self, body: SilenceIn, *, actor: str, key: str | None = None) -> SilenceOut:
        """For a while nobody is told about certain alerts; it holds at once for those that are open.

        Raises:
            InvalidInput: if it would end before it begins or has ended already, a pattern is no regular expression, or each condition
                holds for an alert without its label too.
        """

        def change(uow: UnitOfWork) -> SilenceOut:
            at = now(self._clock)
            starts_at = body.starts_at or at
            if body.ends_at <= max(starts_at, at):
                raise InvalidInput("ends_at must lie after starts_at, and in the future; correct the times")
            matchers = tuple(one.matcher() for one in body.matchers)
            if not are_narrow(matchers):
                raise InvalidInput(NOT_NARROW)
            made = Silence(uuid4().hex, matchers, starts_at, body.ends_at, at, actor, body.reason)
            uow.silences.add(made)
            self._record(uow, at, actor, "silence.create", made, body.reason)
            return SilenceOut.of(made, at, self._apply_silences(uow, made, at, actor))

        return self._once(change, SilenceOut, actor, "silence.create", body.model_dump(mode="json"), key)

    def expire_silence(self, silence_id: str, reason: str, *, actor: str, key: str | None = None) -> SilenceOut:
        """End a silence now; one that is over stays as it is.

        Raises:
            NotFound: if there is none with that id.
        """

        def change(uow: UnitOfWork) -> SilenceOut:
            at = now(self._clock)
            ended = uow.silences.end(silence_id, at)
            self._record(uow, at, actor, "silence.expire", ended, reason)
            return SilenceOut.of(ended, at, self._apply_silences(uow, ended, at, actor))

        return self._once(change, SilenceOut, actor, "silence.expire", {"silence_id": silence_id, "reason": reason}, key)

    def resend(self, notification_id: str, reason: str, *, actor: str, key: str | None = None) -> NotificationOut:
        """Try a dead letter again.

        Raises:
            NotFound: if there is none with that id.
            Conflict: if it is no dead letter.
        """

        def change(uow: UnitOfWork) -> NotificationOut:
            at = now(self._clock)
            sent = uow.notifications.resend(notification_id, at)
            self._sent(uow, at, actor, "notification.resend", sent, reason)
            return NotificationOut.of(sent)

        return self._once(change, NotificationOut, actor, "notification.resend", {"id": notification_id, "reason": reason}, key)

    def test_receiver(self, receiver: str, reason: str, *, actor: str, key: str | None = None) -> NotificationOut:
        """Put a test into the outbox.

        Raises:
            NotFound: if there is no such receiver.
        """
        rules = self._rules()
        if rules.receiver(receiver) is None:
            names = ", ".join(one.name for one in rules.receivers) or "none; configs/alerts.yaml names them"
            raise NotFound(f"there is no receiver {receiver!r}; there are {names}")

        def change(uow: UnitOfWork) -> NotificationOut:
            at = now(self._clock)
            test = Notification(
                notification_id=uuid4().hex,
                receiver=receiver,
                occasion="test",
                group={},
                severity=Severity.INFO,
                title=f"Test by {actor}",
                alert_ids=(),
                content=(),
                state=NotificationState.PENDING,
                attempts=0,
                created_at=at,
                next_attempt_at=at,
            )
            uow.notifications.add(test)
            self._sent(uow, at, actor, "receiver.test", test, reason)
            return NotificationOut.of(test)

        return self._once(change, NotificationOut, actor, "receiver.test", {"receiver": receiver, "reason": reason}, key)

    def take(self, body: AlertmanagerWebhookIn, *, actor: str) -> AlertmanagerTakenOut:
        """Keep what an Alertmanager posts. The same post twice is the same as once; our own alerts that come back are left out.

        Raises:
            Unavailable: if others write the same alerts again and again; an Alertmanager tries again then, which it does not after a 4xx.
        """
        try:
            return again_after_conflict(lambda: self._take(body, actor))
        except Conflict as error:
            raise Unavailable(f"{error.message}; the same post may be sent again") from error

    def _take(self, body: AlertmanagerWebhookIn, actor: str) -> AlertmanagerTakenOut:
        done = {"opened": 0, "refreshed": 0, "resolved": 0, "ignored": 0}
        at = now(self._clock)
        with self._unit_of_work() as uow:
            known = {alert.fingerprint: alert for alert in uow.alerts.unresolved(for_change=True) if alert.origin == "external"}
            for posted in body.alerts:
                found = known.get(EXTERNAL_PREFIX + posted.fingerprint)
                if OURS in posted.labels or (found is None and posted.status == "resolved"):
                    done["ignored"] += 1
                elif found is None:
                    opened = external_alert(posted, at)
                    known[opened.fingerprint] = opened
                    uow.alerts.add(opened)
                    audit(uow, "fired", None, opened, at=at, actor=actor, reason=opened.summary)
                    done["opened"] += 1
                elif posted.status == "firing":
                    known[found.fingerprint] = seen = replace(found, summary=_summary(posted), seen_at=at)
                    uow.alerts.save(seen, found.version)
                    done["refreshed"] += 1
                else:
                    ended = _over(found, at, actor)
                    del known[found.fingerprint]
                    uow.alerts.save(ended, found.version)
                    audit(uow, "resolved", found, ended, at=at, actor=actor, reason="The Alertmanager says that it is over.")
                    done["resolved"] += 1
        return AlertmanagerTakenOut(**done)

    def _change(
        self,
        alert_id: str,
        body: AlertChangeIn,
        change: Callable[[Alert, datetime], Alert],
        kind: EventKind,
        actor: str,
        key: str | None,
    ) -> AlertOut:
        def write(uow: UnitOfWork) -> AlertOut:
            at = now(self._clock)
            before = uow.alerts.get(alert_id, for_change=True)
            if before.version != body.expected_version:
                seen, present = body.expected_version, before.version
                message = f"the alert has version {present}, not {seen}: it was changed meanwhile; read it again and repeat"
                raise StaleVersion(message, present_version=present)
            after = replace(change(before, at), version=before.version + 1, updated_at=at)
            uow.alerts.save(after, before.version)
            audit(uow, kind, before, after, at=at, actor=actor, reason=body.reason)
            return AlertOut.of(after)

        return self._once(write, AlertOut, actor, f"alert.{kind}", {"alert_id": alert_id, **body.model_dump(mode="json")}, key)

    def _once(
        self,
        change: Callable[[UnitOfWork], Answer],
        gives: type[Answer],
        actor: str,
        action: str,
        payload: dict[str, Any],
        key: str | None,
    ) -> Answer:
        return once(self._unit_of_work, self._clock, Asked(actor, action, payload, key), gives, change)

    def _apply_silences(self, uow: UnitOfWork, changed: Silence, at: datetime, actor: str) -> int:
        """Let alerts follow the silences now, and not at the next look; how many the changed one holds for."""
        alerts = {alert.alert_id: alert for alert in uow.alerts.unresolved(for_change=True)}
        for step in silence(alerts.values(), uow.silences.all(ending_after=at), at):
            alerts[step.after.alert_id] = step.after
            uow.alerts.save(step.after, step.after.version)
            if step.kind != "refreshed":
                audit(uow, step.kind, step.before, step.after, at=at, actor=actor, reason=step.text)
        return _covered(changed, list(alerts.values()), at)

    def _record(self, uow: UnitOfWork, at: datetime, actor: str, action: str, made: Silence, reason: str) -> None:
        after = {"matchers": [str(one) for one in made.matchers], "ends_at": made.ends_at.isoformat()}
        uow.audit.append(at=at, actor=actor, action=action, subject=f"silence/{made.silence_id}", reason=reason, before={}, after=after)

    def _sent(self, uow: UnitOfWork, at: datetime, actor: str, action: str, sent: Notification, reason: str) -> None:
        after = {"notification_id": sent.notification_id, "title": sent.title}
        uow.audit.append(at=at, actor=actor, action=action, subject=f"receiver/{sent.receiver}", reason=reason, before={}, after=after)
        ask_for_delivery(uow, at)


def _covered(one: Silence, alerts: Sequence[Alert], at: datetime) -> int:
    return sum(alert.is_active and one.covers(alert.matchable, at) for alert in alerts)


def _event(entry: AuditOut) -> AlertEvent:
    kind: Any = "answered" if entry.action.startswith("answer.") else entry.action.removeprefix("alert.")
    text = entry.reason
    if kind == "assigned":
        text = f"Assigned to {entry.after.get('assigned_to') or 'nobody'}: {entry.reason}"
    return AlertEvent(at=entry.at, kind=kind, actor=RULES if entry.actor == ACTOR else entry.actor, text=text)


def _delivery(sent: Notification) -> AlertEvent | None:
    """What became of a notification; None while its first attempt is to come."""
    if sent.delivered_at is not None:
        at, kind, text = sent.delivered_at, "notified", f"{sent.receiver} was told ({sent.occasion})."
    elif sent.state == NotificationState.SUPERSEDED:
        at, kind, text = sent.created_at, "undelivered", f"{sent.receiver} was not told of this ({sent.occasion}): {sent.error}."
    elif sent.error is not None:
        more = "it was given up" if sent.state == NotificationState.DEAD else "it is tried again"
        at, kind, text = sent.created_at, "undelivered", f"{sent.receiver} could not be told: {sent.error}; {more}."
    else:
        return None
    told: Any = kind
    return AlertEvent(at=at, kind=told, actor="delivery", text=text, receiver=sent.receiver, notification_id=sent.notification_id)


def _over(alert: Alert, at: datetime, actor: str) -> Alert:
    return replace(alert, state=AlertState.RESOLVED, resolved_at=at, resolved_by=actor, updated_at=at, version=alert.version + 1)


def external_alert(posted: AlertmanagerAlertIn, at: datetime) -> Alert:
    """An alert of an Alertmanager as one of ours."""
    name = _plain(posted.labels.get("alertname", "unnamed"), MOST_NAME)
    labels = [(label, value) for label, value in posted.labels.items() if label not in {"alertname", "severity"}]
    severity = _SEVERITIES.get(posted.labels.get("severity", "").lower(), Severity.WARNING)
    return Alert(
        alert_id=uuid4().hex,
        fingerprint=EXTERNAL_PREFIX + posted.fingerprint,
        rule=name,
        origin="external",
        title=name,
        summary=_summary(posted),
        detail=_plain(posted.annotations.get("description", ""), MOST_DETAIL),
        labels={_plain(label, MOST_NAME): _plain(value, MOST_LABEL) for label, value in labels[:MOST_LABELS]},
        severity=severity,
        state=AlertState.OPEN,
        version=1,
        # One without a begin, the year 1 in its language, or with one that is yet to come, begins now.
        started_at=posted.startsAt if EARLIEST < posted.startsAt < at else at,
        seen_at=at,
        updated_at=at,
        opened_at=at,
        runbook=_address(posted.annotations.get("runbook_url", "")),
        link=_address(posted.generatorURL),
    )


def _summary(posted: AlertmanagerAlertIn) -> str:
    said = posted.annotations
    return _plain(said.get("summary") or said.get("description") or posted.labels.get("alertname", "unnamed"), MOST_SUMMARY)


def _plain(text: str, most: int) -> str:
    """Without what PostgreSQL cannot keep and half characters, which nobody could be answered with; no longer than anybody reads."""
    text = _HALVES.sub("\ufffd", text.replace("\x00", ""))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _address(text: str) -> str | None:
    """An address that may be made a link."""
    return text if len(text) <= MOST_LABEL and _ADDRESS.fullmatch(text) else None
