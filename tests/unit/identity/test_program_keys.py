"""Keys of programs: made once, used, rotated, revoked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data.identity.tokens import JwtTokens
from data.stubs import MemoryDatabase, SetClock
from tests.identity_builders import SECRET, WHO, CountingHasher
from trajops.clients import Client
from trajops.clock import now
from trajops.contracts.session import Role
from trajops.contracts.wire import LATEST
from trajops.errors import Conflict, Forbidden, InvalidInput, NotFound, OutOfScope, Unauthenticated, Unavailable
from trajops.rate_limits import Limit
from trajops.services.identity import Identity


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


def test_a_key_revoked_meanwhile_confirms_nothing(identity: Identity) -> None:
    """The gate remembers an accepted key for a minute; a change of what is live asks again."""
    secret, key = identity.create_api_key("robot", "operator", **WHO)
    client = identity.authenticate(secret)
    assert identity.confirm(client) == client
    identity.revoke_api_key(key.key_id, **WHO)
    with pytest.raises(Unauthenticated, match="revoked"):
        identity.confirm(client)
