"""The outbox: notifications on their way."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, or_, select, update

from data.sql.tables import notification_alerts, notifications
from trajops.alerts.lifecycle import Severity
from trajops.alerts.outbox import Notification, NotificationState, superseded_by
from trajops.errors import Conflict, NotFound


class SqlNotifications:
    """Implements `trajops.stores.NotificationStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, notification: Notification) -> None:
        """Write a notification that is to be sent."""
        row = {one.name: getattr(notification, one.name) for one in fields(notification)}
        self._connection.execute(insert(notifications), {**row, "alert_ids": list(row["alert_ids"]), "content": list(row["content"])})
        links = [{"alert_id": alert_id, "notification_id": notification.notification_id} for alert_id in notification.alert_ids]
        if links:
            self._connection.execute(insert(notification_alerts), links)

    def get(self, notification_id: str) -> Notification:
        """One notification; NotFound if there is none with that id."""
        row = self._connection.execute(select(notifications).where(notifications.c.notification_id == notification_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no notification {notification_id!r}; list them with GET /v1/alerts/notifications")
        return _notification(row)

    def due(self, at: datetime, *, without: Collection[str] = (), limit: int = 50) -> list[Notification]:
        """Those that are to be sent by now, the worst first and of these the oldest; none to the receivers `without`."""
        table = notifications.c
        badness = case({str(one): one.rank for one in Severity}, value=table.severity)
        found = select(notifications).where(table.state == NotificationState.PENDING, table.next_attempt_at <= at)
        older, mine, theirs = notifications.alias(), notification_alerts.alias(), notification_alerts.alias()
        is_first = or_(
            older.c.created_at < table.created_at,
            and_(older.c.created_at == table.created_at, older.c.notification_id < table.notification_id),
        )
        shared = select(older.c.notification_id).where(
            mine.c.notification_id == table.notification_id,
            theirs.c.alert_id == mine.c.alert_id,
            theirs.c.notification_id == older.c.notification_id,
            older.c.receiver == table.receiver,
            older.c.state == NotificationState.PENDING,
            is_first,
        )
        found = found.where(~shared.correlate(notifications).exists())
        if without:
            found = found.where(table.receiver.not_in(without))
        return self._read(found.order_by(badness.desc(), table.created_at, table.notification_id).limit(limit))

    def claim(self, notification: Notification, holder: str, until: datetime) -> Notification | None:
        """Begin an attempt, which counts as lost at `until`; None if somebody else has begun one since it was read."""
        table = notifications.c
        is_free = (
            table.notification_id == notification.notification_id,
            table.state == NotificationState.PENDING,
            table.attempts == notification.attempts,
            table.next_attempt_at == notification.next_attempt_at,
        )
        change = update(notifications).where(*is_free).values(attempts=table.attempts + 1, claimed_by=holder, next_attempt_at=until)
        row = self._connection.execute(change.returning(notifications)).mappings().first()
        return None if row is None else _notification(row)

    def settle(
        self, notification: Notification, state: NotificationState, at: datetime, *, error: str | None = None, next_attempt_at: datetime
    ) -> bool:
        """End the attempt that was claimed; a delivery is recorded in any case, a failure only by whoever holds the claim."""
        table = notifications.c
        is_mine: tuple[ColumnElement[bool], ...] = (table.notification_id == notification.notification_id,)
        values: dict[str, Any] = {"state": state, "error": error, "next_attempt_at": next_attempt_at, "claimed_by": None}
        if state == NotificationState.DELIVERED:
            is_mine += (table.state != NotificationState.DELIVERED,)
            values["delivered_at"] = at
        else:
            is_mine += (
                table.state == NotificationState.PENDING,
                table.attempts == notification.attempts,
                table.claimed_by == notification.claimed_by,
            )
        change = update(notifications).where(*is_mine).values(**values).returning(table.notification_id)
        return self._connection.execute(change).first() is not None

    def recover(self, holder: str, at: datetime) -> int:
        """Let the attempts that others than `holder` began, and never ended, count as lost now; how many these were."""
        table = notifications.c
        is_lost = (
            table.state == NotificationState.PENDING,
            table.claimed_by.is_not(None),
            table.claimed_by != holder,
            table.next_attempt_at > at,
        )
        return self._connection.execute(update(notifications).where(*is_lost).values(next_attempt_at=at, claimed_by=None)).rowcount

    def resend(self, notification_id: str, at: datetime) -> Notification:
        """Let a dead letter be sent again; NotFound, or Conflict if it is none."""
        table = notifications.c
        is_dead = (table.notification_id == notification_id, table.state == NotificationState.DEAD)
        again = {"state": NotificationState.PENDING, "attempts": 0, "next_attempt_at": at, "claimed_by": None}
        row = self._connection.execute(update(notifications).where(*is_dead).values(**again).returning(notifications)).mappings().first()
        if row is None:
            state = self.get(notification_id).state
            raise Conflict(f"the notification {notification_id} is {state}; only a dead letter can be sent again")
        return _notification(row)

    def supersede(self, newer: Notification) -> int:
        """Give up those on their way to the same receiver that are about alerts of a newer one only; how many these were."""
        table = notifications.c
        found = self._within(newer, table.state == NotificationState.PENDING)
        values = {"state": NotificationState.SUPERSEDED, "error": superseded_by(newer), "claimed_by": None}
        # One that has arrived in between stays so.
        is_on_its_way = (table.notification_id.in_(found), table.state == NotificationState.PENDING)
        return self._connection.execute(update(notifications).where(*is_on_its_way).values(**values)).rowcount if found else 0

    def replace_repeated(self, newer: Notification) -> int:
        """Delete repetitions to the same receiver, about alerts of a newer one only, that are not on their way; how many these were."""
        table = notifications.c
        last = select(func.max(table.delivered_at)).where(table.receiver == newer.receiver).scalar_subquery()
        found = self._within(
            newer,
            table.occasion == "repeated",
            table.state.in_([NotificationState.DELIVERED, NotificationState.SUPERSEDED]),
            or_(table.delivered_at.is_(None), table.delivered_at != last),
        )
        if not found:
            return 0
        links = notification_alerts.c
        self._connection.execute(delete(notification_alerts).where(links.notification_id.in_(found)))
        return self._connection.execute(delete(notifications).where(table.notification_id.in_(found))).rowcount

    def _within(self, newer: Notification, *conditions: ColumnElement[bool]) -> list[str]:
        """Ids of others to the same receiver that are about alerts of `newer` only."""
        table, links = notifications.c, notification_alerts.c
        about_one = select(links.notification_id).where(links.alert_id.in_(newer.alert_ids))
        found = select(table.notification_id, table.alert_ids).where(
            table.receiver == newer.receiver,
            table.notification_id != newer.notification_id,
            table.notification_id.in_(about_one),
            *conditions,
        )
        return [row.notification_id for row in self._connection.execute(found) if set(row.alert_ids) <= set(newer.alert_ids)]

    def of_alert(self, alert_id: str) -> list[Notification]:
        """All about one alert, oldest first."""
        link, table = notification_alerts.c, notifications.c
        found = select(notifications).join(notification_alerts, link.notification_id == table.notification_id)
        return self._read(found.where(link.alert_id == alert_id).order_by(table.created_at, table.notification_id))

    def newest(self, *, state: NotificationState | None = None, receiver: str | None = None, limit: int = 50) -> list[Notification]:
        """Newest first; of one state and one receiver, where given."""
        table = notifications.c
        found = select(notifications)
        if state is not None:
            found = found.where(table.state == state)
        if receiver is not None:
            found = found.where(table.receiver == receiver)
        return self._read(found.order_by(table.created_at.desc(), table.notification_id).limit(limit))

    def last_delivered(self) -> dict[str, datetime]:
        """When each receiver took its last one, as far as it is on record."""
        table = notifications.c
        newest = func.max(table.delivered_at, type_=table.delivered_at.type)
        found = select(table.receiver, newest).where(table.delivered_at.is_not(None)).group_by(table.receiver)
        return dict(self._connection.execute(found).all())

    def dead_letters(self) -> dict[str, int]:
        """How many there are, by receiver; receivers without are left out."""
        table = notifications.c
        found = select(table.receiver, func.count()).where(table.state == NotificationState.DEAD).group_by(table.receiver)
        return dict(self._connection.execute(found).all())

    def _read(self, found: Any) -> list[Notification]:
        return [_notification(row) for row in self._connection.execute(found).mappings()]


def _notification(row: Mapping[Any, Any]) -> Notification:
    return Notification(
        **{
            **row,
            "severity": Severity(row["severity"]),
            "state": NotificationState(row["state"]),
            "alert_ids": tuple(row["alert_ids"]),
            "content": tuple(row["content"]),
        }
    )
