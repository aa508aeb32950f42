"""The control routes: sign-in, roles, releases with their races and repetitions, what operators read."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.running_api import PASSWORD, REASON, Api, a_body, running_api
from trajops.contracts.audit import AuditPage
from trajops.contracts.deployments import ChangeOut, DeploymentsOut, RouteHistoryOut
from trajops.contracts.drift import DriftCheckOut, DriftOut
from trajops.contracts.jobs import JobRunOut, JobRunsOut, JobsOut
from trajops.contracts.models import AdoptionOut, ModelsOut
from trajops.contracts.performance import PerformanceOut
from trajops.contracts.session import Me, TokenOut
from trajops.contracts.status import StatusOut

READS = [
    "me",
    "models",
    "deployments",
    "routes",
    "audit",
    "performance",
    "predictions",
    "agents",
    "drift",
    "jobs",
    "availability",
    "status",
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        yield api


def test_sign_in_gives_a_token_that_says_who_one_is(api: Api) -> None:
    api.parts.identity.create_user("op", PASSWORD, "operator", actor="test", reason=REASON)
    wrong = api.client.post("/v1/token", json={"username": "op", "password": "wrong horse"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")
    token = TokenOut.model_validate_json(api.client.post("/v1/token", json={"username": "op", "password": PASSWORD}).content)
    assert token.role == "operator"
    assert token.expires_at > datetime.now(UTC)
    headers = {"Authorization": f"Bearer {token.access_token}"}
    me = Me.model_validate_json(api.client.get("/v1/me", headers=headers).content)
    assert (me.username, me.role, me.environment) == ("op", "operator", "test")


def test_who_fails_too_often_is_refused_before_anything_is_checked(api: Api) -> None:
    api.parts.identity.create_user("op", PASSWORD, "operator", actor="test", reason=REASON)
    api.parts.identity.create_user("other", PASSWORD, "operator", actor="test", reason=REASON)

    def ask(username: str, password: str) -> Any:
        return api.client.post("/v1/token", json={"username": username, "password": password})

    assert [ask("op", "wrong horse").status_code for _ in range(10)] == [401] * 10
    refused = ask("op", PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert ask("other", PASSWORD).status_code == 200, "only for that name"


def test_a_disabled_operator_changes_nothing_with_an_old_token(api: Api) -> None:
    api.parts.identity.create_user("op", PASSWORD, "operator", actor="test", reason=REASON)
    api.register(1)
    token = api.client.post("/v1/token", json={"username": "op", "password": PASSWORD}).json()["access_token"]
    api.parts.identity.disable_user("op", actor="test", reason=REASON)
    answer = api.client.post("/v1/deployments", json={"model_version": 1, "reason": REASON}, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("name", READS)
def test_reading_needs_any_valid_client(api: Api, name: str) -> None:
    assert api.client.get(f"/v1/{name}").status_code == 401
    assert api.get(f"/v1/{name}").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/deployments", {"model_version": 1, "reason": REASON}),
        ("/v1/deployments/x/canary", {"expected_version": 1, "coverage": 0.5, "reason": REASON}),
        ("/v1/deployments/x/canary/pause", {"expected_version": 1, "reason": REASON}),
        ("/v1/deployments/x/canary/stop", {"expected_version": 1, "reason": REASON}),
        ("/v1/deployments/x/promote", {"expected_version": 1, "reason": REASON}),
        ("/v1/routes/rollback", {"expected_epoch": 1, "reason": REASON}),
        ("/v1/jobs/compact/run", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_changes_need_an_operator(api: Api, path: str, body: dict[str, Any]) -> None:
    assert api.client.post(path, json=body).status_code == 401
    refused = api.post(path, body, "viewer")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    for role in ("operator", "admin"):
        assert api.post(path, body, role).status_code in {404, 409}


def test_a_release_from_staging_to_rollback(api: Api) -> None:
    assert api.client.get("/readyz").status_code == 503
    assert api.post("/predict", a_body()).json()["code"] == "no_model_ready"
    api.promote(1)
    ready = api.client.get("/readyz")
    assert (ready.status_code, ready.json()["warm"]) == (200, ["trajectory/1"])

    api.register(2)
    staged = ChangeOut.model_validate(api.post("/v1/deployments", {"model_version": 2, "reason": REASON}, "operator").json()).deployment
    path = f"/v1/deployments/{staged.deployment_id}"
    body = {"expected_version": staged.version, "coverage": 1.0, "reason": REASON}
    canary = ChangeOut.model_validate(api.post(f"{path}/canary", body, "operator").json())
    assert canary.route.challenger is not None
    api.follow()
    answers = [api.post("/predict", a_body(f"a{n}")).json() for n in range(20)]
    assert {(answer["model_version"], answer["variant"]) for answer in answers} == {(1, "control"), (2, "treatment")}

    body = {"expected_version": canary.deployment.version, "reason": REASON}
    stopped = ChangeOut.model_validate(api.post(f"{path}/canary/stop", body, "operator").json())
    stale = api.post(f"{path}/promote", body, "operator")
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_version")
    body["expected_version"] = stopped.deployment.version
    promoted = ChangeOut.model_validate(api.post(f"{path}/promote", body, "operator").json())
    api.follow()
    assert api.post("/predict", a_body()).json()["model_version"] == 2

    models = ModelsOut.model_validate(api.get("/v1/models").json()).versions
    assert [(one.model_version, one.state, one.aliases, one.is_warm) for one in models] == [
        (2, "live", ["champion"], True),
        (1, "retired", ["previous_champion"], True),
    ]
    assert models[0].run_url == "http://127.0.0.1:9/#/runs/run2"

    body = {"expected_epoch": promoted.route.epoch, "reason": REASON}
    back = ChangeOut.model_validate(api.post("/v1/routes/rollback", body, "operator").json())
    api.follow()
    assert api.post("/predict", a_body()).json()["model_version"] == 1
    assert back.route.champion is not None
    assert back.route.champion.model_version == 1

    routes = RouteHistoryOut.model_validate(api.get("/v1/routes").json())
    assert [route.epoch for route in routes.history] == list(range(back.route.epoch, 0, -1))
    entries = AuditPage.model_validate(api.get("/v1/audit", subject="trajectory/2").json()).entries
    assert {entry.action for entry in entries} >= {f"deployment.{step}" for step in ("stage", "canary", "canary_stop", "promote")}
    assert {entry.actor for entry in entries} == {"key:operator key"}
    assert len(DeploymentsOut.model_validate(api.get("/v1/deployments").json()).deployments) == 2


def test_what_waits_or_was_refused_stands_beside_the_versions(api: Api) -> None:
    """As the workers last saw it, through a failure since; what was adopted meanwhile is a version and no longer listed there."""
    assert api.get("/v1/models").json()["adoptions"] == []
    api.register(1)
    at = datetime.now(UTC)
    seen = [
        AdoptionOut(model_version=3, state="waiting", code=None, reason="next in line", registered_at=at, run_id=None),
        AdoptionOut(model_version=2, state="refused", code="unsafe_model", reason="runs code", registered_at=at, run_id="r2"),
        AdoptionOut(model_version=1, state="waiting", code=None, reason="next in line", registered_at=at, run_id="r1"),
    ]
    with api.parts.unit_of_work() as uow:
        run = uow.jobs.record_start("reconcile_aliases", "w", at)
        uow.jobs.record_finish(run.run_id, at, result={"adoptions": [one.model_dump(mode="json") for one in seen]})
        failed = uow.jobs.record_start("reconcile_aliases", "w", at + timedelta(seconds=30))
        uow.jobs.record_finish(failed.run_id, at + timedelta(seconds=31), error="MLflow is away")
    api.parts.cached.clear()
    found = ModelsOut.model_validate(api.get("/v1/models").json()).adoptions
    assert [(one.model_version, one.state, one.code, one.run_url) for one in found] == [
        (3, "waiting", None, None),
        (2, "refused", "unsafe_model", "http://127.0.0.1:9/#/runs/r2"),
    ]


def test_the_same_request_under_one_key_is_done_once(api: Api) -> None:
    api.register(1)
    body = {"model_version": 1, "reason": REASON}
    first, again = (api.post("/v1/deployments", body, "operator", **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    other = api.post("/v1/deployments", {"model_version": 2, "reason": REASON}, "operator", **{"Idempotency-Key": "k1"})
    assert other.status_code == 409
    assert len(api.get("/v1/deployments").json()["deployments"]) == 1


def test_a_job_run_is_answered_when_a_worker_has_begun_it(api: Api) -> None:
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 60.0)

    def work() -> None:
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        while datetime.now(UTC) < deadline:
            with api.parts.unit_of_work() as uow:
                if uow.jobs.take_request("compact"):
                    uow.jobs.record_start("compact", "worker-1", datetime.now(UTC))
                    return
            threading.Event().wait(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    run = JobRunOut.model_validate_json(api.post("/v1/jobs/compact/run", {}, "operator").content)
    worker.join()
    assert (run.job, run.state, run.holder) == ("compact", "running", "worker-1")
    assert api.get("/v1/audit").json()["entries"][0]["action"] == "job.run"
    [job] = JobsOut.model_validate_json(api.get("/v1/jobs").content).jobs
    assert job.last_run is not None
    assert job.last_run.run_id == run.run_id


def test_a_job_that_is_asked_for_again_under_its_key_is_run_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.jobs.TAKEN_WITHIN_S", 0.2)
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 60.0)
        uow.jobs.describe("other", "Another job.", 60.0)

    def ask(key: str, job: str = "compact") -> Any:
        return api.post(f"/v1/jobs/{job}/run", {}, "operator", **{"Idempotency-Key": key})

    def work() -> str | None:
        with api.parts.unit_of_work() as uow:
            if not uow.jobs.take_request("compact"):
                return None
            return uow.jobs.record_start("compact", "worker-1", datetime.now(UTC)).run_id

    assert ask("k1").status_code == 503, "no worker yet; it stays asked for"
    first = work()
    assert ask("k1").json()["run_id"] == first
    assert work() is None, "the same key asks for nothing new"
    assert ask("k2").status_code == 503
    second = work()
    assert second not in {None, first}
    assert (ask("k1").json()["run_id"], ask("k2").json()["run_id"]) == (first, second)
    assert ask("k1", "other").status_code == 409


def test_a_job_that_no_worker_takes_is_said_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.jobs.TAKEN_WITHIN_S", 0.2)
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("compact", "Compact the spool.", 60.0)
    answer = api.post("/v1/jobs/compact/run", {}, "operator")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "10")


def test_drift_checks_and_their_report(api: Api, tmp_path: Path) -> None:
    at = datetime.now(UTC)
    check = DriftCheckOut(
        check_id="c1", at=at, verdict="stable", sentence="No drift.", reference_since=None, reference_until=None,
        current_since=at, current_until=at, reference_agents=0, current_agents=0, columns=[], has_report=True,
    )  # fmt: skip
    report = tmp_path / "report.html"
    report.write_text("<p>report</p>")
    with api.parts.unit_of_work() as uow:
        uow.drift_checks.add(check, str(report))
    drift = DriftOut.model_validate_json(api.get("/v1/drift").content)
    assert drift.latest is not None
    assert drift.latest.check_id == "c1"
    for since, found in ((at - timedelta(minutes=1), ["c1"]), (at + timedelta(minutes=1), [])):
        spread = DriftOut.model_validate_json(api.get("/v1/drift", since=since.isoformat()).content)
        assert (spread.latest, [one.check_id for one in spread.history]) == (drift.latest, found)
    page = api.get("/v1/drift/c1/report")
    assert page.text == "<p>report</p>"
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == "sandbox allow-scripts"
    assert api.client.get("/v1/drift/c1/report").status_code == 401
    assert api.get("/v1/drift/unknown/report").status_code == 404
    report.unlink()
    assert "not on this machine" in api.get("/v1/drift/c1/report").json()["detail"]


def test_an_operator_chooses_the_reference_and_mutes_a_column(api: Api) -> None:
    since, until = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    choice = {
        "kind": "range",
        "since": since,
        "until": until,
        "without": [{"since": since, "until": "2026-01-01T01:00:00Z", "scene": "plaza"}],
    }
    chosen = api.post("/v1/drift/reference", {"reference": choice, "reason": "it was a calm day"}, "operator")
    assert chosen.status_code == 200, chosen.text
    assert api.get("/v1/drift").json()["settings"]["reference"] == choice
    for wrong, said in (
        ({"kind": "range"}, "`since` and `until`"),
        ({"kind": "range", "since": until, "until": since}, "before"),
        ({"kind": "training"}, "champion"),
    ):
        refused = api.post("/v1/drift/reference", {"reference": wrong, "reason": "to see what it says"}, "operator")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input"), refused.text
        assert said in refused.json()["detail"]
    unknown = api.post("/v1/drift/mutes/nonsense", {"until": "2999-01-01T00:00:00Z", "reason": "it is only noise"}, "operator")
    assert unknown.status_code == 422
    assert "no column 'nonsense'" in unknown.json()["detail"]
    assert api.post("/v1/drift/mutes/dt_s", {"until": None, "reason": "it may speak again"}, "operator").json()["mutes"] == []
    assert [entry["action"] for entry in api.get("/v1/audit").json()["entries"]][:2] == ["drift.unmuted", "drift.reference"]


def test_performance_of_a_range(api: Api) -> None:
    api.promote(1)
    for n in range(3):
        api.post("/predict", a_body(f"a{n}"))
    out = PerformanceOut.model_validate_json(api.get("/v1/performance").content)
    assert [(row.model_version, row.predictions, row.agents) for row in out.rows] == [(1, 3, 3)]
    now = datetime.now(UTC)
    backwards = api.get("/v1/performance", since=now.isoformat(), until=(now - timedelta(hours=1)).isoformat())
    assert (backwards.status_code, backwards.json()["code"]) == (422, "invalid_input")
    naive = api.get("/v1/performance", since="2026-01-01T00:00:00")
    assert naive.json()["errors"][0]["field"] == "query.since"


def test_status_names_what_is_wrong_or_who_answers(api: Api) -> None:
    def status() -> StatusOut:
        api.parts.cached.clear()
        return StatusOut.model_validate_json(api.get("/v1/status").content)

    empty = status()
    health = {service.service: service.health for service in empty.services}
    assert health == {"api": "warn", "database": "ok", "mlflow": "warn", "workers": "unknown", "lake": "ok"}
    assert empty.verdict == "warn"
    assert "no model has been deployed" in empty.sentence

    api.promote(1)
    api.post("/predict", a_body())
    promoted = status()
    assert {service.service: service.health for service in promoted.services}["api"] == "ok"
    assert sum(row.predictions for row in promoted.performance) == 1
    assert promoted.changes[0].action == "deployment.promote"
    assert sum(point.predictions for point in promoted.traffic) == 1
    assert promoted.sentence.startswith("MLflow: http://127.0.0.1:9 does not answer")


def test_status_stands_while_the_database_and_the_lake_are_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from trajops.errors import Unavailable

    api.promote(1)

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("it does not answer")

    monkeypatch.setattr(api.parts.lake, "traffic", away)
    api.get("/v1/me")  # the key is remembered from here on
    monkeypatch.setitem(api.parts.__dict__, "unit_of_work", away)
    status = StatusOut.model_validate_json(api.get("/v1/status").content)
    assert {s.service: s.health for s in status.services} | {"mlflow": "", "workers": ""} == {
        "api": "ok", "database": "bad", "lake": "bad", "mlflow": "", "workers": "",
    }  # fmt: skip
    assert status.verdict == "bad"
    assert status.route.champion is not None
    assert api.post("/predict", a_body()).status_code == 200


def test_status_names_a_broken_file_of_the_lake(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.promote(1)
    monkeypatch.setattr(api.parts.lake, "broken_files", lambda: ["predictions/day=2026-11-27/07-ab.parquet"])
    [lake] = [one for one in StatusOut.model_validate_json(api.get("/v1/status").content).services if one.service == "lake"]
    assert lake.health == "warn"
    assert "1 file of the lake is broken and left out (predictions/day=2026-11-27/07-ab.parquet)" in lake.detail


def test_status_names_a_segment_with_lines_that_are_no_rows(api: Api) -> None:
    api.promote(1)
    folder = api.parts.settings.spool_dir / "quarantine"
    folder.mkdir(parents=True)
    (folder / "predictions.a-1.000001.ndjson").write_text("no row\n")
    [lake] = [one for one in StatusOut.model_validate_json(api.get("/v1/status").content).services if one.service == "lake"]
    assert lake.health == "warn"
    assert "kept in the spool's quarantine (predictions.a-1.000001.ndjson)" in lake.detail


def test_reads_of_many_sessions_are_one_query(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.promote(1)
    asked = 0
    real = api.parts.lake.performance

    def counting(*arguments: Any) -> PerformanceOut:
        nonlocal asked
        asked += 1
        return real(*arguments)

    monkeypatch.setattr(api.parts.lake, "performance", counting)
    monkeypatch.setattr("api.cached.time.monotonic", lambda: 1e6)
    for _ in range(5):
        assert api.get("/v1/performance").status_code == 200
    assert asked == 1


def test_metrics_are_open_to_this_machine_only(tmp_path: Path) -> None:
    import httpx

    with running_api(tmp_path) as api:
        assert api.client.get("/metrics").status_code == 200
        api.client._client._transport.client = ("192.0.2.7", 1)  # type: ignore[attr-defined]
        assert api.client.get("/metrics").status_code == 401
        found: httpx.Response = api.get("/metrics")
        assert found.status_code == 200
        secret, _ = api.parts.identity.create_api_key("robot", "viewer", scopes=["predict"], actor="test", reason=REASON)
        assert api.client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code == 403


def test_the_runs_of_a_job_and_what_they_add_up_to(api: Api) -> None:
    at = datetime.now(UTC)
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("tidy", "Tidy up the room.", 60.0)
        for number, error in enumerate([None, "the disk is full", None, None]):
            run = uow.jobs.record_start("tidy", "w1", at + timedelta(seconds=60 * number))
            uow.jobs.record_finish(run.run_id, at + timedelta(seconds=60 * number + 1 + number), error=error)
        uow.jobs.record_start("tidy", "w2", at + timedelta(seconds=300))
        uow.leases.acquire("tidy", "w2", at, at + timedelta(seconds=600))
    told = JobRunsOut.model_validate_json(api.get("/v1/jobs/tidy/runs").content)
    assert [run.state for run in told.runs] == ["running", "succeeded", "succeeded", "failed", "succeeded"]
    assert told.runs[3].error == "the disk is full"
    assert (told.success_share, told.holder, told.job.job) == (0.75, "w2", "tidy")
    assert (told.duration_p50_s, told.duration_p95_s) == (3.0, 4.0)
    assert len(api.get("/v1/jobs/tidy/runs", limit=2).json()["runs"]) == 2
    assert api.get("/v1/jobs/unheard-of/runs").status_code == 404
    assert api.get("/v1/jobs/tidy/runs", limit=0).status_code == 422


def test_an_operator_pauses_a_job_with_a_reason_and_resumes_it(api: Api) -> None:
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("nap", "Sleep for a while.", 60.0)
    body = {"reason": "the disk is nearly full"}
    assert api.post("/v1/jobs/nap/pause", body).status_code == 403
    assert api.post("/v1/jobs/nap/pause", {"reason": "short"}, "operator").status_code == 422
    assert api.post("/v1/jobs/unheard-of/pause", body, "operator").status_code == 404
    for _ in range(2):  # the answer of the first was lost
        paused = api.post("/v1/jobs/nap/pause", body, "operator", **{"Idempotency-Key": "pause-1"})
        assert paused.status_code == 200
        assert paused.json()["pause_reason"] == body["reason"]
        assert paused.json()["paused_by"] == "key:operator key"
    assert api.post("/v1/jobs/nap/resume", body, "operator", **{"Idempotency-Key": "pause-1"}).status_code == 409
    resumed = api.post("/v1/jobs/nap/resume", {"reason": "there is room again"}, "operator")
    assert resumed.json()["paused_at"] is None
    entries = [(e["action"], e["before"], e["after"]) for e in api.get("/v1/audit", subject="nap").json()["entries"]]
    assert entries == [
        ("job.resume", {"is_paused": True}, {"is_paused": False}),
        ("job.pause", {"is_paused": False}, {"is_paused": True}),
    ]


def test_the_status_names_the_processes_and_their_epochs(api: Api) -> None:
    [process] = StatusOut.model_validate_json(api.get("/v1/status").content).processes
    assert process.epoch == api.parts.host.epoch
    assert not process.has_stand_in
