"""API keys over HTTP: an admin makes, rotates and ends them; what a key is restricted to holds on every route."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.main import create_app
from api.people import main as people
from tests.running_api import REASON, Api, a_body, problem, running_api
from trajops.contracts.keys import KeyMadeOut, KeyOut, KeysOut
from trajops.settings import Settings


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        api.promote(1)
        yield api


def make(api: Api, **fields: Any) -> KeyMadeOut:
    answer = api.post("/v1/keys", {"name": "robot", "reason": REASON} | fields, "admin")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return KeyMadeOut.model_validate_json(answer.content)


def status(api: Api, secret: str, path: str = "/predict", body: Any = None) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    if path.startswith("/v1") and body is None:
        return int(api.client.get(path, headers=headers).status_code)
    return int(api.client.post(path, json=body or a_body(), headers=headers).status_code)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("POST", "/x/rotate"), ("POST", "/x/revoke")])
def test_keys_are_for_admins(api: Api, method: str, path: str) -> None:
    for role, expected in ((None, 401), ("viewer", 403), ("operator", 403)):
        headers = {} if role is None else api.headers[role]
        body = {"name": "robot", "reason": REASON} if path == "" else {"reason": REASON}
        answer = api.client.request(method, f"/v1/keys{path}", headers=headers, **({"json": body} if method == "POST" else {}))
        assert answer.status_code == expected


def test_a_secret_is_in_one_answer_only(api: Api) -> None:
    ends_at = datetime.now(UTC) + timedelta(days=90)
    made = make(api, scopes=["predict"], expires_at=ends_at.isoformat(), rate_limit_per_s=5, rate_limit_burst=20)
    assert made.secret.startswith(f"tok_{made.key.prefix}_")
    assert (made.key.scopes, made.key.rate_limit_per_s, made.key.rate_limit_burst) == (["predict"], 5.0, 20)
    assert made.key.expires_at == ends_at
    listed = api.get("/v1/keys", "admin")
    assert made.secret not in listed.text
    assert made.key in KeysOut.model_validate_json(listed.content).keys
    audit = api.get("/v1/audit", subject="key:robot").json()["entries"][0]
    assert (audit["action"], audit["actor"], audit["reason"]) == ("api_key.create", "key:admin key", REASON)
    assert audit["after"]["scopes"] == ["predict"]
    assert made.secret not in str(audit)


def test_a_rotation_has_no_gap_and_an_end(api: Api) -> None:
    made = make(api)
    assert status(api, made.secret) == 200
    rotated = KeyMadeOut.model_validate(
        api.post(f"/v1/keys/{made.key.key_id}/rotate", {"overlap_s": 3600, "reason": REASON}, "admin").json()
    )
    assert rotated.replaces is not None
    assert rotated.replaces.successor_id == rotated.key.key_id
    assert [status(api, secret) for secret in (made.secret, rotated.secret)] == [200, 200]
    again = api.post(f"/v1/keys/{made.key.key_id}/rotate", {"reason": REASON}, "admin")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    last = api.post(f"/v1/keys/{rotated.key.key_id}/rotate", {"overlap_s": 0, "reason": REASON}, "admin").json()
    assert [status(api, secret) for secret in (rotated.secret, last["secret"])] == [401, 200], "without an overlap it ends here and now"
    actions = [entry["action"] for entry in api.get("/v1/audit", subject="key:robot").json()["entries"]]
    assert actions == ["api_key.rotate", "api_key.rotate", "api_key.create"]


def test_a_revoked_key_is_out_at_once(api: Api) -> None:
    made = make(api)
    assert status(api, made.secret) == 200
    for _ in range(2):
        revoked = api.post(f"/v1/keys/{made.key.key_id}/revoke", {"reason": REASON}, "admin")
        assert KeyOut.model_validate_json(revoked.content).revoked_at is not None
    assert status(api, made.secret) == 401
    assert api.post("/v1/keys/nobody/revoke", {"reason": REASON}, "admin").status_code == 404


def test_a_revocation_that_is_sent_twice_under_one_key_is_done_once(api: Api) -> None:
    made = make(api)
    path = f"/v1/keys/{made.key.key_id}/revoke"
    first, again = (api.post(path, {"reason": REASON}, "admin", **{"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert len(api.get("/v1/audit", action="api_key.revoke").json()["entries"]) == 1
    problem(api.post(path, {"reason": "for another reason"}, "admin", **{"Idempotency-Key": "k1"}), 409, "conflict")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scopes": ["operate"]}, "invalid_input"),
        ({"scopes": ["fly"]}, "invalid_input"),
        ({"scopes": []}, "invalid_input"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_input"),
        ({"expires_at": "2099-01-01T00:00:00"}, "invalid_input"),
        ({"rate_limit_burst": 5}, "invalid_input"),
        ({"name": "a\nb"}, "invalid_input"),
        ({"reason": "short"}, "invalid_input"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_key_that_cannot_be_is_refused(api: Api, fields: dict[str, Any], code: str) -> None:
    answer = api.post("/v1/keys", {"name": "robot", "reason": REASON} | fields, "admin")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert all(key["name"] != "robot" for key in api.get("/v1/keys", "admin").json()["keys"])


OBSERVATION = {"observations": [{"agent_id": "a", "observed_at_s": 1.0, "position": [0, 0]}]}
CALLS = {
    "predict": [("/predict", a_body()), ("/batch_predict", {"items": [a_body()]})],
    "observe": [("/observations", OBSERVATION)],
    "read": [(f"/v1/{name}", None) for name in ("models", "audit", "status", "predictions", "agents", "jobs", "drift", "performance")],
    "operate": [("/v1/routes/rollback", {"expected_epoch": 99, "reason": REASON}), ("/v1/jobs/none/run", {})],
    "admin": [("/v1/keys", None)],
}


@pytest.mark.parametrize("scope", CALLS)
def test_a_scope_opens_its_routes_and_no_others(api: Api, scope: str) -> None:
    secret = make(api, role="admin", scopes=[scope]).secret
    for needed, calls in CALLS.items():
        for path, body in calls:
            answer = status(api, secret, path, body or ({} if path.endswith("/run") else None))
            assert (answer == 403) is (needed != scope), (path, answer)
    refused = api.client.post("/predict" if scope != "predict" else "/observations", json={}, headers={"Authorization": f"Bearer {secret}"})
    assert refused.json()["code"] == "out_of_scope"
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    me = api.client.get("/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (me["role"], me["scopes"]) == ("admin", [scope])


OPEN = {"/v1/token", "/v1/me", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}


def test_every_route_asks_for_a_scope(api: Api) -> None:
    """A key that may only observe comes nowhere else but where everybody does; a route of tomorrow is tried too."""
    headers = {"Authorization": f"Bearer {make(api, scopes=['observe']).secret}"}
    let_in = set()
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for method in operations:
            body = {} if method == "get" else {"json": {}}
            answer = api.client.request(method.upper(), re.sub(r"{\w+}", "x", path), headers=headers, **body)
            if answer.status_code != 403:
                let_in.add(path)
    assert let_in == OPEN | {"/observations"}


def test_a_key_with_a_limit_of_its_own(api: Api) -> None:
    headers = {"Authorization": f"Bearer {make(api, rate_limit_per_s=0.01, rate_limit_burst=1).secret}"}
    answers = [api.client.post("/predict", json=a_body(), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"client";q=1;w=100'
    unlimited = {"Authorization": f"Bearer {make(api, rate_limit_per_s=0).secret}"}
    assert "ratelimit" not in api.client.post("/predict", json=a_body(), headers=unlimited).headers
    assert make(api, rate_limit_per_s=10).key.rate_limit_burst == 20


def test_the_last_use_is_seen(api: Api) -> None:
    made = make(api)
    assert made.key.last_used_at is None
    status(api, made.secret)
    [key] = [key for key in KeysOut.model_validate(api.get("/v1/keys", "admin").json()).keys if key.key_id == made.key.key_id]
    assert key.last_used_at is not None
    assert datetime.now(UTC) - key.last_used_at < timedelta(minutes=1)


def test_the_command_line_makes_restricted_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAJOPS_VAR_DIR", str(tmp_path))
    assert people(["key", "robot", "--role", "operator", "--scopes", "predict", "observe", "--days", "30"]) == 0
    secret = capsys.readouterr().out.strip()
    assert people(["key", "robot", "--scopes", "operate"]) == 1
    assert "does not allow operate" in capsys.readouterr().err
    with running_api(tmp_path) as api:
        me = api.client.get("/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()
        [key] = [key for key in api.get("/v1/keys", "admin").json()["keys"] if key["name"] == "robot"]
    assert (me["username"], me["role"], me["scopes"]) == ("key:robot", "operator", ["predict", "observe"])
    assert timedelta(days=29) < datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC) < timedelta(days=31)


def test_a_token_of_an_external_issuer_is_let_in_also_while_the_issuer_is_away(tmp_path: Path) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    from data.identity.external_tokens import ExternalTokens
    from data.identity.jwks import Jwks

    key = generate_private_key(65537, 2048)
    entry = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "k1"}
    is_away = False

    def fetch(_: str) -> dict[str, Any]:
        if is_away:
            raise ConnectionError("refused")
        return {"keys": [entry]}

    def headers(key_id: str) -> dict[str, str]:
        claims = {"iss": "https://i", "aud": "trajops", "sub": "ada", "role": "operator", "exp": datetime.now(UTC) + timedelta(minutes=5)}
        return {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='RS256', headers={'kid': key_id})}"}

    with running_api(tmp_path) as api:
        api.promote(1)
        api.parts.identity._external = ExternalTokens(Jwks("url", fetch), issuer="https://i", audience="trajops")
        first = headers("k1")
        assert api.client.get("/v1/me", headers=first).json()["username"] == "jwt:ada"
        is_away = True
        assert api.client.post("/predict", json=a_body(), headers=first).status_code == 200
        rollback = {"expected_epoch": 99, "reason": REASON}
        assert api.client.post("/v1/routes/rollback", json=rollback, headers=headers("k1")).status_code == 409
        unknown = api.client.post("/predict", json=a_body(), headers=headers("k2"))
        assert unknown.status_code == 401, "asked a moment ago, and there was no such key"
