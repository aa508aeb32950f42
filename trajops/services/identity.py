"""Who calls, and what they may do: users with passwords and tokens, programs with API keys."""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import get_args
from uuid import uuid4

from trajops.clock import SystemClock, now
from trajops.contracts.session import Role, TokenOut
from trajops.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from trajops.ports import Clock, PasswordHasher, TokenSigner
from trajops.rate_limits import Limit
from trajops.records import ApiKey, User
from trajops.stores import UnitOfWorkFactory

ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
MIN_PASSWORD_LENGTH = 8
KEY_MARK, PROGRAM_MARK = "tok_", "key:"


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls: a username, or `key:` and the name of an API key, with its SHA-256; None in `expires_at` means never.

    Attributes:
        limit: what this client may ask for; None: what everybody may.
        limited_as: whose tokens it takes, where its name is not enough, because two keys may have one name.
    """

    client_id: str
    role: Role
    expires_at: datetime | None = None
    key_hash: str | None = field(default=None, repr=False, compare=False)
    limit: Limit | None = field(default=None, compare=False)
    limited_as: str | None = field(default=None, repr=False, compare=False)

    @property
    def limit_id(self) -> str:
        """Whose tokens this client takes: the same for all credentials of one client."""
        return self.limited_as or self.client_id

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the client has the role or a higher one."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"this needs the role {role}; {self.client_id} is {self.role}. Ask an admin, or sign in as somebody else")


class Identity:
    """Users, tokens and API keys over their ports."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        tokens: TokenSigner,
        *,
        clock: Clock | None = None,
        token_ttl_s: float = 8 * 3600,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._tokens = tokens
        self._clock: Clock = clock or SystemClock()
        self._token_ttl = timedelta(seconds=token_ttl_s)

    def create_user(self, username: str, password: str, role: Role, *, actor: str, reason: str) -> User:
        """Add somebody who may sign in.

        Raises:
            InvalidInput: if the password is shorter than 8 characters, or name or role cannot be used.
            Conflict: if the name is taken.
        """
        if not 1 <= len(username) <= 128 or not username.isprintable() or username.startswith(PROGRAM_MARK):
            raise InvalidInput(f"a username has 1 to 128 printable characters and does not start with {PROGRAM_MARK!r}")
        if len(password) < MIN_PASSWORD_LENGTH:
            raise InvalidInput(f"the password has {len(password)} characters; it needs at least {MIN_PASSWORD_LENGTH}")
        _check_role(role)
        at = now(self._clock)
        user = User(uuid4().hex, username, self._hasher.hash(password), role, at)
        with self._unit_of_work() as uow:
            uow.users.add(user)
            uow.audit.append(at=at, actor=actor, action="user.create", subject=username, reason=reason, before={}, after={"role": role})
        return user

    def sign_in(self, username: str, password: str) -> TokenOut:
        """A session token for name and password.

        An unknown or disabled user costs one password check like everybody else, and hears the same sentence, so that
        neither the time nor the answer tells which names exist.

        Raises:
            Unauthenticated: if they do not fit together.
        """
        nobodys_hash = self._nobodys_hash
        with self._unit_of_work(read_only=True) as uow:
            user = uow.users.by_name(username)
        is_match = self._hasher.verify(nobodys_hash if user is None else user.password_hash, password)
        if user is None or user.disabled_at is not None or not is_match:
            raise Unauthenticated("name and password do not fit together; try again, or ask an admin for a new password")
        if self._hasher.is_outdated(user.password_hash):
            with self._unit_of_work() as uow:
                uow.users.replace(replace(user, password_hash=self._hasher.hash(password)))
        issued_at = now(self._clock).replace(microsecond=0)
        expires_at = issued_at + self._token_ttl
        token = self._tokens.issue(user.username, user.role, issued_at=issued_at, expires_at=expires_at)
        return TokenOut(access_token=token, expires_at=expires_at, username=user.username, role=user.role)

    def set_password(self, username: str, password: str, *, actor: str, reason: str) -> None:
        """Give somebody a new password.

        Raises:
            InvalidInput: if the password is shorter than 8 characters.
            NotFound: if there is no such user.
        """
        if len(password) < MIN_PASSWORD_LENGTH:
            raise InvalidInput(f"the password has {len(password)} characters; it needs at least {MIN_PASSWORD_LENGTH}")
        at = now(self._clock)
        with self._unit_of_work() as uow:
            user = uow.users.by_name(username)
            if user is None:
                raise NotFound(f"there is no user {username!r}")
            uow.users.replace(replace(user, password_hash=self._hasher.hash(password)))
            uow.audit.append(at=at, actor=actor, action="user.set_password", subject=username, reason=reason, before={}, after={})

    def disable_user(self, username: str, *, actor: str, reason: str) -> None:
        """Let somebody sign in no more; what is asked with an older token fails at `confirm`.

        Raises:
            NotFound: if there is no such user.
        """
        at = now(self._clock)
        with self._unit_of_work() as uow:
            user = uow.users.by_name(username)
            if user is None:
                raise NotFound(f"there is no user {username!r}")
            uow.users.replace(replace(user, disabled_at=user.disabled_at or at))
            uow.audit.append(
                at=at,
                actor=actor,
                action="user.disable",
                subject=username,
                reason=reason,
                before={"is_disabled": user.disabled_at is not None},
                after={"is_disabled": True},
            )

    def create_api_key(self, name: str, role: Role, *, actor: str, reason: str, expires_at: datetime | None = None) -> tuple[str, ApiKey]:
        """A new key for a program: the key itself, to be shown this once, and its record.

        Raises:
            InvalidInput: if name or role cannot be used, or it would have expired already.
        """
        if not 1 <= len(name) <= 120 or not name.isprintable():
            raise InvalidInput("the name of an API key has 1 to 120 printable characters")
        _check_role(role)
        at = now(self._clock)
        if expires_at is not None and expires_at <= at:
            raise InvalidInput(f"the API key would have expired at {expires_at.isoformat()} already; choose a later time")
        prefix = secrets.token_hex(4)
        secret = f"{KEY_MARK}{prefix}_{secrets.token_urlsafe(32)}"
        key = ApiKey(uuid4().hex, name, prefix, _digest(secret), role, at, expires_at)
        with self._unit_of_work() as uow:
            uow.api_keys.add(key)
            uow.audit.append(
                at=at,
                actor=actor,
                action="api_key.create",
                subject=f"{PROGRAM_MARK}{name}",
                reason=reason,
                before={},
                after={"key_id": key.key_id, "prefix": prefix, "role": role},
            )
        return secret, key

    def revoke_api_key(self, key_id: str, *, actor: str, reason: str) -> ApiKey:
        """End a key at once.

        Raises:
            NotFound: if there is no such key.
        """
        at = now(self._clock)
        with self._unit_of_work() as uow:
            key = uow.api_keys.revoke(key_id, at)
            uow.audit.append(
                at=at,
                actor=actor,
                action="api_key.revoke",
                subject=f"{PROGRAM_MARK}{key.name}",
                reason=reason,
                before={"key_id": key_id},
                after={"key_id": key_id, "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None},
            )
        return key

    def authenticate(self, credential: str) -> Client:
        """The client behind a token or an API key. A token needs no database; a key costs one look-up.

        Raises:
            Unauthenticated: if the credential is wrong, has expired or was revoked.
        """
        if credential.startswith(KEY_MARK):
            return self._of_key(_digest(credential))
        claims = self._tokens.verify(credential)
        return Client(claims.subject, claims.role, claims.expires_at)

    def confirm(self, client: Client) -> Client:
        """The client as the database knows it now: for changes, where what was checked a while ago is not enough.

        Raises:
            Unauthenticated: if the user was disabled or is gone, or the key was revoked or has expired.
        """
        if client.key_hash is not None:
            return self._of_key(client.key_hash)
        with self._unit_of_work(read_only=True) as uow:
            user = uow.users.by_name(client.client_id)
        if user is None or user.disabled_at is not None:
            raise Unauthenticated("this user may sign in no more; ask an admin")
        return replace(client, role=user.role)

    def _of_key(self, key_hash: str) -> Client:
        with self._unit_of_work(read_only=True) as uow:
            key = uow.api_keys.by_hash(key_hash)
        if key is None:
            raise Unauthenticated("the API key is not valid; ask an admin for a new one")
        if key.revoked_at is not None:
            raise Unauthenticated(f"the API key {key.prefix} was revoked; ask an admin for a new one")
        if key.expires_at is not None and now(self._clock) >= key.expires_at:
            raise Unauthenticated(f"the API key {key.prefix} has expired; ask an admin for a new one")
        return Client(f"{PROGRAM_MARK}{key.name}", key.role, key.expires_at, key_hash, limited_as=f"{PROGRAM_MARK}{key.key_id}")

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(16))


def _digest(secret: str) -> str:
    # A key carries 256 random bits, so that a fast hash is enough, and the look-up by digest leaks no prefix of it.
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}; choose {', '.join(ROLES)}")
