"""Alerts, silences, the outbox, and answers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.silences import Silence
from trajops.contracts.alerts import AlertCounts
from trajops.policy.answers import Answer


class AlertStore(Protocol):
    """Alerts. At most one with a fingerprint is not resolved."""

    def get(self, alert_id: str, *, for_change: bool = False) -> Alert:
        """One alert; with `for_change`, nobody else changes it until the transaction is over.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def unresolved(self, *, for_change: bool = False) -> list[Alert]:
        """Pending, open and acknowledged alerts, by id; with `for_change`, nobody else changes them until the transaction is over."""
        ...

    def to_tell(self, *, for_change: bool = False) -> list[Alert]:
        """Those that are resolved, while a receiver was told that they are not; by id."""
        ...

    def find(
        self,
        *,
        states: Sequence[AlertState] | None = None,
        severity: Severity | None = None,
        rule: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Alerts that are not over by severity and age, then the others, newest first.

        Args:
            states: only these. Default: all but pending ones.
            severity: only of this severity.
            rule: only of this rule.
            since: only those that were not resolved before.
            limit: most that are given.
        """
        ...

    def add(self, alert: Alert) -> None:
        """Write a new alert.

        Raises:
            Conflict: if one with its fingerprint is not resolved.
        """
        ...

    def save(self, alert: Alert, expected_version: int) -> None:
        """Write all of a known alert, if its version is still the expected one; the new version is the caller's affair.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def forget(self, alert_id: str) -> None:
        """Delete an alert that never opened; one that is gone is no error."""
        ...

    def counts(self, at: datetime) -> AlertCounts:
        """How many there are."""
        ...


class SilenceStore(Protocol):
    """Silences."""

    def get(self, silence_id: str) -> Silence:
        """One silence.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def all(self, *, ending_after: datetime | None = None) -> list[Silence]:
        """Silences, newest first; only those that end after a time, where it is given."""
        ...

    def add(self, silence: Silence) -> None:
        """Write a new silence."""
        ...

    def end(self, silence_id: str, at: datetime) -> Silence:
        """Let it end then, if it would end later.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class NotificationStore(Protocol):
    """The outbox: written in the transaction of what caused it, and worked off after that."""

    def add(self, notification: Notification) -> None:
        """Write a notification that is to be sent."""
        ...

    def get(self, notification_id: str) -> Notification:
        """One notification.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def due(self, at: datetime, *, without: Collection[str] = (), limit: int = 50) -> list[Notification]:
        """Those that are to be sent by now, the worst first and of these the oldest; none to the receivers `without`.

        One whose receiver is still to get an older one about one of its alerts is not among them: nobody hears of the end first.
        """
        ...

    def claim(self, notification: Notification, holder: str, until: datetime) -> Notification | None:
        """Begin an attempt, which counts as lost at `until`; None if somebody else has begun one since it was read."""
        ...

    def settle(
        self, notification: Notification, state: NotificationState, at: datetime, *, error: str | None = None, next_attempt_at: datetime
    ) -> bool:
        """End the attempt that was claimed, and whether there was one to end.

        A delivery is recorded in any case, a failure only by whoever holds the claim.
        """
        ...

    def recover(self, holder: str, at: datetime) -> int:
        """Let the attempts that others than `holder` began, and never ended, count as lost now; how many these were."""
        ...

    def resend(self, notification_id: str, at: datetime) -> Notification:
        """Let a dead letter be sent again, with its attempts counted anew.

        Raises:
            NotFound: if there is none with that id.
            Conflict: if it is no dead letter.
        """
        ...

    def supersede(self, newer: Notification) -> int:
        """Give up those on their way to the same receiver that are about alerts of a newer one only; how many these were.

        An attempt that is going on ends as it will: a delivery is still recorded.
        """
        ...

    def replace_repeated(self, newer: Notification) -> int:
        """Delete repetitions to the same receiver, about alerts of a newer one only, that are not on their way; how many these were.

        The one that arrived last stays, so that it is known when that was, and dead letters stay.
        """
        ...

    def of_alert(self, alert_id: str) -> list[Notification]:
        """All about one alert, oldest first."""
        ...

    def newest(self, *, state: NotificationState | None = None, receiver: str | None = None, limit: int = 50) -> list[Notification]:
        """Newest first; of one state and one receiver, where given."""
        ...

    def last_delivered(self) -> dict[str, datetime]:
        """When each receiver took its last one, as far as it is on record."""
        ...

    def dead_letters(self) -> dict[str, int]:
        """How many there are, by receiver; receivers without are left out."""
        ...


class AnswerStore(Protocol):
    """What the policy has done about alerts. An alert is answered once."""

    def add(self, answer: Answer) -> None:
        """Write a new answer.

        Raises:
            Conflict: if its alert has one already.
        """
        ...

    def get(self, answer_id: str) -> Answer:
        """One answer.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def save(self, answer: Answer, expected_version: int) -> None:
        """Write all of a known answer, if its version is still the expected one.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def open(self) -> list[Answer]:
        """Answers that are not over, oldest first."""
        ...

    def newest(self, *, since: datetime | None = None, limit: int = 500) -> list[Answer]:
        """Newest first; only those that began at `since` or later, where it is given."""
        ...

    def of_alerts(self, alert_ids: Sequence[str]) -> list[Answer]:
        """Answers to some alerts."""
