"""The gate: a credential is checked once a minute, never after its expiry, and memory is bounded."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.auth import Gate
from trajops.clients import Client
from trajops.errors import Unauthenticated, Unavailable


class Directory:
    """Knows `good…` credentials and counts how often it was asked."""

    def __init__(self, expires_in_s: float | None = None) -> None:
        self.asked: list[str] = []
        self.is_away = False
        self.has_revoked = False
        self.expires_at = None if expires_in_s is None else datetime.now(UTC) + timedelta(seconds=expires_in_s)

    def authenticate(self, credential: str) -> Client:
        self.asked.append(credential)
        if self.is_away:
            raise Unavailable("the database is away")
        if self.has_revoked or not credential.startswith("good"):
            raise Unauthenticated("the token is not valid; sign in again")
        return Client(credential, "viewer", self.expires_at)


def admit(gate: Gate, header: bytes | None) -> Client:
    return asyncio.run(gate.admit(header))


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer ", b"Basic good", b"good", b"Bearer bad", b"Bearer \xff"], ids=repr)
def test_what_is_not_a_valid_bearer_credential_is_refused(header: bytes | None) -> None:
    gate = Gate(Directory().authenticate)
    with pytest.raises(Unauthenticated) as caught:
        admit(gate, header)
    assert bool(caught.value.details.get("is_given")) is (header is not None)
    assert gate.known(header) is None


def test_an_accepted_credential_is_remembered_and_then_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("api.auth.time.monotonic", lambda: now_s)
    directory = Directory()
    gate = Gate(directory.authenticate)
    for _ in range(3):
        assert admit(gate, b"Bearer good").client_id == "good"
    assert admit(gate, b"bearer good").client_id == "good"
    assert directory.asked == ["good", "good"]  # each spelling of the header once
    now_s += 60.0
    assert gate.known(b"Bearer good") is None
    admit(gate, b"Bearer good")
    assert len(directory.asked) == 3
    assert (gate.hits, gate.misses, len(gate)) == (2, 3, 2)


def test_an_expired_credential_is_not_remembered_beyond_its_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("api.auth.time.monotonic", lambda: now_s)
    gate = Gate(Directory(expires_in_s=5.0).authenticate)
    admit(gate, b"Bearer good")
    now_s += 4.0
    assert gate.known(b"Bearer good") is not None
    now_s += 1.1
    assert gate.known(b"Bearer good") is None


def test_memory_is_bounded() -> None:
    gate = Gate(Directory().authenticate, capacity=2)
    for name in (b"1", b"2", b"3"):
        admit(gate, b"Bearer good" + name)
    assert [gate.known(b"Bearer good" + name) is not None for name in (b"1", b"2", b"3")] == [False, True, True]


def test_while_the_database_is_away_who_was_in_stays_in() -> None:
    directory = Directory()
    gate = Gate(directory.authenticate, keep_s=0.0)
    client = admit(gate, b"Bearer good")
    directory.is_away = True
    assert admit(gate, b"Bearer good") == client
    asked = len(directory.asked)
    assert admit(gate, b"Bearer good") == client
    assert len(directory.asked) == asked, "the database is not asked for every request of an outage"
    with pytest.raises(Unavailable, match="new credential"):
        admit(gate, b"Bearer good-but-never-seen")


def test_an_expired_credential_is_out_even_then() -> None:
    directory = Directory(expires_in_s=0.05)
    gate = Gate(directory.authenticate, keep_s=0.0)
    admit(gate, b"Bearer good")
    directory.is_away = True
    assert directory.expires_at is not None
    while datetime.now(UTC) <= directory.expires_at:
        pass
    with pytest.raises(Unavailable):
        admit(gate, b"Bearer good")


def test_a_revoked_credential_is_out_at_the_next_check() -> None:
    directory = Directory()
    gate = Gate(directory.authenticate, keep_s=0.0)
    admit(gate, b"Bearer good")
    directory.has_revoked = True
    with pytest.raises(Unauthenticated):
        admit(gate, b"Bearer good")


def test_what_is_forgotten_is_checked_again_and_nothing_else_is() -> None:
    directory = Directory()
    hashes = {"good1": "h1", "good2": "h2"}
    gate = Gate(lambda credential: replace(directory.authenticate(credential), key_hash=hashes[credential]))
    for name in (b"good1", b"good2"):
        admit(gate, b"Bearer " + name)
    gate.forget("h1")
    assert gate.known(b"Bearer good1") is None
    assert gate.known(b"Bearer good2") is not None
