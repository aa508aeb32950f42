"""Rollouts over the API: started, steered and refused, with real routes and database; the job takes the steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.experiment_builders import a_verdict
from tests.running_api import REASON, Api, running_api
from trajops.clock import SystemClock, now
from trajops.contracts.rollouts import RolloutChangeOut, RolloutOut, RolloutPoliciesOut, RolloutsOut
from trajops.rollouts.lifecycle import RolloutState, Stage


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        api.promote(1)
        for version in (2, 3):
            api.register(version)
        yield api


def staged(api: Api, version: int) -> dict[str, Any]:
    answer = api.post("/v1/deployments", {"model_version": version, "reason": REASON}, "operator")
    assert answer.status_code == 200, answer.text
    deployment = answer.json()["deployment"]
    return {"deployment_id": deployment["deployment_id"], "expected_version": deployment["version"], "reason": REASON}


def changed(api: Api, path: str, body: dict[str, Any]) -> RolloutOut:
    answer = api.post(f"/v1/rollouts{path}", body, "operator")
    assert answer.status_code == 200, answer.text
    return RolloutChangeOut.model_validate_json(answer.content).rollout


def seen(rollout: RolloutOut) -> dict[str, Any]:
    return {"expected_version": rollout.version, "reason": REASON}


def test_the_policies_are_those_of_the_file(api: Api) -> None:
    found = RolloutPoliciesOut.model_validate_json(api.get("/v1/rollouts/policies").content)
    assert (found.default, [policy.name for policy in found.policies]) == ("careful", ["careful", "unattended", "quick"])


def test_a_rollout_is_started_looked_at_paused_resumed_and_taken_back(api: Api) -> None:
    rollout = changed(api, "", staged(api, 2) | {"policy": "unattended"})
    assert (rollout.stage, rollout.state, rollout.champion_version) == (Stage.SHADOW, RolloutState.RUNNING, 1)
    [(_, found)] = api.parts.rollouts.advance()
    assert found.way == "wait"
    rollout = RolloutOut.model_validate_json(api.get(f"/v1/rollouts/{rollout.rollout_id}").content)
    assert [gate.name for gate in rollout.gates if gate.state == "waiting"] == ["time", "freshness"]
    with api.parts.unit_of_work() as uow:
        verdict = a_verdict().model_copy(update={"at": now(SystemClock())})
        uow.experiments.note(str(rollout.experiment_id), verdict, keep=False)
    api.parts.rollouts.advance()
    paused = changed(api, f"/{rollout.rollout_id}/pause", seen(rollout))
    assert paused.state == RolloutState.PAUSED
    resumed = changed(api, f"/{rollout.rollout_id}/resume", seen(paused))
    back = changed(api, f"/{rollout.rollout_id}/rollback", seen(resumed))
    assert (back.state, back.sentence) == (RolloutState.ROLLED_BACK, f"Rolled back: {REASON}")
    listed = RolloutsOut.model_validate_json(api.get("/v1/rollouts").content).rollouts
    assert listed == [back]
    entries = api.get("/v1/audit", subject=f"rollout/{rollout.rollout_id}").json()["entries"]
    assert [entry["action"] for entry in entries] == ["rollout.roll_back", "rollout.resume", "rollout.pause", "rollout.start"]


def test_what_is_refused(api: Api) -> None:
    first = staged(api, 2)
    rollout = changed(api, "", first)
    second = staged(api, 3)
    refused = [
        ("", second, 409, "another version is being rolled out"),
        ("", second | {"policy": "bold"}, 422, "no rollout policy 'bold'"),
        ("", second | {"expected_version": 9}, 409, "somebody changed it"),
        ("", second | {"deployment_id": "nobody"}, 404, "there is no deployment"),
        (f"/{rollout.rollout_id}/approve", seen(rollout), 409, "nothing is to be approved"),
        (f"/{rollout.rollout_id}/approve", seen(rollout) | {"expected_version": 7}, 409, "somebody changed it"),
        (f"/{rollout.rollout_id}/pause", {"expected_version": 1, "reason": "short"}, 422, "reason"),
        ("/nobody/stop", seen(rollout), 404, "there is no rollout"),
    ]
    for path, body, status, said in refused:
        answer = api.post(f"/v1/rollouts{path}", body, "operator")
        assert answer.status_code == status, (path, body, answer.text)
        assert said in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert api.post("/v1/rollouts", second, "viewer").status_code == 403


@pytest.mark.parametrize("way", ["experiment", "deployment"])
def test_promoting_past_its_gates_is_refused_with_a_code_of_its_own(api: Api, way: str) -> None:
    rollout = changed(api, "", staged(api, 2))
    deployment = next(one for one in api.get("/v1/deployments").json()["deployments"] if one["model_version"] == 2)
    paths = {
        "experiment": (f"/v1/experiments/{rollout.experiment_id}/stop", {"expected_version": 2, "winner": "treatment"}),
        "deployment": (f"/v1/deployments/{deployment['deployment_id']}/promote", {"expected_version": deployment["version"]}),
    }
    path, body = paths[way]
    answer = api.post(path, body | {"reason": REASON}, "operator")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_rollout"), answer.text
    assert "stop the rollout to promote it without" in answer.json()["detail"]
