"""The outbox over real receivers: a mail server with TLS and an HTTP sink; receivers that are away, slow, or refuse."""

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from data.sql.repositories.notifications import SqlNotifications
from data.stubs import SetClock
from tests.alert_builders import CHAT, a_notification, an_alert, some_rules
from tests.alert_receivers import PASSWORD, MailServer, SlackSink, a_certificate, a_mail_server, a_slack_sink, a_tarpit, wait_for
from tests.conftest import free_port
from trajops.alerts.lifecycle import AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.rules import AlertRules, Delivery
from trajops.clock import SystemClock, now
from trajops.contracts.alerts import shown_alerts
from trajops.ports import Clock
from workers import deliveries as delivering
from workers.deliveries import Deliveries
from workers.notify import Senders, Undelivered

LINK = "https://console.example.org"
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAST = {"timeout_s": 1, "attempts": 3, "first_retry_s": 0.05, "longest_retry_s": 0.1}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield database
    # An attempt that was given up ends with the server that it hung on, and records what came of it.
    for thread in threading.enumerate():
        if thread.name.startswith("deliver-"):
            thread.join(20)
    database.close()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailServer]:
    with a_mail_server(tmp_path) as server:
        yield server


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with a_slack_sink() as sink:
        yield sink


def rules_for(*receivers: dict[str, Any], **delivery: Any) -> AlertRules:
    return some_rules(receivers=list(receivers), routes=[], delivery={**FAST, **delivery})


def senders_for(rules: AlertRules, **environment: str) -> Senders:
    return Senders(rules, LINK, None, environment)


def deliveries(database: Database, senders: Senders, *, holder: str = "w1", clock: Clock | None = None, **plan: Any) -> Deliveries:
    return Deliveries(database.unit_of_work, senders.send, Delivery(**{**FAST, **plan}), clock or SystemClock(), holder)


def put(database: Database, *rows: Notification) -> None:
    with database.unit_of_work() as uow:
        for row in rows:
            uow.notifications.add(row)


def known(database: Database, notification_id: str = "n1") -> Notification:
    with database.unit_of_work(read_only=True) as uow:
        return uow.notifications.get(notification_id)


def about(*alerts: Any) -> dict[str, Any]:
    return {"alert_ids": tuple(alert.alert_id for alert in alerts), "content": tuple(shown_alerts(list(alerts)))}


NASTY = an_alert(
    "a1",
    AT,
    severity=Severity.CRITICAL,
    title="Drift <!channel> & more",
    summary="Speed\r\nBcc: everybody@example.org <script>alert(1)</script>",
    labels={"column": "<b>speed</b>"},
    runbook="/docs/drift",
)


# Mail


def test_a_mail_says_everything_and_nothing_more(mail: MailServer) -> None:
    row = a_notification("n1", AT, title="Critical: Drift\r\nBcc: everybody@example.org", severity=Severity.CRITICAL, **about(NASTY))
    assert senders_for(rules_for(mail.receiver(to=["ops@example.org", "ada@example.org"]))).send(row, AT) is None
    (message,) = mail.received
    assert message["Subject"] == "Critical: Drift Bcc: everybody@example.org"
    assert message["Bcc"] is None
    assert message["Message-ID"] == "<n1@example.org>"
    assert message["To"] == "ops@example.org, ada@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    text, page = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert page is not None
    assert f"{LINK}/alerts?alert=a1" in text.get_content()
    assert f"{LINK}/docs/drift" in text.get_content()
    assert "notification n1" in text.get_content()
    assert "<script>" not in page.get_content()
    assert "&lt;script&gt;" in page.get_content()
    assert "&lt;b&gt;speed&lt;/b&gt;" in page.get_content()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # the server does not know that its socket is TLS already
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mail_with_a_password(tmp_path: Path, tls: str) -> None:
    with a_mail_server(tmp_path, tls, is_closed=True) as server:
        rules = rules_for(server.receiver(username="trajops", password_env="MAIL_PASSWORD"))
        senders_for(rules, MAIL_PASSWORD=PASSWORD).send(a_notification("n1", AT), AT)
        assert [message["Message-ID"] for message in server.received] == ["<n1@example.org>"]
        with pytest.raises(Undelivered, match="535") as caught:
            senders_for(rules, MAIL_PASSWORD="wrong").send(a_notification("n2", AT), AT)
        assert caught.value.is_permanent
        with pytest.raises(Undelivered, match="letters that the mail protocol") as caught:
            senders_for(rules, MAIL_PASSWORD="grün").send(a_notification("n2", AT), AT)
        assert caught.value.is_permanent
        with pytest.raises(Undelivered, match="MAIL_PASSWORD is not set") as caught:
            senders_for(rules).send(a_notification("n2", AT), AT)
        assert caught.value.is_permanent
        assert senders_for(rules).unset() == ["MAIL_PASSWORD"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_no_mail_leaves_over_a_connection_that_nobody_vouches_for(tmp_path: Path, tls: str) -> None:
    stranger, _ = a_certificate(tmp_path, "stranger")
    with a_mail_server(tmp_path, tls) as server:
        for ca_file in (str(stranger), None):
            with pytest.raises(Undelivered, match="CERTIFICATE_VERIFY_FAILED"):
                senders_for(rules_for(server.receiver(ca_file=ca_file))).send(a_notification("n1", AT), AT)
        assert server.received == []


def test_no_mail_leaves_to_a_server_without_tls(tmp_path: Path) -> None:
    with a_mail_server(tmp_path, "none") as server, pytest.raises(Undelivered, match="STARTTLS"):
        senders_for(rules_for(server.receiver(tls="starttls"))).send(a_notification("n1", AT), AT)
    assert server.received == []


def test_a_recipient_that_is_refused_does_not_hold_up_the_others(mail: MailServer) -> None:
    mail.refused.add("gone@example.org")
    senders = senders_for(rules_for(mail.receiver(to=["ops@example.org", "gone@example.org"])))
    assert senders.send(a_notification("n1", AT), AT) == "not taken for gone@example.org"
    mail.refused.add("ops@example.org")
    with pytest.raises(Undelivered, match="550") as caught:
        senders.send(a_notification("n1", AT), AT)
    assert caught.value.is_permanent


# Slack


def test_a_slack_message_is_escaped_and_short_enough(slack: SlackSink) -> None:
    many = [an_alert(f"a{number}", AT, summary="x" * 10_000) for number in range(60)]
    senders = senders_for(rules_for(CHAT), CHAT_URL=slack.url)
    senders.send(a_notification("n1", AT, receiver="chat", **about(NASTY, *many)), AT)
    (body,) = slack.received
    assert len(body["blocks"]) <= 50
    assert all(len(block.get("text", {}).get("text", "")) <= 3000 for block in body["blocks"])
    alert = body["blocks"][1]["text"]["text"]
    assert "<!channel>" not in alert
    assert "&lt;!channel&gt; &amp; more" in alert
    assert f"<{LINK}/alerts?alert=a1|Open in the console>" in alert
    assert "And 41 more" in body["blocks"][-2]["text"]["text"]
    assert slack.ids == ["n1"]


@pytest.mark.parametrize(
    ("status", "fields", "is_permanent", "retry_after_s"),
    [
        (400, {}, True, None),
        (404, {}, True, None),
        (500, {}, False, None),
        (429, {"Retry-After": "7"}, False, 7.0),
        (503, {"Retry-After": "Thu, 01 Jan 2026 12:01:30 GMT"}, False, 90.0),
        (503, {"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, False, 0.0),
        (503, {"Retry-After": "soon"}, False, None),
    ],
)
def test_what_slack_answers(slack: SlackSink, status: int, fields: dict[str, str], is_permanent: bool, retry_after_s: float | None) -> None:
    slack.answers.append((status, fields))
    with pytest.raises(Undelivered, match=str(status)) as caught:
        senders_for(rules_for(CHAT), CHAT_URL=slack.url).send(a_notification("n1", AT, receiver="chat"), AT)
    assert (caught.value.is_permanent, caught.value.retry_after_s) == (is_permanent, retry_after_s)
    assert slack.answers == []  # one attempt is one post


@pytest.mark.parametrize(
    "secret",
    ["", "hunter2", "ftp://x/y", "http://127.0.0.1:bad/secret", "https://127.0.0.1/services/T0/B0/S3CRET # alerts", "http://a..b/S3CRET"],
)
def test_a_secret_that_is_no_address_is_a_dead_letter_and_is_not_said(secret: str) -> None:
    with pytest.raises(Undelivered, match="CHAT_URL") as caught:
        senders_for(rules_for(CHAT), CHAT_URL=secret).send(a_notification("n1", AT, receiver="chat"), AT)
    assert caught.value.is_permanent
    assert not secret or secret not in caught.value.message
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value))


def test_a_redirect_of_slack_is_no_delivery(slack: SlackSink) -> None:
    slack.answers.append((302, {"Location": "/login"}))
    with pytest.raises(Undelivered, match="302") as caught:
        senders_for(rules_for(CHAT), CHAT_URL=slack.url).send(a_notification("n1", AT, receiver="chat"), AT)
    assert caught.value.is_permanent
    assert slack.visits == []


def test_only_slack_says_ok(slack: SlackSink) -> None:
    slack.body = b"<html>Sign in</html>"
    with pytest.raises(Undelivered, match="Sign in") as caught:
        senders_for(rules_for(CHAT), CHAT_URL=slack.url).send(a_notification("n1", AT, receiver="chat"), AT)
    assert not caught.value.is_permanent


def test_the_short_text_of_a_slack_message_is_escaped(slack: SlackSink) -> None:
    row = a_notification("n1", AT, receiver="chat", title="Critical: <!channel> & more")
    senders_for(rules_for(CHAT), CHAT_URL=slack.url).send(row, AT)
    assert slack.received[0]["text"] == "Critical: &lt;!channel&gt; &amp; more"


# The outbox


def test_each_receiver_gets_its_notification_once(database: Database, mail: MailServer, slack: SlackSink) -> None:
    put(database, a_notification("n1", AT), a_notification("n2", AT, receiver="chat"), a_notification("n3", AT, receiver="chat"))
    senders = senders_for(rules_for(mail.receiver(), CHAT), CHAT_URL=slack.url)
    assert deliveries(database, senders).run() == {"delivered": 3}
    assert deliveries(database, senders).run() == {}
    assert ([message["Message-ID"] for message in mail.received], slack.ids) == (["<n1@example.org>"], ["n2", "n3"])
    assert {known(database, one).state for one in ("n1", "n2", "n3")} == {NotificationState.DELIVERED}


def test_several_who_deliver_at_once_send_nothing_twice(database: Database, slack: SlackSink) -> None:
    names = [f"n{number:02}" for number in range(30)]
    put(database, *(a_notification(name, AT, receiver="chat") for name in names))
    senders = senders_for(rules_for(CHAT), CHAT_URL=slack.url)
    # One holder: under the lease of the job, a second one begins only where the first is dead.
    threads = [threading.Thread(target=deliveries(database, senders).run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slack.ids) == names


def test_a_mail_server_that_is_away_gets_its_mail_when_it_is_back(database: Database, mail: MailServer) -> None:
    mail.stop()
    put(database, a_notification("n1", AT))
    senders = senders_for(rules_for(mail.receiver()))
    worker = deliveries(database, senders, attempts=1000)
    assert set(worker.run()) == {"failed"}, "as often as it falls due meanwhile"
    assert known(database).error is not None
    mail.start()
    wait_for(lambda: worker.run() and mail.received, "the mail")
    row = known(database)
    assert (row.state, row.error) == (NotificationState.DELIVERED, None)
    assert row.attempts >= 2


def test_a_5xx_is_a_dead_letter_that_can_be_sent_again(database: Database, mail: MailServer) -> None:
    mail.answers = ["554 5.7.1 not from you", "451 4.3.0 later"]
    put(database, a_notification("n1", AT))
    worker = deliveries(database, senders_for(rules_for(mail.receiver())))
    assert worker.run() == {"dead": 1}
    row = known(database)
    assert (row.state, row.attempts) == (NotificationState.DEAD, 1)
    assert row.error == "the mail server answered 554: 5.7.1 not from you"
    assert worker.run() == {}
    with database.unit_of_work() as uow:
        uow.notifications.resend("n1", datetime.now(UTC))
    assert worker.run() == {"failed": 1}  # a 4xx is not final
    wait_for(lambda: worker.run() and mail.received, "the mail")
    assert known(database).state == NotificationState.DELIVERED


def test_who_fails_too_often_is_given_up(database: Database) -> None:
    clock = SetClock()
    put(database, a_notification("n1", now(clock), receiver="chat"))
    senders = senders_for(rules_for(CHAT), CHAT_URL=f"http://127.0.0.1:{free_port()}/x")
    worker = deliveries(database, senders, clock=clock, attempts=3, first_retry_s=10, longest_retry_s=15)
    pauses_s = []
    for _ in range(2):
        assert worker.run() == {"failed": 1}
        pauses_s.append((known(database).next_attempt_at - now(clock)).total_seconds())
        clock.advance(pauses_s[-1] - 0.001)
        assert worker.run() == {}
        clock.advance(0.001)
    assert 7.5 <= pauses_s[0] <= 10
    assert 11.25 <= pauses_s[1] <= 15
    assert worker.run() == {"dead": 1}


def test_a_receiver_that_asks_for_a_pause_gets_it(database: Database, slack: SlackSink) -> None:
    clock = SetClock()
    put(database, a_notification("n1", now(clock), receiver="chat"))
    slack.answers.append((429, {"Retry-After": "60"}))
    deliveries(database, senders_for(rules_for(CHAT), CHAT_URL=slack.url), clock=clock, longest_retry_s=300).run()
    assert (known(database).next_attempt_at - now(clock)).total_seconds() == 60


def test_what_a_dead_process_had_begun_is_sent_at_once(database: Database, slack: SlackSink) -> None:
    put(database, a_notification("n1", AT, receiver="chat"))
    with database.unit_of_work() as uow:
        uow.notifications.claim(uow.notifications.get("n1"), "dead", datetime.now(UTC) + timedelta(seconds=100))
    senders = senders_for(rules_for(CHAT), CHAT_URL=slack.url)
    with database.unit_of_work() as uow:
        assert uow.notifications.due(datetime.now(UTC)) == []
    assert deliveries(database, senders, holder="alive").run() == {"delivered": 1, "taken_over": 1}
    assert slack.ids == ["n1"]


def test_a_server_that_hangs_holds_up_nobody_else(database: Database, mail: MailServer, slack: SlackSink) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        receiver = mail.receiver(name="hangs", port=silent.getsockname()[1])
        senders = senders_for(rules_for(receiver, CHAT, timeout_s=3), CHAT_URL=slack.url)
        put(database, a_notification("n1", AT, receiver="hangs"))
        worker = deliveries(database, senders)
        thread = threading.Thread(target=worker.run)
        began = time.monotonic()
        thread.start()
        wait_for(lambda: known(database).claimed_by, "the attempt that hangs")
        put(database, a_notification("n2", AT, receiver="chat"))
        wait_for(lambda: slack.ids, "the other notification")
        assert time.monotonic() - began < 3
        assert known(database).claimed_by is not None
        worker.stop()
        thread.join()
    assert known(database).state == NotificationState.PENDING


def test_a_server_that_always_says_a_little_more_holds_up_nobody_else(
    database: Database, mail: MailServer, slack: SlackSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "LONGEST_S", 0.2)
    with a_tarpit() as port:
        senders = senders_for(rules_for(mail.receiver(name="hangs", port=port), CHAT), CHAT_URL=slack.url)
        worker = deliveries(database, senders, attempt_s=2, attempts=9, first_retry_s=300, longest_retry_s=300)
        put(database, a_notification("n1", AT, receiver="hangs"))
        ended: list[Any] = []
        thread = threading.Thread(target=lambda: ended.append(worker.run()), daemon=True)
        began = time.monotonic()
        thread.start()
        wait_for(lambda: known(database).claimed_by and time.monotonic() - began > 0.5, "the time when a run takes on no more")
        put(database, a_notification("n2", AT, receiver="chat", severity=Severity.CRITICAL))
        wait_for(lambda: slack.ids, "the critical notification", 10)
        assert known(database).claimed_by is not None
        thread.join(15)
        assert ended == [{"delivered": 1, "failed": 1}]
        row = known(database)
        assert (row.state, row.attempts, row.claimed_by) == (NotificationState.PENDING, 1, None)
        assert row.error == "there was no end of it within 2 s, so it was given up"


def test_a_slow_receiver_does_not_make_delivery_late(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "PROGRESS_S", 0.1)
    is_over, clock = threading.Event(), SetClock()

    def is_slow(_sent: Notification, _at: datetime) -> None:
        is_over.wait(60)

    def is_late() -> bool:
        with database.unit_of_work(read_only=True) as uow:
            return uow.jobs.overview(now(clock))[0].is_late

    with database.unit_of_work() as uow:
        uow.jobs.describe("deliver_alerts", "Delivers notifications.", 2)
        run = uow.jobs.record_start("deliver_alerts", "w1", now(clock))
        uow.jobs.record_finish(run.run_id, now(clock))
    clock.advance(60)
    assert is_late()
    put(database, a_notification("n1", now(clock)))
    thread = threading.Thread(target=Deliveries(database.unit_of_work, is_slow, Delivery(**FAST), clock, "w1").run)
    thread.start()
    wait_for(lambda: not is_late(), "a sign of life")
    is_over.set()
    thread.join()
    assert known(database).state == NotificationState.DELIVERED


def test_attempts_that_hang_do_not_pile_up(database: Database) -> None:
    is_over, begun = threading.Event(), []

    def hang(sent: Notification, _at: datetime) -> str | None:
        begun.append(sent.attempts)
        is_over.wait(60)
        return None

    plan, seen = Delivery(**{**FAST, "attempts": 6, "attempt_s": 0.1}), list[str]()
    worker = Deliveries(database.unit_of_work, hang, plan, SystemClock(), "w1", lambda _receiver, outcome: seen.append(outcome))
    put(database, a_notification("n1", AT))
    wait_for(lambda: worker.run() and known(database).state == NotificationState.DEAD, "the end of all attempts")
    assert begun == [1, 2, 3]
    assert known(database).error == "3 earlier attempts still hang, so it was not tried again"
    is_over.set()
    wait_for(lambda: known(database).state == NotificationState.DELIVERED and len(seen) == 7, "what has arrived after all")
    assert seen == [*["failed"] * 5, "dead", "delivered"]


def test_an_answer_that_cannot_be_stored_is_a_failed_attempt(database: Database, slack: SlackSink) -> None:
    slack.answers, slack.body = [(500, {})] * 3, b"oops\0\x1b[31m"
    put(database, a_notification("n1", AT, receiver="chat"))
    worker = deliveries(database, senders_for(rules_for(CHAT), CHAT_URL=slack.url))
    wait_for(lambda: worker.run().get("dead"), "the dead letter")
    row = known(database)
    assert (row.state, row.attempts, row.error) == (NotificationState.DEAD, 3, "Slack answered 500: oops  [31m")


def test_who_cannot_record_an_end_goes_on(database: Database, slack: SlackSink, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = SqlNotifications.settle

    def fails(store: SqlNotifications, notification: Notification, *given: Any, **more: Any) -> bool:
        if notification.notification_id == "n1":
            raise ZeroDivisionError("by zero")
        return settle(store, notification, *given, **more)

    monkeypatch.setattr(SqlNotifications, "settle", fails)
    put(database, a_notification("n1", AT, receiver="chat"), a_notification("n2", AT + timedelta(seconds=1), receiver="chat"))
    assert deliveries(database, senders_for(rules_for(CHAT), CHAT_URL=slack.url)).run() == {"delivered": 2}
    assert slack.ids == ["n1", "n2"]
    assert (known(database, "n1").state, known(database, "n2").state) == (NotificationState.PENDING, NotificationState.DELIVERED)


def test_nobody_hears_of_the_end_first(database: Database, mail: MailServer) -> None:
    mail.answers = ["451 4.3.0 later"]
    put(database, a_notification("n1", AT, alert_ids=("a1", "a2")))
    worker = deliveries(database, senders_for(rules_for(mail.receiver())), first_retry_s=0.5, longest_retry_s=0.5)
    assert worker.run() == {"failed": 1}
    put(database, a_notification("n2", AT + timedelta(seconds=1), alert_ids=("a1",), occasion="resolved", severity=Severity.CRITICAL))
    wait_for(lambda: worker.run() and len(mail.received) == 2, "both mails")
    assert [message["Message-ID"] for message in mail.received] == ["<n1@example.org>", "<n2@example.org>"]


def test_a_fault_of_ours_is_a_failed_attempt(database: Database) -> None:
    def breaks(_sent: Notification, _at: datetime) -> str | None:
        raise ZeroDivisionError("by zero")

    put(database, a_notification("n1", AT))
    assert Deliveries(database.unit_of_work, breaks, Delivery(**FAST), SystemClock(), "w1").run() == {"failed": 1}
    assert known(database).error == "ZeroDivisionError: by zero"


def test_a_receiver_that_was_taken_out_of_the_file(database: Database) -> None:
    put(database, a_notification("n1", AT))
    assert deliveries(database, senders_for(rules_for(CHAT))).run() == {"dead": 1}


def test_a_test_says_that_it_is_one(mail: MailServer, slack: SlackSink) -> None:
    senders = senders_for(rules_for(mail.receiver(), CHAT), CHAT_URL=slack.url)
    for receiver in ("mail", "chat"):
        senders.send(a_notification(receiver, AT, receiver=receiver, occasion="test", title="Test by ada"), AT)
    body = mail.received[0].get_body(("plain",))
    assert body is not None
    assert "This is a test" in body.get_content()
    assert "This is a test" in str(slack.received[0]["blocks"])


def test_an_end_is_told_as_one(mail: MailServer) -> None:
    over = an_alert("a1", AT, state=AlertState.RESOLVED, resolved_at=AT)
    senders_for(rules_for(mail.receiver())).send(a_notification("n1", AT, title="Resolved: x", **about(over)), AT)
    body = mail.received[0].get_body(("plain",))
    assert body is not None
    assert "resolved - A job is late" in body.get_content()
