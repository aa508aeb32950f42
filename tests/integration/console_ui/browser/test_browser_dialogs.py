"""Dialogs in a browser: by keyboard alone, whole at each width, and without a serious finding of axe-core."""

import pytest
from accessible import findings
from browsing import IDLE, button, opened, told, troubles, wait_until_drawn
from console_stub import StubServer
from console_stub.tasks import RUNS
from playwright.sync_api import Page, expect

from tests.run_builders import run_id

pytestmark = [pytest.mark.slow, pytest.mark.long]
# The buttons that open them, one for each form.
DIALOGS = {
    "Overview": ["own-password"],
    "Experiments": [f"register-{run_id(4)}"],
    "Models": ["rollback", "rollout-stop", "validate"],
    "A/B tests": ["ab-cover", "ab-stop", "ab-override"],
    "Alerts": ["silence-late-1", "assign-late-1"],
    "Performance": ["revert-calibration-2"],
    "Jobs": ["start-job", f"cancel-{RUNS}"],
    "Admin": ["user-create"],
}
IS_INSIDE = "() => !!document.activeElement.closest('[role=dialog]')"


def open_by_keyboard(page: Page, key: str) -> None:
    button(page, key).focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.wait_for_selector(IDLE)


@pytest.mark.parametrize("title", DIALOGS)
def test_a_dialog_is_used_by_keyboard_alone_and_is_whole_and_accessible(page: Page, console: str, title: str) -> None:
    """Focus goes in, stays in whichever way it is moved, and comes back to where it was when Escape closes the dialog."""
    page.set_viewport_size({"width": 1000, "height": 900})
    opened(page, console, title)
    found = {}
    for key in DIALOGS[title]:
        open_by_keyboard(page, key)
        page.wait_for_function(IS_INSIDE)
        for step in ("Tab", "Shift+Tab"):
            for _ in range(14):
                page.keyboard.press(step)
                assert page.evaluate(IS_INSIDE), f"{key}: {step} leads out"
        wait_until_drawn(page)
        found[key] = troubles(page, "[role=dialog]")
        for theme in ("dark", "light"):
            page.emulate_media(color_scheme=theme)
            wait_until_drawn(page)
            found[key] += findings(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(button(page, key)).to_be_focused()
    assert found == {key: [] for key in found}


def test_a_dialog_opened_by_a_click_is_closed_by_escape(page: Page, console: str) -> None:
    opened(page, console, "Models")
    button(page, "rollback").click()
    page.get_by_role("dialog").wait_for()
    page.wait_for_function(IS_INSIDE)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_dialog_opened_by_a_script_is_entered_by_tab_and_closed_by_escape(page: Page, console: str) -> None:
    """Where no pointer and no key has pressed the button, Streamlit leaves the focus outside, and Escape is not heard there."""
    opened(page, console, "Models")
    button(page, "rollback").evaluate("e => e.click()")
    page.get_by_role("dialog").wait_for()
    page.wait_for_selector(IDLE)
    page.keyboard.press("Tab")
    page.wait_for_function(IS_INSIDE)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_enter_in_a_form_sends_it(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Models")
    open_by_keyboard(page, "rollback")
    for typed in ("", "by keyboard alone", "1"):  # the first Tab leads to “Close”
        page.keyboard.press("Tab")
        page.keyboard.type(typed)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    told(page, "Version 1 is the champion again")
    assert "/v1/routes/rollback" in server.api.changed
