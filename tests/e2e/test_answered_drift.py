"""Drift is injected into traffic, and everything that follows happens without a hand: alert, answer, recovery."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.wiring import Parts
from data.datasets import skillcorner
from tests.alert_receivers import SlackSink, a_slack_sink, wait_for
from tests.whole_product import Edits, configure, first_seconds, product, traffic, vehicles
from trajops.client import TrajOpsClient
from trajops.contracts.alerts import AlertOut
from trajops.contracts.answers import AnswerOut
from trajops.services.deployments import Deployments
from trajops.settings import Settings
from trajops.trajectories import Track
from workers.training.run import train

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]
WHO: dict[str, Any] = {"actor": "ada", "reason": "what the test begins with"}
# Traffic is not over before the test is, however busy the machine.
CALM_S, DRIFT_S = 10.0, 400.0
# Of three dozen agents, a fifth would leave an arm empty in one run of twenty.
COVERAGE = 0.6
# As shipped, but for the pace: so that the test takes a minute, and not five.
QUICK: Edits = {
    "schedules": {
        "jobs": {
            "check_drift": None,
            "recalibrate": None,
            "check_performance": {"every_s": 2, "jitter_s": 0},
            "answer_alerts": {"every_s": 1, "jitter_s": 0},
            "retrain": {"every_s": 2, "jitter_s": 0},
        }
    },
    "performance": {"check": {"window_s": 60}, "interval": {"min_agents": 10}, "confirm": {"spacing_s": 2}},
    "policy": {
        "rollback": {"before_s": 20, "min_agents": 15},
        "retrain": {"before_s": 20, "min_agents": 30, "coverage": COVERAGE},
        "answers": [
            {"name": "worse_than_validated", "alerts": ["performance_degraded"], "do": ["pause_rollout", "rollback", "retrain"]},
        ],
    },
}


class Scenario:
    """A folder with trained versions, the first of them live, then the next, and a Slack sink that is told of critical alerts."""

    def __init__(self, folder: Path, mlflow_url: str, slack: SlackSink, *families: str, checks_drift: bool = False) -> None:
        self.folder, self.mlflow_url, self.slack = folder, mlflow_url, slack
        receivers = [{"kind": "slack", "name": "chat", "url_env": "CHAT_URL"}]
        routes = [{"match": ['severity="critical"'], "receivers": ["chat"]}]
        rules = _quick_rules()
        checking = {"check_drift": {"every_s": 5, "jitter_s": 0}} if checks_drift else {}
        schedules = {"jobs": {**QUICK["schedules"]["jobs"], **checking}}
        configure(folder, {**QUICK, "schedules": schedules, "alerts": {"receivers": receivers, "routes": routes, "rules": rules}})
        settings = Settings(var_dir=folder / "var", mlflow_url=mlflow_url, model_name=f"model-{folder.name}", environment="test")
        self.model_name = settings.model_name
        parts = Parts(settings)
        parts.database.migrate()
        trained = train(settings, [skillcorner.load()["first_half"]], families=families, database=parts.database)
        deployments = Deployments(parts.database.unit_of_work, model_name=settings.model_name)
        for version in trained:
            staged = deployments.stage(version.ref.version, **WHO).deployment
            deployments.promote(staged.deployment_id, staged.version, **WHO)
        self.key, _ = parts.identity.create_api_key("test", "operator", **WHO)
        parts.database.close()

    def tracks(self) -> tuple[Track, ...]:
        """Players for a while, then vehicles."""
        players = first_seconds(skillcorner.load()["second_half"].tracks, CALM_S)
        return (*players, *vehicles(36, begin_s=CALM_S, seconds=DRIFT_S))


def _quick_rules() -> list[dict[str, Any]]:
    rule = {"name": "performance_degraded", "title": "A version is worse than validated", "signal": "accuracy_verdict"}
    return [{**rule, "when": ">= 2", "resolve_when": "< 1", "severity": "critical", "resolve_after_s": 1, "missing": "resolve"}]


@pytest.fixture
def slack() -> Iterator[SlackSink]:
    with a_slack_sink() as sink:
        yield sink


def the_answer(client: TrajOpsClient) -> AnswerOut:
    [answer] = client.answers().answers
    return answer


def the_alert(client: TrajOpsClient, alert_id: str) -> AlertOut:
    return client.alert(alert_id).alert


def states(answer: AnswerOut) -> dict[str, str]:
    return {step.action: step.state.value for step in answer.steps}


def is_over(client: TrajOpsClient) -> bool:
    return any(answer.state not in {"working", "proposed"} for answer in client.answers().answers)


def test_a_champion_that_fails_on_changed_traffic_makes_way_for_the_one_before(tmp_path: Path, mlflow_url: str, slack: SlackSink) -> None:
    scenario = Scenario(tmp_path, mlflow_url, slack, "constant_velocity", "kalman")
    environment = {"CHAT_URL": slack.url, "TRAJOPS_MODEL_NAME": scenario.model_name}
    with product(tmp_path, mlflow_url, **environment) as url, traffic(url, scenario.key, *scenario.tracks()):
        client = TrajOpsClient(url, scenario.key)
        assert client.routes().current.champion.model_version == 2
        wait_for(lambda: is_over(client), "the answer", 120)
        answer = the_answer(client)
        assert states(answer) == {"pause_rollout": "skipped", "rollback": "done", "retrain": "skipped"}, answer
        assert answer.labels == {"model_version": "2"}
        route = client.routes().current
        assert (route.champion.model_version, route.previous, route.actor) == (1, None, "policy:worse_than_validated")
        wait_for(lambda: the_alert(client, answer.alert_id).state == "resolved", "the end of the alert", 60)
        assert {"fired", "answered", "resolved"} <= {event.kind for event in client.alert(answer.alert_id).events}
        assert slack.received, "somebody was told"

        def recovered() -> bool:
            rows = client.performance(route.changed_at, datetime.now(UTC) + timedelta(seconds=1)).rows
            return any(row.model_version == 1 and row.complete >= 100 and (row.ade_m or 9) < 0.5 for row in rows)

        wait_for(recovered, "forecasts that are right again", 60)
        assert client.alerts(state="active").alerts == []


def test_without_a_better_champion_before_a_challenger_is_trained_on_the_changed_traffic(
    tmp_path: Path, mlflow_url: str, slack: SlackSink
) -> None:
    scenario = Scenario(tmp_path, mlflow_url, slack, "kalman")
    environment = {"CHAT_URL": slack.url, "TRAJOPS_MODEL_NAME": scenario.model_name}
    with product(tmp_path, mlflow_url, **environment) as url, traffic(url, scenario.key, *scenario.tracks()):
        client = TrajOpsClient(url, scenario.key)
        wait_for(lambda: is_over(client), "the answer", 150)
        answer = the_answer(client)
        assert states(answer) == {"pause_rollout": "skipped", "rollback": "skipped", "retrain": "done"}, answer
        retrained = answer.steps[-1].result
        assert retrained["candidate_ade_m"] < retrained["incumbent_ade_m"] / 2
        route = client.routes().current
        assert (route.champion.model_version, route.challenger.model_version, route.coverage) == (1, 2, COVERAGE), "never straight to live"

        def compared() -> dict[str, float] | None:
            rows = client.performance(route.changed_at, datetime.now(UTC) + timedelta(seconds=1)).rows
            known = {row.variant: row.ade_m for row in rows if row.complete >= 20 and row.ade_m is not None}
            return known if {"treatment", "control"} <= known.keys() else None

        wait_for(compared, "the challenger's own answers and the champion's beside them", 90)
        ade_m = compared()
        assert ade_m is not None
        assert ade_m["treatment"] < ade_m["control"] / 2
