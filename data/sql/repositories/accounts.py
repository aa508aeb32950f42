"""People and programs: users and API keys."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import api_keys, users
from trajops.errors import Conflict, NotFound
from trajops.records import ApiKey, User


class SqlUsers:
    """Implements `trajops.ports.UserStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, user: User) -> None:
        """Write a new user; Conflict if the name is taken."""
        written = insert_or(self._connection, users).values(**asdict(user)).on_conflict_do_nothing().returning(users.c.user_id)
        if self._connection.execute(written).first() is None:
            raise Conflict(f"there is a user {user.username!r} already; choose another name")

    def by_name(self, username: str) -> User | None:
        """The user of that name, also a disabled one."""
        row = self._connection.execute(select(users).where(users.c.username == username)).mappings().first()
        return None if row is None else User(**row)

    def all(self) -> list[User]:
        """All users by name."""
        return [User(**row) for row in self._connection.execute(select(users).order_by(users.c.username)).mappings()]

    def enabled_admins(self) -> list[User]:
        """Admins who may sign in, by id; on PostgreSQL nobody else changes them before this transaction ends, as on SQLite anyway."""
        admins = select(users).where(users.c.role == "admin", users.c.disabled_at.is_(None)).order_by(users.c.user_id).with_for_update()
        return [User(**row) for row in self._connection.execute(admins).mappings()]

    def touch(self, user_id: str, at: datetime) -> None:
        """Write when somebody signed in last; an unknown user is no error."""
        self._connection.execute(update(users).where(users.c.user_id == user_id).values(last_signed_in_at=at))

    def replace(self, user: User) -> None:
        """Write password hash, role and disabled time; NotFound if there is no user with that id."""
        change = (
            update(users)
            .where(users.c.user_id == user.user_id)
            .values(password_hash=user.password_hash, role=user.role, disabled_at=user.disabled_at)
            .returning(users.c.user_id)
        )
        if self._connection.execute(change).first() is None:
            raise NotFound(f"there is no user {user.username!r}")


class SqlApiKeys:
    """Implements `trajops.ports.ApiKeyStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: ApiKey) -> None:
        """Write a new key."""
        self._connection.execute(insert(api_keys), asdict(key))

    def get(self, key_id: str) -> ApiKey:
        """One key; NotFound if there is none with that id."""
        row = self._connection.execute(select(api_keys).where(api_keys.c.key_id == key_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no API key with the id {key_id!r}")
        return _key(row)

    def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that SHA-256, also an expired or revoked one."""
        row = self._connection.execute(select(api_keys).where(api_keys.c.key_hash == key_hash)).mappings().first()
        return None if row is None else _key(row)

    def all(self) -> list[ApiKey]:
        """All keys, newest first."""
        newest = select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.key_id)
        return [_key(row) for row in self._connection.execute(newest).mappings()]

    def touch(self, key_id: str, at: datetime) -> None:
        """Write when the key was used last; an unknown key is no error."""
        self._connection.execute(update(api_keys).where(api_keys.c.key_id == key_id).values(last_used_at=at))

    def replace(self, key_id: str, successor_id: str, expires_at: datetime) -> ApiKey:
        """Name the successor of a key and when it ends; NotFound, or Conflict if it has one already or was revoked."""
        change = (
            update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.successor_id.is_(None), api_keys.c.revoked_at.is_(None))
            .values(successor_id=successor_id, expires_at=expires_at)
            .returning(api_keys)
        )
        row = self._connection.execute(change).mappings().first()
        if row is None:
            known = self.get(key_id)
            raise Conflict(f"the API key {known.prefix} was replaced or revoked meanwhile; rotate the key that replaced it")
        return _key(row)

    def revoke(self, key_id: str, at: datetime) -> ApiKey:
        """Mark a key as revoked; an earlier revocation stands. NotFound if there is no such key."""
        change = (
            update(api_keys)
            .where(api_keys.c.key_id == key_id)
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, at))
            .returning(api_keys)
        )
        row = self._connection.execute(change).mappings().first()
        if row is None:
            raise NotFound(f"there is no API key with the id {key_id!r}")
        return _key(row)


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(**{**row, "scopes": None if row["scopes"] is None else tuple(row["scopes"])})
