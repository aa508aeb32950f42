"""Rules on signals: which alerts begin, go on and end. Pure; what it gives is written by `trajops.services.alert_rounds`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from trajops.alerts.lifecycle import Alert, AlertState, check_transition
from trajops.alerts.rules import AlertRule, AlertRules
from trajops.alerts.signals import Signal, fingerprint
from trajops.alerts.silences import Silence

# How old the figure of an alert may be before it is written again, though nothing else has changed.
SEEN_EVERY = timedelta(seconds=30)
RULES = "rules"
MISSING = "missing"

Kind = Literal["waiting", "fired", "escalated", "resolved", "silenced", "unsilenced", "refreshed", "forgotten"]


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one alert.

    Attributes:
        kind: what happens; `waiting` begins and `forgotten` ends a pending alert, `refreshed` is nothing that anybody is told.
        before: the alert as it was; None for a new one.
        after: as it is now; of a forgotten one, as it was.
        text: why, as a sentence.
    """

    kind: Kind
    before: Alert | None
    after: Alert
    text: str


def evaluate(rules: AlertRules, signals: Iterable[Signal], alerts: Sequence[Alert], at: datetime, new_id: Callable[[], str]) -> list[Step]:
    """Apply every rule to the signals of one moment.

    Args:
        rules: all of them.
        signals: all that there are now.
        alerts: those that are not resolved.
        at: the moment.
        new_id: makes ids of new alerts.

    Returns:
        At most one step an alert; none where nothing changes.
    """
    by_name: dict[str, list[Signal]] = {}
    for signal in signals:
        if math.isfinite(signal.value):
            by_name.setdefault(signal.name, []).append(signal)
    known = {alert.fingerprint: alert for alert in alerts if alert.origin == "rules"}
    steps: list[Step | None] = []
    for rule in rules.rules:
        for one in _looks(rule, by_name.get(rule.signal, [])):
            found = known.pop(one.fingerprint, None)
            steps.append(_begin(rule, one, at, new_id) if found is None else _go_on(rule, one, found, at))
    steps += [_without_signal(rules.rule(alert.rule), alert, at) for alert in known.values()]
    unheard = timedelta(seconds=rules.external_ends_after_s)
    silent = [alert for alert in alerts if alert.origin == "external" and at - alert.seen_at >= unheard]
    steps += [_resolve(alert, at, "The Alertmanager has not named it for too long.") for alert in silent]
    return [step for step in steps if step is not None]


def silence(alerts: Iterable[Alert], silences: Sequence[Silence], at: datetime) -> list[Step]:
    """Which active alerts are silenced now, or not any more; of several silences the one that ends last counts."""
    steps = []
    for alert in alerts:
        covering = max((one for one in silences if one.covers(alert.matchable, at)), key=lambda one: one.ends_at, default=None)
        silence_id = None if covering is None else covering.silence_id
        if not alert.is_active or silence_id == alert.silence_id:
            continue
        after = replace(alert, silence_id=silence_id)
        if covering is None:
            steps.append(Step("unsilenced", alert, after, "Its silence is over."))
        else:
            kind: Kind = "silenced" if alert.silence_id is None else "refreshed"
            steps.append(Step(kind, alert, after, f"Silenced by {covering.created_by} until {covering.ends_at:%d %b %H:%M} UTC."))
    return steps


@dataclass(frozen=True, slots=True)
class _Look:
    """What one rule sees on one set of labels; `value` is None where it sees that there is no signal."""

    fingerprint: str
    labels: dict[str, str]
    value: float | None
    title: str
    summary: str
    detail: str
    hold: timedelta


def _looks(rule: AlertRule, signals: Sequence[Signal]) -> Iterable[_Look]:
    fitting = [signal for signal in signals if all(matcher.matches(signal.labels) for matcher in rule.match)]
    looks: dict[str, _Look] = {}
    for signal in fitting:
        labels = {**signal.labels, **rule.labels}
        summary = rule.said(signal.value, signal.detail, labels)
        name = fingerprint(rule.name, labels)
        detail = signal.detail if signal.detail != summary else ""
        looks[name] = _Look(name, labels, signal.value, rule.title, summary, detail, timedelta(seconds=rule.for_s))
    if not fitting and rule.missing == "alert":
        labels = {**rule.labels, MISSING: rule.signal}
        text = f"There is no {rule.signal} to look at, so the rule {rule.name} is blind."
        hold = timedelta(seconds=rule.missing_after_s)
        name = fingerprint(rule.name, labels)
        looks[name] = _Look(name, labels, None, f"{rule.title}: no data", text, "", hold)
    return looks.values()


def _begin(rule: AlertRule, look: _Look, at: datetime, new_id: Callable[[], str]) -> Step | None:
    if look.value is not None and not rule.when.holds(look.value):
        return None
    alert = Alert(
        alert_id=new_id(),
        fingerprint=look.fingerprint,
        rule=rule.name,
        origin="rules",
        title=look.title,
        summary=look.summary,
        detail=look.detail,
        labels=look.labels,
        severity=rule.severity,
        state=AlertState.PENDING,
        version=1,
        started_at=at,
        seen_at=at,
        updated_at=at,
        value=look.value,
        condition=str(rule.when),
        runbook=rule.runbook,
    )
    return _open(None, alert, at) if look.hold <= timedelta(0) else Step("waiting", None, alert, "Its condition has begun to hold.")


def _go_on(rule: AlertRule, look: _Look, alert: Alert, at: datetime) -> Step | None:
    if alert.is_active and rule.resolve_when is not None and look.value is not None:
        is_holding = not rule.resolve_when.holds(look.value)
    else:
        is_holding = look.value is None or rule.when.holds(look.value)
    if not is_holding:
        return _cease(rule, alert, at, look.value)
    if alert.state == AlertState.PENDING:
        seen = replace(alert, value=look.value, summary=look.summary, detail=look.detail, seen_at=at)
        return _open(alert, seen, at) if at - alert.started_at >= look.hold else None
    is_stale = alert.clear_at is not None or at - alert.seen_at >= SEEN_EVERY
    seen = replace(alert, value=look.value, summary=look.summary, detail=look.detail, seen_at=at, clear_at=None) if is_stale else alert
    return _escalate(rule, alert, seen, at) or (Step("refreshed", alert, seen, "") if is_stale else None)


def _without_signal(rule: AlertRule | None, alert: Alert, at: datetime) -> Step | None:
    """What becomes of an alert that no signal speaks of."""
    if rule is None:
        ended = "Its rule stands in configs/alerts.yaml no more."
        return Step("forgotten", alert, alert, ended) if alert.state == AlertState.PENDING else _resolve(alert, at, ended)
    is_back = MISSING in alert.labels and alert.value is None  # a "no data" alert whose signal is there again
    if is_back or rule.missing == "resolve" or alert.state == AlertState.PENDING:
        return _cease(rule, alert, at, None)
    return _escalate(rule, alert, alert, at)


def _open(before: Alert | None, alert: Alert, at: datetime) -> Step:
    check_transition(alert.state, AlertState.OPEN)
    opened = replace(alert, state=AlertState.OPEN, opened_at=at, updated_at=at, version=1 if before is None else before.version + 1)
    return Step("fired", before, opened, opened.summary)


def _cease(rule: AlertRule, alert: Alert, at: datetime, value: float | None) -> Step | None:
    if alert.state == AlertState.PENDING:
        return Step("forgotten", alert, alert, "Its condition has ceased before it had held for long enough.")
    since = alert.clear_at or at
    if at - since >= timedelta(seconds=rule.resolve_after_s):
        figure = "" if value is None else f" ({rule.signal} is {value:g})"
        return _resolve(
            replace(alert, value=alert.value if value is None else value), at, f"Its condition has ceased{figure}.", before=alert
        )
    return Step("refreshed", alert, replace(alert, clear_at=at), "") if alert.clear_at is None else None


def _resolve(alert: Alert, at: datetime, text: str, before: Alert | None = None) -> Step:
    check_transition(alert.state, AlertState.RESOLVED)
    ended = replace(alert, state=AlertState.RESOLVED, resolved_at=at, resolved_by=RULES, updated_at=at, version=alert.version + 1)
    return Step("resolved", before or alert, ended, text)


def _escalate(rule: AlertRule, before: Alert, alert: Alert, at: datetime) -> Step | None:
    plan = rule.escalate
    is_waiting = alert.state == AlertState.OPEN and alert.escalated_at is None and alert.silence_id is None and alert.opened_at is not None
    if plan is None or not is_waiting or alert.opened_at is None or at - alert.opened_at < timedelta(seconds=plan.after_s):
        return None
    severity = alert.severity if plan.severity is None else max(plan.severity, alert.severity, key=lambda one: one.rank)
    raised = replace(alert, severity=severity, escalated_at=at, updated_at=at, version=alert.version + 1)
    text = f"Nobody has acknowledged it for {plan.after_s:g} s"
    text += f"; it is {severity.value} now." if severity != alert.severity else "."
    return Step("escalated", before, raised, text)
