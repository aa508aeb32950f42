"""Signing in by OIDC in a browser: a real provider, the real API, the console between them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from browsing import IDLE
from console_process import free_port, running_console
from playwright.sync_api import Browser, Page, expect

from tests.served_api import served_api

pytestmark = pytest.mark.slow
CLIENT_ID = "trajops-console"
WAY = "Sign in with your organisation"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider that knows an operator, and somebody without a role."""
    port = free_port()
    users = [{"sub": "olga", "role": "operator"}, {"sub": "nobody"}]
    given = [part for user in users for part in ("--user-claims", json.dumps(user))]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "-p", str(port), *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    try:
        while True:
            try:
                found = httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False).json()
                break
            except httpx.HTTPError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield found["issuer"]
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def product(issuer: str, folder: Path, audience: str) -> Iterator[str]:
    """API and console; the address of the latter."""
    port = free_port()
    metadata = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    keys = httpx.get(metadata, trust_env=False).json()["jwks_uri"]
    secrets = folder / ".streamlit" / "secrets.toml"
    secrets.parent.mkdir()
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = "{"s" * 40}"\nexpose_tokens = ["id"]\n'
        f'client_id = "{CLIENT_ID}"\nclient_secret = "secret"\nserver_metadata_url = "{metadata}"\n'
    )
    settings = {"issuer": issuer, "issuer_jwks_url": keys, "issuer_audience": audience}
    with (
        served_api(folder / "var", **settings) as served,
        running_console(f"http://127.0.0.1:{served.port}", folder / "console.log", port, HOME=str(folder)) as console,
    ):
        yield console


@pytest.fixture(scope="module")
def offered(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with product(issuer, tmp_path_factory.mktemp("oidc"), CLIENT_ID) as console:
        yield console


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Page]:
    """A browser that knows nobody."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def sign_in(page: Page, address: str, subject: str) -> None:
    page.goto(address)
    page.get_by_role("link", name=WAY).click()
    page.get_by_role("button", name=subject, exact=True).click()


def test_a_deep_link_is_reached_in_the_right_role_and_survives_a_reload(fresh: Page, offered: str) -> None:
    sign_in(fresh, f"{offered}/audit?refresh=off&words=something", "olga")
    for _ in range(2):
        fresh.get_by_role("heading", name="Audit", exact=True).first.wait_for()
        fresh.wait_for_selector(IDLE, timeout=60_000)
        expect(fresh.get_by_text("Signed in as jwt:olga, operator")).to_be_visible()
        assert "words=something" in fresh.url
        fresh.reload()
    expect(fresh.get_by_text("Change password")).to_have_count(0)
    for path in ("drift-reports/none", f"task-results/{32 * '0'}"):
        file = fresh.request.get(f"{offered}/session/{path}", max_redirects=0)
        assert file.status == 404, "the API was asked with the token: there is no such check, and no such job"


def test_who_signs_out_is_asked_again(fresh: Page, offered: str) -> None:
    sign_in(fresh, f"{offered}/services?refresh=off", "olga")
    fresh.get_by_text("Signed in as jwt:olga").wait_for()
    fresh.get_by_role("link", name="Sign out").click()
    fresh.wait_for_url(lambda url: not url.startswith(offered) or "sign-in" in url)
    names = {cookie["name"] for cookie in fresh.context.cookies(offered)}
    assert not names & {"_streamlit_user", "_streamlit_user_tokens", "trajops_session"}
    fresh.goto(f"{offered}/services")
    fresh.get_by_role("link", name=WAY).wait_for()


def test_a_token_without_a_role_opens_nothing(fresh: Page, offered: str) -> None:
    sign_in(fresh, f"{offered}/services?refresh=off", "nobody")
    fresh.get_by_text("gives no role").first.wait_for()


def test_a_token_for_another_audience_is_refused(fresh: Page, issuer: str, tmp_path: Path) -> None:
    with product(issuer, tmp_path, "somebody else") as console:
        sign_in(fresh, f"{console}/services?refresh=off", "olga")
        fresh.get_by_text("Your session has ended").wait_for()
        fresh.get_by_text("Go to the sign-in form").click()
        fresh.get_by_role("link", name=WAY).wait_for()


def test_without_a_provider_nothing_is_offered(fresh: Page, console: str) -> None:
    fresh.goto(f"{console}/session/oidc?next=/services")
    fresh.get_by_label("Password").wait_for()
    assert fresh.url == f"{console}/session/sign-in?next=%2Fservices"
    expect(fresh.get_by_role("link", name=WAY)).to_have_count(0)
