"""Alerts, silences, notifications and answers in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from data.stubs.tables import Repository
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState, superseded_by
from trajops.alerts.silences import Silence
from trajops.contracts.alerts import AlertCounts
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.policy.answers import OPEN_ANSWERS, Answer


class MemoryAlerts(Repository):
    """Implements `trajops.stores.AlertStore`."""

    def get(self, alert_id: str, *, for_change: bool = False) -> Alert:
        """One alert; NotFound if there is none with that id."""
        found = self._tables.alerts.get(alert_id)
        if found is None:
            raise NotFound(f"there is no alert {alert_id!r}")
        return found

    def unresolved(self, *, for_change: bool = False) -> list[Alert]:
        """Pending, open and acknowledged alerts, by id."""
        return [alert for alert in self._by_id() if alert.state != AlertState.RESOLVED]

    def to_tell(self, *, for_change: bool = False) -> list[Alert]:
        """Those that are resolved, while a receiver was told that they are not; by id."""
        over = (alert for alert in self._by_id() if alert.state == AlertState.RESOLVED)
        return [alert for alert in over if any(mark.state != AlertState.RESOLVED for mark in alert.marks.values())]

    def find(
        self,
        *,
        states: Sequence[AlertState] | None = None,
        severity: Severity | None = None,
        rule: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Alerts that are not over by severity and age, then the others, newest first."""
        found = [
            alert
            for alert in self._by_id()
            if (alert.state != AlertState.PENDING if states is None else alert.state in states)
            and severity in {None, alert.severity}
            and rule in {None, alert.rule}
            and (since is None or alert.resolved_at is None or alert.resolved_at >= since)
        ]
        found.sort(key=lambda alert: alert.resolved_at or alert.started_at, reverse=True)
        found.sort(key=lambda alert: (alert.resolved_at is not None, 0 if alert.resolved_at else -alert.severity.rank))
        return found[:limit]

    def add(self, alert: Alert) -> None:
        """Write a new alert; Conflict if one with its fingerprint is not resolved."""
        if any(known.fingerprint == alert.fingerprint for known in self.unresolved()):
            raise Conflict(f"there is an alert with the fingerprint {alert.fingerprint} that is not resolved")
        self._tables.alerts.put(alert.alert_id, alert)

    def save(self, alert: Alert, expected_version: int) -> None:
        """Write all of a known alert; StaleVersion or NotFound."""
        present = self.get(alert.alert_id).version
        if present != expected_version:
            raise StaleVersion(f"the alert has version {present}", present_version=present)
        self._tables.alerts.put(alert.alert_id, alert)

    def forget(self, alert_id: str) -> None:
        """Delete an alert that never opened; one that is gone is no error."""
        found = self._tables.alerts.get(alert_id)
        if found is not None and found.state == AlertState.PENDING:
            self._tables.alerts.drop(alert_id)

    def counts(self, at: datetime) -> AlertCounts:
        """How many there are."""
        states = Counter(alert.state for alert in self._by_id())
        active = [alert for alert in self._by_id() if alert.is_active]
        today = [alert for alert in self._by_id() if alert.resolved_at is not None and alert.resolved_at >= at - timedelta(hours=24)]
        return AlertCounts(
            open=states[AlertState.OPEN],
            acknowledged=states[AlertState.ACKNOWLEDGED],
            pending=states[AlertState.PENDING],
            silenced=sum(alert.silence_id is not None for alert in active),
            loud=sum(alert.state == AlertState.OPEN and alert.silence_id is None for alert in active),
            resolved_today=len(today),
            by_severity={one: sum(alert.severity == one for alert in active) for one in Severity},
            dead_letters=sum(one.state == NotificationState.DEAD for one in self._tables.notifications.rows()),
        )

    def _by_id(self) -> list[Alert]:
        return sorted(self._tables.alerts.rows(), key=lambda alert: alert.alert_id)


class MemorySilences(Repository):
    """Implements `trajops.stores.SilenceStore`."""

    def get(self, silence_id: str) -> Silence:
        """One silence; NotFound if there is none with that id."""
        found = self._tables.silences.get(silence_id)
        if found is None:
            raise NotFound(f"there is no silence {silence_id!r}")
        return found

    def all(self, *, ending_after: datetime | None = None) -> list[Silence]:
        """Silences, newest first; only those that end after a time, where it is given."""
        found = (one for one in self._tables.silences.rows() if ending_after is None or one.ends_at > ending_after)
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def add(self, silence: Silence) -> None:
        """Write a new silence."""
        self._tables.silences.put(silence.silence_id, silence)

    def end(self, silence_id: str, at: datetime) -> Silence:
        """Let it end then, if it would end later; NotFound if there is none with that id."""
        known = self.get(silence_id)
        ended = replace(known, ends_at=min(known.ends_at, at))
        self._tables.silences.put(silence_id, ended)
        return ended


class MemoryNotifications(Repository):
    """Implements `trajops.stores.NotificationStore`."""

    def add(self, notification: Notification) -> None:
        """Write a notification that is to be sent."""
        self._tables.notifications.put(notification.notification_id, notification)

    def get(self, notification_id: str) -> Notification:
        """One notification; NotFound if there is none with that id."""
        found = self._tables.notifications.get(notification_id)
        if found is None:
            raise NotFound(f"there is no notification {notification_id!r}")
        return found

    def due(self, at: datetime, *, without: Collection[str] = (), limit: int = 50) -> list[Notification]:
        """Those that are to be sent by now, the worst first and of these the oldest; none to the receivers `without`."""
        waiting = [one for one in self._oldest() if one.state == NotificationState.PENDING]
        named: set[tuple[str, str]] = set()
        pending = []
        for one in waiting:
            about = {(one.receiver, alert_id) for alert_id in one.alert_ids}
            if one.receiver not in without and not about & named:
                pending.append(one)
            named |= about
        return sorted((one for one in pending if one.next_attempt_at <= at), key=lambda one: -one.severity.rank)[:limit]

    def claim(self, notification: Notification, holder: str, until: datetime) -> Notification | None:
        """Begin an attempt, which counts as lost at `until`; None if somebody else has begun one since it was read."""
        known = self.get(notification.notification_id)
        seen = (NotificationState.PENDING, notification.attempts, notification.next_attempt_at)
        if (known.state, known.attempts, known.next_attempt_at) != seen:
            return None
        return self._change(known, attempts=known.attempts + 1, claimed_by=holder, next_attempt_at=until)

    def settle(
        self, notification: Notification, state: NotificationState, at: datetime, *, error: str | None = None, next_attempt_at: datetime
    ) -> bool:
        """End the attempt that was claimed; a delivery is recorded in any case, a failure only by whoever holds the claim."""
        known = self._tables.notifications.get(notification.notification_id)
        if known is None:
            return False
        is_delivered = state == NotificationState.DELIVERED
        claim = (NotificationState.PENDING, notification.attempts, notification.claimed_by)
        if known.state == state if is_delivered else (known.state, known.attempts, known.claimed_by) != claim:
            return False
        delivered_at = at if is_delivered else known.delivered_at
        self._change(known, state=state, error=error, next_attempt_at=next_attempt_at, claimed_by=None, delivered_at=delivered_at)
        return True

    def recover(self, holder: str, at: datetime) -> int:
        """Let the attempts that others than `holder` began, and never ended, count as lost now; how many these were."""
        pending = [one for one in self._oldest() if one.state == NotificationState.PENDING and one.next_attempt_at > at]
        lost = [one for one in pending if one.claimed_by not in {None, holder}]
        for one in lost:
            self._change(one, next_attempt_at=at, claimed_by=None)
        return len(lost)

    def resend(self, notification_id: str, at: datetime) -> Notification:
        """Let a dead letter be sent again; NotFound, or Conflict if it is none."""
        known = self.get(notification_id)
        if known.state != NotificationState.DEAD:
            raise Conflict(f"the notification {notification_id} is {known.state}")
        return self._change(known, state=NotificationState.PENDING, attempts=0, next_attempt_at=at, claimed_by=None)

    def supersede(self, newer: Notification) -> int:
        """Give up those on their way to the same receiver that are about alerts of a newer one only; how many these were."""
        found = [one for one in self._within(newer) if one.state == NotificationState.PENDING]
        for one in found:
            self._change(one, state=NotificationState.SUPERSEDED, error=superseded_by(newer), claimed_by=None)
        return len(found)

    def replace_repeated(self, newer: Notification) -> int:
        """Delete repetitions to the same receiver, about alerts of a newer one only, that are not on their way; how many these were."""
        last = self.last_delivered().get(newer.receiver)
        over = {NotificationState.DELIVERED, NotificationState.SUPERSEDED}
        found = [one for one in self._within(newer) if one.occasion == "repeated" and one.state in over]
        found = [one for one in found if one.delivered_at is None or one.delivered_at != last]
        for one in found:
            self._tables.notifications.drop(one.notification_id)
        return len(found)

    def of_alert(self, alert_id: str) -> list[Notification]:
        """All about one alert, oldest first."""
        return [one for one in self._oldest() if alert_id in one.alert_ids]

    def newest(self, *, state: NotificationState | None = None, receiver: str | None = None, limit: int = 50) -> list[Notification]:
        """Newest first; of one state and one receiver, where given."""
        found = [one for one in self._tables.notifications.rows() if state in {None, one.state} and receiver in {None, one.receiver}]
        return sorted(found, key=lambda one: one.created_at, reverse=True)[:limit]

    def last_delivered(self) -> dict[str, datetime]:
        """When each receiver took its last one, as far as it is on record."""
        delivered = [(one.delivered_at, one.receiver) for one in self._tables.notifications.rows() if one.delivered_at is not None]
        return {receiver: at for at, receiver in sorted(delivered)}

    def dead_letters(self) -> dict[str, int]:
        """How many there are, by receiver; receivers without are left out."""
        return dict(Counter(one.receiver for one in self._tables.notifications.rows() if one.state == NotificationState.DEAD))

    def _within(self, newer: Notification) -> list[Notification]:
        known = [one for one in self._oldest() if one.receiver == newer.receiver and one.notification_id != newer.notification_id]
        return [one for one in known if one.alert_ids and set(one.alert_ids) <= set(newer.alert_ids)]

    def _oldest(self) -> list[Notification]:
        return sorted(self._tables.notifications.rows(), key=lambda one: (one.created_at, one.notification_id))

    def _change(self, known: Notification, **changes: Any) -> Notification:
        changed = replace(known, **changes)
        self._tables.notifications.put(known.notification_id, changed)
        return changed


class MemoryAnswers(Repository):
    """Implements `trajops.stores.AnswerStore`."""

    def add(self, answer: Answer) -> None:
        """Write a new answer; Conflict if its alert has one already."""
        if self.of_alerts([answer.alert_id]):
            raise Conflict(f"the alert {answer.alert_id} is answered already")
        self._tables.answers.put(answer.answer_id, answer)

    def get(self, answer_id: str) -> Answer:
        """One answer; NotFound if there is none with that id."""
        found = self._tables.answers.get(answer_id)
        if found is None:
            raise NotFound(f"there is no answer {answer_id!r}")
        return found

    def save(self, answer: Answer, expected_version: int) -> None:
        """Write all of a known answer, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        present = self.get(answer.answer_id)
        if present.version != expected_version:
            raise StaleVersion(
                f"the answer {answer.answer_id} has version {present.version}, not {expected_version}", present_version=present.version
            )
        self._tables.answers.put(answer.answer_id, answer)

    def open(self) -> list[Answer]:
        """Answers that are not over, oldest first."""
        return [answer for answer in reversed(self.newest()) if answer.state in OPEN_ANSWERS]

    def newest(self, *, since: datetime | None = None, limit: int = 500) -> list[Answer]:
        """Newest first; only those that began at `since` or later, where it is given."""
        found = [answer for answer in self._tables.answers.rows() if since is None or answer.created_at >= since]
        return sorted(found, key=lambda answer: answer.created_at, reverse=True)[:limit]

    def of_alerts(self, alert_ids: Sequence[str]) -> list[Answer]:
        """Answers to some alerts."""
        return [answer for answer in self._tables.answers.rows() if answer.alert_id in alert_ids]
