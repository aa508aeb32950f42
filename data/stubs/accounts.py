"""People, keys and remembered answers in memory."""

from dataclasses import replace
from datetime import datetime

from data.stubs.tables import Repository
from trajops.errors import Conflict, NotFound
from trajops.records import ApiKey, Remembered, User


class MemoryUsers(Repository):
    """Implements `trajops.ports.UserStore`."""

    def add(self, user: User) -> None:
        """Write a new user; Conflict if the name is taken."""
        if self.by_name(user.username) is not None:
            raise Conflict(f"there is a user {user.username!r} already")
        self._tables.users.put(user.user_id, user)

    def by_name(self, username: str) -> User | None:
        """The user of that name, also a disabled one."""
        return next((user for user in self._tables.users.rows() if user.username == username), None)

    def all(self) -> list[User]:
        """All users by name."""
        return sorted(self._tables.users.rows(), key=lambda user: user.username)

    def enabled_admins(self) -> list[User]:
        """Admins who may sign in, by id."""
        admins = [user for user in self._tables.users.rows() if user.role == "admin" and user.disabled_at is None]
        return sorted(admins, key=lambda user: user.user_id)

    def touch(self, user_id: str, at: datetime) -> None:
        """Write when somebody signed in last; an unknown user is no error."""
        known = self._tables.users.get(user_id)
        if known is not None:
            self._tables.users.put(user_id, replace(known, last_signed_in_at=at))

    def replace(self, user: User) -> None:
        """Write password hash, role and disabled time; NotFound if there is no user with that id."""
        known = self._tables.users.get(user.user_id)
        if known is None:
            raise NotFound(f"there is no user {user.username!r}")
        changed = replace(known, password_hash=user.password_hash, role=user.role, disabled_at=user.disabled_at)
        self._tables.users.put(user.user_id, changed)


class MemoryApiKeys(Repository):
    """Implements `trajops.ports.ApiKeyStore`."""

    def add(self, key: ApiKey) -> None:
        """Write a new key."""
        self._tables.api_keys.put(key.key_id, key)

    def get(self, key_id: str) -> ApiKey:
        """One key; NotFound if there is none with that id."""
        known = self._tables.api_keys.get(key_id)
        if known is None:
            raise NotFound(f"there is no API key with the id {key_id!r}")
        return known

    def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that SHA-256, also an expired or revoked one."""
        return next((key for key in self._tables.api_keys.rows() if key.key_hash == key_hash), None)

    def all(self) -> list[ApiKey]:
        """All keys, newest first."""
        return sorted(self._tables.api_keys.rows(), key=lambda key: key.created_at, reverse=True)

    def touch(self, key_id: str, at: datetime) -> None:
        """Write when the key was used last; an unknown key is no error."""
        known = self._tables.api_keys.get(key_id)
        if known is not None:
            self._tables.api_keys.put(key_id, replace(known, last_used_at=at))

    def replace(self, key_id: str, successor_id: str, expires_at: datetime) -> ApiKey:
        """Name the successor of a key and when it ends; NotFound, or Conflict if it has one already or was revoked."""
        known = self.get(key_id)
        if known.successor_id is not None or known.revoked_at is not None:
            raise Conflict(f"the API key {known.prefix} was replaced or revoked meanwhile")
        replaced = replace(known, successor_id=successor_id, expires_at=expires_at)
        self._tables.api_keys.put(key_id, replaced)
        return replaced

    def revoke(self, key_id: str, at: datetime) -> ApiKey:
        """Mark a key as revoked; an earlier revocation stands. NotFound if there is no such key."""
        known = self.get(key_id)
        revoked = replace(known, revoked_at=known.revoked_at or at)
        self._tables.api_keys.put(key_id, revoked)
        return revoked


class MemoryIdempotency(Repository):
    """Implements `trajops.ports.IdempotencyStore`."""

    def find(self, actor: str, key: str) -> Remembered | None:
        """What this actor was answered under this key."""
        return self._tables.idempotency.get((actor, key))

    def remember(self, actor: str, key: str, remembered: Remembered, at: datetime) -> None:
        """Keep an answer; Conflict if this actor has used the key already."""
        if self.find(actor, key) is not None:
            raise Conflict(f"the idempotency key {key!r} is in use")
        self._tables.idempotency.put((actor, key), remembered)
