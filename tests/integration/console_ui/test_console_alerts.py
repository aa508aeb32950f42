"""The Alerts page and what the Overview says of alerts, in Streamlit's own test harness: roles, deep links, changes, refusals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from console_alerts import WHY, confirm, opened, posts, with_pending
from console_app import opened as opened_page
from console_app import text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.alerts.dialogs import PendingChange, about_alert
from console.alerts.silencing import rows_for
from console.confirmation import PENDING
from tests.builders import an_alert
from trajops.contracts.alerts import AlertmanagerOut

pytestmark = pytest.mark.slow


def cards(app: AppTest) -> list[str]:
    """Ids of the alerts that are listed, in order."""
    return [b.key.removeprefix("details-") for b in app.button if b.key and b.key.startswith("details-")]


# What is shown


def test_top_says_what_is_firing_how_bad_it_is_and_that_the_rules_are_looked_at(server: StubServer) -> None:
    app = opened()
    assert not app.exception
    shown = text(app)
    assert "5 alerts are firing; 4 of them wait to be acknowledged; 1 is silenced; 1 more condition holds" in shown
    assert "rules looked at 3 s ago" in shown
    assert {m.label.partition(":] ")[2]: m.value for m in app.metric} == {"Critical": "1", "Warning": "3", "Info": "1", "Dead letters": "1"}
    assert cards(app) == ["drift-1", "slow-1", "late-1", "late-2", "mem-1"], "worst first, then longest"
    card = "\n".join(str(e.value) for e in [*app.container(key="alert-slow-1").markdown, *app.container(key="alert-slow-1").caption])
    for part in ("Acknowledged", "Answers are slow", "`model_version=3`", "95 % of the answers", "assigned to ben", "told: mail", "50 min"):
        assert part in card.replace("\\", "")
    assert "Silenced" in app.container(key="alert-late-2").markdown[0].value


def test_rules_that_nobody_looks_at_are_said_loudly_and_nothing_is_called_quiet(server: StubServer, api: StubApi) -> None:
    api.alerts.is_evaluated = False
    api.alerts.alerts.clear()
    app = opened()
    [problem] = [e.value for e in app.error]
    assert "not looked at any more, the last time was 12 min ago" in problem
    assert "python -m workers" in problem
    assert "Not watched" in text(app)
    assert "All quiet" not in text(app)


def test_empty_product_says_what_to_do_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(StubApi(is_empty=True)) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        shown, app = {}, opened()
        for section in ("Alerts", "Answers", "Silences", "Notifications", "Receivers", "Rules"):
            app.session_state["section"] = section
            assert not app.run().exception
            shown[section] = text(app)
    assert "never been looked at" in shown["Alerts"]
    for section, action in {
        "Alerts": "What is watched stands under Rules.",
        "Answers": "What follows which alert stands in `configs/policy.yaml`.",
        "Silences": "Press “Silence” on an alert, or create one above.",
        "Notifications": "Send a test under Receivers.",
        "Receivers": "Name receivers in `configs/alerts.yaml`",
        "Rules": "Write rules in `configs/alerts.yaml`",
    }.items():
        assert action in shown[section]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "Open", "rule": "job_late", "text": "registry"}, ["late-1"]),
        ({"state": "Pending"}, ["pend-1"]),
        ({"state": "Resolved"}, ["past-0", "past-1"]),
        ({"state": "Resolved", "range": "6h"}, ["past-0", "past-1", "past-2"]),
        ({"state": "Silenced", "severity": "Critical"}, []),
    ],
)
def test_filters_are_read_from_the_url(server: StubServer, query: dict[str, str], expected: list[str]) -> None:
    app = opened(**query)
    assert not app.exception
    assert cards(app) == expected
    if not expected:
        assert "Choose another state or a wider time range above." in text(app)


def test_a_hidden_section_costs_no_call(server: StubServer, api: StubApi) -> None:
    app = opened()
    for section, path in {"Alerts": None, "Silences": "silences", "Receivers": "receivers", "Rules": "rules"}.items():
        app.session_state["section"] = section
        api.reads.clear()
        assert not app.button(key="refresh-now").click().run().exception
        asked = {read[1].removeprefix("/v1/alerts").strip("/") for read in api.reads if read[1].startswith("/v1/alerts")}
        assert asked == {"", *([path] if path else [])}


def test_alerts_of_an_alertmanager_are_marked_and_offer_nothing(server: StubServer, api: StubApi) -> None:
    api.alerts.alerts["their-1"] = an_alert(
        "their-1", api.started, origin="alertmanager", version=0, title="NodeDown", link="http://p/graph"
    )
    api.alerts.alertmanager = AlertmanagerOut(url="http://am:9093", is_reachable=True, detail="1 alert of its own", alerts=1)
    app = opened()
    assert "their-1" not in cards(app)
    card = app.container(key=f"foreign-{api.alerts.alerts['their-1'].fingerprint}")
    assert "Alertmanager" in card.markdown[0].value
    assert "NodeDown" in card.markdown[1].value
    assert not card.button
    del api.alerts.alerts["their-1"]
    app.button(key="refresh-now").click().run()
    assert "Nothing of its own passes the filter above; it has 1 alert of its own." in text(app)
    api.alerts.alertmanager = AlertmanagerOut(
        url="http://am:9093", is_reachable=False, detail="the Alertmanager at http://am:9093 does not answer", alerts=0
    )
    app.button(key="refresh-now").click().run()
    [warning] = [w.value.replace("\\", "") for w in app.warning]
    assert warning == "Its own alerts are not shown: the Alertmanager at `http://am:9093` does not answer."
    assert cards(app), "ours are shown all the same"


def test_more_alerts_than_are_read_are_searched_by_the_api(server: StubServer, api: StubApi) -> None:
    for i in range(210):
        api.alerts.alerts[f"many-{i}"] = an_alert(f"many-{i}", api.started, severity="critical")
    api.alerts.alerts["needle"] = an_alert("needle", api.started, rule="needle", severity="info")
    assert cards(opened(rule="needle")) == ["needle"]
    assert len(cards(opened())) == 10, "a page"


# One alert


def test_an_alert_is_a_deep_link_with_its_steps_and_what_was_changed_before(server: StubServer) -> None:
    app = opened(alert="drift-1")
    assert not app.exception
    shown = text(app)
    assert not app.tabs, "only the alert"
    for part in ("Traffic has drifted", "4 of 6 columns drifted", "2; fires where it is >= 2", "drift-1" and "nobody looks after it"):
        assert part in shown
    steps = app.html[-1].value if "<ol" in app.html[-1].value else next(h.value for h in app.html if "<ol" in h.value)
    words = ("Fired", "Told", "Not delivered", "Escalated", "Told")
    places = [steps.index(f">{word}<") for word in words[:4]]
    assert places == sorted(places)
    assert steps.count("<li") == len(words)
    assert [c.value for c in app.code] == ["drift-1"]
    changes = app.container(key="linked-changes")
    assert "Started the canary of v3" in changes.markdown[0].value
    links = {link.label: link for link in app.page_link}
    assert {"Look at the drift checks", "What was live when, on the Models page"} <= set(links)
    assert [(b.label, b.url) for b in app.link_button] == [
        ("What to do about it", "https://github.com/example/trajops/blob/main/docs/runbook.md#drift")
    ]


def test_what_comes_from_outside_is_text_and_never_markup(server: StubServer, api: StubApi) -> None:
    api.alerts.alerts["evil"] = an_alert("evil", api.started, title="<b>x</b> [a](b)", summary="**s**", labels={"a": "`|<i>"})
    api.alerts.events["evil"] = [api.alerts.events["mem-1"][0].model_copy(update={"text": "<script>alert(1)</script>"})]
    app = opened(alert="evil")
    steps = next(h.value for h in app.html if "<ol" in h.value)
    assert "<script>" not in steps
    assert "&lt;script&gt;" in steps
    assert any("\\[a\\](b)" in h.value for h in app.header)


def test_an_alert_that_does_not_exist_says_so_and_leads_back(server: StubServer) -> None:
    app = opened(alert="nowhere")
    assert not app.exception
    assert "Alert nowhere cannot be shown: there is no alert nowhere (not_found)" in text(app)
    app.button(key="all-alerts").click().run()
    assert "alert" not in app.query_params
    assert cards(app)


def test_details_lead_to_the_alert_and_back(server: StubServer) -> None:
    app = opened()
    app.button(key="details-late-1").click().run()
    assert app.query_params["alert"] == "late-1"
    assert [c.value for c in app.code] == ["late-1"]
    app.button(key="all-alerts").click().run()
    assert cards(app)


# Changes


def about(api: StubApi, name: Any, alert_id: str = "late-1", dialog_id: str = "d1") -> PendingChange:
    return about_alert(name, api.alerts.alerts[alert_id])._replace(dialog_id=dialog_id)


def test_a_button_opens_the_confirmation_and_changes_nothing(server: StubServer, api: StubApi) -> None:
    app = opened()
    app.button(key="acknowledge-drift-1").click().run()
    assert "it is neither repeated nor escalated any more" in text(app)
    assert app.button(key="alert-submit").label == "Acknowledge"
    assert not posts(api)


@pytest.mark.parametrize(
    ("name", "path", "fields", "toast"),
    [
        ("acknowledge", "/v1/alerts/late-1/acknowledge", {"expected_version": 2}, "Acknowledged: A job is late"),
        ("resolve", "/v1/alerts/late-1/resolve", {"expected_version": 2}, "Resolved: A job is late"),
        ("assign", "/v1/alerts/late-1/assign", {"expected_version": 2, "assignee": "ada"}, "Assigned: A job is late"),
    ],
)
def test_a_change_sends_what_was_seen_and_names_the_audit_entry(
    server: StubServer, api: StubApi, name: str, path: str, fields: dict[str, Any], toast: str
) -> None:
    app = confirm(with_pending(about(api, name)))
    assert not app.exception
    assert posts(api) == [(path, {**fields, "reason": WHY})]
    assert len(api.calls[-1][2].get("idempotency-key", next(c[2]["idempotency-key"] for c in api.calls if c[0] == "POST"))) == 32
    [told] = [t.value for t in app.toast]
    assert toast in told
    assert f"audit {api.releases.audit[0].audit_id}" in told
    assert PENDING not in app.session_state


def test_an_alert_is_taken_from_everybody_with_an_empty_name(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "assign", "slow-1"))
    assert app.text_input(key="alert-assignee-d1").value == "ben", "who has it now"
    app.text_input(key="alert-assignee-d1").set_value(" ")
    confirm(app)
    assert posts(api)[0][1]["assignee"] is None


@pytest.mark.parametrize("name", ["acknowledge", "resolve", "assign", "silence"])
def test_a_short_reason_is_refused_before_the_api_is_asked(server: StubServer, api: StubApi, name: str) -> None:
    app = confirm(with_pending(about(api, name)), "too short")
    assert any("at least 10 characters" in e.value for e in app.error)
    assert not posts(api)


def test_a_change_that_comes_too_late_says_who_was_faster(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "acknowledge"))
    api.alerts.overtaken_by = "ben"
    confirm(app)
    [told] = [w.value.replace("\\", "") for w in app.warning]
    assert told.startswith("Nothing was done, because the alert changed while you were deciding: it went from open to acknowledged (ben, ")
    assert "“I am on it already”" in told
    assert not [word for word in ("late-1", "version", "409") if word in told]
    assert PENDING not in app.session_state
    assert "acknowledge-late-1" not in {b.key for b in app.button}, "the page has been read again"


def test_pressing_again_after_a_broken_connection_is_the_same_call(
    server: StubServer, api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ConnectionError("the answer gets lost")

    app = with_pending(about(api, "silence"))
    create = api.alerts.silence
    monkeypatch.setattr(api.alerts, "silence", broken)
    app = confirm(app)
    assert any("the change is made at most once" in e.value for e in app.error)
    monkeypatch.setattr(api.alerts, "silence", create)
    app.button(key="alert-submit").click().run()
    calls = [(headers["idempotency-key"], body["ends_at"]) for method, _, headers, body in api.calls if method == "POST"]
    assert len(calls) > 1
    assert len(set(calls)) == 1
    assert PENDING not in app.session_state


def test_viewer_sees_every_change_disabled_with_the_reason(server: StubServer) -> None:
    names = (
        "acknowledge-",
        "assign-",
        "silence-",
        "resolve-",
        "detail-",
        "new-silence",
        "expire-",
        "resend-",
        "test-",
        "approve-",
        "dismiss-",
    )
    seen, app = 0, opened("vera")
    assert "You are signed in as a viewer" in text(app)
    for section in ("Alerts", "Answers", "Silences", "Notifications", "Receivers", None):
        if section is None:
            app.query_params["alert"] = "drift-1"
        app.session_state["section"] = section or "Alerts"
        app.run()
        changing = [b for b in app.button if b.key and b.key.startswith(names)]
        assert changing
        assert all(b.disabled for b in changing)
        assert all("viewer" in b.help for b in changing)
        seen += len(changing)
    assert seen == 19 + 2 + 3 + 1 + 3 + 4


def test_viewer_who_forces_the_dialog_is_refused_by_the_api(server: StubServer, api: StubApi) -> None:
    app = confirm(with_pending(about(api, "resolve"), "vera"))
    assert any("a viewer may not change what is served" in e.value for e in app.error)
    assert api.alerts.alerts["late-1"].state == "open"


def test_an_api_that_is_away_is_said_in_the_dialog_and_the_page_is_marked_stale(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(api) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        app = with_pending(about(api, "acknowledge"))
    confirm(app)
    assert any("the change is made at most once" in e.value for e in app.error)
    assert PENDING in app.session_state
    assert app.text_area(key="alert-reason-d1").value == WHY, "what was typed is not lost"
    app.button(key="refresh-now").click().run()
    assert any(w.value.startswith("Stale: values of ") for w in app.warning)
    assert cards(app), "the last known values stay on the page"


# Silences


def row_key(number: int, part: str) -> str:
    return f"matcher-d1-{number}-{part}"


def test_a_silence_begins_with_the_labels_and_says_what_it_holds_for(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "silence"))
    rows = rows_for(api.alerts.alerts["late-1"])
    assert [app.text_input(key=row_key(i, "label")).value for i in range(2)] == [row.label for row in rows] == ["rule", "job"]
    assert [i.value for i in app.info] == ["Holds for 1 of the 5 alerts that are firing now."]
    app.button(key=row_key(1, "remove")).click().run()
    app = with_held(app)
    assert [i.value for i in app.info] == ["Holds for 2 of the 5 alerts that are firing now."]


def with_held(app: AppTest) -> AppTest:
    """The page with its dialog drawn: a click in a dialog draws the dialog alone."""
    return app.run()


def test_a_silence_is_sent_as_it_was_typed(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "silence"))
    app.selectbox(key=row_key(1, "operator")).set_value("=~").run()
    app.text_input(key=row_key(1, "value")).set_value("check_.*|reconcile_.*").run()
    app.session_state["silence-duration-d1"] = "8 h"
    before = datetime.now(UTC)
    app = confirm(app)
    assert not app.exception
    [(path, body)] = posts(api)
    assert path == "/v1/alerts/silences"
    assert body["matchers"] == [
        {"label": "rule", "operator": "=", "value": "job_late"},
        {"label": "job", "operator": "=~", "value": "check_.*|reconcile_.*"},
    ]
    assert (body["starts_at"], body["reason"]) == (None, WHY)
    assert timedelta(0) <= datetime.fromisoformat(body["ends_at"]) - before - timedelta(hours=8) < timedelta(minutes=1)
    assert any("holds for 2 alerts now · audit aud-" in t.value for t in app.toast)
    assert "Silenced" in app.container(key="alert-late-1").markdown[0].value


def test_a_silence_may_begin_later(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "silence"))
    app.toggle(key="silence-later-d1").set_value(True).run()
    app.session_state["silence-start-d1"] = datetime(2030, 1, 2, 3, 4)  # noqa: DTZ001 - as the widget has it
    app = confirm(app)
    [(_, body)] = posts(api)
    assert datetime.fromisoformat(body["starts_at"]) == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert datetime.fromisoformat(body["ends_at"]) == datetime(2030, 1, 2, 5, 4, tzinfo=UTC)


def test_a_condition_that_is_none_is_said_and_nothing_is_sent(server: StubServer, api: StubApi) -> None:
    app = with_pending(about(api, "silence"))
    app.selectbox(key=row_key(1, "operator")).set_value("=~").run()
    app.text_input(key=row_key(1, "value")).set_value("(").run()
    assert "is no regular expression" in text(app)
    confirm(app)
    assert any("is no regular expression" in e.value for e in app.error)
    assert not posts(api)


def test_silences_say_where_they_stand_and_one_is_ended(server: StubServer, api: StubApi) -> None:
    app = opened(section="Silences")
    shown = text(app)
    assert "holds for 1 now" in shown
    assert "begins in 10 h" in shown
    assert '`severity=~"info|warning"`' in shown
    assert "latency_p95" not in shown, "what is over costs a click"
    app.session_state[PENDING] = PendingChange("d1", "expire", "sil-1", "these")
    confirm(app.run())
    assert posts(api) == [("/v1/alerts/silences/sil-1/expire", {"reason": WHY})]
    assert api.alerts.silences[0].state == "over"


# Receivers, messages, rules


def test_a_dead_letter_is_sent_again(server: StubServer, api: StubApi) -> None:
    app = opened(section="Notifications")
    card = app.container(key="letter-not-1")
    assert "for slack, written 37 min ago, because it fired" in card.markdown[0].value
    assert card.caption[0].value == "Given up after 8 tries\\: HTTP 500 from Slack"
    table = app.dataframe[0].value
    assert list(table["State"]) == ["● Arrived", "✕ Dead letter", "● Arrived"]
    app.session_state[PENDING] = PendingChange("d1", "resend", "not-1", "Critical: Traffic has drifted")
    app = confirm(app.run())
    assert posts(api) == [("/v1/alerts/notifications/not-1/resend", {"reason": WHY})]
    assert "letter-not-1" not in {c.proto.id for c in app.get("container")}
    assert any("audit aud-" in t.value for t in app.toast)


def test_receivers_are_ready_or_say_what_is_missing_and_a_test_is_followed(server: StubServer, api: StubApi) -> None:
    app = opened(section="Receivers")
    assert "Ready" in app.container(key="receiver-mail").markdown[0].value
    assert "The newest has not: HTTP 500 from Slack. 1 message was given up." in text(app)
    assert "Set TRAJOPS_ALERTMANAGER_URL to the address of an Alertmanager." in text(app)
    assert app.button(key="test-pager").disabled
    app.session_state[PENDING] = PendingChange("d1", "test", "mail", "mail")
    app = confirm(app.run())
    assert posts(api) == [("/v1/alerts/receivers/mail/test", {"reason": WHY})]
    assert "Test: " in text(app)
    assert "waits to be sent" in text(app)
    sent = api.alerts.notifications[0]
    done = {"state": "delivered", "attempts": 1, "delivered_at": datetime.now(UTC)}
    api.alerts.notifications[0] = sent.model_validate({**sent.model_dump(), **done})
    app.button(key="refresh-now").click().run()
    assert "Arrived" in app.container(key="receiver-mail").markdown[-1].value


def test_rules_are_listed_as_the_file_has_them(server: StubServer) -> None:
    table = opened(section="Rules").dataframe[0].value
    assert list(table["Raw name"]) == ["drift", "job_late", "latency_p95"]
    assert table["Fires where"][0] == "drift_level >= 2"
    assert list(table["Firing"]) == [1, 2, 1]


# Overview


def test_overview_says_what_is_firing_and_links_the_worst(server: StubServer) -> None:
    app = opened_page("Overview")
    part = app.container(key="open-alerts")
    said = part.markdown[0].value
    for words in ("1 critical", "3 warning", "1 info", "5 alerts are firing"):
        assert words in said
    assert [link.label.replace("\\", "") for link in part.page_link] == [
        "Look at it",
        "Traffic has drifted",
        "Answers are slow · model_version=3",
        "A job is late · job=reconcile_aliases",
        "All alerts, silences and receivers",
    ]
    assert "1 answer is proposed and waits for approval: Answers are slow · model_version=3." in part.markdown[1].value.replace("\\", "")
    assert [link.query_string for link in part.page_link][:2] == ["alert=slow-1", "alert=drift-1"]


def test_the_worst_alert_is_acknowledged_on_the_overview(server: StubServer, api: StubApi) -> None:
    app = opened_page("Overview")
    offered = [b.key for b in app.container(key="open-alerts").button]
    assert offered == ["acknowledge-drift-1", "acknowledge-late-1"], "not what somebody looks after already"
    app.button(key="acknowledge-drift-1").click().run()
    assert "it is neither repeated nor escalated any more" in text(app)
    assert not posts(api)
    confirm(app)
    assert posts(api) == [("/v1/alerts/drift-1/acknowledge", {"expected_version": 2, "reason": WHY})]
    assert [b.key for b in app.container(key="open-alerts").button] == ["acknowledge-late-1"]
    assert app.title[0].value == "Overview"


def test_an_acknowledgement_that_comes_too_late_is_explained_on_the_overview(server: StubServer, api: StubApi) -> None:
    app = opened_page("Overview")
    app.button(key="acknowledge-drift-1").click().run()
    api.alerts.overtaken_by = "ben"
    confirm(app)
    [told] = [w.value.replace("\\", "") for w in app.warning]
    assert "it went from open to acknowledged (ben, " in told


def test_viewer_sees_on_the_overview_why_nothing_can_be_acknowledged(server: StubServer) -> None:
    found = opened_page("Overview", "vera").container(key="open-alerts").button
    assert len(found) == 2
    assert all(b.disabled and "viewer" in b.help for b in found)


def test_overview_is_drawn_when_alerts_cannot_be_read(server: StubServer, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.alerts, "readers", dict)
    app = opened_page("Overview")
    assert not app.exception
    assert "Alerts cannot be read." in app.container(key="open-alerts").markdown[0].value
    assert {m.label for m in app.metric} >= {"Live ADE"}
