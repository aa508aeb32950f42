"""One look at all rules: alerts, audit entries and notifications of one moment are one transaction."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from trajops.alerts.evaluation import Step, evaluate, silence
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.notices import MOST_SHOWN, Notice, due
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.rules import AlertmanagerReceiver, AlertRules
from trajops.alerts.signals import Signal
from trajops.clock import now
from trajops.contracts.alerts import shown_alerts
from trajops.errors import Conflict
from trajops.ports import Clock
from trajops.stores import UnitOfWork, UnitOfWorkFactory

T = TypeVar("T")
DELIVER_JOB = "deliver_alerts"
ACTOR = "worker:evaluate_alerts"
AUDITED = frozenset({"fired", "escalated", "resolved", "silenced", "unsilenced"})


@dataclass(slots=True)
class _Plan:
    """What one look wants to be written."""

    steps: list[Step]
    saved: dict[str, tuple[int, Alert]]  # by id, with the version that is expected
    notices: Sequence[Notice]
    active: list[Alert] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.steps and not self.saved and not self.notices


class AlertRounds:
    """Looks at the rules again and again. Where nothing changes, nothing is written.

    Args:
        unit_of_work: opens a transaction.
        rules: all of them.
        clock: what time it is.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, rules: AlertRules, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._clock = clock

    def run(self, signals: Iterable[Signal]) -> dict[str, Any]:
        """Look once; idempotent.

        Args:
            signals: all that there are now.

        Returns:
            Steps by kind, `notifications` that were written, and active alerts by severity.

        Raises:
            Conflict: if somebody changes the same alerts again and again; nothing is written then, and the next look sees it.
        """
        at, seen = now(self._clock), list(signals)
        with self._unit_of_work(read_only=True) as uow:
            plan = self._plan(uow, seen, at, for_change=False)
        if not plan.is_empty:
            plan = again_after_conflict(lambda: self._look_and_write(seen, at))
        severities = Counter(alert.severity for alert in plan.active)
        return {
            "steps": dict(Counter(step.kind for step in plan.steps)),
            "notifications": len(plan.notices),
            "active": {severity.value: severities[severity] for severity in Severity},
            "signals": len(seen),
        }

    def _look_and_write(self, signals: Sequence[Signal], at: datetime) -> _Plan:
        with self._unit_of_work() as uow:
            plan = self._plan(uow, signals, at, for_change=True)
            self._write(uow, plan, at)
        return plan

    def _plan(self, uow: UnitOfWork, signals: Sequence[Signal], at: datetime, *, for_change: bool) -> _Plan:
        known = uow.alerts.unresolved(for_change=for_change)
        current = {alert.alert_id: alert for alert in [*known, *uow.alerts.to_tell(for_change=for_change)]}
        versions = {alert_id: alert.version for alert_id, alert in current.items()}
        steps = evaluate(self._rules, signals, known, at, lambda: uuid4().hex)
        saved: dict[str, tuple[int, Alert]] = {}

        def keep(alert: Alert) -> None:
            current[alert.alert_id] = alert
            saved[alert.alert_id] = versions.get(alert.alert_id, 0), alert

        for step in steps:
            if step.kind == "forgotten":
                del current[step.after.alert_id]
            else:
                keep(step.after)
        silenced = silence(list(current.values()), uow.silences.all(ending_after=at), at)
        for step in silenced:
            keep(step.after)
        told = [alert for alert in current.values() if alert.state != AlertState.PENDING]
        notices, marked = due(told, self._rules, at)
        for alert in marked:
            keep(alert)
        return _Plan([*steps, *silenced], saved, notices, [alert for alert in current.values() if alert.is_active])

    def _write(self, uow: UnitOfWork, plan: _Plan, at: datetime) -> None:
        for alert_id in (step.after.alert_id for step in plan.steps if step.kind == "forgotten"):
            uow.alerts.forget(alert_id)
        for version, alert in plan.saved.values():
            if version:
                uow.alerts.save(alert, version)
            else:
                uow.alerts.add(alert)
        for step in plan.steps:
            if step.kind in AUDITED:
                audit(uow, step.kind, step.before, step.after, at=at, actor=ACTOR, reason=step.text)
        for notice in plan.notices:
            # Written as they are after everything else, so that a silence or a mark of the same look is in it.
            written = notification(notice, at)
            if isinstance(self._rules.receiver(notice.receiver), AlertmanagerReceiver):
                # It is posted to every minute, and nobody reads the posts: the newest says it all.
                uow.notifications.replace_repeated(written)
            uow.notifications.supersede(written)
            uow.notifications.add(written)
        if plan.notices:
            ask_for_delivery(uow, at)


def again_after_conflict(write: Callable[[], T], tries: int = 3) -> T:
    """Do a transaction again that met another one; what it reads then is what the other has left.

    Raises:
        Conflict: if it meets another one at each try.
    """
    for _ in range(tries - 1):
        try:
            return write()
        except Conflict:
            continue
    return write()


def audit(uow: UnitOfWork, kind: str, before: Alert | None, after: Alert, *, at: datetime, actor: str, reason: str) -> None:
    """Write what happened to an alert; its audit entries are its history."""

    def state(alert: Alert | None) -> dict[str, Any]:
        return {} if alert is None else {"state": alert.state.value, "severity": alert.severity.value, "assigned_to": alert.assigned_to}

    about = {"rule": after.rule, "title": after.title}
    uow.audit.append(
        at=at, actor=actor, action=f"alert.{kind}", subject=after.subject, reason=reason, before=state(before), after=state(after) | about
    )


def notification(notice: Notice, at: datetime, new_id: Callable[[], str] = lambda: uuid4().hex) -> Notification:
    """A notice as it goes into the outbox."""
    return Notification(
        notification_id=new_id(),
        receiver=notice.receiver,
        occasion=notice.occasion,
        group=notice.group,
        severity=notice.severity,
        title=notice.title,
        alert_ids=tuple(alert.alert_id for alert in notice.alerts),
        content=tuple(shown_alerts(list(notice.alerts[:MOST_SHOWN]))),
        state=NotificationState.PENDING,
        attempts=0,
        created_at=at,
        next_attempt_at=at,
    )


def ask_for_delivery(uow: UnitOfWork, at: datetime) -> None:
    """Let a worker deliver at once; where none does, or the job is paused, it waits in the outbox."""
    schedule = next((one for one in uow.jobs.schedules() if one.job == DELIVER_JOB), None)
    if schedule is not None and schedule.paused_at is None:
        uow.jobs.request(DELIVER_JOB, at)
