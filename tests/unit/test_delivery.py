"""What is said of receivers, messages and rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.alerts.delivery import (
    attempt_sentence,
    kind_words,
    notification_mark,
    notification_rows,
    occasion_words,
    receiver_mark,
    receiver_sentence,
    rule_rows,
)
from trajops.alerts.outbox import NotificationState
from trajops.contracts.alerts import AlertRuleOut, NotificationOut, ReceiverOut

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
ERROR = "HTTP 500."


def receiver(**given: Any) -> ReceiverOut:
    values = {"kind": "slack", "target": "#ops", "is_ready": True, "detail": "", "last_delivered_at": None, "last_error": None}
    return ReceiverOut(**{"name": "slack", "dead_letters": 0, **values, **given})


def message(state: str = "pending", **given: Any) -> NotificationOut:
    values: dict[str, Any] = {"receiver": "slack", "occasion": "fired", "severity": "critical", "title": "Drift", "group": {}}
    times = {"created_at": NOW, "next_attempt_at": NOW, "delivered_at": None, "error": None}
    return NotificationOut.model_validate(
        {"notification_id": "n", "alert_ids": ["a"], "attempts": 0, "state": state, **values, **times, **given}
    )


@pytest.mark.parametrize(
    ("given", "word", "sentence"),
    [
        ({}, "Not tried yet", "Nothing has arrived yet."),
        ({"last_delivered_at": NOW - timedelta(minutes=5)}, "Ready", "The last message arrived 5 min ago."),
        (
            {"last_delivered_at": NOW - timedelta(minutes=5), "last_error": ERROR, "dead_letters": 2},
            "Does not arrive",
            "The last message arrived 5 min ago. The newest has not: HTTP 500. 2 messages were given up.",
        ),
        ({"dead_letters": 1}, "Does not arrive", "Nothing has arrived yet. 1 message was given up."),
        ({"is_ready": False, "detail": "Set TRAJOPS_SLACK_URL."}, "Not set up", "Set TRAJOPS_SLACK_URL."),
    ],
)
def test_receiver_is_ready_or_what_is_wrong(given: dict[str, Any], word: str, sentence: str) -> None:
    assert receiver_mark(receiver(**given)).word == word
    assert receiver_sentence(receiver(**given), NOW) == sentence


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "waits to be sent"),
        ({"attempts": 1, "error": ERROR, "next_attempt_at": NOW + timedelta(seconds=8)}, "tried again in 8 s, after 1 try: HTTP 500"),
        ({"attempts": 3, "error": ERROR}, "being tried again: HTTP 500"),
        ({"state": "delivered", "attempts": 1, "delivered_at": NOW - timedelta(seconds=3)}, "3 s ago"),
        ({"state": "dead", "attempts": 20, "error": ERROR}, "given up after 20 tries: HTTP 500"),
        ({"state": "superseded", "attempts": 2, "error": "a newer one was written"}, "not sent: a newer one was written"),
    ],
)
def test_what_became_of_a_message(given: dict[str, Any], expected: str) -> None:
    assert attempt_sentence(message(**given), NOW) == expected


def test_rows_of_messages_are_words_and_figures() -> None:
    [row] = notification_rows([message("dead", attempts=20, error=ERROR, occasion="escalated")])
    assert (row["State"], row["Because"], row["Tries"], row["Arrived (UTC)"]) == ("✕ Dead letter", "nobody had acknowledged it", 20, None)
    assert row["Written (UTC)"].tzinfo is None


@pytest.mark.parametrize("state", list(NotificationState))
def test_every_state_of_a_message_has_a_mark(state: str) -> None:
    assert notification_mark(state).tone != "unknown"


def test_every_occasion_and_kind_has_words() -> None:
    for occasion in NotificationOut.model_fields["occasion"].annotation.__args__:
        assert occasion_words(occasion) != occasion
    for kind in ReceiverOut.model_fields["kind"].annotation.__args__:
        assert kind_words(kind) != kind


def test_rules_say_when_they_fire_and_whom_they_tell() -> None:
    given = {"name": "late", "title": "A job is late", "signal": "job_late", "condition": ">= 1", "severity": "warning", "active": 2}
    rules = [
        AlertRuleOut(**given, for_s=60, resolve_after_s=0, receivers=["mail", "slack"], runbook="https://docs.example/late"),
        AlertRuleOut(**given, for_s=0, resolve_after_s=300, receivers=[], runbook="/runbook#late"),
        AlertRuleOut(**given, for_s=0, resolve_after_s=300, receivers=[], runbook="docs/late.md"),
    ]
    one, other, third = rule_rows(rules)
    assert (one["Fires where"], one["For"], one["Ends after"], one["Tells"]) == ("job_late >= 1", "60 s", "at once", "mail, slack")
    assert (other["For"], other["Ends after"], other["Tells"]) == ("at once", "5 min", "nobody")
    assert [row["What to do"] for row in (one, other, third)] == ["https://docs.example/late", "/runbook#late", None]
