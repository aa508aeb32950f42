"""The audit over HTTP: pages to the oldest entry, filters, one entry."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.running_api import Api, problem, running_api
from trajops.contracts.audit import AuditOut, AuditPage

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        note(api, 0, "ada", "experiment.create", "experiment/1", "to see whether it is better")
        note(api, 1, "ben", "experiment.launch", "experiment/1", "now is a good time")
        note(api, 2, "ada", "job.pause", "prune", "the disk is being copied")
        yield api


def note(api: Api, hour: int, actor: str, action: str, subject: str, reason: str) -> None:
    with api.parts.unit_of_work() as uow:
        at = AT + timedelta(hours=hour)
        uow.audit.append(at=at, actor=actor, action=action, subject=subject, reason=reason, before={"n": 1}, after={"n": 2})


def page(api: Api, **query: Any) -> AuditPage:
    answer = api.get("/v1/audit", **query)
    assert answer.status_code == 200, answer.text
    return AuditPage.model_validate_json(answer.content)


def test_the_last_page_ends_with_the_oldest_entry(api: Api) -> None:
    seen, cursor = [], None
    while True:
        found = page(api, limit=2, **({} if cursor is None else {"cursor": cursor}))
        seen += [entry.action for entry in found.entries]
        note(api, 24 * 365 * 9, "eve", "new", "s", "written meanwhile")
        if found.next_cursor is None:
            break
        cursor = found.next_cursor
    assert seen == ["api_key.create"] * 3 + ["job.pause", "experiment.launch", "experiment.create"]
    assert page(api, limit=3, until=(AT + timedelta(hours=3)).isoformat()).next_cursor is None, "nothing is left behind a full page"


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ({"actor": "ada"}, ["job.pause", "experiment.create"]),
        ({"action": "experiment."}, ["experiment.launch", "experiment.create"]),
        ({"action": "job.pause"}, ["job.pause"]),
        ({"subject": "experiment/"}, ["experiment.launch", "experiment.create"]),
        ({"text": "DISK"}, ["job.pause"]),
        ({"since": "2026-01-01T01:00:00Z", "until": "2026-01-01T02:00:00Z"}, ["experiment.launch"]),
        ({"actor": "ada", "action": "experiment.", "subject": "experiment/1", "text": "whether"}, ["experiment.create"]),
        ({"actor": "nobody"}, []),
    ],
    ids=str,
)
def test_filters_hold_together(api: Api, query: dict[str, str], actions: list[str]) -> None:
    assert [entry.action for entry in page(api, **query).entries] == actions


def test_one_entry(api: Api) -> None:
    [entry] = page(api, action="job.pause").entries
    answer = api.get(f"/v1/audit/{entry.audit_id}")
    assert AuditOut.model_validate_json(answer.content) == entry
    assert (entry.before, entry.after) == ({"n": 1}, {"n": 2})
    problem(api.get("/v1/audit/none"), 404, "not_found")


@pytest.mark.parametrize(
    "query", [{"cursor": "x"}, {"actor": ""}, {"limit": 501}, {"since": "2026-01-01T00:00:00"}, {"text": "x" * 201}], ids=str
)
def test_what_cannot_be_asked_is_refused(api: Api, query: dict[str, Any]) -> None:
    problem(api.get("/v1/audit", **query), 422, "invalid_input")
