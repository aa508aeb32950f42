"""The Audit page in Streamlit's own test harness: filters in the URL, pages, one entry, the file, a product without entries."""

from datetime import UTC, datetime, timedelta

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.audit import sections
from trajops.contracts.audit import AuditOut

pytestmark = pytest.mark.slow


def entry(number: int, action: str = "job.pause", subject: str = "prune", actor: str = "ada", **fields: object) -> AuditOut:
    at = datetime.now(UTC) - timedelta(days=2, minutes=number)
    body = {"audit_id": f"e{number}", "at": at, "actor": actor, "action": action, "subject": subject, "reason": f"reason number {number}"}
    return AuditOut.model_validate(body | {"before": {}, "after": {}} | fields)


@pytest.fixture
def many(api: StubApi) -> StubApi:
    api.releases.audit += [entry(n) for n in range(50)]
    return api


def lines(app: AppTest) -> list[str]:
    """What was done, in the order of the list."""
    return [e.value.split("**")[1] for e in app.markdown if e.value.startswith("**") and ":small[" in e.value]


def test_the_newest_change_stands_on_top_and_every_entry_is_one_line(server: StubServer) -> None:
    app = opened("Audit")
    shown = text(app)
    assert "Last change: " in shown.replace(":gray[Last change:]", "Last change:")
    assert "nothing older" in shown
    assert "Started the canary of v3" in lines(app)
    assert "compare the boosted family on a fifth of the agents" in shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"what": "deployment.canary"}, ["Started the canary of v3"]),
        ({"what": "deployment.", "about": "trajectory/2"}, ["Promoted v2"]),
        ({"who": "ada", "words": "FIRST MODEL"}, ["Promoted v1"]),
        ({"what": "deployment.", "when": "Last hour"}, ["Started the canary of v3"]),
        ({"who": "nobody"}, []),
    ],
    ids=str,
)
def test_filters_are_read_from_the_url(server: StubServer, query: dict[str, str], expected: list[str]) -> None:
    app = opened("Audit", **query)
    assert lines(app) == expected
    if not expected:
        assert "No entry passes these filters." in text(app)
        app.button(key="audit-clear").click().run()
        assert "Promoted v2" in lines(app)


def test_days_are_whole_and_a_day_that_is_none_is_left_out(server: StubServer, many: StubApi) -> None:
    day = (datetime.now(UTC) - timedelta(days=2, minutes=49)).date().isoformat()
    app = opened("Audit", when="Between days", **{"from": day, "to": day})
    assert set(lines(app)) == {"Paused a job: Prune"} or lines(app)
    app = opened("Audit", when="Between days", **{"from": "tomorrow"})
    assert "Promoted v2" in lines(app)


def test_pages_lead_to_the_oldest_entry_and_back(server: StubServer, many: StubApi) -> None:
    app = opened("Audit", what="job.pause")
    assert "20 entries of those that pass the filters" in text(app)
    for _ in range(2):
        app.button(key="audit-older").click().run()
    assert "reason number 49" in text(app)
    assert "nothing older" in text(app)
    app.button(key="audit-newer").click().run()
    assert "reason number 25" in text(app)
    app.button(key="audit-newest").click().run()
    assert "reason number 0" in text(app)


def test_an_entry_says_what_changed_and_only_that(server: StubServer, api: StubApi) -> None:
    route = {"epoch": 3, "champion": ["trajectory", 1], "is_stopped": False}
    after = {"route": {**route, "epoch": 4, "champion": ["trajectory", 2]}, "experiments": {"exp-running": "running"}}
    api.releases.audit.insert(0, entry(0, "deployment.promote", "trajectory/2", before={"route": route}, after=after))
    app = opened("Audit", entry="e0")
    [table] = [e.value for e in app.table]
    assert table.to_dict("records")[:2] == [
        {"What": "route › epoch", "Before": "3", "After": "4"},
        {"What": "route › champion", "Before": "trajectory v1", "After": "trajectory v2"},
    ]
    assert [e.value for e in app.code] == ["/audit?entry=e0"]
    assert "Promoted v2" in text(app)
    app.button(key="audit-same-subject").click().run()
    assert "Promoted v2" in lines(app)
    assert app.text_input(key="audit-about").value == "trajectory/2"


def test_an_entry_that_is_none_says_so(server: StubServer) -> None:
    app = opened("Audit", entry="none")
    assert "Entry none cannot be shown." in text(app)
    assert "There is no audit entry 'none'" in text(app)
    app.button(key="audit-all").click().run()
    assert "Promoted v2" in lines(app)


def test_the_file_says_where_it_is_cut(server: StubServer, many: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("Audit", what="job.")
    app.button(key="audit-prepare").click().run()
    assert not app.warning
    assert app.session_state[sections.FILE][2] == 50
    monkeypatch.setattr(sections, "MAX_ROWS", 30)
    monkeypatch.setattr(sections, "PER_READ", 10)
    app.button(key="audit-prepare").click().run()
    assert app.session_state[sections.FILE][2] == 30
    assert "Cut at 30 rows" in app.warning[0].value


@pytest.mark.parametrize("user", ["vera", "ada", "root"])
def test_every_role_reads_it(server: StubServer, user: str) -> None:
    assert "Promoted v2" in lines(opened("Audit", user))


def test_a_product_without_entries_says_what_to_do_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(StubApi(is_empty=True)) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        assert "Nothing has been changed yet." in text(opened("Audit"))
