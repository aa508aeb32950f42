"""What the Audit page says of an entry: differences in words, what it is about, rows for a spreadsheet."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from console.audit.words import AuditFilter, as_csv, changes, page_words, places, shown_day
from trajops.contracts.audit import AuditOut

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def entry(action: str = "job.pause", subject: str = "prune", **fields: Any) -> AuditOut:
    body = {
        "audit_id": "e1",
        "at": AT,
        "actor": "ada",
        "action": action,
        "subject": subject,
        "reason": "because",
        "before": {},
        "after": {},
    }
    return AuditOut.model_validate(body | fields)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("b", "2", "3")]),
        ({"route": {"champion": ["m", 1]}}, {"route": {"champion": ["m", 2]}}, [("route › champion", "m v1", "m v2")]),
        ({}, {"role": "viewer"}, [("role", "–", "viewer")]),
        ({"is_disabled": False}, {"is_disabled": True}, [("is disabled", "no", "yes")]),
        ({"coverage": 0.1}, {"coverage": 0.25}, [("coverage", "10.0 %", "25.0 %")]),
        ({"threshold_m": 2.0}, {"threshold_m": 2.5}, [("threshold", "2.00 m", "2.50 m")]),
        ({"speed_mps": 1.5}, {"speed_mps": 2}, [("speed", "1.5 m/s", "2 m/s")]),
        ({"wait_s": 90}, {"wait_s": 7200}, [("wait", "90 s", "2 h")]),
        ({"ended_at": None}, {"ended_at": "2026-11-30T12:00:00+00:00"}, [("ended", "–", "2026-11-30 12:00 UTC")]),
        ({"scopes": ["a"]}, {"scopes": ["a", "b"]}, [("scopes", "a", "a, b")]),
        ({"arms": [{"n": 1}, {"n": 2}]}, {"arms": [{"n": 1}, {"n": 3}]}, [("arms › 2 › n", "2", "3")]),
        ({"gone": None}, {}, []),
        ({"text": ""}, {"text": "x" * 300}, [("text", "–", "x" * 199 + "…")]),
        ({"rows": 4120}, {"rows": 4121}, [("rows", "4\u202f120", "4\u202f121")]),
    ],
    ids=str,
)
def test_only_what_is_different_is_said(before: dict[str, Any], after: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert [tuple(one) for one in changes(entry(before=before, after=after))] == expected


@pytest.mark.parametrize(
    ("action", "subject", "views"),
    [
        ("experiment.launch", "experiment/x1", [("views/ab_tests.py", {"experiment": "x1"})]),
        ("alert.fired", "alert/a1", [("views/alerts.py", {"alert": "a1"})]),
        ("answer.began", "alert/a1", [("views/alerts.py", {"alert": "a1"})]),
        ("silence.create", "silence/s1", [("views/alerts.py", {"section": "Silences"})]),
        ("job.pause", "prune", [("views/services.py", {"job": "prune"})]),
        ("deployment.promote", "trajectory/3", [("views/models.py", {})]),
        ("rollout.pause", "rollout/r1", [("views/models.py", {})]),
        ("calibration.apply", "trajectory/3", [("views/performance.py", {})]),
        ("drift.muted", "speed_mps", [("views/drift.py", {})]),
        ("user.create", "bob", [("views/admin.py", {"section": "Users"})]),
        ("api_key.revoke", "key:robot", [("views/admin.py", {"section": "API keys"})]),
        ("something.new", "thing", []),
    ],
)
def test_an_entry_leads_to_what_it_is_about(action: str, subject: str, views: list[tuple[str, dict[str, str]]]) -> None:
    assert [(place.view, dict(place.query)) for place in places(entry(action, subject))] == views


def test_a_release_leads_to_the_experiments_that_it_changed_too() -> None:
    found = places(entry("deployment.promote", "trajectory/3", after={"experiments": {"x1": "stopped"}}))
    assert [place.view for place in found] == ["views/ab_tests.py", "views/models.py"]


def test_a_spreadsheet_takes_no_text_for_a_formula() -> None:
    rows = as_csv([entry(reason='=HYPERLINK("http://x")', after={"n": 1})]).splitlines()
    assert rows[0] == "at_utc,actor,action,subject,reason,changes,audit_id"
    assert rows[1] == '2026-11-30T12:00:00.000+00:00,ada,job.pause,prune,"\'=HYPERLINK(""http://x"")",n: – → 1,e1'


def test_days_are_whole_and_both_are_included() -> None:
    chosen = AuditFilter(span="Between days", first=date(2026, 11, 1), last=date(2026, 11, 2))
    assert chosen.bounds(AT) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))
    assert AuditFilter(span="Last 24 h").bounds(AT) == (datetime(2026, 11, 29, 12, tzinfo=UTC), None)
    assert AuditFilter().bounds(AT) == (None, None)
    assert [shown_day(text) for text in ("2026-11-01", "tomorrow", "", None)] == [date(2026, 11, 1), None, None, None]


def test_a_page_says_whether_older_entries_follow() -> None:
    assert page_words([entry()], is_filtered=False, has_more=True).endswith("older ones follow")
    assert page_words([entry()], is_filtered=True, has_more=False).startswith("1 entry of those that pass the filters")
