"""Every page in both themes, judged by axe-core: what keeps a keyboard, a screen reader or weak eyes from working."""

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import IDLE, PAGES, dialog, opened
from console_stub.tasks import RUNS
from playwright.sync_api import Page

pytestmark = pytest.mark.slow
SERIOUS = {"serious", "critical"}
# Rule of axe-core, and the selector in Streamlit's own markup of what breaks it, which no page of ours can mend.
ALLOWED = [
    ("color-contrast", "[data-testid=stSliderThumbValue]"),  # in the primary colour, which is chosen for white text on it
]
IS_WITHIN = "([target, selector]) => !!document.querySelector(target)?.closest(selector)"


def findings(page: Page) -> list[str]:
    """What axe-core finds serious on the page as it is."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
        if not any(one["id"] == rule and page.evaluate(IS_WITHIN, [node["target"][0], selector]) for rule, selector in ALLOWED)
    ]


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
}


@themes
def test_no_page_has_a_serious_finding(page: Page, console: str, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    opened(page, console, "Overview")
    found = {}
    for title, path in PAGES.items():
        page.goto(f"{console}{path}?refresh=off")
        page.get_by_role("heading", name=title, exact=True).first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(1500)  # Figures are laid out after the script has ended.
        found[title] = findings(page)
    assert found == {title: [] for title in PAGES}


@themes
def test_no_view_and_no_dialog_has_a_serious_finding(page: Page, console: str, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(console)
    page.get_by_label("Password").wait_for()
    found = {"sign-in": findings(page)}
    page.goto(f"{console}/runbook")
    found["runbook"] = findings(page)
    opened(page, console, "Models")
    dialog(page, "rollback")
    page.wait_for_timeout(500)
    found["dialog"] = findings(page)
    for path, heading in VIEWS.items():
        page.goto(f"{console}{path}&refresh=off")
        page.get_by_role("heading", name=heading, exact=True).first.wait_for()
        page.wait_for_selector(IDLE, timeout=60_000)
        page.wait_for_timeout(1500)
        found[path] = findings(page)
    assert found == {view: [] for view in found}


@themes
def test_what_only_admins_see_has_no_serious_finding(page: Page, console: str, theme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=theme)
    opened(page, console, "Admin", "refresh=off", "root")
    found = {"users": findings(page)}
    dialog(page, "user-create")
    page.wait_for_timeout(500)
    found["dialog"] = findings(page)
    page.goto(f"{console}/admin?refresh=off&section=API keys&ended=true")
    page.locator(".st-key-key-k3").wait_for()
    page.wait_for_selector(IDLE, timeout=60_000)
    found["keys"] = findings(page)
    assert found == {view: [] for view in found}


def test_what_is_serious_is_found(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<img src=\"app/static/icon.svg\"><button></button>')")
    assert {one.partition(":")[0] for one in findings(page)} == {"button-name", "image-alt"}
