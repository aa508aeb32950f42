"""Who may come in, and what they were answered."""

from datetime import datetime
from typing import Protocol

from trajops.records import ApiKey, Remembered, User


class UserStore(Protocol):
    """People who sign in."""

    def add(self, user: User) -> None:
        """Write a new user.

        Raises:
            Conflict: if the name is taken.
        """
        ...

    def by_name(self, username: str) -> User | None:
        """The user of that name, also a disabled one."""
        ...

    def all(self) -> list[User]:
        """All users by name."""
        ...

    def enabled_admins(self) -> list[User]:
        """Admins who may sign in; until this transaction ends nobody else makes them fewer."""
        ...

    def touch(self, user_id: str, at: datetime) -> None:
        """Write when somebody signed in last; an unknown user is no error."""
        ...

    def replace(self, user: User) -> None:
        """Write password hash, role and disabled time of a known user.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class ApiKeyStore(Protocol):
    """Keys of programs."""

    def add(self, key: ApiKey) -> None:
        """Write a new key."""
        ...

    def get(self, key_id: str) -> ApiKey:
        """One key.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that SHA-256, also an expired or revoked one."""
        ...

    def all(self) -> list[ApiKey]:
        """All keys, newest first."""
        ...

    def touch(self, key_id: str, at: datetime) -> None:
        """Write when the key was used last; an unknown key is no error."""
        ...

    def replace(self, key_id: str, successor_id: str, expires_at: datetime) -> ApiKey:
        """Name the successor of a key and when it ends.

        Raises:
            NotFound: if there is none with that id.
            Conflict: if it has a successor already, or was revoked.
        """
        ...

    def revoke(self, key_id: str, at: datetime) -> ApiKey:
        """Mark a key as revoked; an earlier revocation stands.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class IdempotencyStore(Protocol):
    """Answers to requests that carried an idempotency key."""

    def find(self, actor: str, key: str) -> Remembered | None:
        """What this actor was answered under this key."""
        ...

    def remember(self, actor: str, key: str, remembered: Remembered, at: datetime) -> None:
        """Keep an answer.

        Raises:
            Conflict: if this actor has used the key already.
        """
        ...
