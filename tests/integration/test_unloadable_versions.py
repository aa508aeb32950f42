"""Versions that this API cannot load: they get no traffic, and after a restart somebody answers for them, visibly."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from data.models.cache import VersionInfo, publish
from data.models.loader import ModelLoader
from data.models.registry import MlflowRegistry
from tests.mlflow_models import our_model
from tests.running_api import REASON, Api, MemoryLoader, a_body, running_api
from trajops.contracts.predictions import PredictOut
from trajops.contracts.status import Readiness, StatusOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import UnsafeModel
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster

UNSAFE = "trajectory/2 is an MLflow pyfunc, which runs code when it is loaded"


def unsafe() -> Forecaster:
    raise UnsafeModel(UNSAFE)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        api.promote(1)
        yield api


def staged(api: Api, version: int) -> tuple[str, dict[str, Any]]:
    """The path of a freshly staged deployment, and a body that changes it."""
    api.register(version)
    deployment = api.post("/v1/deployments", {"model_version": version, "reason": REASON}, "operator").json()["deployment"]
    return f"/v1/deployments/{deployment['deployment_id']}", {"expected_version": deployment["version"], "reason": REASON}


def control_state(api: Api) -> Any:
    return [api.get(path).json() for path in ("/v1/routes", "/v1/deployments", "/v1/audit")]


@pytest.mark.parametrize("change", ["promote", "canary"])
def test_a_version_that_cannot_be_loaded_gets_no_traffic(api: Api, change: str) -> None:
    api.parts.loader.models[2] = unsafe
    path, body = staged(api, 2)
    before = control_state(api)
    body |= {"coverage": 0.5} if change == "canary" else {}
    refused = api.post(f"{path}/{change}", body, "operator", **{"Idempotency-Key": "once"})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_loadable")
    assert refused.json()["detail"] == f"trajectory/2 cannot be loaded by this API, and nothing was changed: {UNSAFE}"
    assert control_state(api) == before
    assert api.post("/predict", a_body()).json()["model_version"] == 1
    api.parts.loader.models[2] = ConstantVelocity
    assert eventually(lambda: api.post(f"{path}/{change}", body, "operator", **{"Idempotency-Key": "once"}).status_code == 200)


def test_a_fault_of_the_model_itself_is_named(api: Api) -> None:
    api.parts.loader.models[2] = lambda: 1 / 0  # type: ignore[assignment, return-value]
    path, body = staged(api, 2)
    refused = api.post(f"{path}/promote", body, "operator")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_loadable")
    assert "ZeroDivisionError: division by zero" in refused.json()["detail"]


def test_a_version_that_is_slow_to_load_is_promoted_when_it_is_warm(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = Event()

    def slow() -> Forecaster:
        assert may_go_on.wait(20)
        return ConstantVelocity()

    api.parts.loader.models[2] = slow
    monkeypatch.setattr("api.readying.READY_S", 0.05)
    path, body = staged(api, 2)
    before = control_state(api)
    late = api.post(f"{path}/promote", body, "operator")
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (503, "unavailable", "2")
    assert "nothing was changed, try again" in late.json()["detail"]
    assert control_state(api) == before
    may_go_on.set()
    assert eventually(lambda: ModelRef("trajectory", 2) in api.parts.host.warm)
    assert api.post(f"{path}/promote", body, "operator").status_code == 200


def test_with_the_registry_away_the_cache_is_enough_and_without_it_nothing_is_changed(api: Api, tmp_path: Path) -> None:
    folder = our_model(tmp_path / "made", ConstantVelocity())
    publish(
        api.parts.settings.models_dir,
        VersionInfo("trajectory", 2, "models:/m-2", "run2", {}, time.time_ns()),
        lambda into: shutil.copytree(folder, into, dirs_exist_ok=True),
    )
    registry = MlflowRegistry("http://127.0.0.1:9")
    loader = ModelLoader(registry, api.parts.settings.models_dir)
    for version in (2, 3):
        api.parts.loader.models[version] = lambda version=version: loader.load(ModelRef("trajectory", version))
    path, body = staged(api, 3)
    before = control_state(api)
    refused = api.post(f"{path}/promote", body, "operator")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "nothing was changed: trajectory/3 is not in the local cache" in refused.json()["detail"]
    assert control_state(api) == before
    api.promote(2)
    assert api.post("/predict", a_body()).json()["model_version"] == 2
    registry.close()


@pytest.mark.parametrize("previous", [1, None], ids=["previous", "baseline"])
def test_after_a_restart_somebody_stands_in_for_a_champion_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, previous: int | None
) -> None:
    with running_api(tmp_path) as before:
        if previous is not None:
            before.promote(previous)
        before.promote(2)
    load = MemoryLoader.load
    monkeypatch.setattr(MemoryLoader, "load", lambda self, ref: unsafe() if ref.version == 2 else load(self, ref))
    with running_api(tmp_path) as api:
        stand_in = ("trajectory", 1) if previous else ("baseline", 0)
        name = f"{stand_in[0]}/{stand_in[1]}"
        assert eventually(lambda: api.parts.host.readiness().stand_in == name)
        answer = api.post("/predict", a_body("late"))
        assert answer.status_code == 200
        out = PredictOut.model_validate_json(answer.content)
        assert (out.model_name, out.model_version, out.epoch, out.variant) == (*stand_in, 0, "champion")
        batch = api.post("/batch_predict", {"history": [a_body()["history"]]}).json()
        assert (batch["model_name"], batch["model_version"], batch["epoch"]) == ([stand_in[0]], [stand_in[1]], 0)
        [remembered] = api.get("/v1/predictions", agent_id="late").json()["predictions"]
        assert (remembered["prediction"]["model_name"], remembered["prediction"]["model_version"]) == stand_in

        ready = api.client.get("/readyz")
        readiness = Readiness.model_validate_json(ready.content)
        assert (ready.status_code, readiness.stand_in, readiness.missing) == (200, name, ["trajectory/2"])
        assert UNSAFE in readiness.detail
        status = StatusOut.model_validate_json(api.get("/v1/status").content)
        assert (status.verdict, {one.service: one.health for one in status.services}["api"]) == ("bad", "bad")
        assert status.sentence.startswith(
            f"Prediction API: {name} stands in and answers everybody; epoch {2 if previous else 1} must wait for"
        )
        assert api.client.get("/v2/models/trajectory/ready").status_code == 401
        assert api.get("/v2/models/trajectory/ready").json()["ready"] is True

        asked = api.post("/predict", a_body(model_version="champion"))
        assert (asked.status_code, asked.json()["code"]) == (409, "unsafe_model")
        path, body = staged(api, 3)
        epoch = api.post(f"{path}/promote", body, "operator").json()["route"]["epoch"]
        assert eventually(lambda: api.parts.host.epoch == epoch)
        out = PredictOut.model_validate_json(api.post("/predict", a_body()).content)
        assert (out.model_version, out.epoch) == (3, epoch)
        assert api.parts.host.readiness().stand_in is None


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
