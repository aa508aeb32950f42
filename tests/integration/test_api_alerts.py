"""The alert routes: what is shown, who may change what, races and repetitions, silences, dead letters, tests of receivers."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alert_builders import CHAT, MAIL, RULE, a_notification, an_alert
from tests.alert_receivers import a_slack_sink
from tests.running_api import REASON, Api, running_api
from trajops import configs
from trajops.alerts.lifecycle import AlertState, Mark, Severity
from trajops.alerts.outbox import NotificationState
from trajops.alerts.rules import AlertRules, Delivery
from trajops.alerts.signals import Signal
from trajops.clock import SystemClock
from trajops.contracts.alerts import (
    AlertDetailOut,
    AlertOut,
    AlertRulesOut,
    AlertsOut,
    NotificationOut,
    NotificationsOut,
    ReceiversOut,
    SilenceOut,
    SilencesOut,
)
from trajops.contracts.status import StatusOut
from trajops.services.alert_rounds import AlertRounds
from workers.deliveries import Deliveries
from workers.notify import Senders

RULES = {
    "rules": [{**RULE, "runbook": "/docs/late", "labels": {"team": "x"}}, {**RULE, "name": "other", "signal": "other", "severity": "info"}],
    "receivers": [MAIL, CHAT, {"kind": "alertmanager", "name": "am"}],
    "routes": [{"match": ['team="x"'], "receivers": ["chat"]}],
    "grouping": {"wait_s": 0, "interval_s": 0},
}
ROOT = Path(__file__).parents[2]
READS = ["", "/rules", "/receivers", "/silences", "/notifications"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    folder = tmp_path / "configs"
    shutil.copytree(ROOT / "configs", folder)
    (folder / "alerts.yaml").write_text(yaml.safe_dump(RULES))
    with running_api(tmp_path / "var", configs_dir=folder) as api:
        yield api


def now() -> datetime:
    return datetime.now(UTC)


def rules_of(api: Api) -> AlertRules:
    return configs.load(api.parts.settings.configs_dir / "alerts.yaml", AlertRules)


def look(api: Api, *values: float) -> None:
    """What the workers do every two seconds."""
    signals = [Signal("job_late", value, now(), {"job": "prune"}, "The job prune is late.") for value in values]
    AlertRounds(api.parts.unit_of_work, rules_of(api), SystemClock()).run(signals)


def an_open_alert(api: Api, alert_id: str = "a1", **changes: Any) -> AlertOut:
    with api.parts.unit_of_work() as uow:
        uow.alerts.add(an_alert(alert_id, now(), **{"fingerprint": alert_id, **changes}))
    return AlertOut.of(an_alert(alert_id, now(), **changes))


def post(api: Api, path: str, role: str = "operator", **fields: Any) -> Any:
    key = fields.pop("key", None)
    return api.post(f"/v1/alerts{path}", {"reason": REASON, **fields}, role, **({} if key is None else {"Idempotency-Key": key}))


def change(api: Api, what: str, version: int, alert_id: str = "a1", **fields: Any) -> Any:
    return post(api, f"/{alert_id}/{what}", expected_version=version, **fields)


@pytest.mark.parametrize("path", READS)
def test_reading_needs_any_valid_client(api: Api, path: str) -> None:
    assert api.client.get(f"/v1/alerts{path}").status_code == 401
    assert api.get(f"/v1/alerts{path}").status_code == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/a1/acknowledge", {"expected_version": 1}),
        ("/a1/resolve", {"expected_version": 1}),
        ("/a1/assign", {"expected_version": 1, "assignee": "ada"}),
        ("/silences", {"matchers": [{"label": "rule", "value": "late"}], "ends_at": "2100-01-01T00:00:00Z"}),
        ("/silences/s1/expire", {}),
        ("/notifications/n1/resend", {}),
        ("/receivers/chat/test", {}),
    ],
)
def test_changes_need_an_operator_and_a_reason(api: Api, path: str, fields: dict[str, Any]) -> None:
    an_open_alert(api)
    answer = post(api, path, "viewer", **fields)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = post(api, path, **{**fields, "reason": "short"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.reason")
    with api.parts.unit_of_work(read_only=True) as uow:
        assert uow.alerts.get("a1").version == 1
        assert not [entry for entry in uow.audit.newest() if entry.action.startswith(("alert", "silence", "receiver"))]


def test_the_status_counts_what_is_open_and_loud(api: Api) -> None:
    def status() -> StatusOut:
        api.parts.cached.clear()
        return StatusOut.model_validate_json(api.get("/v1/status").content)

    an_open_alert(api, "a1", state=AlertState.ACKNOWLEDGED, severity=Severity.CRITICAL)
    an_open_alert(api, "a2", silence_id="s1", severity=Severity.CRITICAL)
    an_open_alert(api, "a3", state=AlertState.RESOLVED, resolved_at=now(), severity=Severity.CRITICAL)
    quiet = status()
    assert (quiet.open_alerts, quiet.verdict) == (0, "warn"), "no model is deployed"
    an_open_alert(api, "a4")
    an_open_alert(api, "a5", severity=Severity.CRITICAL)
    loud = status()
    assert (loud.open_alerts, loud.verdict) == (2, "bad")
    assert loud.sentence == "A critical alert is open, and 1 more: A job is late. The job prune is late."


def test_alerts_are_filtered_and_counted(api: Api) -> None:
    old = now() - timedelta(hours=2)
    an_open_alert(api, "a1", severity=Severity.CRITICAL)
    an_open_alert(api, "a2", rule="other", state=AlertState.ACKNOWLEDGED)
    an_open_alert(api, "a3", state=AlertState.RESOLVED, resolved_at=old)
    an_open_alert(api, "a4", state=AlertState.PENDING)

    def shown(**query: Any) -> list[str]:
        answer = AlertsOut.model_validate_json(api.get("/v1/alerts", **query).content)
        assert (answer.counts.open, answer.counts.acknowledged, answer.counts.pending) == (1, 1, 1)
        return [alert.alert_id for alert in answer.alerts]

    assert shown() == ["a1", "a2", "a3"]
    assert shown(state="active") == ["a1", "a2"]
    assert shown(state="pending") == ["a4"]
    assert shown(severity="warning", state="acknowledged") == ["a2"]
    assert shown(rule="other") == ["a2"]
    assert shown(since=(now() - timedelta(hours=1)).isoformat()) == ["a1", "a2"]
    assert shown(limit=1) == ["a1"]
    assert api.get("/v1/alerts", since="2026-01-01").status_code == 422
    assert api.get("/v1/alerts", state="bad").status_code == 422
    assert api.get("/v1/alerts/nothing").status_code == 404


def test_whether_the_rules_are_being_looked_at_is_said(api: Api) -> None:
    answer = AlertsOut.model_validate_json(api.get("/v1/alerts").content)
    assert (answer.evaluated_at, answer.is_evaluated, answer.alertmanager) == (None, False, None)
    for ago_s, is_evaluated in ((60, False), (1, True)):
        with api.parts.unit_of_work() as uow:
            uow.jobs.describe("evaluate_alerts", "Looks at the rules.", 2)
            run = uow.jobs.record_start("evaluate_alerts", "w", now() - timedelta(seconds=ago_s))
            uow.jobs.record_finish(run.run_id, now() - timedelta(seconds=ago_s), result={})
        assert AlertsOut.model_validate_json(api.get("/v1/alerts").content).is_evaluated is is_evaluated


def deliver(api: Api) -> None:
    """Send what is due, which is one message, to a sink."""
    with a_slack_sink() as slack:
        send = Senders(rules_of(api), "http://console", None, {"CHAT_URL": slack.url}).send
        Deliveries(api.parts.unit_of_work, send, Delivery(), SystemClock(), "w1").run()
        assert len(slack.received) == 1


def test_an_alert_is_acknowledged_assigned_and_resolved_and_tells_its_story(api: Api) -> None:
    look(api, 1)
    deliver(api)
    (alert,) = AlertsOut.model_validate_json(api.get("/v1/alerts", state="open").content).alerts
    name = alert.alert_id
    assigned = AlertOut.model_validate_json(change(api, "assign", 1, name, assignee="bob").content)
    assert (assigned.assigned_to, assigned.version, assigned.told) == ("bob", 2, ["chat"])
    acknowledged = AlertOut.model_validate_json(change(api, "acknowledge", 2, name).content)
    assert (acknowledged.state, acknowledged.acknowledged_by, acknowledged.version) == ("acknowledged", "key:operator key", 3)
    resolved = AlertOut.model_validate_json(change(api, "resolve", 3, name).content)
    assert (resolved.state, resolved.resolved_by) == ("resolved", "key:operator key")
    look(api)  # the end is told
    deliver(api)
    detail = AlertDetailOut.model_validate_json(api.get(f"/v1/alerts/{name}").content)
    assert [(event.kind, event.actor) for event in detail.events] == [
        ("fired", "rules"),
        ("notified", "delivery"),
        ("assigned", "key:operator key"),
        ("acknowledged", "key:operator key"),
        ("resolved", "key:operator key"),
        ("notified", "delivery"),
    ]
    assert detail.events[2].text == f"Assigned to bob: {REASON}"
    assert {detail.events[place].receiver for place in (1, 5)} == {"chat"}
    answer = change(api, "acknowledge", 4, name)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")


def test_who_has_seen_an_older_version_is_refused(api: Api) -> None:
    an_open_alert(api)
    assert change(api, "acknowledge", 1).status_code == 200
    answer = change(api, "resolve", 1)
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_version")
    assert change(api, "resolve", 2).status_code == 200


def test_the_same_request_under_one_key_is_done_once(api: Api) -> None:
    an_open_alert(api)
    first, second = (change(api, "acknowledge", 1, key="k1") for _ in range(2))
    assert first.json() == second.json()
    assert change(api, "resolve", 2, key="k1").json()["code"] == "conflict"
    with api.parts.unit_of_work(read_only=True) as uow:
        assert [entry.action for entry in uow.audit.newest(subject="alert/a1")] == ["alert.acknowledged"]


def test_of_many_at_once_one_wins(api: Api) -> None:
    an_open_alert(api)
    together, codes = threading.Barrier(4), []

    def acknowledge() -> None:
        together.wait()
        codes.append(change(api, "acknowledge", 1).status_code)

    threads = [threading.Thread(target=acknowledge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 409, 409, 409]


def test_a_look_does_not_make_what_people_have_seen_stale(api: Api) -> None:
    look(api, 1)
    (alert,) = AlertsOut.model_validate_json(api.get("/v1/alerts").content).alerts
    with api.parts.unit_of_work() as uow:
        old = uow.alerts.get(alert.alert_id)
        uow.alerts.save(replace(old, seen_at=now() - timedelta(days=1)), 1)
    look(api, 5)
    with api.parts.unit_of_work(read_only=True) as uow:
        assert uow.alerts.get(alert.alert_id).value == 5
    assert change(api, "acknowledge", alert.version, alert.alert_id).status_code == 200


# Silences


def silence(api: Api, **fields: Any) -> Any:
    body = {"matchers": [{"label": "rule", "value": "late"}], "ends_at": (now() + timedelta(hours=1)).isoformat()}
    return post(api, "/silences", **{**body, **fields})


def test_a_silence_holds_at_once_and_ends_at_once(api: Api) -> None:
    an_open_alert(api)
    made = SilenceOut.model_validate_json(silence(api).content)
    assert (made.state, made.alerts, made.created_by) == ("in_force", 1, "key:operator key")
    listed = AlertsOut.model_validate_json(api.get("/v1/alerts").content)
    assert (listed.alerts[0].is_silenced, listed.alerts[0].silence_id, listed.counts.silenced) == (True, made.silence_id, 1)
    look(api)
    ended = SilenceOut.model_validate_json(post(api, f"/silences/{made.silence_id}/expire").content)
    assert (ended.state, ended.alerts) == ("over", 0)
    detail = AlertDetailOut.model_validate_json(api.get("/v1/alerts/a1").content)
    assert not detail.alert.is_silenced
    assert [event.kind for event in detail.events][:2] == ["silenced", "unsilenced"]
    waiting = SilenceOut.model_validate_json(silence(api, starts_at=(now() + timedelta(minutes=5)).isoformat()).content)
    in_force = SilenceOut.model_validate_json(silence(api, matchers=[{"label": "rule", "operator": "=~", "value": "no.*"}]).content)
    listed_silences = SilencesOut.model_validate_json(api.get("/v1/alerts/silences").content).silences
    assert [(one.silence_id, one.alerts) for one in listed_silences] == [
        (in_force.silence_id, 0),
        (waiting.silence_id, 0),
        (made.silence_id, 0),
    ]
    assert post(api, "/silences/nothing/expire").status_code == 404


@pytest.mark.parametrize(
    "matcher",
    [
        {"label": "job", "value": ""},
        {"label": "jbo", "operator": "!=", "value": "prune"},
        {"label": "job", "operator": "=~", "value": ".*"},
        {"label": "job", "operator": "!~", "value": "prune"},
    ],
)
def test_a_silence_that_would_hold_for_all_alerts_without_a_label_is_refused(api: Api, matcher: dict[str, str]) -> None:
    an_open_alert(api)
    refused = silence(api, matchers=[matcher])
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "give one a value" in refused.json()["detail"]
    assert not SilencesOut.model_validate_json(api.get("/v1/alerts/silences").content).silences
    assert silence(api, matchers=[matcher, {"label": "rule", "operator": "!=", "value": "drift"}]).status_code == 200


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"matchers": []}, "body.matchers"),
        ({"matchers": [{"label": "1x", "value": ""}]}, "body.matchers.0.label"),
        ({"matchers": [{"label": "job", "operator": "=~", "value": "("}]}, "no regular expression"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "in the future"),
        ({"starts_at": "2101-01-01T00:00:00Z", "ends_at": "2100-01-01T00:00:00Z"}, "after starts_at"),
        ({"ends_at": "2100-01-01T00:00:00"}, "time zone"),
    ],
)
def test_a_silence_that_can_never_hold_is_refused(api: Api, fields: dict[str, Any], said: str) -> None:
    answer = silence(api, **fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert said in answer.json()["detail"]
    assert SilencesOut.model_validate_json(api.get("/v1/alerts/silences").content).silences == []


# Notifications and receivers


def test_a_dead_letter_is_seen_and_sent_again(api: Api) -> None:
    marks = {"chat": Mark(now(), AlertState.OPEN, Severity.WARNING)}
    an_open_alert(api, marks=marks)
    dead = a_notification(
        "n1", now(), receiver="chat", state=NotificationState.DEAD, attempts=3, error="Slack answered 404", alert_ids=("a1",)
    )
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("deliver_alerts", "Delivers.", 5)
        uow.notifications.add(dead)
    assert AlertsOut.model_validate_json(api.get("/v1/alerts").content).counts.dead_letters == 1
    (event,) = AlertDetailOut.model_validate_json(api.get("/v1/alerts/a1").content).events
    assert (event.kind, event.text) == ("undelivered", "chat could not be told: Slack answered 404; it was given up.")
    chat = next(one for one in ReceiversOut.model_validate_json(api.get("/v1/alerts/receivers").content).receivers if one.name == "chat")
    assert (chat.dead_letters, chat.last_error, chat.last_delivered_at) == (1, "Slack answered 404", None)
    again = NotificationOut.model_validate_json(post(api, "/notifications/n1/resend", key="k").content)
    assert (again.state, again.attempts) == ("pending", 0)
    assert post(api, "/notifications/n1/resend", key="k").status_code == 200
    assert post(api, "/notifications/n1/resend").json()["code"] == "conflict"
    assert post(api, "/notifications/n2/resend").status_code == 404
    with api.parts.unit_of_work() as uow:
        assert uow.jobs.take_request("deliver_alerts")  # at once, and not at the job's next turn
    listed = NotificationsOut.model_validate_json(api.get("/v1/alerts/notifications", state="pending", receiver="chat").content)
    assert [one.notification_id for one in listed.notifications] == ["n1"]
    assert NotificationsOut.model_validate_json(api.get("/v1/alerts/notifications", state="dead").content).notifications == []


def test_a_receiver_is_tested(api: Api) -> None:
    written = NotificationOut.model_validate_json(post(api, "/receivers/chat/test").content)
    assert (written.occasion, written.state) == ("test", "pending")
    with a_slack_sink() as slack:
        rules = rules_of(api)
        send = Senders(rules, "http://console", None, {"CHAT_URL": slack.url}).send
        Deliveries(api.parts.unit_of_work, send, Delivery(), SystemClock(), "w1").run()
        assert slack.ids == [written.notification_id]
    seen = NotificationOut.model_validate_json(api.get(f"/v1/alerts/notifications/{written.notification_id}").content)
    assert seen.state == "delivered"
    assert seen.delivered_at is not None
    answer = post(api, "/receivers/nobody/test")
    assert (answer.status_code, "mail, chat, am" in answer.json()["detail"]) == (404, True)


def test_receivers_and_rules_are_shown_without_secrets(api: Api) -> None:
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("evaluate_alerts", "Looks at the rules.", 2)
        run = uow.jobs.record_start("evaluate_alerts", "w", now())
        uow.jobs.record_finish(run.run_id, now(), result={"unset": ["CHAT_URL"]})
    receivers = ReceiversOut.model_validate_json(api.get("/v1/alerts/receivers").content).receivers
    assert [(one.name, one.target, one.is_ready) for one in receivers] == [
        ("mail", "ops@example.org by 127.0.0.1:587", True),
        ("chat", "the webhook in CHAT_URL", False),
        ("am", "nowhere", False),
    ]
    assert "CHAT_URL is not set" in receivers[1].detail
    look(api, 1)
    rules = AlertRulesOut.model_validate_json(api.get("/v1/alerts/rules").content)
    assert [(rule.name, rule.condition, rule.severity, rule.receivers, rule.active, rule.runbook) for rule in rules.rules] == [
        ("late", ">= 1", "warning", ["chat"], 1, "/docs/late"),
        ("other", ">= 1", "info", [], 0, None),
    ]
    assert rules.file.endswith("alerts.yaml")


def test_a_mistake_in_the_file_stops_only_what_needs_it(api: Api) -> None:
    an_open_alert(api)
    (api.parts.settings.configs_dir / "alerts.yaml").write_text("rules:\n  - name: A\n")
    answer = api.get("/v1/alerts/rules")
    assert (answer.status_code, answer.json()["code"]) == (503, "environment")
    assert "alerts.yaml:2: rules.0.name" in answer.json()["detail"]
    assert change(api, "acknowledge", 1).status_code == 200
    assert api.get("/v1/alerts").status_code == 200


def test_whatever_an_alertmanager_posts_can_be_shown(api: Api) -> None:
    def posted(fingerprint: str, **fields: Any) -> dict[str, Any]:
        return {
            "status": "firing",
            "labels": {"alertname": fingerprint},
            "startsAt": "2026-01-01T00:00:00Z",
            "fingerprint": fingerprint,
            **fields,
        }

    alerts = [
        posted(
            "a1", labels={"alertname": "half \ud800", "l\udc00": "v\ud800"}, annotations={"summary": "\ud83d", "description": "\ud83d\x00"}
        ),
        posted("a2", startsAt="0001-01-01T00:00:00Z"),
        posted("a3", startsAt="9999-12-31T23:59:59Z"),
        posted("a4", annotations={"summary": "ü🎉" * 100_000, "description": "x" * 1_000_000, "runbook_url": f"https://{'x' * 5000}"}),
        posted("a5", labels={"alertname": "x" * 1000, **{f"l{number}": "v" * 5000 for number in range(300)}}),
        posted("a6", generatorURL="https://x/|click <!channel>", annotations={"runbook_url": "https://x/\nfoo"}),
        posted("a7", labels={}),
    ]
    body = json.dumps({"version": "4", "status": "firing", "alerts": alerts})
    headers = {**api.headers["operator"], "Content-Type": "application/json"}
    taken = api.client.post("/v1/alerts/alertmanager", content=body, headers=headers)
    assert (taken.status_code, taken.json()["opened"]) == (200, 7)
    answer = api.get("/v1/alerts")
    assert answer.status_code == 200
    assert len(answer.content) < 300_000
    shown = {one.fingerprint: one for one in AlertsOut.model_validate_json(answer.content).alerts}
    half = shown["am-a1"]
    assert (half.title, half.labels, half.summary, half.detail) == ("half \ufffd", {"l\ufffd": "v\ufffd"}, "\ufffd", "\ufffd")
    assert all(now() - shown[one].started_at < timedelta(minutes=1) for one in ("am-a2", "am-a3"))
    assert (len(shown["am-a4"].summary), len(shown["am-a4"].detail), shown["am-a4"].runbook) == (2_000, 10_000, None)
    assert len(shown["am-a5"].labels) == 100
    assert (shown["am-a6"].link, shown["am-a6"].runbook) == (None, None)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/a1/acknowledge", {"expected_version": 1, "reason": "half a character \ud800"}),
        ("/a1/assign", {"expected_version": 1, "assignee": "a\ud800", "reason": REASON}),
        ("/silences", {"matchers": [{"label": "rule", "value": "\ud800"}], "ends_at": "2100-01-01T00:00:00Z", "reason": REASON}),
    ],
)
def test_half_characters_are_refused_with_a_sentence(api: Api, path: str, fields: dict[str, Any]) -> None:
    an_open_alert(api)
    headers = {**api.headers["operator"], "Content-Type": "application/json"}
    answer = api.client.post(f"/v1/alerts{path}", content=json.dumps(fields), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "unicode" in answer.json()["detail"]
