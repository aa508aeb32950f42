"""Signing in, users, and API keys."""

from trajops.client.call import Call, at, described, get, post
from trajops.client.retries import Retry
from trajops.contracts.keys import KeyIn, KeyMadeOut, KeyOut, KeysOut, RevokeKeyIn, RotateKeyIn
from trajops.contracts.session import Me, Role, TokenOut
from trajops.contracts.users import RoleIn, UserChangeIn, UserChangeOut, UsersOut


class AccountRoutes:
    """Signing in, users, and API keys.

    A secret is in one answer only, so that making and rotating keys are repeated only if they were never sent. So are passwords.
    """

    @described
    def sign_in(self, username: str, password: str) -> Call[TokenOut]:
        """Exchange name and password for a bearer token; this client does not adopt it."""
        return post("/v1/token", TokenOut, {"username": username, "password": password}, Retry.ONCE)

    @described
    def me(self) -> Call[Me]:
        """Who the token belongs to, and in which role."""
        return get("/v1/me", Me)

    @described
    def change_own_password(self, old: str, new: str) -> Call[UserChangeOut]:
        """Change the password of whom the token belongs to."""
        return post("/v1/me/password", UserChangeOut, {"old": old, "new": new}, Retry.ONCE)

    @described
    def users(self) -> Call[UsersOut]:
        """All users by name, also disabled ones."""
        return get("/v1/users", UsersOut)

    @described
    def create_user(self, username: str, role: Role, password: str, reason: str) -> Call[UserChangeOut]:
        """Add somebody who may sign in; after ApiUnavailable look into `users()`."""
        body = {"username": username, "role": role, "password": password, "reason": reason}
        return post("/v1/users", UserChangeOut, body, Retry.ONCE)

    @described
    def set_role(self, username: str, role: Role, reason: str, *, idempotency_key: str | None = None) -> Call[UserChangeOut]:
        """Give somebody another role."""
        body = RoleIn(role=role, reason=reason)
        return post(at("/v1/users/{}/role", username), UserChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def set_password(self, username: str, password: str, reason: str) -> Call[UserChangeOut]:
        """Give somebody a new password."""
        return post(at("/v1/users/{}/password", username), UserChangeOut, {"password": password, "reason": reason}, Retry.ONCE)

    @described
    def disable_user(self, username: str, reason: str, *, idempotency_key: str | None = None) -> Call[UserChangeOut]:
        """Let somebody in no more."""
        return post(at("/v1/users/{}/disable", username), UserChangeOut, UserChangeIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def enable_user(self, username: str, reason: str, *, idempotency_key: str | None = None) -> Call[UserChangeOut]:
        """Let somebody in again."""
        return post(at("/v1/users/{}/enable", username), UserChangeOut, UserChangeIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def keys(self) -> Call[KeysOut]:
        """All API keys, newest first, also ended ones."""
        return get("/v1/keys", KeysOut)

    @described
    def create_key(self, body: KeyIn) -> Call[KeyMadeOut]:
        """Make a key; after ApiUnavailable look into `keys()`, and revoke the one whose secret did not arrive."""
        return post("/v1/keys", KeyMadeOut, body, Retry.ONCE)

    @described
    def rotate_key(self, key_id: str, overlap_s: float, reason: str) -> Call[KeyMadeOut]:
        """Replace a key; the old one stays valid for `overlap_s` seconds."""
        return post(at("/v1/keys/{}/rotate", key_id), KeyMadeOut, RotateKeyIn(overlap_s=overlap_s, reason=reason), Retry.ONCE)

    @described
    def revoke_key(self, key_id: str, reason: str, *, idempotency_key: str | None = None) -> Call[KeyOut]:
        """End a key at once."""
        return post(at("/v1/keys/{}/revoke", key_id), KeyOut, RevokeKeyIn(reason=reason), Retry.KEYED, idempotency_key)
