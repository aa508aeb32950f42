"""What only a browser can tell of the console: what moves, what is cut, and where an operator is led."""

from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from browsing import IDLE, MAIN, PAGES, WATCH, opened, sign_in, troubles, wait_until_drawn, wait_until_still
from console_stub import StubServer
from playwright.sync_api import Page, expect

from tests.builders import an_adoption

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("titles", [list(PAGES)[n::4] for n in range(4)], ids=", ".join)
def test_a_refresh_moves_nothing(page: Page, console: str, server: StubServer, titles: list[str]) -> None:
    """Refreshes by an API that takes 0.7 s for each answer: the height stays, and so does the place on the page. Several pages at once."""
    opened(page, console, titles[0], "refresh=2s", username="root")
    tabs = {titles[0]: page}
    for title in titles[1:]:
        tab = tabs[title] = page.context.new_page()
        tab.goto(f"{console}{PAGES[title]}?refresh=2s")
        tab.get_by_role("heading", name=title, exact=True).first.wait_for()
        tab.wait_for_selector(IDLE, timeout=60_000)
    for tab in tabs.values():
        tab.set_viewport_size({"width": 1280, "height": 500})  # so low that each page can be scrolled
    wait_until_still(*tabs.values())
    server.api.delay_s = 0.7
    for tab in tabs.values():
        tab.evaluate(f"document.querySelector('{MAIN}').scrollTo(0, 80)")
    page.wait_for_timeout(300)
    before = {}
    for title, tab in tabs.items():
        tab.evaluate(WATCH)
        before[title] = tab.get_by_text("Updated ").first.inner_text()
    page.wait_for_timeout(7000)
    for title, tab in tabs.items():
        expect(tab.get_by_text("Updated ").first, f"{title} must have refreshed meanwhile").not_to_have_text(before[title])
        seen: list[Any] = tab.evaluate("window.seen")
        assert {has_skeleton for _, _, has_skeleton in seen} == {False}, title
        assert max(height for height, _, _ in seen) - min(height for height, _, _ in seen) <= 4, title
        assert {top for _, top, _ in seen} == {80}, title


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


@pytest.mark.changes("sign_in")
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
    opened(page, console, "Overview", username="root")
    found = {}
    for title, path in PAGES.items():
        page.goto(f"{console}{path}?refresh=off")
        page.get_by_role("heading", name=title, exact=True).first.wait_for()
        page.get_by_text("Updated ").first.wait_for()
        wait_until_drawn(page)
        found[title] = troubles(page)
    assert found == {title: [] for title in PAGES}


def test_markup_in_an_address_is_text_and_does_nothing(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    markup = "<img src=x onerror=window.ran=1>[a](javascript:window.ran=1)"
    for place in (
        *("alerts?alert=", "jobs?task=", "audit?entry=", "ab_tests?experiment=", "models?version=", "drift?scene="),
        *("live_predict?source=Prediction&prediction=", "scene_map?agent="),
    ):
        page.goto(f"{console}/{place}{quote(markup)}&refresh=off")
        page.get_by_text("<img src=x").first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        assert page.evaluate("window.ran") is None, place
        expect(page.locator("img[src=x], a[href^='javascript']")).to_have_count(0)


def test_what_is_cut_or_broken_is_found(page: Page, console: str) -> None:
    opened(page, console, "Audit")
    cut = "<p style='width:30px;overflow:hidden;white-space:nowrap'>much too long</p>"
    broken = "<p style='width:30px;word-break:break-all'>unbreakable</p>"
    page.evaluate("cut => document.querySelector('h1').insertAdjacentHTML('afterend', cut)", cut + broken)
    assert troubles(page) == ["is cut: much too long", "is broken: unbreakable"]


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


@pytest.mark.changes("run_job")
def test_run_now_tells_what_came_of_it(page: Page, console: str, server: StubServer) -> None:
    """Chosen by the link, run by the button: the toast says so, the error of the run stands below, and the link still leads here."""
    opened(page, console, "Services", "job=check_drift&refresh=off")
    page.locator(".st-key-run-job button").first.click()
    page.get_by_text("Check for drift has failed").first.wait_for(timeout=20_000)
    page.get_by_text("the reference window is empty").first.wait_for(timeout=20_000)
    assert "job=check_drift" in urlsplit(page.url).query
    assert ("POST", "/v1/jobs/check_drift/run") in [call[:2] for call in server.api.calls]
