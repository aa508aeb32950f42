"""One look at the rules: what is written in one transaction, and that nothing is where nothing changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.alert_builders import some_rules
from trajops.alerts.lifecycle import AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.rules import AlertRules
from trajops.alerts.signals import Signal
from trajops.alerts.silences import Matcher, Silence
from trajops.clock import now
from trajops.contracts.alerts import AlertChangeIn, AlertOut
from trajops.errors import Conflict, Unavailable
from trajops.services.alert_rounds import AlertRounds
from trajops.services.alerts import Alerts

CRITICAL = some_rules({"severity": "critical", "summary": "The job {job} is late."})


class Watched(MemoryDatabase):
    """Counts the transactions that may write, and lets some fail at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.failures: list[Exception] = []

    @contextmanager
    def unit_of_work(self, *, read_only: bool = False) -> Iterator[Any]:
        with super().unit_of_work(read_only=read_only) as uow:
            yield uow
            if not read_only:
                self.writes += 1
                if self.failures:
                    raise self.failures.pop(0)


@pytest.fixture
def database() -> Watched:
    database = Watched()
    with database.unit_of_work() as uow:
        uow.jobs.describe("deliver_alerts", "Delivers notifications.", 5)
    database.writes = 0
    return database


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def look(database: Watched, clock: SetClock, value: float, rules: AlertRules = CRITICAL) -> dict[str, Any]:
    signal = Signal("job_late", value, now(clock), {"job": "prune"})
    return AlertRounds(database.unit_of_work, rules, clock).run([signal])


def everything(database: Watched) -> tuple[list[Any], list[Any], list[Any]]:
    with database.unit_of_work(read_only=True) as uow:
        return uow.alerts.find(), uow.notifications.newest(), uow.audit.newest()


def test_an_alert_its_audit_entry_and_its_notifications_are_one_transaction(database: Watched, clock: SetClock) -> None:
    database.failures = [Unavailable("the database is away")]
    with pytest.raises(Unavailable):
        look(database, clock, 1)
    assert everything(database) == ([], [], [])
    database.writes = 0
    done = look(database, clock, 1)
    assert database.writes == 1
    assert (done["steps"], done["notifications"], done["active"]) == ({"fired": 1}, 2, {"info": 0, "warning": 0, "critical": 1})
    (alert,), notifications, (entry,) = everything(database)
    assert (alert.state, set(alert.marks)) == (AlertState.OPEN, {"mail", "chat"})
    assert {one.receiver for one in notifications} == {"mail", "chat"}
    for one in notifications:
        assert (one.severity, one.title, one.group) == (Severity.CRITICAL, "Critical: A job is late", {"rule": "late"})
        assert AlertOut.model_validate(one.content[0]).summary == "The job prune is late."
    assert (entry.action, entry.subject, entry.actor) == ("alert.fired", alert.subject, "worker:evaluate_alerts")
    assert entry.reason == "The job prune is late."
    with database.unit_of_work() as uow:
        assert uow.jobs.take_request("deliver_alerts")


def test_a_look_that_meets_another_transaction_looks_again(database: Watched, clock: SetClock) -> None:
    database.failures = [Conflict("somebody was faster")] * 2
    assert look(database, clock, 1)["steps"] == {"fired": 1}
    assert len(everything(database)[0]) == 1
    clock.advance(1)
    database.failures = [Conflict("somebody was faster")] * 3
    with pytest.raises(Conflict):
        look(database, clock, 0)
    assert [one.state for one in everything(database)[0]] == [AlertState.OPEN]


def test_where_nothing_changes_nothing_is_written(database: Watched, clock: SetClock) -> None:
    look(database, clock, 0)
    assert database.writes == 0
    look(database, clock, 1)
    database.writes = 0
    for _ in range(5):
        clock.advance(2)
        look(database, clock, 1)
    assert database.writes == 0


def test_a_warning_is_told_after_the_wait_and_its_end_after_the_interval(database: Watched, clock: SetClock) -> None:
    rules = some_rules()
    assert look(database, clock, 1, rules)["notifications"] == 0
    clock.advance(10)
    assert look(database, clock, 1, rules)["notifications"] == 2
    clock.advance(5)
    assert look(database, clock, 0, rules) == {
        "steps": {"resolved": 1},
        "notifications": 0,
        "active": {"info": 0, "warning": 0, "critical": 0},
        "signals": 1,
    }
    clock.advance(55)
    assert look(database, clock, 0, rules)["notifications"] == 2
    clock.advance(1000)
    assert look(database, clock, 0, rules)["notifications"] == 0


def test_a_pending_alert_that_is_forgotten_leaves_no_trace(database: Watched, clock: SetClock) -> None:
    rules = some_rules({"for_s": 60})
    look(database, clock, 1, rules)
    with database.unit_of_work(read_only=True) as uow:
        assert [one.state for one in uow.alerts.unresolved()] == [AlertState.PENDING]
    look(database, clock, 0, rules)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.alerts.unresolved() == []
    assert everything(database) == ([], [], [])


def test_nobody_is_told_of_an_alert_that_opens_under_a_silence_until_it_is_over(database: Watched, clock: SetClock) -> None:
    at = now(clock)
    with database.unit_of_work() as uow:
        uow.silences.add(Silence("s1", (Matcher("job", "=", "prune"),), at, at + timedelta(seconds=100), at, "ada", "maintenance"))
    done = look(database, clock, 1)
    assert (done["steps"], done["notifications"]) == ({"fired": 1, "silenced": 1}, 0)
    clock.advance(100)
    done = look(database, clock, 1)
    assert (done["steps"]["unsilenced"], done["notifications"]) == (1, 2)
    assert [entry.action for entry in everything(database)[2]] == ["alert.unsilenced", "alert.fired", "alert.silenced"]


def test_one_who_acknowledged_at_the_same_time_is_not_overruled(database: Watched, clock: SetClock) -> None:
    look(database, clock, 1)
    (alert,), _, _ = everything(database)
    Alerts(database.unit_of_work, lambda: CRITICAL, clock).acknowledge(
        alert.alert_id, AlertChangeIn(expected_version=1, reason="I look after it"), actor="ada"
    )
    clock.advance(60)
    look(database, clock, 1)
    ((alert,), _, _) = everything(database)
    assert (alert.state, alert.acknowledged_by, alert.version) == (AlertState.ACKNOWLEDGED, "ada", 2)


def test_without_a_job_that_delivers_notifications_wait(clock: SetClock) -> None:
    database = Watched()
    assert look(database, clock, 1)["notifications"] == 2


def test_a_delivery_that_is_paused_is_not_asked_for(database: Watched, clock: SetClock) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.pause("deliver_alerts", at=now(clock), by="ada", reason="the mail server moves house")
    assert look(database, clock, 1)["notifications"] == 2
    with database.unit_of_work() as uow:
        assert not uow.jobs.take_request("deliver_alerts")


def outbox(database: Watched) -> list[Notification]:
    with database.unit_of_work(read_only=True) as uow:
        return sorted(uow.notifications.newest(receiver="mail"), key=lambda one: one.created_at)


def deliver(database: Watched, at: Any) -> None:
    with database.unit_of_work() as uow:
        for one in uow.notifications.due(at):
            claimed = uow.notifications.claim(one, "w1", at + timedelta(seconds=10))
            assert claimed is not None
            uow.notifications.settle(claimed, NotificationState.DELIVERED, at, next_attempt_at=at)


def test_an_end_supersedes_what_has_not_arrived(database: Watched, clock: SetClock) -> None:
    look(database, clock, 1)
    clock.advance(61)
    look(database, clock, 0)
    fired, ended = outbox(database)
    assert (fired.occasion, fired.state, ended.occasion, ended.state) == ("fired", "superseded", "resolved", "pending")
    assert fired.error is not None
    assert ended.notification_id in fired.error
    with database.unit_of_work(read_only=True) as uow:
        assert {one.occasion for one in uow.notifications.due(now(clock))} == {"resolved"}
    detail = Alerts(database.unit_of_work, lambda: CRITICAL, clock).detail(fired.alert_ids[0])
    assert any(event.text.startswith("mail was not told of this (fired): the newer notification") for event in detail.events)


def test_what_has_arrived_is_not_superseded(database: Watched, clock: SetClock) -> None:
    look(database, clock, 1)
    deliver(database, now(clock))
    clock.advance(61)
    look(database, clock, 0)
    assert [one.state.value for one in outbox(database)] == ["delivered", "pending"]


@pytest.mark.parametrize("is_away", [False, True])
def test_reposts_replace_one_another(database: Watched, clock: SetClock, is_away: bool) -> None:
    manager = {"kind": "alertmanager", "name": "mail", "url": "http://127.0.0.1:9", "repost_s": 60}
    rules = some_rules(receivers=[manager], routes=[{"receivers": ["mail"]}])
    for _ in range(30):
        look(database, clock, 1, rules)
        if not is_away:
            deliver(database, now(clock))
        clock.advance(60)
    rows = outbox(database)
    assert len(rows) <= 4
    assert rows[0].occasion == "fired"
    assert rows[-1].created_at == now(clock) - timedelta(seconds=60)
    assert sum(one.state == NotificationState.PENDING for one in rows) == (1 if is_away else 0)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.notifications.last_delivered() == ({} if is_away else {"mail": now(clock) - timedelta(seconds=60)})
