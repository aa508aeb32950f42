"""The shipped configuration of Prometheus, Alertmanager and Grafana: checked by their own tools, and against the running product."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import orjson
import promql_parser
import pytest
import yaml

from api.metrics_export import FAMILIES
from data.lake.spool import Spool
from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.layout import Board, as_json
from tests.alertmanager_server import Alertmanager
from tests.api_process import ROOT, Server
from tests.builders import a_prediction_event
from tests.installed import free_port, need
from tests.prometheus_server import Prometheus
from trajops.configs import load
from trajops.objectives import Objectives
from workers.metrics import WorkerMetrics

CONFIGS = ROOT / "configs"
RULES = sorted((CONFIGS / "prometheus/rules").glob("*.yml"))
TESTS = sorted((CONFIGS / "prometheus/tests").glob("*.yml"))
WAIT_S = 90.0
every_board = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)


def rules_of(*files: Path) -> list[dict[str, Any]]:
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules_of(*RULES) if "alert" in rule]


def wait_for(is_true: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := is_true()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s:g} s"
        time.sleep(0.1)
    return found


# By their own tools


def checked(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_and_its_rules() -> None:
    need("promtool", "prometheus")
    checked("promtool", "check", "config", CONFIGS / "prometheus/prometheus.yml")
    checked("promtool", "check", "rules", *RULES)


def test_the_rules_pass_their_tests() -> None:
    need("promtool", "prometheus")
    checked("promtool", "test", "rules", *TESTS)


def test_a_rule_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    """Negative control: the same tests over rules whose factor is wrong."""
    need("promtool", "prometheus")
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    text = (CONFIGS / "prometheus/rules/availability.yml").read_text()
    (tmp_path / "rules/availability.yml").write_text(text.replace("> 14.4 *", "> 144 *"))
    copy = tmp_path / "tests/availability.yml"
    copy.write_text((CONFIGS / "prometheus/tests/availability.yml").read_text())
    done = subprocess.run(["promtool", "test", "rules", copy], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "TrajOpsBudgetBurnsFast" in done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    tested = [one for file in TESTS for test in yaml.safe_load(file.read_text())["tests"] for one in test.get("alert_rule_test", ())]
    names = {alert["alert"] for alert in ALERTS}
    assert {one["alertname"] for one in tested if one["exp_alerts"]} == names
    assert {one["alertname"] for one in tested if not one["exp_alerts"]} == names


def test_alertmanager_takes_the_configuration() -> None:
    need("amtool", "prometheus-alertmanager")
    checked("amtool", "check-config", *sorted((CONFIGS / "alertmanager").glob("*.yml")))


def test_in_containers_only_the_addresses_differ() -> None:
    here, there = ((CONFIGS / f"alertmanager/alertmanager{suffix}.yml").read_text() for suffix in ("", "-compose"))
    assert there == here.replace("127.0.0.1:8000", "api:8000") != here
    names = [sorted(path.name for path in (CONFIGS / f"prometheus/{folder}").iterdir()) for folder in ("targets", "targets-compose")]
    assert names[0] == names[1]


# What operators read


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["labels"]) == {"severity", "part"}
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert not notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"{{{{ $externalLabels.console_url }}}}/runbook#{alert['alert'].lower()}"


def test_prometheus_and_the_product_promise_the_same() -> None:
    objective = load(CONFIGS / "objectives.yaml", Objectives).availability
    burns = [alert for alert in ALERTS if alert["alert"].startswith("TrajOpsBudgetBurns")]
    lengths = {300: "5m", 1800: "30m", 3600: "1h", 21600: "6h", 259200: "3d"}
    assert len(burns) == len(objective.alarms)
    for alert, mine in zip(burns, objective.alarms, strict=True):
        limit = f"> {mine.factor:g} * {1 - objective.target:g}"
        for length_s in (mine.long_s, mine.short_s):
            assert f"trajops:errors:ratio_rate{lengths[length_s]} {limit}" in alert["expr"]
        assert alert["labels"]["severity"] == mine.severity
    budget = [rule["expr"] for rule in rules_of(*RULES) if rule.get("record", "").startswith("trajops:budget_left")]
    assert all(f"[{objective.window_days}d]" in one and f"(1 - {objective.target})" in one for one in budget)


# Names: what is asked for exists


def known_names() -> set[str]:
    """Every series that the product or a recording rule makes."""
    names = {"up"} | {rule["record"] for rule in rules_of(*RULES) if "record" in rule}
    kinds = [(family.name, family.kind) for family in FAMILIES]
    kinds += [(metric.name, metric.type) for metric in WorkerMetrics().registry.collect()]
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return names | {name + end for name, kind in kinds for end in ends[kind]}


def selected(expression: str) -> Iterator[str]:
    """The series that an expression asks for."""

    def visit(node: Any) -> Iterator[str]:
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name
        for part in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
            child = getattr(node, part, None)
            if isinstance(child, promql_parser.Expr):
                yield from visit(child)
        for child in getattr(node, "args", None) or ():
            yield from visit(child)

    yield from visit(promql_parser.parse(expression))


@pytest.mark.parametrize("rule", rules_of(*RULES), ids=lambda rule: rule.get("alert") or f"{rule['record']}-{rule.get('labels', '')}")
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    asked = set(selected(rule["expr"]))
    assert asked
    assert asked <= known_names()


@every_board
def test_a_dashboard_asks_for_what_there_is(board: Board) -> None:
    for _, panels in board.rows:
        for panel in panels:
            assert panel.description.endswith(".")
            for line in panel.lines:
                assert set(selected(line.expr)) <= known_names(), panel.title


@every_board
def test_the_committed_dashboard_is_the_generated_one(board: Board) -> None:
    committed = (CONFIGS / f"grafana/dashboards/{board.uid}.json").read_text()
    assert committed == as_json(board), "run `python -m deploy.grafana`"
    read = orjson.loads(committed)
    panels = [panel for panel in read["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in read["panels"]}) == len(read["panels"])
    assert all(panel["targets"] and panel["datasource"]["uid"] == "prometheus" for panel in panels)
    places = [
        (p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy)
        for p in read["panels"]
        for dx in range(p["gridPos"]["w"])
        for dy in range(p["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "panels lie on top of each other"
    assert max(x for x, _ in places) < 24


def test_grafana_finds_datasources_and_dashboards() -> None:
    sources = yaml.safe_load((CONFIGS / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["uid"] for source in sources] == ["prometheus", "alertmanager"]
    [provider] = yaml.safe_load((CONFIGS / "grafana/provisioning/dashboards/trajops.yml").read_text())["providers"]
    assert {path.stem for path in (CONFIGS / "grafana/dashboards").iterdir()} == {board.uid for board in DASHBOARDS}
    compose = yaml.safe_load((ROOT / "podman-compose.yml").read_text())["services"]["grafana"]
    mounted = [volume.split(":")[:2] for volume in compose["volumes"]]
    assert ["./configs/grafana/dashboards", provider["options"]["path"]] in mounted
    assert ["./configs/grafana/provisioning", "/etc/grafana/provisioning"] in mounted


# The real Prometheus scrapes the running product


def quick_configs(folder: Path) -> Path:
    """The shipped configuration of the workers; drift is checked more often, and waits for no report."""
    folder.mkdir()
    for path in CONFIGS.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    for name, section, changes in (("schedules", "check_drift", {"every_s": 5}), ("drift", "report", {"timeout_s": 0.1})):
        config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        config.get("jobs", config)[section] |= changes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return folder


@contextmanager
def a_worker(folder: Path, api: Server) -> Iterator[int]:
    """A worker process over the API's state; its port."""
    port = free_port()
    own = {"TRAJOPS_VAR_DIR": str(folder), "TRAJOPS_WORKERS_PORT": str(port), "TRAJOPS_API_URL": api.url, "TRAJOPS_MLFLOW_URL": api.url}
    own |= {"TRAJOPS_CONFIGS_DIR": str(quick_configs(folder / "configs"))}
    with (folder / "workers.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "workers"], cwd=ROOT, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


def recorded_reference(folder: Path, agents: int = 420) -> None:
    """Predictions of an hour, the one before the last, in the spool: what drift is compared with."""
    rng = np.random.default_rng(1)
    at_ns = int((datetime.now(UTC) - timedelta(hours=2)).timestamp() * 1e9)
    events = []
    for number in range(3 * agents):
        history_m = _walk(rng)
        after_s = 3600 * number / (3 * agents)
        fields: dict[str, Any] = {"prediction_id": f"r{number}", "agent_id": f"r{number // 3}", "scene_id": "s", "source": "backfill"}
        fields |= {"received_ns": at_ns + round(after_s * 1e9), "observed_at_s": at_ns / 1e9 + after_s}
        events.append(a_prediction_event(**fields, history_m=history_m.ravel().tolist()))
    with Spool(folder / "spool") as spool:
        spool.write("predictions", events)


def _walk(rng: np.random.Generator, steps: int = 8) -> np.ndarray:
    """Positions of somebody who walks somewhere."""
    velocity_mps = rng.normal(0, 1.2, 2)
    return np.cumsum(0.4 * velocity_mps + rng.normal(0, 0.02, (steps, 2)), axis=0)


def traffic(client: httpx.Client, agents: int = 80, name: str = "a") -> None:
    """Predictions of agents that nobody knows yet, and the positions that label most of them."""
    rng = np.random.default_rng(2)
    began_s = time.time() - 30
    observations = []
    for number in range(agents):
        path_m = _walk(rng, 20).round(3)
        body = {"agent_id": f"{name}{number}", "scene_id": "s", "history": path_m[:8].tolist(), "observed_at_s": began_s}
        assert client.post("/predict", json=body).status_code == 200
        if number % 4:
            observations += [
                {"agent_id": f"{name}{number}", "scene_id": "s", "observed_at_s": began_s + 0.4 * (step + 1), "position": position}
                for step, position in enumerate(path_m[8:].tolist())
            ]
    assert client.post("/observations", json={"observations": observations}).status_code == 200


def has_data(server: Prometheus, expression: str) -> bool:
    """Whether an expression has a number now."""
    return any(not math.isnan(float(series["value"][1])) for series in server.query(expression))


@pytest.mark.slow
def test_every_panel_has_data_from_the_running_product(tmp_path: Path, prometheus: Callable[..., Prometheus]) -> None:
    """One API, one worker, a little traffic: no panel stays empty, and every rule can be evaluated."""
    folder = tmp_path / "var"
    folder.mkdir()
    api = Server(folder)
    try:
        api.wait_until(200)
        recorded_reference(folder)
        with httpx.Client(base_url=api.url, headers=api.headers, trust_env=False, timeout=10) as client:
            traffic(client)
            with a_worker(folder, api) as port:
                server = prometheus(api=[api.url.removeprefix("http://")], workers=[f"127.0.0.1:{port}"])
                missing = {
                    (board.title, panel.title, line.expr)
                    for board in DASHBOARDS
                    for _, panels in board.rows
                    for panel in panels
                    for line in panel.lines
                }

                rounds = count()

                def are_all_there() -> bool:
                    traffic(client, 4, f"{next(rounds)}-")  # series that begin with their first count show no increase before the second
                    missing.difference_update([one for one in missing if has_data(server, one[2])])
                    return not missing

                try:
                    wait_for(are_all_there, "data for every panel")
                except AssertionError:
                    pytest.fail(f"no data for {sorted(missing)}\n{(folder / 'workers.log').read_text()[-2000:]}")
                rules = server.rules()
                assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
                assert len(rules) == len(rules_of(*RULES))
    finally:
        api.kill()


class Inbox:
    """Takes what a webhook sends."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notices.append({"path": self.path, **orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self._thread = Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Inbox":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def quick_alertmanager(folder: Path, address: str) -> Path:
    """The shipped configuration, with a receiver of the test and no pauses."""
    config = yaml.safe_load((CONFIGS / "alertmanager/alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    [webhook] = config["receivers"][0]["webhook_configs"]
    webhook["url"] = webhook["url"].replace("127.0.0.1:8000", address)
    (folder / "api_key").write_text("a key of the test\n")
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_an_api_that_dies_is_told_by_alertmanager_once_and_alone(
    tmp_path: Path, prometheus: Callable[..., Prometheus], alertmanager: Callable[[Path], Alertmanager]
) -> None:
    """The API is killed → Prometheus's rule fires → Alertmanager has it, holds back what follows from it, and calls the webhook."""
    folder = tmp_path / "var"
    folder.mkdir()
    api = Server(folder)
    try:
        api.wait_until(200)
        with Inbox() as inbox:
            manager = alertmanager(quick_alertmanager(tmp_path, inbox.address))
            address = api.url.removeprefix("http://")
            server = prometheus(wait_s=1, api=[address], workers=[address], alertmanager=[manager.url.removeprefix("http://")])
            wait_for(lambda: has_data(server, 'up{job="api"} == 1'), "the API in Prometheus", 20)
            assert not [alert for alert in manager.alerts() if alert["labels"]["alertname"] == "TrajOpsApiDown"]
            api.kill()
            wait_for(lambda: manager.alerts(alertname="TrajOpsApiDown", severity="critical"), "the alert", 30)
            notice = wait_for(
                lambda: [one for one in inbox.notices if one["commonLabels"].get("alertname") == "TrajOpsApiDown"], "the webhook", 30
            )[0]
            assert notice["path"] == "/v1/alerts/alertmanager"
            assert notice["status"] == "firing"
            assert notice["commonAnnotations"]["runbook_url"] == "http://127.0.0.1:8501/runbook#trajopsapidown"
            assert "console_url" not in notice["commonLabels"]
            now, later = datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=5)
            follows = {"labels": {"alertname": "TrajOpsLatencyHigh", "part": "api", "severity": "warning"}}
            manager.post(follows | {"startsAt": now.isoformat(), "endsAt": later.isoformat()})
            wait_for(
                lambda: [one for one in manager.alerts(alertname="TrajOpsLatencyHigh") if one["status"]["inhibitedBy"]],
                "what follows is held back",
                20,
            )
            assert not [one for one in inbox.notices if one["commonLabels"].get("alertname") == "TrajOpsLatencyHigh"]
            api.start()
            api.wait_until(200)
            wait_for(
                lambda: [one for one in inbox.notices if one["status"] == "resolved" and "ApiDown" in str(one["commonLabels"])],
                "the all-clear",
                60,
            )
    finally:
        api.kill()
