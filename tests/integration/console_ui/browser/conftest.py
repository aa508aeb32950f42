"""A browser before a console that asks a stub of the API."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from console_process import running_console
from console_stub import StubAlerts, StubApi, StubExperiments, StubServer
from console_stub.accounts import StubAccounts
from console_stub.rollouts import StubRollouts
from console_stub.tasks import StubTasks
from playwright.sync_api import Browser, Page, expect, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking"]
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer(StubApi()) as running:
        yield running


@pytest.fixture(scope="module")
def console(server: StubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_console(server.url, tmp_path_factory.mktemp("console") / "console.log") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: StubServer, console: str) -> Iterator[Page]:
    """A fresh browser, not signed in; at the end it must have called nobody but the console."""
    server.api.delay_s = 0.0
    server.api.ended.clear()
    server.api.alerts = StubAlerts(datetime.now(UTC), is_empty=False)
    server.api.experiments = StubExperiments(datetime.now(UTC), server.api.releases, is_empty=False)
    server.api.rollouts = StubRollouts(datetime.now(UTC), is_empty=False)
    server.api.tasks = StubTasks(datetime.now(UTC), is_empty=False)
    server.api.accounts = StubAccounts(datetime.now(UTC), is_empty=False)
    server.api.calls.clear()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    server.api.delay_s = 0.0
    assert [url for url in asked if not url.startswith((f"{console}/", "data:", "blob:"))] == []
