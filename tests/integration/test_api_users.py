"""Users over HTTP: an admin adds, changes and disables them; everybody changes their own password; an admin is always left."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data.sql.engine import Database
from tests.identity_builders import SECRET, WHO, CountingHasher
from tests.running_api import PASSWORD, REASON, Api, problem, running_api
from trajops.contracts.users import UserChangeOut, UsersOut
from trajops.errors import Conflict
from trajops.services.people import People

OTHER = "battery staple"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        yield api


def add(api: Api, username: str = "bob", **fields: Any) -> UserChangeOut:
    answer = api.post("/v1/users", {"username": username, "password": PASSWORD, "reason": REASON} | fields, "admin")
    assert answer.status_code == 200, answer.text
    return UserChangeOut.model_validate_json(answer.content)


def change(api: Api, path: str, role: str = "admin", **fields: Any) -> Any:
    return api.post(f"/v1/users/{path}", {"reason": REASON} | fields, role)


def sign_in(api: Api, username: str = "bob", password: str = PASSWORD) -> Any:
    return api.client.post("/v1/token", json={"username": username, "password": password})


def bearer(api: Api, username: str = "bob", password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign_in(api, username, password).json()['access_token']}"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", ""), *(("POST", f"/bob/{what}") for what in ("role", "password", "disable", "enable"))]
)
def test_users_are_for_admins(api: Api, method: str, path: str) -> None:
    body = {"username": "eve", "password": PASSWORD, "role": "admin", "reason": REASON}
    sent = {"json": {name: body[name] for name in _FIELDS.get(path.rpartition("/")[2], tuple(body))}} if method == "POST" else {}
    for role, expected in ((None, 401), ("viewer", 403), ("operator", 403)):
        headers = {} if role is None else api.headers[role]
        assert api.client.request(method, f"/v1/users{path}", headers=headers, **sent).status_code == expected


_FIELDS = {
    "role": ("role", "reason"),
    "password": ("password", "reason"),
    "disable": ("reason",),
    "enable": ("reason",),
}


def test_a_user_is_added_signs_in_and_is_seen(api: Api) -> None:
    made = add(api, role="operator")
    assert (made.user.username, made.user.role, made.user.last_signed_in_at) == ("bob", "operator", None)
    assert sign_in(api).status_code == 200
    listed = api.get("/v1/users", "admin")
    [bob] = UsersOut.model_validate_json(listed.content).users
    assert bob.last_signed_in_at is not None
    entry = api.get(f"/v1/audit/{made.audit_id}").json()
    assert (entry["action"], entry["subject"], entry["actor"], entry["after"]) == (
        "user.create",
        "bob",
        "key:admin key",
        {"role": "operator"},
    )


def test_no_password_is_in_an_answer_or_the_audit(api: Api) -> None:
    add(api)
    change(api, "bob/password", password=OTHER)
    mine = api.client.post("/v1/me/password", json={"old": OTHER, "new": "another one of mine"}, headers=bearer(api, password=OTHER))
    assert mine.status_code == 200
    refused = api.post("/v1/users", {"username": "eve", "password": {"is": PASSWORD}, "reason": REASON}, "admin")
    shown = "".join(api.get(path, "admin").text for path in ("/v1/users", "/v1/audit")) + mine.text + refused.text
    for secret in (PASSWORD, OTHER, "another one of mine", "argon2"):
        assert secret not in shown
    actions = [entry["action"] for entry in api.get("/v1/audit", subject="bob").json()["entries"]]
    assert actions == ["user.change_password", "user.set_password", "user.create"]


def test_a_new_role_holds_at_once_for_who_is_signed_in(api: Api) -> None:
    add(api, role="operator")
    headers = bearer(api)
    assert api.client.get("/v1/me", headers=headers).json()["role"] == "operator"
    assert change(api, "bob/role", role="admin").status_code == 422, "the role is missing"
    answer = api.post("/v1/users/bob/role", {"role": "viewer", "reason": REASON}, "admin")
    assert answer.json()["user"]["role"] == "viewer"
    assert api.client.get("/v1/me", headers=headers).json()["role"] == "viewer"
    entry = api.get("/v1/audit", action="user.set_role").json()["entries"][0]
    assert (entry["before"], entry["after"]) == ({"role": "operator"}, {"role": "viewer"})


def test_a_disabled_user_is_out_at_once_and_comes_back_with_the_same_password(api: Api) -> None:
    add(api)
    headers = bearer(api)
    assert api.client.get("/v1/me", headers=headers).status_code == 200
    for _ in range(2):
        assert change(api, "bob/disable").json()["user"]["disabled_at"] is not None
    assert api.client.get("/v1/me", headers=headers).status_code == 401
    assert sign_in(api).status_code == 401
    assert change(api, "bob/enable").json()["user"]["disabled_at"] is None
    assert sign_in(api).status_code == 200


@pytest.mark.parametrize(("what", "fields"), [("role", {"role": "operator"}), ("disable", {}), ("enable", {})])
def test_a_change_that_is_sent_twice_under_one_key_is_done_once(api: Api, what: str, fields: dict[str, Any]) -> None:
    add(api)

    def send(reason: str = REASON) -> Any:
        return api.post(f"/v1/users/bob/{what}", {"reason": reason} | fields, "admin", **{"Idempotency-Key": "k1"})

    first = send()
    assert first.status_code == 200, first.text
    opposite, back = {"role": ("role", {"role": "viewer"}), "disable": ("enable", {}), "enable": ("disable", {})}[what]
    assert api.post(f"/v1/users/bob/{opposite}", {"reason": REASON} | back, "admin").status_code == 200
    again = send()
    assert (again.status_code, again.json()) == (200, first.json())
    action = f"user.{'set_role' if what == 'role' else what}"
    entries = api.get("/v1/audit", action=action).json()["entries"]
    assert len([one for one in entries if one["after"] != {"role": "viewer"}]) == 1
    [bob] = [one for one in api.get("/v1/users", "admin").json()["users"] if one["username"] == "bob"]
    assert (bob["role"], bob["disabled_at"] is not None) == ("viewer", what == "enable"), "what came in between stands"
    assert "different request" in problem(send("for quite another reason"), 409, "conflict").detail


def test_the_last_admin_stays_one_and_nobody_disables_themselves(api: Api) -> None:
    add(api, "ada", role="admin")
    for path, body in (("disable", {}), ("role", {"role": "operator"})):
        refused = api.post(f"/v1/users/ada/{path}", {"reason": REASON} | body, "admin")
        assert "last admin" in problem(refused, 409, "conflict").detail
    add(api, "bob", role="admin")
    refused = api.client.post("/v1/users/bob/disable", json={"reason": REASON}, headers=bearer(api))
    assert "nobody disables themselves" in problem(refused, 409, "conflict").detail
    assert change(api, "ada/disable").status_code == 200
    assert change(api, "bob/disable").status_code == 409, "a disabled admin is none"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"username": "key:robot"}, 422),
        ({"username": "worker:prune"}, 422),
        ({"username": " bob"}, 422),
        ({"username": "a/b"}, 422),
        ({"username": ".."}, 422),
        ({"username": "a\nb"}, 422),
        ({"username": ""}, 422),
        ({"password": "short"}, 422),
        ({"password": "x" * 257}, 422),
        ({"role": "root"}, 422),
        ({"reason": "short"}, 422),
        ({"username": "taken"}, 409),
    ],
    ids=str,
)
def test_a_user_that_cannot_be_is_refused(api: Api, fields: dict[str, Any], status: int) -> None:
    add(api, "taken")
    answer = api.post("/v1/users", {"username": "bob", "password": PASSWORD, "reason": REASON} | fields, "admin")
    problem(answer, status, "invalid_input" if status == 422 else "conflict")
    assert [user["username"] for user in api.get("/v1/users", "admin").json()["users"]] == ["taken"]


@pytest.mark.parametrize("what", ["role", "password", "disable", "enable"])
def test_nobody_of_that_name(api: Api, what: str) -> None:
    body = {"role": {"role": "viewer"}, "password": {"password": PASSWORD}}.get(what, {})
    problem(api.post(f"/v1/users/nobody/{what}", {"reason": REASON} | body, "admin"), 404, "not_found")


def test_the_own_password_needs_the_old_one(api: Api) -> None:
    add(api)
    headers = bearer(api)
    wrong = api.client.post("/v1/me/password", json={"old": "no idea at all", "new": OTHER}, headers=headers)
    problem(wrong, 403, "forbidden")
    same = api.client.post("/v1/me/password", json={"old": PASSWORD, "new": PASSWORD}, headers=headers)
    problem(same, 422, "invalid_input")
    assert api.client.post("/v1/me/password", json={"old": PASSWORD, "new": OTHER}, headers=headers).status_code == 200
    assert (sign_in(api).status_code, sign_in(api, password=OTHER).status_code) == (401, 200)
    key = api.client.post("/v1/me/password", json={"old": PASSWORD, "new": OTHER}, headers=api.headers["admin"])
    assert "no password" in problem(key, 403, "forbidden").detail


def test_guessing_the_old_password_is_slow(api: Api) -> None:
    add(api)
    headers = bearer(api)
    answers = [
        api.client.post("/v1/me/password", json={"old": f"guess number {n}", "new": OTHER}, headers=headers).status_code for n in range(11)
    ]
    assert answers == [403] * 10 + [429]


@pytest.fixture(params=["sqlite", "postgres"])
def people(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[People]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield People(database.unit_of_work, CountingHasher())
    database.close()


def test_two_admins_who_end_each_other_at_once_leave_one(people: People) -> None:
    names = ("ada", "bob", "cid")
    for name in names:
        people.create_user(name, SECRET, "admin", **WHO)
    for _ in range(10):
        together = threading.Barrier(len(names))

        def end(name: str, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                if name == "bob":
                    people.set_role(name, "viewer", **WHO)
                else:
                    people.disable_user(name, **WHO)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(len(names)) as pool:
            assert sorted(pool.map(end, names)) == [False, True, True]
        left = [user for user in people.users() if user.role == "admin" and user.disabled_at is None]
        assert len(left) == 1
        for name in names:
            people.set_role(name, "admin", **WHO)
            people.enable_user(name, **WHO)
