"""Traffic of a scene that nobody knows comes in while drift is checked: the challenger is trained on what is judged to be well."""

from pathlib import Path

import pytest

from data.datasets import skillcorner
from deploy.demo.backfill import backfill
from tests.alert_receivers import a_slack_sink, wait_for
from tests.e2e.test_answered_drift import CALM_S, COVERAGE, DRIFT_S, Scenario, is_over, states, the_answer
from tests.whole_product import first_seconds, product, traffic, vehicles
from trajops.client import TrajOpsClient
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]


def test_a_challenger_is_trained_on_a_new_scene_while_drift_is_checked(tmp_path: Path, mlflow_url: str) -> None:
    with a_slack_sink() as slack:
        scenario = Scenario(tmp_path, mlflow_url, slack, "kalman", checks_drift=True)
        settings = Settings(var_dir=tmp_path / "var", mlflow_url=mlflow_url, model_name=scenario.model_name, environment="test")
        backfill(settings, {1: ConstantVelocity()}, "s1")
        players = first_seconds(skillcorner.load()["second_half"].tracks, CALM_S)
        cars = vehicles(36, begin_s=CALM_S, seconds=DRIFT_S, speed_mps=11.0)
        environment = {"CHAT_URL": slack.url, "TRAJOPS_MODEL_NAME": scenario.model_name}
        with (
            product(tmp_path, mlflow_url, **environment) as url,
            traffic(url, scenario.key, *players),
            traffic(url, scenario.key, *cars, scene_id="street", label="r2"),
        ):
            client = TrajOpsClient(url, scenario.key)
            wait_for(lambda: is_over(client), "the answer", 280)
            answer = the_answer(client)
            assert states(answer) == {"pause_rollout": "skipped", "rollback": "skipped", "retrain": "done"}, answer
            retrained = answer.steps[-1].result
            assert retrained["candidate_ade_m"] < retrained["incumbent_ade_m"] / 2
            route = client.routes().current
            assert (route.champion.model_version, route.challenger.model_version, route.coverage) == (1, 2, COVERAGE)
            latest = client.drift().latest
            assert latest is not None
            assert any("street" in finding.sentence for finding in latest.quality if finding.kind == "new_scene"), latest.sentence
