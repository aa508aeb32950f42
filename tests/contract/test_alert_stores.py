"""One body for alerts, silences and the outbox, in memory, over SQLite and over PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.alert_builders import a_notification, an_alert
from tests.record_builders import AT, later
from trajops.alerts.lifecycle import AlertState, Mark, Severity
from trajops.alerts.outbox import NotificationState
from trajops.alerts.silences import Matcher, Silence
from trajops.errors import Conflict, NotFound, StaleVersion

OPEN, ACKNOWLEDGED, RESOLVED, PENDING = AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.RESOLVED, AlertState.PENDING
FULL = an_alert(
    "a1",
    AT,
    state=RESOLVED,
    labels={"job": "prune ü"},
    value=2.5,
    condition=">= 2",
    clear_at=later(3),
    acknowledged_at=later(1),
    acknowledged_by="ada",
    assigned_to="bob",
    escalated_at=later(2),
    resolved_at=later(4),
    resolved_by="rules",
    silence_id="s1",
    runbook="/docs",
    link="http://x",
    marks={"mail": Mark(later(1), OPEN, Severity.WARNING)},
)


def test_an_alert_comes_back_as_it_was(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.alerts.add(FULL)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.alerts.get("a1") == FULL
        with pytest.raises(NotFound):
            uow.alerts.get("a2")


def test_a_fingerprint_is_unresolved_once(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", AT))
        for state in (PENDING, OPEN):
            with pytest.raises(Conflict):
                uow.alerts.add(an_alert("a2", AT, state=state))
        uow.alerts.save(an_alert("a1", AT, state=RESOLVED, resolved_at=AT, version=2), 1)
        uow.alerts.add(an_alert("a2", AT))
        assert [one.alert_id for one in uow.alerts.unresolved(for_change=True)] == ["a2"]


def test_saving_compares_the_version(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", AT))
        changed = an_alert("a1", AT, state=ACKNOWLEDGED, version=2)
        uow.alerts.save(changed, 1)
        with pytest.raises(StaleVersion) as caught:
            uow.alerts.save(changed, 1)
        assert caught.value.details == {"present_version": 2}
        with pytest.raises(NotFound):
            uow.alerts.save(replace(changed, alert_id="a2"), 2)
        assert uow.alerts.get("a1") == changed


def test_only_a_pending_alert_can_be_forgotten(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", AT, state=PENDING, opened_at=None))
        uow.alerts.add(an_alert("a2", AT, fingerprint="f2"))
        for alert_id in ("a1", "a2", "a3"):
            uow.alerts.forget(alert_id)
        assert [one.alert_id for one in uow.alerts.unresolved()] == ["a2"]


def test_whose_end_is_untold(database: Any) -> None:
    told, untold = Mark(AT, RESOLVED, Severity.WARNING), Mark(AT, OPEN, Severity.WARNING)
    over = {"state": RESOLVED, "resolved_at": AT}
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", AT, **over, marks={"mail": told, "chat": untold}))
        uow.alerts.add(an_alert("a2", AT, **over, marks={"mail": told}))
        uow.alerts.add(an_alert("a3", AT, **over))
        uow.alerts.add(an_alert("a4", AT, marks={"mail": untold}))
        assert [one.alert_id for one in uow.alerts.to_tell(for_change=True)] == ["a1"]
        uow.alerts.save(an_alert("a1", AT, **over, marks={"mail": told, "chat": told}), 1)
        assert uow.alerts.to_tell() == []


def test_alerts_are_found_the_worst_and_newest_first(database: Any) -> None:
    rows = [
        an_alert("a1", AT, severity=Severity.WARNING),
        an_alert("a2", later(1), severity=Severity.WARNING, rule="other"),
        an_alert("a3", AT, severity=Severity.CRITICAL, state=ACKNOWLEDGED),
        an_alert("a4", AT, severity=Severity.CRITICAL, state=PENDING),
        an_alert("a5", AT, severity=Severity.INFO, state=RESOLVED, resolved_at=later(5)),
        an_alert("a6", AT, severity=Severity.CRITICAL, state=RESOLVED, resolved_at=later(4)),
    ]
    with database.unit_of_work() as uow:
        for number, row in enumerate(rows):
            uow.alerts.add(replace(row, fingerprint=f"f{number}"))

        def found(**wanted: Any) -> list[str]:
            return [one.alert_id for one in uow.alerts.find(**wanted)]

        assert found() == ["a3", "a2", "a1", "a5", "a6"]
        assert found(limit=2) == ["a3", "a2"]
        assert found(states=[PENDING]) == ["a4"]
        assert found(states=[OPEN, ACKNOWLEDGED], severity=Severity.WARNING) == ["a2", "a1"]
        assert found(rule="other") == ["a2"]
        assert found(since=later(5)) == ["a3", "a2", "a1", "a5"]


def test_alerts_are_counted(database: Any) -> None:
    day_s = 86_400
    rows = [
        an_alert("a1", AT, severity=Severity.CRITICAL, silence_id="s1"),
        an_alert("a2", AT, state=ACKNOWLEDGED),
        an_alert("a3", AT, state=PENDING),
        an_alert("a4", AT, state=RESOLVED, resolved_at=AT, silence_id="s1"),
        an_alert("a5", AT, state=RESOLVED, resolved_at=later(10)),
        an_alert("a6", AT),
    ]
    with database.unit_of_work() as uow:
        for number, row in enumerate(rows):
            uow.alerts.add(replace(row, fingerprint=f"f{number}"))
        uow.notifications.add(a_notification("n1", AT, state=NotificationState.DEAD))
        counts = uow.alerts.counts(later(10 + day_s))
    assert (counts.open, counts.loud) == (2, 1)
    assert (counts.acknowledged, counts.pending, counts.silenced, counts.resolved_today, counts.dead_letters) == (1, 1, 1, 1, 1)
    assert counts.by_severity == {Severity.CRITICAL: 1, Severity.WARNING: 2, Severity.INFO: 0}


def test_silences(database: Any) -> None:
    one = Silence("s1", (Matcher("job", "=~", "a|b"), Matcher("rule", "!=", "x")), AT, later(60), AT, "ada", "maintenance")
    two = replace(one, silence_id="s2", created_at=later(1), ends_at=later(30))
    with database.unit_of_work() as uow:
        uow.silences.add(one)
        uow.silences.add(two)
    with database.unit_of_work() as uow:
        assert uow.silences.all() == [two, one]
        assert uow.silences.all(ending_after=later(30)) == [one]
        assert uow.silences.get("s1") == one
        assert uow.silences.end("s1", later(5)) == replace(one, ends_at=later(5))
        assert uow.silences.end("s1", later(7)).ends_at == later(5)
        for unknown in (lambda: uow.silences.get("s3"), lambda: uow.silences.end("s3", AT)):
            with pytest.raises(NotFound):
                unknown()


# The outbox


def test_a_notification_comes_back_as_it_was(database: Any) -> None:
    row = a_notification("n1", AT, alert_ids=("a1", "a2"), content=({"title": "ü"},), group={"rule": "r"}, error="e", delivered_at=later(1))
    with database.unit_of_work() as uow:
        uow.notifications.add(row)
        uow.notifications.add(a_notification("n2", later(1), alert_ids=("a2",)))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.notifications.get("n1") == row
        assert [one.notification_id for one in uow.notifications.of_alert("a2")] == ["n1", "n2"]
        assert [one.notification_id for one in uow.notifications.of_alert("a1")] == ["n1"]
        with pytest.raises(NotFound):
            uow.notifications.get("n3")


def test_what_is_due_comes_by_severity_and_age(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.notifications.add(a_notification("n1", AT))
        uow.notifications.add(a_notification("n2", later(1), severity=Severity.CRITICAL))
        uow.notifications.add(a_notification("n3", later(2), receiver="chat"))
        uow.notifications.add(a_notification("n4", AT, next_attempt_at=later(100)))
        uow.notifications.add(a_notification("n5", AT, state=NotificationState.DEAD))
        due = uow.notifications.due
        assert [one.notification_id for one in due(later(2))] == ["n2", "n1", "n3"]
        assert [one.notification_id for one in due(later(2), without=["mail"])] == ["n3"]
        assert [one.notification_id for one in due(later(2), limit=1)] == ["n2"]
        assert [one.notification_id for one in due(later(1))] == ["n2", "n1"]


def test_what_is_about_an_alert_waits_for_what_is_older(database: Any) -> None:
    with database.unit_of_work() as uow:
        add, due = uow.notifications.add, uow.notifications.due
        add(a_notification("n1", AT, alert_ids=("a1", "a2"), next_attempt_at=later(100)))
        add(a_notification("n2", later(1), alert_ids=("a2", "a3"), severity=Severity.CRITICAL))
        add(a_notification("n3", later(1), alert_ids=("a3",)))
        add(a_notification("n4", later(1), alert_ids=("a4",)))
        add(a_notification("n5", later(1), alert_ids=("a1",), receiver="chat"))
        assert [one.notification_id for one in due(later(2))] == ["n4", "n5"]
        assert [one.notification_id for one in due(later(100))] == ["n1", "n4", "n5"]
        claimed = uow.notifications.claim(uow.notifications.get("n1"), "w1", later(200))
        assert [one.notification_id for one in due(later(100))] == ["n4", "n5"]
        uow.notifications.settle(claimed, NotificationState.DEAD, later(101), error="no", next_attempt_at=later(101))
        assert [one.notification_id for one in due(later(100))] == ["n2", "n4", "n5"]


def test_a_newer_notification_supersedes_what_says_less(database: Any) -> None:
    with database.unit_of_work() as uow:
        add, get = uow.notifications.add, uow.notifications.get
        add(a_notification("n1", AT, alert_ids=("a1",)))
        add(a_notification("n2", AT, alert_ids=("a1", "a2"), attempts=0))
        add(a_notification("n3", AT, alert_ids=("a1", "a3")))
        add(a_notification("n4", AT, alert_ids=("a1",), receiver="chat"))
        add(a_notification("n5", AT, alert_ids=("a1",), state=NotificationState.DEAD, error="no"))
        add(a_notification("n6", AT))
        claimed = uow.notifications.claim(get("n2"), "w1", later(60))
        newer = a_notification("n7", later(1), alert_ids=("a2", "a1"))
        assert uow.notifications.supersede(newer) == 2
        add(newer)
        assert [get(f"n{number}").state.value for number in range(1, 8)] == [
            *["superseded"] * 2,
            "pending",
            "pending",
            "dead",
            *["pending"] * 2,
        ]
        assert "n7" in get("n1").error
        # An attempt that was going on: its failure changes nothing, that it has arrived is recorded.
        settle = uow.notifications.settle
        assert not settle(claimed, NotificationState.PENDING, later(2), error="busy", next_attempt_at=later(3))
        assert get("n2").state == NotificationState.SUPERSEDED
        assert settle(claimed, NotificationState.DELIVERED, later(2), next_attempt_at=later(3))
        assert (get("n2").state, get("n2").delivered_at) == (NotificationState.DELIVERED, later(2))


def test_repetitions_are_replaced(database: Any) -> None:
    delivered, repeated = NotificationState.DELIVERED, {"occasion": "repeated", "alert_ids": ("a1",)}
    with database.unit_of_work() as uow:
        add = uow.notifications.add
        add(a_notification("n1", AT, alert_ids=("a1",), state=delivered, delivered_at=later(1)))
        add(a_notification("n2", later(2), **repeated, state=delivered, delivered_at=later(2)))
        add(a_notification("n3", later(3), **repeated, state=NotificationState.SUPERSEDED))
        add(a_notification("n4", later(4), **repeated, state=delivered, delivered_at=later(4)))
        add(a_notification("n5", later(5), **repeated))
        add(a_notification("n6", later(6), **repeated, state=NotificationState.DEAD))
        add(a_notification("n7", later(3), occasion="repeated", alert_ids=("a1", "a9"), state=delivered, delivered_at=later(3)))
        add(a_notification("n8", later(3), **repeated, state=delivered, delivered_at=later(3), receiver="chat"))
        assert uow.notifications.replace_repeated(a_notification("n9", later(9), alert_ids=("a1", "a2"))) == 2
        assert [one.notification_id for one in uow.notifications.of_alert("a1")] == ["n1", "n7", "n8", "n4", "n5", "n6"]
        assert uow.notifications.last_delivered()["mail"] == later(4)
        gone = a_notification("n2", later(2), **repeated, attempts=1)
        assert not uow.notifications.settle(gone, delivered, later(10), next_attempt_at=later(10))


def test_one_claims(database: Any) -> None:
    row = a_notification("n1", AT)
    with database.unit_of_work() as uow:
        uow.notifications.add(row)
    together = threading.Barrier(4)

    def claim(number: int) -> bool:
        together.wait()
        with database.unit_of_work() as uow:
            return uow.notifications.claim(row, f"w{number}", later(60)) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(claim, range(4))) == [False] * 3 + [True]
    with database.unit_of_work() as uow:
        assert uow.notifications.due(later(59)) == []
        (lost,) = uow.notifications.due(later(60))
        assert (lost.attempts, lost.state) == (1, NotificationState.PENDING)
        again = uow.notifications.claim(lost, "w9", later(120))
        assert again is not None
        assert (again.attempts, again.claimed_by, again.next_attempt_at) == (2, "w9", later(120))


def test_a_failure_is_recorded_by_the_holder_of_the_claim_only(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.notifications.add(a_notification("n1", AT))
        first = uow.notifications.claim(uow.notifications.get("n1"), "w1", later(10))
        second = uow.notifications.claim(uow.notifications.get("n1"), "w2", later(20))
        settle = uow.notifications.settle
        assert not settle(first, NotificationState.DEAD, later(11), error="late", next_attempt_at=later(11))
        assert settle(second, NotificationState.PENDING, later(12), error="busy", next_attempt_at=later(30))
        known = uow.notifications.get("n1")
        assert (known.state, known.error, known.next_attempt_at, known.claimed_by) == (NotificationState.PENDING, "busy", later(30), None)
        # That it has arrived is true whoever says it.
        assert settle(first, NotificationState.DELIVERED, later(13), next_attempt_at=later(13))
        assert not settle(second, NotificationState.DELIVERED, later(14), next_attempt_at=later(14))
        known = uow.notifications.get("n1")
        assert (known.state, known.error, known.delivered_at) == (NotificationState.DELIVERED, None, later(13))
        assert uow.notifications.last_delivered() == {"mail": later(13)}


def test_a_new_holder_takes_over_what_another_left(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number in range(3):
            uow.notifications.add(a_notification(f"n{number}", AT))
        uow.notifications.claim(uow.notifications.get("n0"), "dead", later(60))
        uow.notifications.claim(uow.notifications.get("n1"), "me", later(60))
        assert uow.notifications.recover("me", later(1)) == 1
        assert [one.notification_id for one in uow.notifications.due(later(1))] == ["n0", "n2"]
        assert uow.notifications.recover("me", later(1)) == 0


def test_a_dead_letter_is_sent_again(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.notifications.add(a_notification("n1", AT, state=NotificationState.DEAD, attempts=7, error="no"))
        uow.notifications.add(a_notification("n2", later(1), receiver="chat"))
        assert uow.notifications.dead_letters() == {"mail": 1}
        again = uow.notifications.resend("n1", later(9))
        assert (again.state, again.attempts, again.next_attempt_at) == (NotificationState.PENDING, 0, later(9))
        with pytest.raises(Conflict):
            uow.notifications.resend("n1", later(9))
        with pytest.raises(NotFound):
            uow.notifications.resend("n3", later(9))
        assert uow.notifications.dead_letters() == {}
        newest = uow.notifications.newest
        assert [one.notification_id for one in newest()] == ["n2", "n1"]
        assert [one.notification_id for one in newest(receiver="mail")] == ["n1"]
        assert newest(state=NotificationState.DEAD) == []
        assert [one.notification_id for one in newest(limit=1)] == ["n2"]
