"""The probe against a real API: what is a good answer, what is not, what is kept of it, and that no figure knows of it."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
from tests.running_api import REASON, running_api
from tests.served_api import Served, served_api
from trajops.clock import now
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.objectives import Minutes, ProbeRules, minute_of
from trajops.settings import Settings
from workers.jobs.probe import Prober
from workers.wiring import Parts
from workers.work import runner_of, work_of

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_api(tmp_path_factory.mktemp("api")) as served:
        served.api.promote(1)
        yield served


@pytest.fixture
def workers(served: Served) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=served.api.parts.settings.var_dir, configs_dir=CONFIGS, api_url=f"http://127.0.0.1:{served.port}"))
    yield parts
    parts.close()


def probed(workers: Parts) -> dict[str, Any]:
    return dict(work_of(workers)["probe"]())


def test_a_probe_is_answered_with_a_key_of_its_own_and_kept(workers: Parts, served: Served) -> None:
    before = now(workers.clock)
    found = probed(workers)
    assert found["outcome"] == "good"
    assert found["sentence"].startswith("answered in ")
    with workers.database.unit_of_work(read_only=True) as uow:
        kept = uow.probes.summed(minute_of(before), minute_of(before) + 2)
        assert (kept.bad, kept.probes) == (0.0, 1)
        assert kept.slowest_ms == pytest.approx(found["latency_ms"])
        [key] = [key for key in uow.api_keys.all() if key.name == "probe"]
        assert (key.role, key.scopes) == ("viewer", ("predict",))
        assert [entry.actor for entry in uow.audit.newest(50, "key:probe")] == ["worker:probe"]
    file = workers.settings.var_dir / "probe_key"
    assert file.stat().st_mode & 0o077 == 0, "nobody else may read the key"
    assert file.read_text().strip() not in json.dumps(found)
    assert 'trajops_probes_total{outcome="good"} 1.0' in _exposed(workers)


def test_a_second_worker_asks_with_the_same_key(workers: Parts, served: Served) -> None:
    probed(workers)
    other = Parts(workers.settings)
    try:
        assert probed(other)["outcome"] == "good"
        with other.database.unit_of_work(read_only=True) as uow:
            assert len([key for key in uow.api_keys.all() if key.name == "probe"]) == 1
    finally:
        other.close()


def test_no_figure_knows_of_probes(workers: Parts, served: Served) -> None:
    probed(workers)
    api = served.api
    until = now(workers.clock) + timedelta(seconds=1)
    since = until - timedelta(minutes=5)
    lake = workers.lake
    assert lake.performance(since, until).rows == []
    assert sum(point.predictions for point in lake.traffic(since, until)) == 0
    assert api.get("/v1/predictions").json()["predictions"] == []
    assert api.get("/v1/agents").json()["agents"] == [], "a probe moves nobody"
    assert lake.performance(since, until, sources=["probe"]).rows[0].predictions >= 1, "but they are recorded, as part of what must work"
    assert workers.truth_join.run()["candidates"] == 0, "truth is not waited for"


@pytest.mark.parametrize(
    ("status", "body", "outcome", "said"),
    [
        (503, {"detail": "it would wait too long"}, "refused", "answered 503: it would wait too long"),
        (500, None, "refused", "answered 500"),
        (200, {"modes": []}, "wrong", "no forecast of 12 steps"),
        (200, {"modes": [{"positions": [[0, 0]]}]}, "wrong", "no forecast of 12 steps"),
        (200, [1], "wrong", "no forecast of 12 steps"),
    ],
)
def test_what_is_no_good_answer_is_told(status: int, body: Any, outcome: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: Any, **__: Any) -> httpx.Response:
        return httpx.Response(status, json=body)

    monkeypatch.setattr(httpx.Client, "post", answer)
    prober = Prober("http://api", lambda: "key", ProbeRules())
    found = prober.ask()
    prober.close()
    assert found.outcome == outcome
    assert said in (found.failure or "")


def test_a_slow_answer_counts_as_bad(workers: Parts, served: Served) -> None:
    prober = Prober(f"http://127.0.0.1:{served.port}", lambda: workers.probe_key, ProbeRules(good_within_s=1e-6))
    found = prober.ask()
    prober.close()
    assert found.outcome == "slow"
    assert found.latency_s is not None


def test_an_api_that_is_away_makes_a_bad_minute_and_no_failed_job(tmp_path: Path) -> None:
    parts = Parts(Settings(var_dir=tmp_path, configs_dir=CONFIGS, api_url=f"http://127.0.0.1:{free_port()}"))
    try:
        parts.database.migrate()
        runner_of(parts).describe()
        assert probed(parts)["outcome"] is None, "before the first deployment nothing is promised"
        with parts.database.unit_of_work() as uow:
            assert uow.probes.first_minute() is None
            uow.routes.append(RouteTable(1, ModelRef("trajectory", 1)), at=now(parts.clock), actor="test", reason=REASON)
        run = runner_of(parts).run("probe")
        assert run is not None
        assert run.state == "succeeded", "the job has done its work"
        assert "does not answer (ConnectError)" in run.result["sentence"]
        with parts.database.unit_of_work(read_only=True) as uow:
            assert uow.probes.summed(0, 10**9) == Minutes(1, 1.0, 1, None)
            failure = uow.probes.last_failure()
            assert failure is not None
            assert "does not answer" in failure[1]
        assert 'trajops_probes_total{outcome="unreachable"} 1.0' in _exposed(parts)
    finally:
        parts.close()


def test_the_api_tells_availability_from_what_the_probe_wrote(tmp_path: Path) -> None:
    with running_api(tmp_path) as api:
        empty = api.get("/v1/availability").json()
        assert (empty["verdict"], empty["budget_left"], empty["series"]) == ("unknown", None, [])
        at = now(api.parts.clock)
        with api.parts.unit_of_work() as uow:
            for minute in range(60):
                is_good = minute not in range(6)
                if minute not in range(20, 30):  # nobody probed for ten minutes
                    uow.probes.add(at - timedelta(minutes=minute), is_good=is_good, latency_ms=9.0, failure=None if is_good else "away")
        api.parts.cached.clear()
        told = api.get("/v1/availability", hours=1).json()
        assert told["verdict"] == "bad"
        assert "burns at 14.4 times" in told["sentence"]
        assert told["bad_min"] == 5, "the budget is of whole minutes"
        assert told["unknown_min"] == 10
        assert told["known_min"] == 49
        assert told["budget_left"] == pytest.approx(1 - 5 / (0.001 * (30 * 1440 - 10)))
        assert [alarm["is_burning"] for alarm in told["alarms"]] == [True, True, True]
        assert told["last_failure"] == "away"
        points = told["series"]
        assert len(points) == 60
        assert sum(point["availability"] is None for point in points) == 10, "a gap is a gap"
        assert sum(point["availability"] == 0 for point in points) == 6
        assert api.get("/v1/availability", hours=0).status_code == 422
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    (configs / "objectives.yaml").write_text("availability: {target: 2}\n")
    with running_api(tmp_path / "other", configs_dir=configs) as api:
        wrong = api.get("/v1/availability")
        assert wrong.status_code == 503
        assert "objectives.yaml:1" in wrong.json()["detail"]
        api.promote(1)
        assert api.post("/predict", {"agent_id": "a", "history": [[float(i), 0.0] for i in range(8)]}).status_code == 200


def test_a_revoked_key_stays_revoked_and_is_told(tmp_path: Path) -> None:
    with served_api(tmp_path) as served:
        served.api.promote(1)
        parts = Parts(Settings(var_dir=tmp_path, configs_dir=CONFIGS, api_url=f"http://127.0.0.1:{served.port}"))
        try:
            assert probed(parts)["outcome"] == "good"
            [key] = [key for key in served.api.get("/v1/keys", "admin").json()["keys"] if key["name"] == "probe"]
            assert served.api.post(f"/v1/keys/{key['key_id']}/revoke", {"reason": REASON}, "admin").status_code == 200
            parts.__dict__.pop("probe_key")
            found = probed(parts)
            assert found["outcome"] == "refused"
            assert "answered 401" in found["sentence"]
        finally:
            parts.close()


def _exposed(parts: Parts) -> str:
    from prometheus_client import generate_latest

    return generate_latest(parts.metrics.registry).decode()
