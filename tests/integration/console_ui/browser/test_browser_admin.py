"""Audit, Admin and the own password in a browser: links lead on, what is clicked is sent, a secret is shown once."""

from typing import Any

import pytest
from browsing import IDLE, button, dialog, give_a_reason, opened, troubles, wait_until_drawn
from console_stub import StubServer
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.slow
WHY = "because of the browser test"


def sent(server: StubServer) -> list[tuple[str, Any]]:
    return server.api.accounts.sent


def finish(page: Page, confirmation: Locator, label: str) -> None:
    confirmation.get_by_role("button", name=label, exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_audit_id_on_another_page_leads_to_its_entry(page: Page, console: str) -> None:
    opened(page, console, "Overview")
    page.locator(".st-key-recent-changes").get_by_role("link").first.click()
    page.get_by_role("heading", name="What changed").wait_for()
    page.wait_for_url("**/audit?*entry=aud-*")
    page.reload()
    page.get_by_role("heading", name="What changed").wait_for()
    button(page, "audit-same-subject").click()
    page.wait_for_url("**about=trajectory*")
    expect(page.get_by_role("textbox", name="About")).to_have_value("trajectory/3")
    page.locator(".st-key-audit-entries").get_by_role("link").first.click()
    page.get_by_role("heading", name="What changed").wait_for()
    button(page, "audit-all").click()
    page.locator(".st-key-audit-entries").wait_for()
    assert "entry=" not in page.url


def test_filters_go_into_the_url_and_come_back_from_it(page: Page, console: str) -> None:
    opened(page, console, "Audit")
    page.get_by_role("combobox", name="What").click()
    page.get_by_role("option", name="Releases (all)").click()
    page.wait_for_url("**what=deployment.*")
    page.get_by_role("textbox", name="Words").fill("FIRST model")
    page.get_by_role("textbox", name="Words").press("Enter")
    page.wait_for_url("**words=FIRST*")
    entries = page.locator(".st-key-audit-entries")
    expect(entries.get_by_role("link")).to_have_count(1)
    page.reload()
    expect(entries.get_by_role("link")).to_have_count(1)
    expect(page.get_by_role("textbox", name="Words")).to_have_value("FIRST model")
    page.get_by_role("textbox", name="Words").fill("no such words")
    page.get_by_role("textbox", name="Words").press("Enter")
    button(page, "audit-clear").click()
    page.get_by_text("Last change:").wait_for()
    expect(page.get_by_role("textbox", name="Words")).to_have_value("")
    assert "what=" not in page.url


def test_what_is_filtered_is_downloaded(page: Page, console: str) -> None:
    opened(page, console, "Audit", "refresh=off&what=deployment.")
    button(page, "audit-prepare").click()
    with page.expect_download() as download:
        button(page, "audit-download").click()
    rows = download.value.path().read_text().splitlines()
    assert rows[0].startswith("at_utc,actor,action,subject,reason")
    assert len(rows) == 4


@pytest.mark.changes("create_user")
def test_a_user_is_added_and_the_password_is_gone_after_a_reload(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Admin", "refresh=2s")
    confirmation = dialog(page, "user-create")
    confirmation.get_by_role("textbox", name="Name").fill("bob")
    give_a_reason(confirmation, server, WHY)
    finish(page, confirmation, "Add")
    [(path, body)] = sent(server)
    assert (path, body["username"], body["role"]) == ("/v1/users", "bob", "viewer")
    once = page.locator(".st-key-secret-once")
    expect(once).to_contain_text(body["password"])
    expect(page.locator(".st-key-user-bob")).to_be_visible()
    page.reload()
    expect(page.locator(".st-key-user-bob")).to_be_visible()
    expect(once).to_have_count(0)


@pytest.mark.parametrize(
    ("key", "label", "expected"),
    [
        pytest.param(
            "user-role-ada",
            "Change role",
            ("/v1/users/ada/role", {"role": "operator", "reason": WHY}),
            marks=pytest.mark.changes("set_role"),
        ),
        pytest.param("user-disable-ada", "Disable", ("/v1/users/ada/disable", {"reason": WHY}), marks=pytest.mark.changes("disable_user")),
        pytest.param("user-enable-cid", "Enable", ("/v1/users/cid/enable", {"reason": WHY}), marks=pytest.mark.changes("enable_user")),
    ],
)
def test_a_user_is_changed(
    page: Page, console: str, server: StubServer, key: str, label: str, expected: tuple[str, dict[str, str]]
) -> None:
    opened(page, console, "Admin", "refresh=2s")
    confirmation = dialog(page, key)
    give_a_reason(confirmation, server, WHY)
    finish(page, confirmation, label)
    assert sent(server) == [expected]


@pytest.mark.changes("set_password")
def test_a_password_is_set_and_gone_after_leaving_the_page(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Admin")
    confirmation = dialog(page, "user-password-ada")
    page.wait_for_selector(IDLE)
    confirmation.get_by_label("Reason").fill(WHY)
    finish(page, confirmation, "Set new password")
    [(_, body)] = sent(server)
    expect(page.locator(".st-key-secret-once")).to_contain_text(body["password"])
    links = page.get_by_test_id("stSidebarNavLink")
    links.filter(has_text="Services").click()
    page.get_by_role("heading", name="Services", exact=True).first.wait_for()
    page.wait_for_selector(IDLE)
    links.filter(has_text="Admin").click()
    expect(page.locator(".st-key-user-ada")).to_be_visible()
    expect(page.get_by_text(body["password"])).to_have_count(0)


@pytest.mark.changes("create_key", "rotate_key", "revoke_key")
def test_keys_are_made_rotated_and_revoked(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Admin", "refresh=off&section=API keys")
    for key, label, shown in (
        ("key-create", "Make key", "tok_k9cafe_shown-this-once"),
        ("key_rotate-k1", "Rotate", "tok_k8cafe_shown-this-once"),
        ("key_revoke-k2", "Revoke", None),
    ):
        confirmation = dialog(page, key)
        page.wait_for_selector(IDLE)
        if key == "key-create":
            confirmation.get_by_role("textbox", name="Name of the program").fill("robot 7")
        confirmation.get_by_label("Reason").fill(WHY)
        finish(page, confirmation, label)
        if shown is not None:
            expect(page.locator(".st-key-secret-once")).to_contain_text(shown)
    assert [path for path, _ in sent(server)] == ["/v1/keys", "/v1/keys/k1/rotate", "/v1/keys/k2/revoke"]


@pytest.mark.changes("change_own_password")
def test_the_own_password_is_changed_from_any_page(page: Page, console: str, server: StubServer) -> None:
    opened(page, console, "Services")
    confirmation = dialog(page, "own-password")
    page.wait_for_selector(IDLE)
    for label, text in (("Password so far", "correct horse"), ("New password", "a new long one"), ("New password again", "a new long one")):
        confirmation.get_by_label(label, exact=True).fill(text)
    confirmation.get_by_role("button", name="Change password").click()
    page.get_by_text("Your password is changed").first.wait_for()
    assert sent(server) == [("/v1/me/password", {"old": "correct horse", "new": "a new long one"})]


def test_nothing_is_cut_or_sticks_out(page: Page, console: str) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})
    opened(page, console, "Admin")
    found = {}
    for path in ("admin?section=API keys&ended=true", "admin?section=Users", "audit?when=Between days", "audit?entry=aud-0001"):
        page.goto(f"{console}/{path}&refresh=off")
        page.get_by_text("Updated ").first.wait_for()
        wait_until_drawn(page)
        found[path] = troubles(page)
    assert found == {path: [] for path in found}
