"""Users and API keys of the stub API, and the changes that it can make of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from trajops.contracts.keys import KeyMadeOut, KeyOut, KeysOut
from trajops.contracts.users import UserChangeOut, UserOut, UsersOut


class StubAccounts:
    """Two admins of whom one is disabled, an operator, a viewer; four keys. Empty for a product that has just been installed.

    Attributes:
        sent: what was posted, with its path: passwords too.
    """

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.sent: list[tuple[str, Any]] = []
        rows = [("root", "admin", None), ("ada", "operator", None), ("cid", "admin", timedelta(days=2)), ("vera", "viewer", None)]
        self.users = {
            name: UserOut(
                username=name,
                role=role,
                created_at=started - timedelta(days=40),
                disabled_at=None if ago is None else started - ago,
                last_signed_in_at=None if name == "vera" else started - timedelta(hours=3),
            )
            for name, role, ago in ([] if is_empty else rows)
        }
        self.keys = {
            key_id: self.key(key_id, name, **fields)
            for key_id, name, fields in (
                []
                if is_empty
                else [
                    ("k1", "replay", {"scopes": ["predict", "observe"], "last_used_at": started - timedelta(minutes=4)}),
                    ("k2", "dashboard", {"expires_at": started + timedelta(days=3)}),
                    ("k3", "old robot", {"revoked_at": started - timedelta(days=9)}),
                ]
            )
        }

    def key(self, key_id: str, name: str, **fields: Any) -> KeyOut:
        body = {
            "key_id": key_id,
            "name": name,
            "prefix": f"{key_id}cafe",
            "role": "viewer",
            "scopes": ["predict", "observe", "read"],
            "created_at": self.started - timedelta(days=20),
            "expires_at": None,
            "revoked_at": None,
            "last_used_at": None,
            "successor_id": None,
            "rate_limit_per_s": None,
            "rate_limit_burst": None,
        }
        return KeyOut.model_validate(body | fields)

    def read(self, path: str) -> UsersOut | KeysOut:
        if path == "/v1/users":
            return UsersOut(users=sorted(self.users.values(), key=lambda one: one.username))
        return KeysOut(keys=list(self.keys.values()))

    def post(self, path: str, body: Any, username: str) -> UserChangeOut | KeyMadeOut | KeyOut:
        self.sent.append((path, body))
        parts = path.split("/")[2:]
        now = datetime.now(UTC)
        if parts == ["me", "password"]:
            if body["old"] != "correct horse":
                raise Refused(403, "forbidden", "the password so far is another one; try again, or ask an admin for a new password")
            return UserChangeOut(user=self.users[username], audit_id="aud-own")
        if parts[0] == "keys":
            return self._key(parts[1:], body, now)
        if len(parts) == 1:
            if body["username"] in self.users:
                raise Refused(409, "conflict", f"there is a user {body['username']!r} already; choose another name")
            user = UserOut(username=body["username"], role=body["role"], created_at=now, disabled_at=None, last_signed_in_at=None)
        else:
            user = self._changed(self.users[parts[1]], parts[2], body, now)
        self.users[user.username] = user
        return UserChangeOut(user=user, audit_id="aud-user")

    def _changed(self, user: UserOut, what: str, body: Any, now: datetime) -> UserOut:
        changes = {"role": {"role": body.get("role")}, "disable": {"disabled_at": now}, "enable": {"disabled_at": None}}
        return user.model_copy(update=changes.get(what, {}))

    def _key(self, parts: list[str], body: Any, now: datetime) -> KeyMadeOut | KeyOut:
        if not parts:
            made = self.key("k9", body["name"], role=body["role"], expires_at=body.get("expires_at"), created_at=now)
            self.keys = {"k9": made} | self.keys
            return KeyMadeOut(secret="tok_k9cafe_shown-this-once", key=made)
        old = self.keys[parts[0]]
        if parts[1] == "revoke":
            self.keys[parts[0]] = old.model_copy(update={"revoked_at": now})
            return self.keys[parts[0]]
        made = self.key("k8", old.name, created_at=now)
        self.keys[parts[0]] = old.model_copy(update={"successor_id": "k8", "expires_at": now + timedelta(seconds=body["overlap_s"])})
        self.keys["k8"] = made
        return KeyMadeOut(secret="tok_k8cafe_shown-this-once", key=made, replaces=self.keys[parts[0]])
