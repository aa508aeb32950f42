"""What the clients' methods about users, keys and the audit send, and answers of the API's form: one row a call."""

from typing import Any

from tests.client_calls import AT, NOW, REASON
from trajops.contracts.keys import KeyIn

KEY = {
    "key_id": "k1",
    "name": "replay",
    "prefix": "tk_1",
    "role": "viewer",
    "scopes": ["predict"],
    "created_at": NOW,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "successor_id": None,
    "rate_limit_per_s": None,
    "rate_limit_burst": None,
}
USER_CHANGE: dict[str, Any] = {
    "user": {"username": "bob", "role": "viewer", "created_at": NOW, "disabled_at": None, "last_signed_in_at": NOW},
    "audit_id": "aud-1",
}
ENTRY = {
    "audit_id": "e 1",
    "at": NOW,
    "actor": "ada",
    "action": "job.pause",
    "subject": "prune",
    "reason": "because of the test",
    "before": {},
    "after": {"is_paused": True},
}
CALLS: dict[str, tuple[Any, str, str, Any, Any]] = {
    "sign_in": (
        lambda c: c.sign_in("ada", "pw"),
        "POST",
        "/v1/token",
        {"username": "ada", "password": "pw"},
        {"access_token": "t", "expires_at": NOW, "username": "ada", "role": "operator"},
    ),
    "me": (lambda c: c.me(), "GET", "/v1/me", None, {"username": "ada", "role": "operator", "environment": "demo"}),
    "audit": (lambda c: c.audit(limit=7), "GET", "/v1/audit?limit=7", None, {"entries": []}),
    "audit-subject": (lambda c: c.audit(subject="trajectory/3"), "GET", "/v1/audit?limit=50&subject=trajectory%2F3", None, {"entries": []}),
    "audit-all": (
        lambda c: c.audit(5, "model/", actor="ada", action="experiment.", text="a b", since=AT, until=AT, cursor="17-c"),
        "GET",
        (
            "/v1/audit?limit=5&subject=model%2F&actor=ada&action=experiment.&text=a+b&since=2026-11-24T03%3A00%3A00%2B00%3A00"
            "&until=2026-11-24T03%3A00%3A00%2B00%3A00&cursor=17-c"
        ),
        None,
        {"entries": [ENTRY], "next_cursor": "16-b"},
    ),
    "audit_entry": (lambda c: c.audit_entry("e 1"), "GET", "/v1/audit/e%201", None, ENTRY),
    "change_own_password": (
        lambda c: c.change_own_password("correct horse", "battery staple"),
        "POST",
        "/v1/me/password",
        {"old": "correct horse", "new": "battery staple"},
        USER_CHANGE,
    ),
    "users": (lambda c: c.users(), "GET", "/v1/users", None, {"users": [USER_CHANGE["user"]]}),
    "create_user": (
        lambda c: c.create_user("bob", "viewer", "correct horse", REASON),
        "POST",
        "/v1/users",
        {"username": "bob", "role": "viewer", "password": "correct horse", "reason": REASON},
        USER_CHANGE,
    ),
    "set_role": (
        lambda c: c.set_role("b b", "operator", REASON),
        "POST",
        "/v1/users/b%20b/role",
        {"role": "operator", "reason": REASON},
        USER_CHANGE,
    ),
    "set_password": (
        lambda c: c.set_password("bob", "correct horse", REASON),
        "POST",
        "/v1/users/bob/password",
        {"password": "correct horse", "reason": REASON},
        USER_CHANGE,
    ),
    "disable_user": (lambda c: c.disable_user("bob", REASON), "POST", "/v1/users/bob/disable", {"reason": REASON}, USER_CHANGE),
    "enable_user": (lambda c: c.enable_user("bob", REASON), "POST", "/v1/users/bob/enable", {"reason": REASON}, USER_CHANGE),
    "keys": (lambda c: c.keys(), "GET", "/v1/keys", None, {"keys": [KEY]}),
    "create_key": (
        lambda c: c.create_key(KeyIn(name="replay", scopes=["predict"], reason=REASON)),
        "POST",
        "/v1/keys",
        {"name": "replay", "scopes": ["predict"], "reason": REASON},
        {"secret": "tk_1", "key": KEY},
    ),
    "rotate_key": (
        lambda c: c.rotate_key("k/1", 60.0, REASON),
        "POST",
        "/v1/keys/k%2F1/rotate",
        {"overlap_s": 60.0, "reason": REASON},
        {"secret": "tk_2", "key": KEY, "replaces": KEY},
    ),
    "revoke_key": (lambda c: c.revoke_key("k1", REASON), "POST", "/v1/keys/k1/revoke", {"reason": REASON}, KEY),
}
CHANGES = (
    "revoke_key",
    "set_role",
    "disable_user",
    "enable_user",
)
