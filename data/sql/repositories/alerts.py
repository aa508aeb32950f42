"""Alerts and silences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, bindparam, case, delete, func, insert, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import alerts, notifications, silences
from trajops.alerts.lifecycle import ACTIVE, Alert, AlertState, Mark, Severity
from trajops.alerts.silences import Matcher, Silence
from trajops.contracts.alerts import AlertCounts
from trajops.errors import Conflict, NotFound, StaleVersion

_TODAY = timedelta(hours=24)
# Built once: building it for each of thousands of alerts would take longer than the database does.
_SAVE = (
    update(alerts)
    .where(alerts.c.alert_id == bindparam("known_id"), alerts.c.version == bindparam("expected_version"))
    .returning(alerts.c.alert_id)
)


class SqlAlerts:
    """Implements `trajops.stores.AlertStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, alert_id: str, *, for_change: bool = False) -> Alert:
        """One alert; NotFound if there is none with that id."""
        row = next(iter(self._rows(select(alerts).where(alerts.c.alert_id == alert_id), for_change)), None)
        if row is None:
            raise NotFound(f"there is no alert {alert_id!r}; list them with GET /v1/alerts")
        return _alert(row)

    def unresolved(self, *, for_change: bool = False) -> list[Alert]:
        """Pending, open and acknowledged alerts, by id."""
        found = select(alerts).where(alerts.c.state != AlertState.RESOLVED).order_by(alerts.c.alert_id)
        return [_alert(row) for row in self._rows(found, for_change)]

    def to_tell(self, *, for_change: bool = False) -> list[Alert]:
        """Those that are resolved, while a receiver was told that they are not; by id."""
        found = select(alerts).where(alerts.c.state == AlertState.RESOLVED, alerts.c.is_end_untold).order_by(alerts.c.alert_id)
        return [_alert(row) for row in self._rows(found, for_change)]

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
        table = alerts.c
        wanted: list[ColumnElement[bool]] = [table.state != AlertState.PENDING if states is None else table.state.in_(states)]
        if severity is not None:
            wanted.append(table.severity == severity)
        if rule is not None:
            wanted.append(table.rule == rule)
        if since is not None:
            wanted.append(table.resolved_at.is_(None) | (table.resolved_at >= since))
        is_over = table.resolved_at.is_not(None)
        badness = case({str(one): one.rank for one in Severity}, value=table.severity)
        order = (
            case((is_over, 1), else_=0),
            case((is_over, 0), else_=-badness),
            func.coalesce(table.resolved_at, table.started_at).desc(),
            table.alert_id,
        )
        return [_alert(row) for row in self._rows(select(alerts).where(*wanted).order_by(*order).limit(limit))]

    def add(self, alert: Alert) -> None:
        """Write a new alert; Conflict if one with its fingerprint is not resolved."""
        # DO NOTHING rather than an error, which would end the whole transaction on PostgreSQL.
        written = insert_or(self._connection, alerts).on_conflict_do_nothing().returning(alerts.c.alert_id)
        if self._connection.execute(written, _row(alert)).first() is None:
            raise Conflict(f"there is an alert with the fingerprint {alert.fingerprint} that is not resolved; read the alerts again")

    def save(self, alert: Alert, expected_version: int) -> None:
        """Write all of a known alert; StaleVersion or NotFound."""
        if (
            self._connection.execute(_SAVE, {**_row(alert), "known_id": alert.alert_id, "expected_version": expected_version}).first()
            is None
        ):
            present = self.get(alert.alert_id).version
            raise StaleVersion(
                f"the alert has version {present}, not {expected_version}: it was changed meanwhile; read it again and repeat",
                present_version=present,
            )

    def forget(self, alert_id: str) -> None:
        """Delete an alert that never opened; one that is gone is no error."""
        self._connection.execute(delete(alerts).where(alerts.c.alert_id == alert_id, alerts.c.state == AlertState.PENDING))

    def counts(self, at: datetime) -> AlertCounts:
        """How many there are."""
        table = alerts.c
        grouped = select(table.state, table.severity, table.silence_id.is_not(None), func.count()).where(table.state != AlertState.RESOLVED)
        rows = self._connection.execute(grouped.group_by(table.state, table.severity, table.silence_id.is_not(None))).all()
        over = select(func.count()).where(table.state == AlertState.RESOLVED, table.resolved_at >= at - _TODAY)
        dead = select(func.count()).select_from(notifications).where(notifications.c.state == "dead")
        active = [row for row in rows if row[0] in ACTIVE]

        def number(state: AlertState) -> int:
            return sum(row[3] for row in rows if row[0] == state)

        return AlertCounts(
            open=number(AlertState.OPEN),
            acknowledged=number(AlertState.ACKNOWLEDGED),
            pending=number(AlertState.PENDING),
            silenced=sum(row[3] for row in active if row[2]),
            loud=sum(row[3] for row in rows if row[0] == AlertState.OPEN and not row[2]),
            resolved_today=self._connection.execute(over).scalar_one(),
            by_severity={one: sum(row[3] for row in active if row[1] == one) for one in Severity},
            dead_letters=self._connection.execute(dead).scalar_one(),
        )

    def _rows(self, found: Select[Any], for_change: bool = False) -> Sequence[RowMapping]:
        return self._connection.execute(found.with_for_update() if for_change else found).mappings().all()


class SqlSilences:
    """Implements `trajops.stores.SilenceStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, silence_id: str) -> Silence:
        """One silence; NotFound if there is none with that id."""
        row = self._connection.execute(select(silences).where(silences.c.silence_id == silence_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no silence {silence_id!r}; list them with GET /v1/alerts/silences")
        return _silence(row)

    def all(self, *, ending_after: datetime | None = None) -> list[Silence]:
        """Silences, newest first; only those that end after a time, where it is given."""
        found = select(silences).order_by(silences.c.created_at.desc(), silences.c.silence_id)
        if ending_after is not None:
            found = found.where(silences.c.ends_at > ending_after)
        return [_silence(row) for row in self._connection.execute(found).mappings()]

    def add(self, silence: Silence) -> None:
        """Write a new silence."""
        self._connection.execute(insert(silences), asdict(silence))

    def end(self, silence_id: str, at: datetime) -> Silence:
        """Let it end then, if it would end later; NotFound if there is none with that id."""
        later = (silences.c.silence_id == silence_id, silences.c.ends_at > at)
        self._connection.execute(update(silences).where(*later).values(ends_at=at))
        return self.get(silence_id)


def _row(alert: Alert) -> dict[str, Any]:
    row = {one.name: getattr(alert, one.name) for one in fields(alert)}
    marks = {name: [mark.at.isoformat(), mark.state, mark.severity] for name, mark in alert.marks.items()}
    is_end_untold = alert.state == AlertState.RESOLVED and any(mark.state != AlertState.RESOLVED for mark in alert.marks.values())
    return {**row, "labels": dict(alert.labels), "marks": marks, "is_end_untold": is_end_untold}


def _alert(row: Mapping[Any, Any]) -> Alert:
    values = {name: value for name, value in row.items() if name != "is_end_untold"}
    marks = {
        name: Mark(datetime.fromisoformat(at), AlertState(state), Severity(severity))
        for name, (at, state, severity) in row["marks"].items()
    }
    return Alert(**{**values, "severity": Severity(row["severity"]), "state": AlertState(row["state"]), "marks": marks})


def _silence(row: Mapping[Any, Any]) -> Silence:
    return Silence(**{**row, "matchers": tuple(Matcher(**one) for one in row["matchers"])})
