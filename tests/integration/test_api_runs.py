"""Training runs over HTTP: what is listed, how a run becomes a version, and an MLflow that is slow or away."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.shared_reads import SharedReads
from data.stubs import MemoryRegistry, MemoryRuns
from tests.run_builders import a_run, run_id
from tests.running_api import REASON, Api, problem, running_api
from trajops.contracts.runs import RegistrationOut, RunDetailOut, RunsOut
from trajops.errors import RegistryUnavailable
from trajops.records import ModelVersion
from trajops.services.runs import Runs
from trajops.training_runs import RunQuery


@dataclass
class Shop:
    """An API over runs and versions in memory; nothing that it answers is remembered."""

    api: Api
    runs: MemoryRuns
    registry: MemoryRegistry

    def register(self, run_id: str, role: str = "operator", key: str | None = None, reason: str = REASON) -> Any:
        return self.api.post(f"/v1/runs/{run_id}/register", {"reason": reason}, role, **({"Idempotency-Key": key} if key else {}))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with running_api(tmp_path) as api:
        registry = MemoryRegistry()
        runs = MemoryRuns(registry)
        api.parts.runs = Runs(runs, registry, api.parts.unit_of_work, url="http://mlflow")
        api.parts.registry_reads = SharedReads(0.0, keep_refusal_s=0.0)
        yield Shop(api, runs, registry)


def test_runs_are_listed_with_their_figures_and_versions(shop: Shop) -> None:
    for number in (1, 2):
        shop.runs.add(a_run(number))
    shop.runs.add(a_run(3, "gaussian_mlp", status="running", ended_at=None))
    assert RegistrationOut.model_validate(shop.register(run_id(1)).json()).model_version == 1
    found = RunsOut.model_validate(shop.api.get("/v1/runs").json())
    assert [(run.run_id[-1], run.status, run.model_versions) for run in found.runs] == [
        ("3", "running", []),
        ("2", "finished", []),
        ("1", "finished", [1]),
    ]
    first = found.runs[-1]
    assert (first.family, first.dataset, first.data_fingerprint, first.duration_s) == ("kalman", "match", "9f1c", 20.0)
    assert first.commit == "1" * 40
    assert first.run_url == f"http://mlflow/#/experiments/1/runs/{run_id(1)}"
    assert set(first.metrics) == {"val_ade_m", "val_fde_m", "val_coverage_90", "val_nll", "val_latency_ms"}
    assert found.runs[0].duration_s is None


def test_filters_and_pages(shop: Shop) -> None:
    for number in (1, 2, 3):
        shop.runs.add(a_run(number, "kalman" if number < 3 else "gaussian_mlp"))
    one = RunsOut.model_validate(shop.api.get("/v1/runs", family="kalman", limit=1).json())
    two = RunsOut.model_validate(shop.api.get("/v1/runs", family="kalman", limit=1, page_token=one.next_page_token).json())
    assert [run.params["seed"] for run in (*one.runs, *two.runs)] == ["2", "1"]
    assert two.next_page_token is None
    assert [run["name"] for run in shop.api.get("/v1/runs", text="GAUSS").json()["runs"]] == ["gaussian_mlp"]
    problem(shop.api.get("/v1/runs", page_token="rubbish"), 422, "invalid_input")
    problem(shop.api.get("/v1/runs", status="asleep"), 422, "invalid_input")
    problem(shop.api.get("/v1/runs", limit=0), 422, "invalid_input")


def test_one_run_has_its_curves(shop: Shop) -> None:
    shop.runs.add(a_run(1))
    found = RunDetailOut.model_validate(shop.api.get(f"/v1/runs/{run_id(1)}").json())
    assert [(step.step, step.ahead_s) for step in found.steps] == [(n, pytest.approx(0.4 * n)) for n in range(1, 13)]
    assert found.steps[0].ade_m == pytest.approx(0.48 / 6.5, abs=1e-4)
    assert [(one.nominal, one.observed) for one in found.calibration] == [(0.1, 0.11), (0.5, 0.51), (0.9, 0.91)]
    assert [(one.name, one.ade_m, one.coverage_90) for one in found.scenes] == [("north.1", 0.58, None)]
    assert [one.name for one in found.speeds] == ["walking"]
    assert found.refusal is None
    problem(shop.api.get("/v1/runs/nothing"), 404, "not_found")


def test_an_adopted_version_lends_its_figures_to_its_run(shop: Shop) -> None:
    """Somebody else's run knows nothing of our windows; the workers have measured its version on them."""
    shop.runs.add(a_run(1, params={}, metrics={"loss": 3.0}))
    row = ModelVersion(
        "trajectory",
        4,
        "onnx_model",
        run_id(1),
        {"val_ade_m": 0.3, "step.01.ade_m": 0.1},
        {"data_fingerprint": "9f1c"},
        "",
        datetime.now(UTC),
    )
    with shop.api.parts.unit_of_work() as uow:
        uow.model_versions.put(row)
    found = RunDetailOut.model_validate(shop.api.get(f"/v1/runs/{run_id(1)}").json())
    assert found.run.metrics == {"loss": 3.0, "val_ade_m": 0.3}
    assert (found.run.family, found.run.data_fingerprint) == ("onnx_model", "9f1c")
    assert [(step.step, step.ahead_s, step.ade_m) for step in found.steps] == [(1, None, 0.1)]


def test_a_run_is_registered_once_and_audited(shop: Shop) -> None:
    shop.runs.add(a_run(1))
    done = RegistrationOut.model_validate(shop.register(run_id(1), key="k1").json())
    assert (done.model_version, done.run_id, done.job) == (1, run_id(1), "reconcile_aliases")
    assert shop.register(run_id(1), key="k1").json() == done.model_dump(mode="json")
    assert len(shop.registry.versions("trajectory")) == 1
    [entry] = shop.api.get("/v1/audit", subject="trajectory/1").json()["entries"]
    assert (entry["audit_id"], entry["action"], entry["reason"]) == (done.audit_id, "model.registered", REASON)
    assert entry["after"]["run_id"] == run_id(1)
    again = problem(shop.register(run_id(1), key="k2"), 409, "conflict")
    assert "it is v1 already" in again.detail


def test_a_registration_that_broke_off_is_finished_by_the_same_request(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow has the version, the audit does not: the same key goes on, and makes no second one."""
    shop.runs.add(a_run(1))
    once = shop.registry.register

    def broken(*args: Any, **fields: Any) -> int:
        once(*args, **fields)
        raise RegistryUnavailable("the answer was lost")

    monkeypatch.setattr(shop.registry, "register", broken)
    problem(shop.register(run_id(1), key="k1"), 503, "registry_unavailable")
    monkeypatch.setattr(shop.registry, "register", once)
    assert shop.register(run_id(1), key="k1").json()["model_version"] == 1
    assert len(shop.registry.versions("trajectory")) == 1


def test_who_is_second_takes_the_version_away_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.runs.add(a_run(1))
    once = shop.registry.register

    def raced(name: str, source: str, **fields: Any) -> int:
        once(name, source, run_id=fields["run_id"], tags={})
        return once(name, source, **fields)

    monkeypatch.setattr(shop.registry, "register", raced)
    assert "somebody else did so meanwhile, as v1" in problem(shop.register(run_id(1)), 409, "conflict").detail
    assert [row["version"] for row in shop.registry.versions("trajectory")] == [1]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"status": "running", "ended_at": None}, "it is not over yet"),
        ({"status": "failed"}, "it has failed"),
        ({"status": "killed"}, "it was stopped"),
        ({"model_ids": ()}, "it logged no MLflow model"),
    ],
    ids=["running", "failed", "killed", "no model"],
)
def test_what_cannot_be_registered_says_why(shop: Shop, fields: dict[str, Any], why: str) -> None:
    shop.runs.add(a_run(1, **fields))
    assert why in str(shop.api.get(f"/v1/runs/{run_id(1)}").json()["refusal"])
    assert why in problem(shop.register(run_id(1)), 409, "conflict").detail
    assert not shop.registry.versions("trajectory")


def test_reading_is_for_all_and_registering_for_operators(shop: Shop) -> None:
    shop.runs.add(a_run(1))
    path = f"/v1/runs/{run_id(1)}"
    for asked in ("/v1/runs", path):
        assert shop.api.client.get(asked).status_code == 401
        assert shop.api.get(asked).status_code == 200
    assert shop.api.client.post(f"{path}/register", json={"reason": REASON}).status_code == 401
    problem(shop.register(run_id(1), "viewer"), 403, "forbidden")
    problem(shop.register(run_id(1), reason="short"), 422, "invalid_input")
    assert not shop.registry.versions("trajectory")
    problem(shop.register("nothing"), 404, "not_found")


def test_a_registry_that_is_away_breaks_nothing_else(shop: Shop) -> None:
    shop.runs.add(a_run(1))
    shop.registry.is_away = True
    for answer in (shop.api.get("/v1/runs"), shop.api.get(f"/v1/runs/{run_id(1)}"), shop.register(run_id(1))):
        problem(answer, 503, "registry_unavailable")
    assert shop.api.get("/v1/models").status_code == 200


def test_a_slow_registry_holds_only_who_asks_for_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More callers wait than the pool of the other routes has threads, and those answer as ever."""
    shop.api.parts.registry_reads = SharedReads(5.0)
    released, asked = threading.Event(), []

    def slow(query: RunQuery) -> RunsOut:
        asked.append(query)
        assert released.wait(30)
        return RunsOut(model_name="trajectory", runs=[])

    monkeypatch.setattr(shop.api.parts.runs, "newest", slow)
    waiting = [threading.Thread(target=shop.api.get, args=("/v1/runs",), kwargs={"text": f"run {n % 20}"}) for n in range(60)]
    try:
        for thread in waiting:
            thread.start()
        while len(asked) < 4:
            time.sleep(0.01)
        assert shop.api.get("/v1/models").status_code == 200
        assert shop.api.get("/v1/routes").status_code == 200
        assert len(asked) == 4, "so many threads it has"
    finally:
        released.set()
        for thread in waiting:
            thread.join()
    assert len(asked) == 20, "who asks for the same shares one read"


def test_an_answer_is_kept_for_a_moment_and_a_change_forgets_it(shop: Shop) -> None:
    shop.api.parts.registry_reads = SharedReads(60.0, keep_refusal_s=60.0)
    shop.runs.add(a_run(1))
    assert len(shop.api.get("/v1/runs").json()["runs"]) == 1
    shop.runs.add(a_run(2))
    assert len(shop.api.get("/v1/runs").json()["runs"]) == 1
    assert shop.register(run_id(2)).status_code == 200
    assert [run["model_versions"] for run in shop.api.get("/v1/runs").json()["runs"]] == [[1], []]
