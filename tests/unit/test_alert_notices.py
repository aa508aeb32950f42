"""Who is told of what, and when: routes, groups, waiting, repetition, escalation, ends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.alert_builders import CHAT, MAIL, an_alert, some_rules
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.notices import MOST_SHOWN, Notice, due, receivers_of
from trajops.alerts.rules import AlertRules

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = some_rules(routes=[{"receivers": ["mail"]}])
MANAGER = {"kind": "alertmanager", "name": "am", "url": "http://127.0.0.1:9093"}
OPEN, ACKNOWLEDGED, RESOLVED = AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.RESOLVED


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


class Told:
    """Asks again and again what is due, and keeps the marks as the stores would."""

    def __init__(self, *alerts: Alert, rules: AlertRules = RULES) -> None:
        self.rules = rules
        self.alerts = {alert.alert_id: alert for alert in alerts}

    def put(self, alert_id: str, **changes: Any) -> None:
        known = self.alerts.get(alert_id) or an_alert(alert_id, AT, fingerprint=alert_id)
        self.alerts[alert_id] = replace(known, **changes)

    def notices(self, second: float) -> list[Notice]:
        notices, marked = due(list(self.alerts.values()), self.rules, later(second))
        self.alerts.update({alert.alert_id: alert for alert in marked})
        return notices

    def at(self, second: float) -> list[tuple[str, str, str]]:
        """Receiver, occasion and the alerts of each notice."""
        return [(one.receiver, one.occasion, " ".join(alert.alert_id for alert in one.alerts)) for one in self.notices(second)]


def test_the_first_notification_waits_for_company() -> None:
    told = Told(an_alert("a1", AT))
    assert told.at(9) == []
    told.put("a2", opened_at=later(9))
    assert told.at(10) == [("mail", "fired", "a1 a2")]
    assert told.at(11) == []


def test_what_is_new_in_a_group_waits_for_the_interval() -> None:
    told = Told(an_alert("a1", AT))
    told.at(10)
    told.put("a2", opened_at=later(20))
    assert told.at(69) == []
    assert told.at(70) == [("mail", "fired", "a1 a2")]


def test_a_critical_alert_leaves_at_once_also_in_a_group_that_was_just_told_of() -> None:
    told = Told(an_alert("a1", AT))
    told.at(10)
    told.put("a2", severity=Severity.CRITICAL, opened_at=later(10))
    (notice,) = told.notices(11)
    assert (notice.occasion, notice.severity, notice.title) == ("fired", Severity.CRITICAL, "Critical: 2 alerts, A job is late")
    assert [alert.alert_id for alert in notice.alerts] == ["a2", "a1"]


def test_groups_are_told_of_apart() -> None:
    told = Told(an_alert("a1", AT), an_alert("a2", AT, rule="other"), rules=RULES)
    assert told.at(10) == [("mail", "fired", "a1"), ("mail", "fired", "a2")]
    together = Told(an_alert("a1", AT), an_alert("a2", AT, rule="other"), rules=some_rules(grouping={"by": [], "wait_s": 0}))
    assert together.at(0) == [("mail", "fired", "a1 a2"), ("chat", "fired", "a1 a2")]


def test_an_open_alert_is_told_again_and_an_acknowledged_one_is_not() -> None:
    told = Told(an_alert("a1", AT))
    told.at(10)
    assert told.at(609) == []
    assert told.at(610) == [("mail", "repeated", "a1")]
    told.put("a1", state=ACKNOWLEDGED)
    assert told.at(5000) == []


def test_the_end_is_told_once_to_those_who_knew() -> None:
    told = Told(an_alert("a1", AT))
    told.put("a1", state=RESOLVED, resolved_at=later(5))
    assert told.at(100) == []  # nobody had been told
    told = Told(an_alert("a1", AT))
    told.at(10)
    told.put("a1", state=RESOLVED, resolved_at=later(20))
    assert told.at(69) == []
    (notice,) = told.notices(70)
    assert (notice.occasion, notice.title) == ("resolved", "Resolved: A job is late")
    assert told.at(1000) == []


def test_an_end_is_kept_to_oneself_where_the_receiver_does_not_want_it_or_is_gone() -> None:
    told = Told(an_alert("a1", AT), rules=some_rules(receivers=[{**MAIL, "is_told_of_ends": False}, CHAT]))
    assert [receiver for receiver, _, _ in told.at(10)] == ["mail", "chat"]
    told.put("a1", state=RESOLVED, resolved_at=later(20))
    told.rules = some_rules(receivers=[{**MAIL, "is_told_of_ends": False}], routes=[])
    assert told.at(100) == []
    assert {mark.state for mark in told.alerts["a1"].marks.values()} == {RESOLVED}


def test_nobody_is_told_of_what_is_silenced() -> None:
    told = Told(an_alert("a1", AT, silence_id="s1"))
    assert told.at(100) == []
    told.put("a1", silence_id=None)
    assert told.at(101) == [("mail", "fired", "a1")]
    told.put("a1", silence_id="s2", state=RESOLVED, resolved_at=later(110))
    assert told.at(200) == []
    told.put("a1", silence_id=None)
    assert told.at(300) == []  # its end was silenced for good


def test_one_who_is_acknowledged_before_anybody_was_told_is_no_news() -> None:
    told = Told(an_alert("a1", AT, state=ACKNOWLEDGED))
    assert told.at(100) == []


def test_an_escalation_leaves_at_once_and_to_more_receivers() -> None:
    rules = some_rules({"escalate": {"after_s": 5, "severity": "critical", "receivers": ["chat"]}}, routes=[{"receivers": ["mail"]}])
    told = Told(an_alert("a1", AT), rules=rules)
    assert told.at(10) == [("mail", "fired", "a1")]
    told.put("a1", severity=Severity.CRITICAL, escalated_at=later(11))
    assert told.at(11) == [("mail", "escalated", "a1"), ("chat", "escalated", "a1")]
    assert told.at(12) == []


def test_routes() -> None:
    rules = some_rules(
        routes=[
            {"match": ['severity="critical"'], "receivers": ["chat"]},
            {"match": ['job=~"a|b"'], "receivers": ["mail"]},
            {"match": ['origin="external"'], "receivers": ["mail"]},
        ]
    )
    assert receivers_of(an_alert("a1", AT), rules) == []
    assert receivers_of(an_alert("a1", AT, labels={"job": "a"}), rules) == ["mail"]
    assert receivers_of(an_alert("a1", AT, labels={"job": "a"}, severity=Severity.CRITICAL), rules) == ["mail", "chat"]
    # Whoever posts alerts to us tells people itself; they are told twice only where a route names the origin.
    assert receivers_of(an_alert("a1", AT, origin="external", severity=Severity.CRITICAL), rules) == ["mail"]


def test_an_alertmanager_gets_everything_at_once_again_and_again_but_never_what_came_from_one() -> None:
    rules = some_rules(receivers=[MANAGER], routes=[{"match": ['origin=~".*"'], "receivers": ["am"]}])
    told = Told(
        an_alert("a1", AT), an_alert("a2", AT, rule="other", state=ACKNOWLEDGED), an_alert("a3", AT, origin="external"), rules=rules
    )
    assert told.at(0) == [("am", "fired", "a1 a2")]
    assert told.at(59) == []
    assert told.at(60) == [("am", "repeated", "a1 a2")]
    told.put("a1", state=RESOLVED, resolved_at=later(61))
    assert told.at(61) == [("am", "resolved", "a2 a1")]
    assert told.at(121) == [("am", "repeated", "a2")]


def test_an_alertmanager_gets_many_in_parts_and_people_in_one() -> None:
    many = [an_alert(f"a{number:03}", AT) for number in range(2 * MOST_SHOWN + 1)]
    to_manager = Told(*many, rules=some_rules(receivers=[MANAGER], routes=[{"receivers": ["am"]}])).notices(0)
    assert [len(notice.alerts) for notice in to_manager] == [MOST_SHOWN, MOST_SHOWN, 1]
    (to_people,) = Told(*many).notices(10)
    assert len(to_people.alerts) == 2 * MOST_SHOWN + 1


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 100),
        st.sampled_from(["a1", "a2", "a3"]),
        st.sampled_from(["open", "acknowledge", "resolve", "silence", "unsilence", "raise"]),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_whatever_happens_every_open_alert_is_told_of_and_no_end_is_told_twice(events: Sequence[tuple[float, str, str]]) -> None:
    told, second = Told(rules=some_rules(grouping={"wait_s": 10, "interval_s": 60, "repeat_s": 100_000})), 0.0
    ends: dict[tuple[str, str, int], int] = {}

    def look() -> None:
        for notice in told.notices(second):
            assert all(alert.silence_id is None for alert in notice.alerts)
            for alert in notice.alerts:
                if alert.state == RESOLVED:
                    key = (notice.receiver, alert.alert_id, alert.version)
                    ends[key] = ends.get(key, 0) + 1

    for pause_s, alert_id, event in events:
        second += pause_s
        known = told.alerts.get(alert_id)
        if event == "open" and (known is None or known.state == RESOLVED):
            told.alerts.pop(alert_id, None)
            told.put(alert_id, opened_at=later(second), version=1 if known is None else known.version + 1)
        elif known is not None and known.state != RESOLVED:
            changes = {
                "acknowledge": {"state": ACKNOWLEDGED},
                "resolve": {"state": RESOLVED, "resolved_at": later(second)},
                "silence": {"silence_id": "s1"},
                "unsilence": {"silence_id": None},
                "raise": {"severity": Severity.CRITICAL},
            }.get(event, {})
            told.put(alert_id, **changes)
        look()
    second += 1000
    look()
    for alert in told.alerts.values():
        if alert.state == OPEN and alert.silence_id is None:
            assert set(alert.marks) == {"mail", "chat"}
            assert all(mark.severity == alert.severity for mark in alert.marks.values())
        if alert.state == RESOLVED:
            assert all(mark.state == RESOLVED for mark in alert.marks.values())
    assert set(ends.values()) <= {1}
