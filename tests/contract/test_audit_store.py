"""One body for what is asked of the audit, in memory, over SQLite and over PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import pytest

from data.sql.repositories import audit
from tests.record_builders import later
from trajops.audit import AuditQuery, Place
from trajops.errors import NotFound

ENTRIES = [
    # second, actor, action, subject, reason
    (0, "ada", "experiment.create", "experiment/1", "to see whether it is better"),
    (1, "ada", "experiment.launch", "experiment/1", "now is a good time"),
    (2, "worker:judge", "experiment.decide_better", "experiment/1", "the interval lies below zero"),
    (3, "worker:prune", "job.run", "prune", "as every night"),
    (4, "ben", "experimental", "experiments", "100% sure_of it"),
    (4, "ben", "deployment.promote", "trajectory/3", "Better BY far"),
    (5, "key:ci", "deployment.stage", "trajectory/30", "the battery has passed"),
]


@pytest.fixture(params=[audit.FEW, 1], ids=["rare", "common"])
def filled(database: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Both ways to find what begins so, or holds some words."""
    monkeypatch.setattr(audit, "FEW", request.param)
    monkeypatch.setattr(audit, "FEW_WORDS", request.param)
    with database.unit_of_work() as uow:
        for second, actor, action, subject, reason in ENTRIES:
            uow.audit.append(
                at=later(second), actor=actor, action=action, subject=subject, reason=reason, before={}, after={"second": second}
            )
    return database


def found(database: Any, limit: int = 50, **query: Any) -> list[str]:
    with database.unit_of_work(read_only=True) as uow:
        return [entry.action for entry in uow.audit.find(AuditQuery(**query), limit)]


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ({"actor": "ada"}, ["experiment.launch", "experiment.create"]),
        ({"actor": "worker:"}, ["job.run", "experiment.decide_better"]),
        ({"action": "experiment."}, ["experiment.decide_better", "experiment.launch", "experiment.create"]),
        ({"action": "experiment"}, []),
        ({"subject": "trajectory/3"}, ["deployment.promote"]),
        ({"subject": "trajectory/"}, ["deployment.stage", "deployment.promote"]),
        ({"subject": "experiment/", "action": "experiment.", "actor": "worker:"}, ["experiment.decide_better"]),
        ({"text": "better"}, ["deployment.promote", "experiment.create"]),
        ({"text": "100% sure_"}, ["experimental"]),
        ({"text": "100x"}, []),
        ({"text": "sure%it"}, []),
        ({"text": "it"}, ["experimental", "experiment.create"]),
        ({"text": "the"}, ["deployment.stage", "experiment.decide_better", "experiment.create"]),
        ({"text": "THE", "actor": "worker:"}, ["experiment.decide_better"]),
        ({"text": "the", "action": "experiment.", "subject": "experiment/1"}, ["experiment.decide_better", "experiment.create"]),
        ({"text": "the", "since": later(2), "until": later(5)}, ["experiment.decide_better"]),
        ({"since": later(5)}, ["deployment.stage"]),
        ({"until": later(1)}, ["experiment.create"]),
        ({"since": later(2), "until": later(4), "actor": "worker:prune"}, ["job.run"]),
    ],
    ids=str,
)
def test_what_is_asked_for_is_found_newest_first(filled: Any, query: dict[str, Any], actions: list[str]) -> None:
    assert found(filled, **query) == actions


def test_pages_reach_the_oldest_entry_however_many_are_written_meanwhile(filled: Any) -> None:
    seen, after = [], None
    while True:
        with filled.unit_of_work() as uow:
            page = uow.audit.find(AuditQuery(after=after), 2)
            uow.audit.append(at=later(99), actor="eve", action="new", subject="s", reason="r", before={}, after={})
        seen += [entry.audit_id for entry in page]
        if len(page) < 2:
            break
        after = Place.of(Place(page[-1].at, page[-1].audit_id).cursor())
    with filled.unit_of_work(read_only=True) as uow:
        assert seen == [entry.audit_id for entry in uow.audit.find(AuditQuery(until=later(50)), 50)]
    assert len(seen) == len(ENTRIES), "also the two of one moment, once each"


@pytest.mark.parametrize("query", [{"text": "t"}, {"text": "the"}, {"text": "the", "actor": "nobody"}], ids=str)
def test_pages_of_words_fit_together(filled: Any, query: dict[str, Any]) -> None:
    seen, after = [], None
    with filled.unit_of_work(read_only=True) as uow:
        whole = [entry.audit_id for entry in uow.audit.find(AuditQuery(**query), 50)]
        while page := uow.audit.find(AuditQuery(**query, after=after), 1):
            seen += [entry.audit_id for entry in page]
            after = Place(page[-1].at, page[-1].audit_id)
    assert seen == whole


def test_one_entry_is_found_by_its_id(filled: Any) -> None:
    with filled.unit_of_work(read_only=True) as uow:
        [entry] = uow.audit.find(AuditQuery(action="job.run"), 2)
        assert uow.audit.get(entry.audit_id) == entry
        assert entry.after == {"second": 3}
        with pytest.raises(NotFound):
            uow.audit.get("none")
