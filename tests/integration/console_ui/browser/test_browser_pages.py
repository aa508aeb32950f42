"""What only a browser can tell of the console: what moves, what is cut, and where an operator is led."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import IDLE, PAGES, TROUBLES, WATCH, opened, sign_in, wait_until_still
from console_stub import StubServer
from playwright.sync_api import Page, expect

from tests.builders import an_adoption

every_page = pytest.mark.parametrize("title", PAGES)
pytestmark = pytest.mark.slow


@every_page
def test_a_refresh_moves_nothing(page: Page, console: str, server: StubServer, title: str) -> None:
    """Refreshes by an API that takes 0.7 s for each answer: the height stays, and so does the place on the page."""
    opened(page, console, title, "refresh=2s")
    wait_until_still(page)
    server.api.delay_s = 0.7
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 80)")
    page.wait_for_timeout(300)
    page.evaluate(WATCH)
    before = page.get_by_text("Updated ").first.inner_text()
    page.wait_for_timeout(7000)
    seen: list[Any] = page.evaluate("window.seen")
    assert page.get_by_text("Updated ").first.inner_text() != before, "the page must have refreshed meanwhile"
    assert {has_skeleton for _, _, has_skeleton in seen} == {False}
    assert max(height for height, _, _ in seen) - min(height for height, _, _ in seen) <= 4
    assert {top for _, top, _ in seen} == {80}


def test_a_first_load_shows_a_skeleton(page: Page, console: str, server: StubServer) -> None:
    server.api.delay_s = 1.0
    page.goto(f"{console}/drift?refresh=off")
    sign_in(page)
    page.get_by_test_id("stSkeletonElement").first.wait_for(timeout=30_000)
    page.get_by_role("heading", name="Past checks").wait_for(timeout=30_000)
    page.wait_for_selector(IDLE, timeout=30_000)
    assert page.get_by_test_id("stSkeletonElement").count() == 0


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("Models", "range=6h&refresh=2s"),
        ("Live predict", "source=Prediction&refresh=2s&prediction=01JD8Z5K000000000000000009"),
        ("Drift", "range=24h&refresh=2s"),
        ("Alerts", "range=6h&refresh=2s&alert=drift-1"),
        ("Alerts", "refresh=2s&section=Silences"),
        ("A/B tests", "refresh=2s&experiment=exp-worse"),
    ],
)
def test_signing_in_after_the_session_ended_leads_back(page: Page, console: str, server: StubServer, title: str, query: str) -> None:
    """The server ends the session while the page refreshes by itself; page, range and chosen prediction are there again afterwards."""
    opened(page, console, title, query)
    wanted = {*query.split("&")}
    assert {*urlsplit(page.url).query.split("&")} == wanted
    server.api.ended.add("ada")
    page.get_by_text("Your session has ended").wait_for(timeout=30_000)
    server.api.ended.clear()
    page.get_by_text("Go to the sign-in form").click()
    sign_in(page)
    page.get_by_role("heading", name=title, exact=True).first.wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)
    assert urlsplit(page.url).path == PAGES[title]
    assert {*urlsplit(page.url).query.split("&")} == wanted


def test_a_deep_link_opened_with_an_ended_session_leads_there_in_the_end(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Overview")
    server.api.ended.add("ada")
    page.goto(f"{console}/models?range=6h&refresh=off")
    page.get_by_text("Your session has ended").wait_for(timeout=30_000)
    server.api.ended.clear()
    page.get_by_text("Go to the sign-in form").click()
    sign_in(page)
    page.get_by_role("heading", name="Models", exact=True).first.wait_for()
    assert page.url == f"{console}/models?range=6h&refresh=off"


@pytest.mark.parametrize("width", [1000, 1280, 1440])
def test_nothing_is_cut_or_sticks_out(page: Page, console: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, console, "Overview")
    found = {}
    for title, path in PAGES.items():
        page.goto(f"{console}{path}?refresh=off")
        page.get_by_role("heading", name=title, exact=True).first.wait_for()
        page.get_by_text("Updated ").first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(1500)  # Figures are laid out after the script has ended.
        found[title] = page.evaluate(TROUBLES)
    assert found == {title: [] for title in PAGES}


def test_every_column_of_a_drift_check_is_seen_on_a_usual_screen(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    opened(page, console, "Drift")
    tables = page.locator("[data-testid=stDataFrame] .dvn-scroller")
    expect(tables).to_have_count(4)
    assert tables.evaluate_all("all => all.map(one => one.scrollWidth - one.clientWidth)") == [0, 0, 0, 0]


def test_a_version_that_is_refused_appears_by_itself(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Models", "refresh=2s")
    assert page.get_by_text("Not adopted yet").count() == 0
    server.api.releases.adoptions = [an_adoption(6, "refused", "unsafe_model", "it runs code when it is loaded")]
    try:
        page.get_by_text("it runs code when it is loaded").wait_for(timeout=20_000)
    finally:
        server.api.releases.adoptions = []


def test_run_now_tells_what_came_of_it(page: Page, console: str, server: StubServer) -> None:
    """Chosen by the link, run by the button: the toast says so, the error of the run stands below, and the link still leads here."""
    opened(page, console, "Services", "job=check_drift&refresh=off")
    page.locator(".st-key-run-job button").first.click()
    page.get_by_text("Check for drift has failed").first.wait_for(timeout=20_000)
    page.get_by_text("the reference window is empty").first.wait_for(timeout=20_000)
    assert "job=check_drift" in urlsplit(page.url).query
    assert ("POST", "/v1/jobs/check_drift/run") in [call[:2] for call in server.api.calls]
