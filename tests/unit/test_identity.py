"""Who calls, and what they may do."""

import base64
import json
import stat
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import argon2
import jwt
import pytest

from data.identity.passwords import Argon2Hasher
from data.identity.token_secret import token_secret
from data.identity.tokens import AUDIENCE, JwtTokens
from data.stubs import MemoryDatabase, SetClock
from trajops.clients import Client
from trajops.clock import now
from trajops.contracts.session import Role
from trajops.contracts.wire import LATEST
from trajops.errors import Conflict, EnvironmentProblem, Forbidden, InvalidInput, NotFound, OutOfScope, Unauthenticated, Unavailable
from trajops.rate_limits import Limit
from trajops.services.identity import Identity
from trajops.settings import Settings

SECRET = "s" * 32
WHO: dict[str, Any] = {"actor": "root", "reason": "because of the test"}


class CountingHasher:
    """A hash that is no hash, and a list of what was verified: the cost of a sign-in without its seconds."""

    def __init__(self) -> None:
        self.verified: list[str] = []
        self.parameters = "v1"

    def hash(self, password: str) -> str:
        return f"{self.parameters}:{password}"

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified.append(password_hash)
        return password_hash.partition(":")[2] == password

    def is_outdated(self, password_hash: str) -> bool:
        return not password_hash.startswith(self.parameters)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def identity(database: MemoryDatabase, hasher: CountingHasher, clock: SetClock) -> Identity:
    return Identity(database.unit_of_work, hasher, JwtTokens(SECRET, clock), clock=clock, token_ttl_s=600)


def signed_in(identity: Identity, role: Role = "operator") -> str:
    identity.create_user("ada", "correct horse", role, **WHO)
    return identity.sign_in("ada", "correct horse").access_token


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


# API keys


def test_a_key_is_shown_once_and_recognised(identity: Identity, database: MemoryDatabase, clock: SetClock) -> None:
    expires_at = now(clock) + timedelta(days=1)
    secret, key = identity.create_api_key("replay", "operator", expires_at=expires_at, **WHO)
    assert secret.startswith(f"tok_{key.prefix}_")
    assert identity.authenticate(secret) == Client("key:replay", "operator", expires_at)
    assert identity.confirm(identity.authenticate(secret)).client_id == "key:replay"
    with database.unit_of_work(read_only=True) as uow:
        assert uow.api_keys.all() == [replace(key, last_used_at=now(clock))]
        entries = uow.audit.newest()
    kept = repr(key) + str(key.key_hash) + repr(entries)
    assert secret not in kept
    assert secret.rpartition(f"{key.prefix}_")[2] not in kept


def test_no_two_keys_are_alike(identity: Identity) -> None:
    assert len({identity.create_api_key("replay", "viewer", **WHO)[0] for _ in range(50)}) == 50


def test_a_key_ends(identity: Identity, clock: SetClock) -> None:
    secret, _ = identity.create_api_key("replay", "viewer", expires_at=now(clock) + timedelta(seconds=10), **WHO)
    clock.advance(9)
    identity.authenticate(secret)
    clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        identity.authenticate(secret)


def test_a_revoked_key_ends_at_once(identity: Identity, database: MemoryDatabase) -> None:
    secret, key = identity.create_api_key("replay", "viewer", **WHO)
    assert identity.authenticate(secret).expires_at is None
    identity.revoke_api_key(key.key_id, **WHO)
    with pytest.raises(Unauthenticated, match="revoked"):
        identity.authenticate(secret)
    with pytest.raises(NotFound):
        identity.revoke_api_key("nothing", **WHO)
    with database.unit_of_work(read_only=True) as uow:
        assert sorted(entry.action for entry in uow.audit.newest()) == ["api_key.create", "api_key.revoke"]


def test_a_key_with_one_wrong_character_is_refused(identity: Identity) -> None:
    secret, _ = identity.create_api_key("replay", "viewer", **WHO)
    for wrong in (secret[:-1], secret + "x", secret.upper(), "tok_", "tok_00000000_"):
        with pytest.raises(Unauthenticated, match="not valid"):
            identity.authenticate(wrong)


def test_a_key_cannot_be_born_expired(identity: Identity, clock: SetClock) -> None:
    with pytest.raises(InvalidInput, match="expired"):
        identity.create_api_key("replay", "viewer", expires_at=now(clock), **WHO)
    with pytest.raises(InvalidInput, match="name"):
        identity.create_api_key("", "viewer", **WHO)


@pytest.mark.parametrize(
    ("role", "scopes", "may"),
    [
        ("viewer", None, {"predict", "observe", "read"}),
        ("operator", None, {"predict", "observe", "read", "operate"}),
        ("admin", None, {"predict", "observe", "read", "operate", "admin"}),
        ("admin", ["read", "predict", "read"], {"predict", "read"}),
    ],
)
def test_a_key_may_do_what_its_role_may_or_less(identity: Identity, role: Role, scopes: Any, may: set[str]) -> None:
    secret, key = identity.create_api_key("robot", role, scopes=scopes, **WHO)
    client = identity.authenticate(secret)
    assert client.may == may
    assert identity.confirm(client).may == may
    assert key.scopes is None or key.scopes == ("predict", "read")
    for scope in may:
        client.require_scope(scope)  # type: ignore[arg-type]


def test_what_is_refused_says_whether_role_or_key_is_in_the_way() -> None:
    with pytest.raises(OutOfScope, match=r"needs the scope read; key:robot has only predict"):
        Client("key:robot", "viewer", scopes=frozenset({"predict"})).require_scope("read")
    with pytest.raises(Forbidden, match="needs the role admin") as refused:
        Client("key:robot", "viewer", scopes=frozenset({"predict"})).require_scope("admin")
    assert refused.value.code == "forbidden"


@pytest.mark.parametrize(
    ("scopes", "says"), [(["operate"], "viewer does not allow operate"), (["fly"], "no scope 'fly'"), ([], "without a scope")]
)
def test_scopes_that_cannot_be(identity: Identity, scopes: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        identity.create_api_key("robot", "viewer", scopes=scopes, **WHO)
    assert identity.api_keys() == []


def test_the_last_use_is_noted_every_ten_minutes(identity: Identity, clock: SetClock) -> None:
    secret, _ = identity.create_api_key("robot", "viewer", **WHO)
    assert [key.last_used_at for key in identity.api_keys()] == [None]
    first = now(clock)
    for _ in range(3):
        identity.authenticate(secret)
        clock.advance(199)
    assert [key.last_used_at for key in identity.api_keys()] == [first]
    clock.advance(3)
    identity.authenticate(secret)
    assert [key.last_used_at for key in identity.api_keys()] == [now(clock)]


def test_a_database_that_cannot_be_written_keeps_nobody_out(database: MemoryDatabase, clock: SetClock, hasher: CountingHasher) -> None:
    is_full = False

    def unit_of_work(*, read_only: bool = False) -> Any:
        if is_full and not read_only:
            raise Unavailable("the disk is full")
        return database.unit_of_work(read_only=read_only)

    identity = Identity(unit_of_work, hasher, JwtTokens(SECRET, clock), clock=clock)
    secret, _ = identity.create_api_key("robot", "viewer", **WHO)
    is_full = True
    assert identity.authenticate(secret).client_id == "key:robot"


# Rotation


def test_both_keys_are_good_during_the_overlap(identity: Identity, database: MemoryDatabase, clock: SetClock) -> None:
    secret, old = identity.create_api_key("robot", "operator", scopes=["predict"], limit=Limit(5.0, 10), **WHO)
    fresh, new, replaced = identity.rotate_api_key(old.key_id, overlap_s=60, **WHO)
    assert (replaced.successor_id, replaced.expires_at) == (new.key_id, now(clock) + timedelta(seconds=60))
    assert (new.expires_at, new.scopes, new.limit, new.role) == (None, ("predict",), Limit(5.0, 10), "operator")
    before, after = identity.authenticate(secret), identity.authenticate(fresh)
    assert before.limit_id == after.limit_id, "rotation gives no second set of tokens"
    assert (before.client_id, before.may) == (after.client_id, after.may)
    clock.advance(60)
    with pytest.raises(Unauthenticated, match="use the key that has replaced it"):
        identity.authenticate(secret)
    assert identity.authenticate(fresh) == after
    with database.unit_of_work(read_only=True) as uow:
        [entry] = [entry for entry in uow.audit.newest() if entry.action != "api_key.create"]
    assert (entry.action, entry.before["prefix"], entry.after["prefix"]) == ("api_key.rotate", old.prefix, new.prefix)
    assert fresh not in repr(entry)


def test_a_third_key_still_takes_from_the_first_ones_bucket(identity: Identity) -> None:
    secret, first = identity.create_api_key("robot", "viewer", **WHO)
    _, second, _ = identity.rotate_api_key(first.key_id, overlap_s=60, **WHO)
    third_secret, _, _ = identity.rotate_api_key(second.key_id, overlap_s=60, **WHO)
    assert identity.authenticate(third_secret).limit_id == identity.authenticate(secret).limit_id


def test_without_an_overlap_the_old_key_ends_now(identity: Identity) -> None:
    secret, old = identity.create_api_key("robot", "viewer", **WHO)
    identity.rotate_api_key(old.key_id, overlap_s=0, **WHO)
    with pytest.raises(Unauthenticated):
        identity.authenticate(secret)


def test_an_overlap_does_not_outlive_the_old_key_and_the_new_one_lives_as_long_as_it(identity: Identity, clock: SetClock) -> None:
    _, old = identity.create_api_key("robot", "viewer", expires_at=now(clock) + timedelta(days=30), **WHO)
    clock.advance(29 * 86_400)
    _, new, replaced = identity.rotate_api_key(old.key_id, overlap_s=7 * 86_400, **WHO)
    assert replaced.expires_at == old.expires_at
    assert new.expires_at == now(clock) + timedelta(days=30)
    chosen = now(clock) + timedelta(days=2)
    assert identity.rotate_api_key(new.key_id, overlap_s=0, expires_at=chosen, **WHO)[1].expires_at == chosen


def test_a_key_that_was_to_live_for_ever_can_be_rotated(identity: Identity, clock: SetClock) -> None:
    _, old = identity.create_api_key("replay", "viewer", expires_at=datetime.max.replace(tzinfo=UTC), **WHO)
    clock.advance(60)
    _, new, _ = identity.rotate_api_key(old.key_id, overlap_s=60, **WHO)
    assert new.expires_at is not None
    assert new.expires_at == LATEST


def test_keys_that_cannot_be_rotated(identity: Identity, clock: SetClock) -> None:
    _, rotated = identity.create_api_key("a", "viewer", **WHO)
    identity.rotate_api_key(rotated.key_id, overlap_s=60, **WHO)
    _, revoked = identity.create_api_key("b", "viewer", **WHO)
    identity.revoke_api_key(revoked.key_id, **WHO)
    _, expired = identity.create_api_key("c", "viewer", expires_at=now(clock) + timedelta(seconds=1), **WHO)
    clock.advance(1)
    count = len(identity.api_keys())
    for key in (rotated, revoked, expired):
        with pytest.raises(Conflict):
            identity.rotate_api_key(key.key_id, overlap_s=60, **WHO)
    with pytest.raises(NotFound):
        identity.rotate_api_key("nobody", overlap_s=60, **WHO)
    assert len(identity.api_keys()) == count


# Argon2


def test_argon2_hashes_and_verifies() -> None:
    cheap = Argon2Hasher(argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    hashed = cheap.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert hashed != cheap.hash("correct horse")
    assert len(hashed) <= 256
    assert [cheap.verify(hashed, password) for password in ("correct horse", "wrong horse")] == [True, False]
    assert not cheap.verify("not a hash", "correct horse")
    assert not cheap.is_outdated(hashed)
    assert Argon2Hasher().is_outdated(hashed)
    assert "m=65536,t=3" in Argon2Hasher().hash("correct horse")


# The secret


def test_the_generated_secret_is_private_and_stays(tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path / "var")
    secret = token_secret(settings)
    assert len(secret) >= 32
    assert token_secret(settings) == secret
    assert [entry.name for entry in (tmp_path / "var").iterdir()] == ["token_secret"]
    assert stat.S_IMODE((tmp_path / "var" / "token_secret").stat().st_mode) == 0o600


def test_the_secret_of_the_settings_goes_first(tmp_path: Path) -> None:
    assert token_secret(Settings(var_dir=tmp_path, token_secret="x" * 40)) == "x" * 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"token_secret": "short"}, id="short"),
        pytest.param({"environment": "production"}, id="generated in production"),
    ],
)
def test_a_secret_that_is_not_good_enough(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentProblem, match="32"):
        token_secret(Settings(var_dir=tmp_path, **changes))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_TOKEN_SECRET"):
        token_secret(Settings(var_dir=tmp_path / "var"))


def _secret_of(folder: Path) -> str:
    return token_secret(Settings(var_dir=folder))


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        assert len(set(pool.map(_secret_of, [tmp_path / "var"] * 6))) == 1


def test_threads_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    for attempt in range(20):
        together, found = threading.Barrier(4), set()

        def read(folder: Path = tmp_path / str(attempt), together: threading.Barrier = together, found: set[str] = found) -> None:
            together.wait()
            found.add(_secret_of(folder))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1


def test_the_clock_is_cut_to_microseconds_and_aware() -> None:
    assert now(SetClock(1_767_225_600_123_456_789)) == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)


def test_a_key_revoked_meanwhile_confirms_nothing(identity: Identity) -> None:
    """The gate remembers an accepted key for a minute; a change of what is live asks again."""
    secret, key = identity.create_api_key("robot", "operator", **WHO)
    client = identity.authenticate(secret)
    assert identity.confirm(client) == client
    identity.revoke_api_key(key.key_id, **WHO)
    with pytest.raises(Unauthenticated, match="revoked"):
        identity.confirm(client)
