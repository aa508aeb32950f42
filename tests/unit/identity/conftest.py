"""An identity service over a database in memory, with a hash that costs nothing and a clock that is set."""

import pytest

from data.identity.tokens import JwtTokens
from data.stubs import MemoryDatabase, SetClock
from tests.identity_builders import SECRET, CountingHasher
from trajops.services.identity import Identity


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
