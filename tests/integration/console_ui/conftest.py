"""The stub of the API that pages are tested against, and the server that it answers from."""

from collections.abc import Iterator

import pytest
from console_stub import StubApi, StubServer


@pytest.fixture
def api() -> StubApi:
    return StubApi()


@pytest.fixture
def server(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    """Answers from the stub; the console is told to ask it."""
    with StubServer(api) as running:
        monkeypatch.setenv("TRAJOPS_API_URL", running.url)
        yield running
