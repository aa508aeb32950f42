"""Alerts as they are shown: ours from SQL, and beside them those of an Alertmanager, if it can be asked."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from api.wiring import Parts
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.notices import receivers_of
from trajops.alerts.outbox import NotificationState
from trajops.alerts.rules import AlertmanagerReceiver, AlertRule, EmailReceiver, SlackReceiver
from trajops.alerts.signals import fingerprint
from trajops.clock import now
from trajops.contracts.alerts import (
    AlertDetailOut,
    AlertmanagerAlertIn,
    AlertmanagerOut,
    AlertOut,
    AlertRuleOut,
    AlertRulesOut,
    AlertsOut,
    ReceiverOut,
    ReceiversOut,
)
from trajops.contracts.jobs import JobRunOut
from trajops.errors import NotFound, TrajOpsError
from trajops.services.alerts import EXTERNAL_PREFIX, OURS, external_alert

EVALUATE_JOB = "evaluate_alerts"
FRESH = timedelta(seconds=30)

Shown = Literal["active", "pending", "open", "acknowledged", "resolved"]
_STATES: Mapping[Shown, tuple[AlertState, ...]] = {
    "active": (AlertState.OPEN, AlertState.ACKNOWLEDGED),
    "pending": (AlertState.PENDING,),
    "open": (AlertState.OPEN,),
    "acknowledged": (AlertState.ACKNOWLEDGED,),
    "resolved": (AlertState.RESOLVED,),
}


def read_alerts(
    parts: Parts, *, state: Shown | None, severity: Severity | None, rule: str | None, since: datetime | None, limit: int
) -> AlertsOut:
    """All alerts that fit; an Alertmanager that is away is reported, and takes nothing else with it."""
    at = now(parts.clock)
    states = None if state is None else _STATES[state]
    with parts.unit_of_work(read_only=True) as uow:
        found = uow.alerts.find(states=states, severity=severity, rule=rule, since=since, limit=limit)
        # Thousands may be open, and only those of an Alertmanager that is read may stand here twice.
        kept = {alert.fingerprint for alert in uow.alerts.unresolved() if alert.origin == "external"} if parts.alertmanager else set()
        counts = uow.alerts.counts(at)
        looked = uow.jobs.last_success(EVALUATE_JOB)
    shown = [AlertOut.of(alert) for alert in found]
    about, foreign = parts.cached_longer.get("alertmanager", lambda: _ask(parts))
    if states is None or AlertState.OPEN in states:
        unknown = (one for one in foreign if one.fingerprint not in kept)
        shown += [one for one in unknown if severity in {None, one.severity} and rule in {None, one.rule}]
    shown.sort(key=lambda one: (one.resolved_at is not None, 0 if one.resolved_at else -one.severity.rank))
    evaluated_at = None if looked is None else looked.finished_at
    return AlertsOut(
        alerts=shown[:limit],
        counts=counts,
        evaluated_at=evaluated_at,
        is_evaluated=evaluated_at is not None and at - evaluated_at <= FRESH,
        alertmanager=about,
    )


def read_alert(parts: Parts, alert_id: str) -> AlertDetailOut:
    """One alert with what happened to it; one that is only read from an Alertmanager has no history here.

    Raises:
        NotFound: if there is none with that id.
    """
    if not alert_id.startswith(EXTERNAL_PREFIX):
        return parts.alerts.detail(alert_id)
    _, foreign = parts.cached_longer.get("alertmanager", lambda: _ask(parts))
    found = next((one for one in foreign if one.alert_id == alert_id), None)
    if found is None:
        raise NotFound(f"the Alertmanager has no alert {alert_id!r} any more, or cannot be asked; list them with GET /v1/alerts")
    return AlertDetailOut(alert=found, events=[])


def read_rules(parts: Parts) -> AlertRulesOut:
    """The rules of the file, and how many alerts each has raised."""
    with parts.unit_of_work(read_only=True) as uow:
        active = [alert.rule for alert in uow.alerts.unresolved() if alert.is_active and alert.origin == "rules"]
    at = now(parts.clock)
    rules = [
        AlertRuleOut(
            name=rule.name,
            title=rule.title,
            signal=rule.signal,
            condition=str(rule.when),
            severity=rule.severity,
            for_s=rule.for_s,
            resolve_after_s=rule.resolve_after_s,
            receivers=receivers_of(_imagined(rule, at), parts.alert_rules),
            runbook=rule.runbook,
            active=active.count(rule.name),
        )
        for rule in parts.alert_rules.rules
    ]
    return AlertRulesOut(rules=rules, file=str(parts.settings.configs_dir / "alerts.yaml"))


def read_receivers(parts: Parts) -> ReceiversOut:
    """Who is told, and whether it arrives."""
    with parts.unit_of_work(read_only=True) as uow:
        looked = uow.jobs.last_success(EVALUATE_JOB)
        delivered, dead = uow.notifications.last_delivered(), uow.notifications.dead_letters()
        newest = {one.name: next(iter(uow.notifications.newest(receiver=one.name, limit=1)), None) for one in parts.alert_rules.receivers}
    shown = []
    for one in parts.alert_rules.receivers:
        last, missing = newest[one.name], _missing(parts, one, looked)
        is_stuck = last is not None and last.state in {NotificationState.PENDING, NotificationState.DEAD}
        shown.append(
            ReceiverOut(
                name=one.name,
                kind=one.kind,
                target=_target(parts, one),
                is_ready=not missing,
                detail=missing,
                last_delivered_at=delivered.get(one.name),
                last_error=last.error if last is not None and is_stuck else None,
                dead_letters=dead.get(one.name, 0),
            )
        )
    return ReceiversOut(receivers=shown)


def _missing(parts: Parts, receiver: EmailReceiver | SlackReceiver | AlertmanagerReceiver, looked: JobRunOut | None) -> str:
    """What a receiver lacks; secrets are the workers', so they are asked."""
    if isinstance(receiver, AlertmanagerReceiver):
        is_set = receiver.url or parts.settings.alertmanager_url
        return "" if is_set else "It has no url, and TRAJOPS_ALERTMANAGER_URL is not set."
    name = receiver.password_env if isinstance(receiver, EmailReceiver) else receiver.url_env
    unset: Any = [] if looked is None else looked.result.get("unset", [])
    return f"The environment variable {name} is not set where the workers run." if name in unset else ""


def _target(parts: Parts, receiver: EmailReceiver | SlackReceiver | AlertmanagerReceiver) -> str:
    if isinstance(receiver, EmailReceiver):
        return f"{', '.join(receiver.to)} by {receiver.host}:{receiver.port}"
    if isinstance(receiver, SlackReceiver):
        return f"the webhook in {receiver.url_env}"
    return receiver.url or parts.settings.alertmanager_url or "nowhere"


def _ask(parts: Parts) -> tuple[AlertmanagerOut | None, list[AlertOut]]:
    client = parts.alertmanager
    if client is None:
        return None, []
    try:
        found = [AlertmanagerAlertIn.model_validate({**one, "status": "firing", "endsAt": None}) for one in client.alerts()]
    except TrajOpsError as error:
        return AlertmanagerOut(url=client.url, is_reachable=False, detail=error.message, alerts=0), []
    except ValidationError as error:
        first = error.errors()[0]
        detail = f"{client.url} describes an alert in a way that is not understood: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        return AlertmanagerOut(url=client.url, is_reachable=False, detail=detail, alerts=0), []
    at = now(parts.clock)
    foreign = [external_alert(one, at) for one in found if OURS not in one.labels]
    mine = len(found) - len(foreign)
    detail = ("1 alert" if len(foreign) == 1 else f"{len(foreign)} alerts") + " of its own" + (f", and {mine} of ours." if mine else ".")
    return AlertmanagerOut(url=client.url, is_reachable=True, detail=detail, alerts=len(foreign)), [_as_read(one) for one in foreign]


def _as_read(alert: Alert) -> AlertOut:
    """An alert that is not kept here: it keeps its name from one reading to the next, and cannot be changed."""
    changes = {"origin": "alertmanager", "alert_id": alert.fingerprint, "version": 0, "opened_at": alert.started_at}
    return AlertOut.of(alert).model_copy(update=changes)


def _imagined(rule: AlertRule, at: datetime) -> Alert:
    """The alert that the rule would raise on a signal without labels."""
    return Alert(
        alert_id="",
        fingerprint=fingerprint(rule.name, rule.labels),
        rule=rule.name,
        origin="rules",
        title=rule.title,
        summary="",
        detail="",
        labels=rule.labels,
        severity=rule.severity,
        state=AlertState.OPEN,
        version=1,
        started_at=at,
        seen_at=at,
        updated_at=at,
    )
