"""The Admin page and the own password in Streamlit's own test harness: roles, refusals, empty states, deep links."""

import pytest
from console_app import opened, text
from console_stub import StubApi, StubServer
from streamlit.testing.v1 import AppTest

from console.admin import secret
from console.admin.dialogs import PendingAdmin
from console.admin.own_password import PendingPassword
from console.confirmation import PENDING

pytestmark = pytest.mark.slow
WHY = "because of the test"


def waiting(pending: PendingAdmin | PendingPassword, user: str = "root") -> AppTest:
    """The page with a dialog open; a harness cannot press what opens it and go on."""
    app = opened("Admin", user)
    app.session_state[PENDING] = pending._replace(dialog_id="d")
    app.run()
    assert not app.exception
    return app


def send(app: AppTest, button: str = "admin-submit", **fields: str) -> AppTest:
    for key, value in fields.items():
        (app.text_area if key == "reason" else app.text_input)(key=f"admin-{key}-d").set_value(value)
    app.button(key=button).click().run()
    assert not app.exception
    return app


@pytest.mark.parametrize(("user", "role"), [("vera", "a viewer"), ("ada", "an operator")])
def test_who_is_no_admin_reads_why_it_is_closed(server: StubServer, api: StubApi, user: str, role: str) -> None:
    app = opened("Admin", user)
    assert f"You are signed in as {role}; this page is for admins." in text(app)
    assert "Ask an admin for what you need" in text(app)
    assert not [path for _, path, _ in api.reads if path in {"/v1/users", "/v1/keys"}], "nothing is asked for that is refused anyway"
    assert not api.accounts.sent


def test_users_are_listed_with_role_state_and_last_sign_in(server: StubServer) -> None:
    app = opened("Admin", "root")
    shown = text(app)
    assert "3 users may sign in: 1 admin, 1 operator, 1 viewer; 1 disabled." in shown
    assert "**root** (you)" in shown
    assert "has never signed in" in shown
    assert "disabled 2 d ago" in shown
    refused = {b.key: b.help for b in app.button if b.disabled and b.key and b.key.startswith("user-")}
    assert refused.keys() == {"user-disable-root", "user-role-root"}
    assert "Nobody disables themselves" in refused["user-disable-root"]
    assert "last admin" in refused["user-role-root"]


def test_keys_are_a_deep_link_and_ended_ones_are_shown_when_asked_for(server: StubServer) -> None:
    app = opened("Admin", "root", section="API keys")
    shown = text(app)
    assert "2 API keys are valid; 1 of them ends within 7 days." in shown
    assert "used 4 min ago" in shown
    assert "old robot" not in shown
    app = opened("Admin", "root", section="API keys", ended="true")
    assert "old robot" in text(app)
    assert "Revoked" in text(app)


def test_a_user_is_added_with_a_password_that_is_shown_once(server: StubServer, api: StubApi) -> None:
    app = waiting(PendingAdmin("", "create"))
    app.selectbox(key="admin-role-d").select("operator").run()
    send(app, name=" bob ", reason=WHY)
    [(path, body)] = api.accounts.sent
    assert (path, body["username"], body["role"], body["reason"]) == ("/v1/users", "bob", "operator", WHY)
    [shown] = [c.value for c in app.code]
    assert shown == body["password"]
    assert len(shown) == 16
    assert "aud-user" in app.toast[0].value
    app.button(key="secret-done").click().run()
    assert not app.code


def test_a_secret_is_gone_after_leaving_the_page(server: StubServer, api: StubApi) -> None:
    app = send(waiting(PendingAdmin("", "password", "ada", "ada", "operator")), reason=WHY)
    assert app.code
    app.switch_page("views/services.py").run()
    assert secret.KEPT not in app.session_state
    app.switch_page("views/admin.py").run()
    assert not app.code


@pytest.mark.parametrize(
    ("pending", "path", "body"),
    [
        (PendingAdmin("", "disable", "ada", "ada", "operator"), "/v1/users/ada/disable", {"reason": WHY}),
        (PendingAdmin("", "enable", "cid", "cid", "admin"), "/v1/users/cid/enable", {"reason": WHY}),
        (PendingAdmin("", "role", "ada", "ada", "operator"), "/v1/users/ada/role", {"role": "operator", "reason": WHY}),
        (PendingAdmin("", "key_revoke", "k1", "replay"), "/v1/keys/k1/revoke", {"reason": WHY}),
        (PendingAdmin("", "key_rotate", "k1", "replay"), "/v1/keys/k1/rotate", {"overlap_s": 86400.0, "reason": WHY}),
    ],
    ids=lambda value: value.name if isinstance(value, PendingAdmin) else "",
)
def test_a_change_needs_a_reason_and_is_sent_once(server: StubServer, api: StubApi, pending: PendingAdmin, path: str, body: object) -> None:
    app = send(waiting(pending), reason="short")
    assert "at least 10 characters" in app.error[0].value
    assert not api.accounts.sent
    send(app, reason=WHY)
    assert api.accounts.sent == [(path, body)]


def test_a_key_is_made_restricted_and_its_secret_is_shown(server: StubServer, api: StubApi) -> None:
    app = waiting(PendingAdmin("", "key_create"))
    app.multiselect(key="admin-scopes-d-viewer").select("predict")
    app.number_input(key="admin-rate-d").set_value(5.0)
    send(app, name="robot 7", reason=WHY)
    [(path, body)] = api.accounts.sent
    assert (path, body["name"], body["role"], body["scopes"]) == ("/v1/keys", "robot 7", "viewer", ["predict"])
    assert body["rate_limit_per_s"] == 5.0
    assert body["expires_at"]
    assert [c.value for c in app.code] == ["tok_k9cafe_shown-this-once"]


def test_what_the_api_refuses_is_said_in_the_dialog(server: StubServer, api: StubApi) -> None:
    app = send(waiting(PendingAdmin("", "create")), name="ada", reason=WHY)
    assert "there is a user 'ada' already" in app.error[0].value.replace("\\", "")
    assert not app.code


def test_the_own_password_is_typed_twice_and_needs_the_old_one(server: StubServer, api: StubApi) -> None:
    app = waiting(PendingPassword(), "vera")
    fields = {"own-old-d": "wrong horse", "own-new-d": "a new long one", "own-again-d": "another one"}
    for key, value in fields.items():
        app.text_input(key=key).set_value(value)
    app.button(key="own-password-submit").click().run()
    assert "typed in two ways" in app.error[0].value
    assert not api.accounts.sent
    app.text_input(key="own-again-d").set_value("a new long one")
    app.button(key="own-password-submit").click().run()
    assert "the password so far is another one" in app.error[0].value
    app.text_input(key="own-old-d").set_value("correct horse")
    app.button(key="own-password-submit").click().run()
    assert api.accounts.sent[-1] == ("/v1/me/password", {"old": "correct horse", "new": "a new long one"})
    assert "Your password is changed · audit aud-own" in app.toast[0].value
