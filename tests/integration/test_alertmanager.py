"""A real Alertmanager both ways: our alerts there, its alerts here, and none that goes round in circles."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.alertmanager import Alertmanager
from tests.alert_builders import RULE, an_alert, some_rules
from tests.alert_receivers import wait_for
from tests.alertmanager_server import Alertmanager as AlertmanagerServer
from tests.alertmanager_server import posting_to
from tests.conftest import free_port
from tests.running_api import REASON
from tests.served_api import Served, served_api
from trajops.alerts.lifecycle import AlertState, Severity
from trajops.alerts.rules import AlertRules, Delivery
from trajops.alerts.signals import Signal
from trajops.clock import SystemClock
from trajops.contracts.alerts import AlertOut, AlertsOut
from trajops.errors import Unavailable
from trajops.services.alert_rounds import AlertRounds
from trajops.services.alerts import OURS
from workers.deliveries import Deliveries
from workers.notify import Senders

Start = Callable[[Path], AlertmanagerServer]
MANAGER = {"kind": "alertmanager", "name": "am"}
RULES = some_rules({"runbook": "/runbook#late"}, receivers=[MANAGER], routes=[{"match": ['origin=~".*"'], "receivers": ["am"]}])


def look(served: Served, url: str, *values: float, rules: AlertRules = RULES) -> None:
    """One look of a worker at its rules, and a delivery after it."""
    unit_of_work, clock = served.api.parts.unit_of_work, SystemClock()
    AlertRounds(unit_of_work, rules, clock).run(
        [Signal("job_late", value, datetime.now(UTC), {"job": "prune"}, "It is late.") for value in values]
    )
    senders = Senders(rules, "http://console", url)
    Deliveries(unit_of_work, senders.send, Delivery(attempts=1), clock, "w1").run()


def shown_by(server: AlertmanagerServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.tool("alert", "query", "-o", "json").stdout)
    return found


def ours(served: Served, **query: Any) -> AlertsOut:
    served.api.parts.cached_longer.clear()
    return AlertsOut.model_validate_json(served.api.get("/v1/alerts", **query).content)


def test_our_alerts_open_and_end_there(tmp_path: Path, alertmanager: Start) -> None:
    server = alertmanager(posting_to(tmp_path))
    with served_api(tmp_path, alertmanager_url=server.url) as served:
        look(served, server.url, 1)
        (alert,) = ours(served).alerts
        (there,) = shown_by(server)
        assert there["labels"] == {"alertname": "late", "job": "prune", "severity": "warning", OURS: alert.alert_id}
        assert there["annotations"]["summary"] == "It is late."
        assert there["annotations"]["runbook_url"] == "http://console/runbook#late"
        assert there["generatorURL"] == f"http://console/alerts?alert={alert.alert_id}"
        about = ours(served).alertmanager
        assert about is not None
        assert (about.is_reachable, about.alerts, about.detail) == (True, 0, "0 alerts of its own, and 1 of ours.")
        assert [one.origin for one in ours(served).alerts] == ["rules"]  # and not a second time, read back
        look(served, server.url, 0)
        wait_for(lambda: shown_by(server) == [], "the end")


def test_what_it_posts_is_kept_with_its_history_and_our_own_is_left_out(tmp_path: Path, alertmanager: Start) -> None:
    with served_api(tmp_path) as served:
        headers = served.api.headers["operator"]
        webhook, credential = f"http://127.0.0.1:{served.port}/v1/alerts/alertmanager", headers["Authorization"].removeprefix("Bearer ")
        server = alertmanager(posting_to(tmp_path, webhook, credential))
        look(served, server.url, 1)  # it posts ours back to us
        server.tool(
            "alert", "add", "DiskFull", "severity=critical", "host=a", "--annotation=summary=/ is full", "--generator-url=http://p/x"
        )
        wait_for(lambda: len(ours(served).alerts) == 2, "the foreign alert")
        foreign, own = ours(served).alerts
        assert (foreign.origin, foreign.rule, foreign.severity, foreign.summary) == ("external", "DiskFull", Severity.CRITICAL, "/ is full")
        assert (foreign.labels, foreign.link, own.origin) == ({"host": "a"}, "http://p/x", "rules")
        body = {"expected_version": foreign.version, "reason": REASON}
        acknowledged = served.api.post(f"/v1/alerts/{foreign.alert_id}/acknowledge", body, "operator")
        assert AlertOut.model_validate_json(acknowledged.content).state == AlertState.ACKNOWLEDGED
        look(served, server.url, 1)
        assert len(shown_by(server)) == 2  # the foreign alert was not posted to where it came from
        end = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        server.tool("alert", "add", "DiskFull", "severity=critical", "host=a", f"--end={end}")
        wait_for(lambda: [one.state for one in ours(served, rule="DiskFull").alerts] == [AlertState.RESOLVED], "its end")
        events = served.api.get(f"/v1/alerts/{foreign.alert_id}").json()["events"]
        assert [(event["kind"], event["actor"]) for event in events] == [
            ("fired", "key:operator key"),
            ("acknowledged", "key:operator key"),
            ("resolved", "key:operator key"),
        ]
        assert ours(served).counts.open == 1


def test_its_alerts_are_read_and_stand_beside_ours_once(tmp_path: Path, alertmanager: Start) -> None:
    server = alertmanager(posting_to(tmp_path))
    with served_api(tmp_path, alertmanager_url=server.url) as served:
        server.tool("alert", "add", "DiskFull", "severity=critical", "host=a", "--annotation=summary=/ is full")
        (alert,) = ours(served).alerts
        assert (alert.origin, alert.rule, alert.severity, alert.version, alert.state) == ("alertmanager", "DiskFull", "critical", 0, "open")
        assert ours(served).counts.open == 0
        detail = served.api.get(f"/v1/alerts/{alert.alert_id}").json()
        assert (detail["alert"]["fingerprint"], detail["events"]) == (alert.fingerprint, [])
        assert served.api.get("/v1/alerts/am-00").status_code == 404
        assert ours(served, state="acknowledged").alerts == []
        assert ours(served, severity="warning").alerts == []
        assert [one.rule for one in ours(served, rule="DiskFull", state="active").alerts] == ["DiskFull"]
        posted = {"status": "firing", "labels": alert.labels | {"alertname": "DiskFull"}, "startsAt": alert.started_at.isoformat()}
        posted |= {"fingerprint": alert.fingerprint.removeprefix("am-"), "endsAt": "0001-01-01T00:00:00Z", "annotations": {}}
        body = {"version": "4", "status": "firing", "groupKey": "g", "alerts": [posted], "news": "of a later release"}
        assert served.api.post("/v1/alerts/alertmanager", body, "operator").json()["opened"] == 1
        assert served.api.post("/v1/alerts/alertmanager", body, "operator").json()["refreshed"] == 1
        assert [one.origin for one in ours(served).alerts] == ["external"]


@pytest.mark.parametrize("is_reachable", [False, True], ids=["away", "something else"])
def test_one_that_cannot_be_asked_is_said_and_is_no_error(tmp_path: Path, is_reachable: bool) -> None:
    with served_api(tmp_path / "other") as other:
        url = f"http://127.0.0.1:{other.port if is_reachable else free_port()}"
        with served_api(tmp_path, alertmanager_url=url) as served:
            about = ours(served).alertmanager
        assert about is not None
        assert not about.is_reachable
        assert url in about.detail


def test_what_it_refuses_is_not_tried_again(tmp_path: Path, alertmanager: Start) -> None:
    server = alertmanager(posting_to(tmp_path))
    with served_api(tmp_path) as served:
        rules = AlertRules.model_validate({"rules": [RULE], "receivers": [MANAGER], "routes": [{"receivers": ["am"]}]})
        # A file with such a label is refused.
        rules = rules.model_copy(update={"rules": (rules.rules[0].model_copy(update={"labels": {"not a name": "x"}}),)})
        look(served, server.url, 1, rules=rules)
        (dead,) = served.api.get("/v1/alerts/notifications", state="dead").json()["notifications"]
        assert "answered 400" in dead["error"]
        server.stop()
        with pytest.raises(Unavailable):
            Alertmanager(server.url, 1).alerts()


def test_an_alertmanager_says_when_its_alert_is_an_alert_of_ours() -> None:
    """The label that tells them apart is one that no rule can take away."""
    alert = an_alert("a1", datetime.now(UTC), labels={OURS: "stolen"})
    from workers.notify import _forwarded

    assert _forwarded(AlertOut.of(alert), datetime.now(UTC), "http://c", 60)["labels"][OURS] == "a1"


def test_the_webhook_needs_the_scope_operate(tmp_path: Path) -> None:
    with served_api(tmp_path) as served:
        body = {"version": "4", "status": "firing", "alerts": []}
        assert served.api.post("/v1/alerts/alertmanager", body, "viewer").status_code == 403
        assert served.api.post("/v1/alerts/alertmanager", {**body, "version": "3"}, "operator").status_code == 422
        assert yaml.safe_load(served.api.post("/v1/alerts/alertmanager", body, "operator").text) == {
            "opened": 0,
            "refreshed": 0,
            "resolved": 0,
            "ignored": 0,
        }
