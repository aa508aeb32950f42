"""Every refusal is a problem that names the field, its value and how to mend it; nothing is answered that is not recorded."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import a_history
from tests.running_api import PASSWORD, REASON, Api, a_body, problem, running_api
from trajops.errors import Unavailable

HISTORY = a_history()[0].tolist()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_body_bytes=20_000, max_batch=20) as api:
        api.promote(1)
        api.parts.identity.create_user("op", PASSWORD, "operator", actor="test", reason=REASON)
        yield api


@pytest.mark.parametrize(
    ("fields", "field", "says", "value"),
    [
        ({"history": HISTORY[:7]}, "body.history", "add 1 more", None),
        ({"history": [*HISTORY, [0, 0]]}, "body.history", "leave 1 out", None),
        ({"history": [["1.5", 2], *HISTORY[1:]]}, "body.history.0.0", "without quotes", "1.5"),
        ({"history": [[1.5, True], *HISTORY[1:]]}, "body.history.0.1", "valid number", True),
        ({"history": [[1.5, 2e7], *HISTORY[1:]]}, "body.history.0.1", "less than or equal", 2e7),
        ({"observed_at_s": "now"}, "body.observed_at_s", "without quotes", "now"),
        ({"model_version": "newest"}, "body.model_version", "champion", "newest"),
        ({"scene": "s"}, "body.scene", "correct its name", "s"),
        ({"agent_id": "x" * 200}, "body.agent_id", "at most 128", "x" * 80 + "…"),
    ],
    ids=["short", "long", "text", "bool", "far", "time", "version", "unknown", "name"],
)
def test_a_bad_field_is_named_with_its_value_and_a_remedy(api: Api, fields: dict[str, Any], field: str, says: str, value: Any) -> None:
    found = problem(api.post("/predict", a_body(**fields)), 422, "invalid_input")
    [one] = found.errors
    assert one.field == field
    assert says in one.message
    assert value is None or one.value == value
    assert field in found.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"agent_id":"a","history":[[NaN,0],[1,0],[2,0],[3,0],[4,0],[5,0],[6,0],[7,0]]}', "finite"),
        ('{"agent_id":"a","history":[[1e999,0],[1,0],[2,0],[3,0],[4,0],[5,0],[6,0],[7,0]]}', "finite"),
        ('{"agent_id":"a"', "EOF"),
        ("", "EOF"),
        ("[]", "object"),
        ("null", "object"),
        ("[" * 5_000, "recursion"),
    ],
    ids=["nan", "1e999", "cut", "empty", "list", "null", "deep"],
)
def test_bodies_that_naive_servers_accept_or_fail_on(api: Api, text: str, says: str) -> None:
    found = problem(api.post("/predict", text.encode()), 422, "invalid_input")
    assert says in found.errors[0].message


def test_several_bad_fields_are_all_named(api: Api) -> None:
    found = problem(api.post("/predict", {"history": 5, "source": "tape"}), 422, "invalid_input")
    assert {one.field for one in found.errors} == {"body.agent_id", "body.history", "body.source"}
    assert "(and 2 more)" in found.detail


@pytest.mark.parametrize("path", ["/predict", "/batch_predict", "/observations"])
def test_without_a_credential_or_with_a_wrong_one(api: Api, path: str) -> None:
    answer = api.client.post(path, json=a_body())
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="trajops"'
    answer = api.client.post(path, json=a_body(), headers={"Authorization": "Bearer tok_wrong"})
    problem(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/predict", "/v1/deployments"])
def test_a_body_above_the_limit_is_refused(api: Api, path: str) -> None:
    problem(api.post(path, b'"' + b"x" * 30_000 + b'"', "operator", **{"Content-Type": "application/json"}), 413, "too_large")


def test_a_body_above_the_limit_is_refused_without_a_length_too(api: Api) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1_000

    answer = api.client.post("/predict", content=endless(), headers=api.headers["viewer"])
    problem(answer, 413, "too_large")


def test_a_batch_above_the_limit_is_refused(api: Api) -> None:
    found = problem(api.post("/batch_predict", {"items": [{"agent_id": "a"}] * 21}), 413, "too_large")
    assert "at most 20 trajectories" in found.detail


@pytest.mark.parametrize("body", [{"items": []}, {}, {"items": 5}, {"items": [{}], "more": 1}, []], ids=repr)
def test_a_batch_that_is_none_is_refused(api: Api, body: Any) -> None:
    problem(api.post("/batch_predict", body), 422, "invalid_input")


def test_what_cannot_be_recorded_is_not_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(table: str, lines: bytes) -> None:
        raise Unavailable("the spool cannot be written (No space left on device)")

    monkeypatch.setattr(api.parts.spool, "write_lines", full_disk)
    before = api.parts.meters.spool_errors
    bodies = {
        "/predict": a_body(),
        "/batch_predict": {"items": [a_body()]},
        "/observations": {"observations": [{"agent_id": "unrecorded", "observed_at_s": 1.0, "position": [0, 0]}]},
    }
    for path, body in bodies.items():
        answer = api.post(path, body)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert api.parts.meters.spool_errors == before + 3
    assert "unrecorded" not in {agent.agent_id for agent in api.parts.buffer.agents()}


def test_a_fault_of_ours_is_a_problem_and_logged_under_its_request_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(api.parts.service, "answer", break_down)
    monkeypatch.setattr(api.parts.deployments, "routes", break_down)
    for answer in (api.post("/predict", a_body()), api.get("/v1/routes")):
        found = problem(answer, 500, "internal")
        assert "planted" not in answer.text
        [record] = [r for r in caplog.records if getattr(r, "request_id", None) == found.request_id and r.exc_info]
        assert record.levelno == logging.ERROR


def test_a_storm_of_refusals_is_one_line_a_second(api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(api.parts.service, "answer", away)
    monkeypatch.setattr("api.fast_route.time.monotonic", lambda: 1e6)
    for _ in range(20):
        problem(api.post("/predict", a_body()), 503, "unavailable")
    assert len([record for record in caplog.records if record.getMessage() == "/predict: away"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nope", 404, "not_found"), ("GET", "/predict", 405, "method_not_allowed"), ("DELETE", "/v1/jobs", 405, "method_not_allowed")],
)
def test_wrong_addresses_and_methods(api: Api, method: str, path: str, status: int, code: str) -> None:
    assert path in problem(api.client.request(method, path, headers=api.headers["viewer"]), status, code).detail


def test_request_ids_are_taken_over_only_when_they_are_harmless(api: Api) -> None:
    for given in ("mine-7", "x" * 128):
        assert api.client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] == given
        assert api.client.post("/predict", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    for given in ("x" * 129, "a\tb"):
        assert api.client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] != given
        assert api.client.post("/predict", headers={"X-Request-ID": given}).headers["x-request-id"] != given


def test_a_password_is_never_shown_again(api: Api) -> None:
    for body in ({"username": "op", "password": 123456789}, {"username": "", "password": "my-secret-word"}, ["my-secret-word"]):
        answer = api.client.post("/v1/token", json=body)
        assert answer.status_code == 422
        assert "123456789" not in answer.text
        assert body == ["my-secret-word"] or "my-secret-word" not in answer.text


def test_every_error_code_leads_to_its_meaning(api: Api) -> None:
    page = api.client.get("/docs/errors").text
    for code in ("no_model_ready", "window_too_short", "stale_version", "too_large"):
        assert f'id="{code}"' in page


def test_documentation_needs_nobody_else(api: Api) -> None:
    page = api.client.get("/docs").text
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert asset in page
        assert api.client.get(f"/docs/assets/{asset}").status_code == 200
    problem(api.client.get("/docs/assets/other.js"), 404, "not_found")
    assert "/predict" in json.loads(api.client.get("/openapi.json").text)["paths"]
