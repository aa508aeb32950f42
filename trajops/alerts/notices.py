"""Who is told of what, and when: routes, groups, repetition. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from trajops.alerts.lifecycle import Alert, AlertState, Mark, Severity
from trajops.alerts.outbox import Occasion
from trajops.alerts.rules import AlertmanagerReceiver, AlertRules, EmailReceiver, SlackReceiver
from trajops.alerts.silences import all_match

# More alerts than this are not written out in one notification for people; an Alertmanager gets all, in parts of this size.
MOST_SHOWN = 100
ORIGIN = "origin"
OCCASIONS: tuple[Occasion, ...] = ("fired", "escalated", "resolved", "repeated")

T = TypeVar("T")
AnyReceiver = EmailReceiver | SlackReceiver | AlertmanagerReceiver


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification that is due.

    Attributes:
        receiver: its name.
        occasion: the most important reason.
        group: what the alerts have in common, by label.
        alerts: whom it is about, the worst first.
    """

    receiver: str
    occasion: Occasion
    group: dict[str, str]
    alerts: tuple[Alert, ...]

    @property
    def severity(self) -> Severity:
        """Of the worst alert that is not over, or else of the worst."""
        return max((one.severity for one in self._unresolved or self.alerts), key=lambda one: one.rank)

    @property
    def title(self) -> str:
        """Its subject: the alert, or how many and the worst of them."""
        unresolved = self._unresolved
        worst = (unresolved or self.alerts)[0]
        word = self.severity.value.capitalize() if unresolved else "Resolved"
        count = len(unresolved or self.alerts)
        return f"{word}: {worst.title}" if count == 1 else f"{word}: {count} alerts, {worst.title}"

    @property
    def _unresolved(self) -> tuple[Alert, ...]:
        return tuple(one for one in self.alerts if one.state != AlertState.RESOLVED)


def receivers_of(alert: Alert, rules: AlertRules) -> list[str]:
    """Names of those who are told of an alert, in the order of the file."""
    labels = alert.matchable
    named: set[str] = set()
    for route in rules.routes:
        is_meant = alert.origin == "rules" or any(matcher.label == ORIGIN for matcher in route.match)
        if is_meant and all_match(route.match, labels):
            named.update(route.receivers)
    rule = rules.rule(alert.rule) if alert.origin == "rules" else None
    if rule is not None and rule.escalate is not None and alert.escalated_at is not None:
        named.update(rule.escalate.receivers)
    return [one.name for one in rules.receivers if one.name in named and _takes(one, alert)]


def due(alerts: Sequence[Alert], rules: AlertRules, at: datetime) -> tuple[list[Notice], list[Alert]]:
    """What is to be sent now.

    Args:
        alerts: active ones, and those that have ended while somebody was told that they had not.
        rules: with receivers, routes and grouping.
        at: the moment.

    Returns:
        The notices, and those alerts that carry new marks: all that were named, and ended ones that nobody is to be told of.
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Alert]] = {}
    marked: dict[str, Alert] = {}
    for alert in alerts:
        told = set(alert.marks) if alert.state == AlertState.RESOLVED else receivers_of(alert, rules)
        for name in told:
            if alert.state == AlertState.RESOLVED and alert.marks[name].state == AlertState.RESOLVED:
                continue
            receiver = rules.receiver(name)
            if alert.silence_id is None and receiver is not None and _takes(receiver, alert) and _wants(receiver, alert):
                groups.setdefault((name, _group(receiver, alert, rules)), []).append(alert)
            elif alert.state == AlertState.RESOLVED:
                marked[alert.alert_id] = _mark(marked.get(alert.alert_id, alert), name, at)
    notices = []
    for (name, group), members in groups.items():
        receiver = rules.receiver(name)
        assert receiver is not None
        found = _forward(receiver, members, at) if isinstance(receiver, AlertmanagerReceiver) else _tell(name, members, rules, at)
        if found is None:
            continue
        occasion, named = found
        worst_first = sorted(named, key=lambda one: (one.state == AlertState.RESOLVED, -one.severity.rank, one.started_at))
        parts = _parts(worst_first, MOST_SHOWN) if isinstance(receiver, AlertmanagerReceiver) else [worst_first]
        notices += [Notice(name, occasion, dict(group), tuple(part)) for part in parts]
        for alert in named:
            marked[alert.alert_id] = _mark(marked.get(alert.alert_id, alert), name, at)
    return notices, list(marked.values())


def _tell(name: str, members: Sequence[Alert], rules: AlertRules, at: datetime) -> tuple[Occasion, list[Alert]] | None:
    """Whether people are told of a group now, why, and of whom: all that is open, and what has ended since they were told last."""
    fresh, occasions = [], set()
    for alert in members:
        occasion = _news(alert, alert.marks.get(name))
        if occasion is not None:
            fresh.append((alert, occasion))
            occasions.add(occasion)
    grouping = rules.grouping
    last = max((alert.marks[name].at for alert in members if name in alert.marks), default=None)
    is_urgent = any(occasion == "escalated" or (occasion == "fired" and alert.severity == Severity.CRITICAL) for alert, occasion in fresh)
    if fresh and last is None:
        is_due = at - min(alert.opened_at or alert.started_at for alert, _ in fresh) >= timedelta(seconds=grouping.wait_s)
    else:
        is_due = bool(fresh) and last is not None and at - last >= timedelta(seconds=grouping.interval_s)
    if is_urgent or is_due:
        return next(one for one in OCCASIONS if one in occasions), [one for one in members if name in one.marks or _is_listed(one)]
    repeat = timedelta(seconds=grouping.repeat_s)
    if any(alert.state == AlertState.OPEN and name in alert.marks and at - alert.marks[name].at >= repeat for alert in members):
        return "repeated", [one for one in members if name in one.marks or _is_listed(one)]
    return None


def _is_listed(alert: Alert) -> bool:
    """Whether an alert that the receiver has not heard of is named: one that somebody already looks after is no news."""
    return alert.state == AlertState.OPEN


def _news(alert: Alert, mark: Mark | None) -> Occasion | None:
    """What a receiver has not been told yet."""
    if alert.state == AlertState.RESOLVED:
        return "resolved" if mark is not None and mark.state != AlertState.RESOLVED else None
    if mark is None:
        return None if alert.state == AlertState.ACKNOWLEDGED else "escalated" if alert.escalated_at is not None else "fired"
    return "escalated" if alert.severity.rank > mark.severity.rank else None


def _forward(receiver: AlertmanagerReceiver, members: Sequence[Alert], at: datetime) -> tuple[Occasion, list[Alert]] | None:
    """What is posted to an Alertmanager: everything, whenever something is new, and again before it would take it to be over."""
    occasions = {_news(alert, alert.marks.get(receiver.name)) for alert in members} - {None}
    unheard = [alert for alert in members if receiver.name not in alert.marks]
    if occasions or unheard:
        return next((one for one in OCCASIONS if one in occasions), "fired"), list(members)
    oldest = min(alert.marks[receiver.name].at for alert in members)
    return ("repeated", list(members)) if at - oldest >= timedelta(seconds=receiver.repost_s) else None


def _takes(receiver: AnyReceiver, alert: Alert) -> bool:
    """An alert that came from an Alertmanager never goes back to one."""
    return not (isinstance(receiver, AlertmanagerReceiver) and alert.origin == "external")


def _wants(receiver: AnyReceiver, alert: Alert) -> bool:
    return alert.state != AlertState.RESOLVED or isinstance(receiver, AlertmanagerReceiver) or receiver.is_told_of_ends


def _group(receiver: AnyReceiver, alert: Alert, rules: AlertRules) -> tuple[tuple[str, str], ...]:
    if isinstance(receiver, AlertmanagerReceiver):
        return ()
    labels = alert.matchable
    return tuple((label, labels.get(label, "")) for label in rules.grouping.by)


def _mark(alert: Alert, receiver: str, at: datetime) -> Alert:
    return replace(alert, marks={**alert.marks, receiver: Mark(at, alert.state, alert.severity)})


def _parts(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
