"""Who calls, and what they may do."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from data.identity.tokens import AUDIENCE, JwtTokens
from data.stubs import MemoryDatabase, SetClock
from tests.identity_builders import SECRET, WHO, CountingHasher, signed_in
from trajops.clients import Client
from trajops.clock import now
from trajops.contracts.session import Role
from trajops.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from trajops.services.identity import Identity

# Sign-in


def test_a_user_signs_in_and_is_recognised(identity: Identity, clock: SetClock) -> None:
    identity.create_user("ada", "correct horse", "operator", **WHO)
    token = identity.sign_in("ada", "correct horse")
    assert (token.username, token.role, token.expires_at) == ("ada", "operator", now(clock) + timedelta(seconds=600))
    assert identity.authenticate(token.access_token) == Client("ada", "operator", token.expires_at)


@pytest.mark.parametrize(("username", "password"), [("ada", "wrong horse"), ("bob", "correct horse"), ("ada", "")])
def test_wrong_credentials_all_sound_the_same(identity: Identity, username: str, password: str) -> None:
    identity.create_user("ada", "correct horse", "operator", **WHO)
    with pytest.raises(Unauthenticated, match="name and password do not fit together"):
        identity.sign_in(username, password)


def test_an_unknown_user_costs_one_verification_too(identity: Identity, hasher: CountingHasher) -> None:
    identity.create_user("ada", "correct horse", "operator", **WHO)
    for username in ("ada", "nobody"):
        hasher.verified.clear()
        with pytest.raises(Unauthenticated):
            identity.sign_in(username, "wrong horse")
        assert len(hasher.verified) == 1


def test_a_disabled_user_signs_in_no_more(identity: Identity, database: MemoryDatabase) -> None:
    token = signed_in(identity)
    client = identity.authenticate(token)
    identity.disable_user("ada", **WHO)
    with pytest.raises(Unauthenticated):
        identity.sign_in("ada", "correct horse")
    with pytest.raises(Unauthenticated, match="may sign in no more"):
        identity.confirm(client)
    with pytest.raises(NotFound):
        identity.disable_user("nobody", **WHO)


def test_confirm_gives_todays_role(identity: Identity, database: MemoryDatabase) -> None:
    client = identity.authenticate(signed_in(identity, "viewer"))
    assert identity.confirm(client) == client
    with database.unit_of_work() as uow:
        user = uow.users.by_name("ada")
        assert user is not None
        uow.users.replace(type(user)(user.user_id, "ada", user.password_hash, "admin", user.created_at))
    assert identity.confirm(client).role == "admin"


def test_an_outdated_hash_is_renewed_at_sign_in(identity: Identity, hasher: CountingHasher, database: MemoryDatabase) -> None:
    identity.create_user("ada", "correct horse", "operator", **WHO)
    hasher.parameters = "v2"
    identity.sign_in("ada", "correct horse")
    with database.unit_of_work(read_only=True) as uow:
        user = uow.users.by_name("ada")
    assert user is not None
    assert user.password_hash == "v2:correct horse"


@pytest.mark.parametrize(
    ("username", "password", "role"),
    [
        pytest.param("ada", "7 chars", "viewer", id="short password"),
        pytest.param("", "correct horse", "viewer", id="no name"),
        pytest.param("a\nb", "correct horse", "viewer", id="line break"),
        pytest.param("key:replay", "correct horse", "viewer", id="looks like a program"),
        pytest.param("ada", "correct horse", "root", id="no such role"),
    ],
)
def test_a_user_that_cannot_be(identity: Identity, database: MemoryDatabase, username: str, password: str, role: Any) -> None:
    with pytest.raises(InvalidInput):
        identity.create_user(username, password, role, **WHO)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.users.all() == []


def test_a_name_is_given_once_and_audited(identity: Identity, database: MemoryDatabase) -> None:
    identity.create_user("ada", "correct horse", "admin", **WHO)
    with pytest.raises(Conflict):
        identity.create_user("ada", "another horse", "viewer", **WHO)
    with database.unit_of_work(read_only=True) as uow:
        (entry,) = uow.audit.newest()
    assert (entry.actor, entry.action, entry.subject, entry.after) == ("root", "user.create", "ada", {"role": "admin"})


# Roles


@pytest.mark.parametrize(
    ("has", "needs", "may"),
    [
        ("viewer", "viewer", True),
        ("viewer", "operator", False),
        ("viewer", "admin", False),
        ("operator", "viewer", True),
        ("operator", "operator", True),
        ("operator", "admin", False),
        ("admin", "viewer", True),
        ("admin", "operator", True),
        ("admin", "admin", True),
    ],
)
def test_a_role_may_do_what_lower_ones_may(has: Role, needs: Role, may: bool) -> None:
    client = Client("ada", has)
    if may:
        client.require(needs)
        return
    with pytest.raises(Forbidden, match=f"needs the role {needs}"):
        client.require(needs)


# Tokens


def test_a_token_ends(identity: Identity, clock: SetClock) -> None:
    token = signed_in(identity)
    clock.advance(599)
    assert identity.authenticate(token).client_id == "ada"
    clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        identity.authenticate(token)


def claims(**changes: Any) -> dict[str, Any]:
    base = {"sub": "ada", "role": "viewer", "aud": AUDIENCE, "iat": 1_767_225_600, "exp": 1_767_226_200}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def test_the_claims_of_these_tests_are_good_ones(clock: SetClock) -> None:
    assert JwtTokens(SECRET, clock).verify(jwt.encode(claims(), SECRET, algorithm="HS256")).subject == "ada"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": "elsewhere"}, id="other audience"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"role": None}, id="no role"),
        pytest.param({"role": "root"}, id="unknown role"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"exp": None}, id="endless"),
        pytest.param({"iat": None}, id="never issued"),
        pytest.param({"exp": 1_767_225_600}, id="expires now"),
        pytest.param({"exp": "soon"}, id="no number"),
        pytest.param({"exp": 10**30}, id="beyond all calendars"),
        pytest.param({"iat": 1_767_225_700}, id="issued in the future"),
    ],
)
def test_a_signed_token_with_wrong_claims_is_refused(clock: SetClock, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        JwtTokens(SECRET, clock).verify(jwt.encode(claims(**changes), SECRET, algorithm="HS256"))


def unsigned(content: dict[str, Any]) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, content)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jwt.encode(claims(), "another secret of 32 characters!", algorithm="HS256"), id="other secret"),
        pytest.param(jwt.encode(claims(), SECRET * 2, algorithm="HS512"), id="other algorithm"),
        pytest.param(unsigned(claims()), id="no signature"),
        pytest.param("", id="empty"),
        pytest.param("not.a.token", id="nonsense"),
        pytest.param("ä" * 40, id="not ASCII"),
    ],
)
def test_a_token_that_was_not_signed_here_is_refused(identity: Identity, token: str) -> None:
    with pytest.raises(Unauthenticated):
        identity.authenticate(token)


def test_a_changed_token_is_refused(identity: Identity) -> None:
    head, body, signature = signed_in(identity, "viewer").split(".")
    raised = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "admin"}
    forged = base64.urlsafe_b64encode(json.dumps(raised).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        identity.authenticate(f"{head}.{forged}.{signature}")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 32"):
        JwtTokens("s" * 31)


def test_the_clock_is_cut_to_microseconds_and_aware() -> None:
    assert now(SetClock(1_767_225_600_123_456_789)) == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
