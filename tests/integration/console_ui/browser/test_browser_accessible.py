"""Every page in both themes, judged by axe-core: what keeps a keyboard, a screen reader or weak eyes from working."""

from typing import Literal

import pytest
from accessible import findings
from browsing import PAGES, opened, wait_until_drawn
from console_stub.tasks import RUNS
from playwright.sync_api import Page

pytestmark = pytest.mark.slow
themes = pytest.mark.parametrize("theme", ["light", "dark"])
# What a page is by its address beside its first view.
VIEWS = {
    "/ab_tests?plan=new": "Plan an experiment",
    "/alerts?alert=drift-1": "Alerts",
    "/alerts?section=Silences": "Alerts",
    "/alerts?section=Receivers": "Alerts",
    "/live_predict?source=Own points": "Live predict",
    "/live_predict?source=Recorded": "Live predict",
    "/scene_map?view=Recorded": "Scene map",
    "/services?job=check_drift": "Services",
    f"/jobs?task={RUNS}": "Jobs",
    "/audit?entry=aud-0001": "Audit",
    "/audit?when=Between days": "Audit",
    "/admin?section=API keys&ended=true": "Admin",
}


@themes
def test_no_page_has_a_serious_finding(page: Page, console: str, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    opened(page, console, "Overview", username="root")
    found = {}
    for title, path in PAGES.items():
        page.goto(f"{console}{path}?refresh=off")
        page.get_by_role("heading", name=title, exact=True).first.wait_for()
        wait_until_drawn(page)
        found[title] = findings(page)
    assert found == {title: [] for title in PAGES}


@themes
def test_no_view_has_a_serious_finding(page: Page, console: str, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(console)
    page.get_by_label("Password").wait_for()
    found = {"sign-in": findings(page)}
    page.goto(f"{console}/runbook")
    found["runbook"] = findings(page)
    opened(page, console, "Overview", username="root")
    for path, heading in VIEWS.items():
        page.goto(f"{console}{path}&refresh=off")
        page.get_by_role("heading", name=heading, exact=True).first.wait_for()
        wait_until_drawn(page)
        found[path] = findings(page)
    assert found == {view: [] for view in found}


def test_what_is_serious_is_found(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<img src=\"app/static/icon.svg\"><button></button>')")
    assert {one.partition(":")[0] for one in findings(page)} == {"button-name", "image-alt"}
