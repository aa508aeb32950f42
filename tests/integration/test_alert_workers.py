"""From a verdict to its receivers, through real worker processes: in time, at least once over a crash, once without one."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from tests.alert_builders import CHAT
from tests.alert_receivers import MailServer, SlackSink, a_mail_server, a_slack_sink, wait_for
from tests.alert_workers import a_worker, configure, logged, write_verdict
from trajops.alerts.outbox import NotificationState

PROMISED_S = 10.0

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found: str = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailServer]:
    with a_mail_server(tmp_path) as server:
        yield server


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with a_slack_sink() as sink:
        yield sink


def sent(database: Database) -> list[Any]:
    with database.unit_of_work(read_only=True) as uow:
        return uow.notifications.newest(limit=500)


def test_a_critical_alert_arrives_in_time_and_once_with_two_workers(
    tmp_path: Path, url: str, database: Database, mail: MailServer, slack: SlackSink
) -> None:
    configure(tmp_path, [mail.receiver(), CHAT])
    with a_worker(tmp_path, url, "w1.log", CHAT_URL=slack.url), a_worker(tmp_path, url, "w2.log", CHAT_URL=slack.url):
        began = write_verdict(database, "drift").timestamp()
        wait_for(lambda: mail.received and slack.received, "the alert")
        assert max(mail.times[0], slack.times[0]) - began < PROMISED_S
        assert mail.received[0]["Subject"] == "Critical: Traffic has drifted"
        # Its end is no emergency, and waits for the group's interval; until then nothing comes twice.
        write_verdict(database, "stable")
        wait_for(lambda: alerts(database) == ["resolved"], "the end")
        write_verdict(database, "drift")
        wait_for(lambda: len(mail.received) == 2 and len(slack.received) == 2, "the second alert")
    assert len({message["Message-ID"] for message in mail.received}) == len(mail.received)
    assert len(set(slack.ids)) == len(slack.ids)
    assert {(one.state, one.attempts) for one in sent(database)} == {(NotificationState.DELIVERED, 1)}
    for log in ("w1.log", "w2.log"):
        told = [line for line in logged(tmp_path, log) if line["log.level"] in {"warning", "error", "critical"}]
        assert [line for line in told if not line["message"].startswith("jobs that the product relies on are named in no")] == []


def alerts(database: Database) -> list[str]:
    with database.unit_of_work(read_only=True) as uow:
        return [alert.state.value for alert in uow.alerts.find()]


def test_who_is_killed_between_sending_and_recording_is_followed_by_somebody_who_sends_again(
    tmp_path: Path, url: str, database: Database, slack: SlackSink
) -> None:
    configure(tmp_path, [CHAT])
    with a_worker(tmp_path, url, "w1.log", CHAT_URL=slack.url) as first:

        def kill() -> None:
            slack.on_receive = lambda: None
            first.send_signal(signal.SIGKILL)
            first.wait()

        slack.on_receive = kill  # it has the notification, and the sender never hears of it
        write_verdict(database, "drift")
        wait_for(lambda: first.poll() is not None, "the kill")
        (row,) = sent(database)
        assert (row.state, row.attempts) == (NotificationState.PENDING, 1)
        began = time.time()
        with a_worker(tmp_path, url, "w2.log", CHAT_URL=slack.url):
            wait_for(lambda: sent(database)[0].state == NotificationState.DELIVERED, "the second delivery")
    assert slack.ids == [row.notification_id, row.notification_id]
    assert slack.times[1] - began < PROMISED_S


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_alert_of_a_worker_that_was_killed_before_it_sent_is_not_lost(
    tmp_path: Path, url: str, database: Database, mail: MailServer
) -> None:
    mail.stop()
    configure(tmp_path, [mail.receiver()])
    with a_worker(tmp_path, url, "w1.log") as first:
        write_verdict(database, "drift")
        wait_for(lambda: sent(database), "the notification")
        first.send_signal(signal.SIGKILL)
        first.wait()
    mail.start()
    with a_worker(tmp_path, url, "w2.log"):
        wait_for(lambda: mail.received, "the mail")
    assert len(mail.received) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_mistake_in_the_file_is_one_sentence_with_its_line(tmp_path: Path, database: Database, url: str) -> None:
    configs = configure(tmp_path, [])
    (configs / "alerts.yaml").write_text(
        "rules:\n  - name: a\n    title: A rule\n    signal: nothing\n    when: '> 1'\n    severity: info\n"
    )
    with pytest.raises(AssertionError), a_worker(tmp_path, url):
        pass
    last = logged(tmp_path)[-1]
    assert last["log.level"] == "critical"
    assert f"{configs / 'alerts.yaml'}:4: rules.0.signal: Value error, there is no signal 'nothing'" in last["message"]
