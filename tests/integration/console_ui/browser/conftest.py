"""A browser before a console that asks a stub of the API."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from client_changes import paths_of
from console_process import running_console
from console_stub import StubApi, StubServer
from playwright.sync_api import Browser, Page, expect, sync_playwright

from trajops.client import TrajOpsClient

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"]
expect.set_options(timeout=30_000)


class Shared(ExitStack):
    """What tests that follow one another share, each opened when it is first asked for: all of them start slowly."""

    @cached_property
    def server(self) -> StubServer:
        return self.enter_context(StubServer(StubApi()))

    @cached_property
    def console(self) -> str:
        folder = self.enter_context(TemporaryDirectory())
        return self.enter_context(running_console(self.server.url, Path(folder) / "console.log"))

    @cached_property
    def browser(self) -> Browser:
        playwright = self.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        self.callback(browser.close)
        return browser


SHARED = pytest.StashKey[Shared]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Other tests must not find Playwright's event loop running in their thread."""
    is_next_here = nextitem is not None and Path(__file__).parent in nextitem.path.parents
    if not is_next_here and SHARED in item.config.stash:
        shared = item.config.stash[SHARED]
        del item.config.stash[SHARED]
        shared.close()


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Shared:
    return request.config.stash.setdefault(SHARED, Shared())


@pytest.fixture
def server(shared: Shared) -> StubServer:
    """The API in its first state."""
    shared.server.api = StubApi()
    return shared.server


@pytest.fixture
def console(shared: Shared) -> str:
    return shared.console


@pytest.fixture
def browser(shared: Shared) -> Browser:
    return shared.browser


@pytest.fixture
def client(server: StubServer) -> Iterator[TrajOpsClient]:
    """How things stand at the API, for an admin."""
    with TrajOpsClient(server.url, "token-root") as found:
        yield found


@pytest.fixture
def page(browser: Browser, server: StubServer, console: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh browser, not signed in; at the end it must have called nobody but the console, and the API what the test says it changes."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    server.api.delay_s = 0.0
    assert [url for url in asked if not url.startswith((f"{console}/", "data:", "blob:"))] == []
    for name in (name for mark in request.node.iter_markers("changes") for name in mark.args):
        assert any(paths_of(name).fullmatch(path) for path in server.api.changed), f"{name} was not called, or was refused"
