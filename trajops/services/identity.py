"""Who calls, and what they may do: users with passwords and tokens, programs with API keys."""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

from pydantic import BaseModel

from trajops.clients import SCOPES, SCOPES_OF, Client
from trajops.clock import now
from trajops.contracts.session import Role, Scope, TokenOut
from trajops.contracts.wire import LATEST
from trajops.errors import Conflict, InvalidInput, Unauthenticated, Unavailable
from trajops.ports import Clock, PasswordHasher, TokenSigner, TokenVerifier
from trajops.rate_limits import Limit
from trajops.records import ApiKey, User
from trajops.services.once import Asked, once
from trajops.services.people import EXTERNAL_MARK, PROGRAM_MARK, People, check_role
from trajops.stores import UnitOfWork, UnitOfWorkFactory

LAST_USED_EVERY = timedelta(minutes=10)  # how coarse the time of last use is: a write every ten minutes, not one a check
KEY_MARK = "tok_"


class _Revoked(BaseModel):
    key_id: str


class Identity(People):
    """Users, tokens and API keys over their ports."""

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        hasher: PasswordHasher,
        tokens: TokenSigner,
        *,
        external: TokenVerifier | None = None,
        clock: Clock | None = None,
        token_ttl_s: float = 8 * 3600,
    ) -> None:
        super().__init__(unit_of_work, hasher, clock=clock)
        self._tokens = tokens
        self._external = external
        self._token_ttl = timedelta(seconds=token_ttl_s)

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
        self._note_sign_in(user)
        issued_at = now(self._clock).replace(microsecond=0)
        expires_at = issued_at + self._token_ttl
        token = self._tokens.issue(user.username, user.role, issued_at=issued_at, expires_at=expires_at)
        return TokenOut(access_token=token, expires_at=expires_at, username=user.username, role=user.role)

    def create_api_key(
        self,
        name: str,
        role: Role,
        *,
        actor: str,
        reason: str,
        expires_at: datetime | None = None,
        scopes: Sequence[Scope] | None = None,
        limit: Limit | None = None,
    ) -> tuple[str, ApiKey]:
        """A new key for a program: the key itself, to be shown this once, and its record.

        Args:
            name: what the program is called.
            role: most that it may do.
            actor: who makes it.
            reason: why.
            expires_at: when it ends; None: never.
            scopes: what it is restricted to; None: nothing.
            limit: what it may ask for; None: what everybody may.

        Raises:
            InvalidInput: if name, role or scopes cannot be used, or it would have expired already.
        """
        if not 1 <= len(name) <= 120 or not name.isprintable():
            raise InvalidInput("the name of an API key has 1 to 120 printable characters")
        check_role(role)
        chosen = None if scopes is None else _checked_scopes(scopes, role)
        at = now(self._clock)
        _check_future(expires_at, at)
        secret, prefix = _new_secret()
        rate_per_s, burst = limit or (None, None)
        key = ApiKey(uuid4().hex, name, prefix, _digest(secret), role, at, expires_at, None, chosen, rate_per_s, burst)
        with self._unit_of_work() as uow:
            uow.api_keys.add(key)
            uow.audit.append(
                at=at,
                actor=actor,
                action="api_key.create",
                subject=f"{PROGRAM_MARK}{name}",
                reason=reason,
                before={},
                after=_audited(key),
            )
        return secret, key

    def rotate_api_key(
        self, key_id: str, *, overlap_s: float, actor: str, reason: str, expires_at: datetime | None = None
    ) -> tuple[str, ApiKey, ApiKey]:
        """Replace a key: the new key itself, to be shown this once, its record, and that of the old one.

        The new key is its own row with the name, role, scopes and limit of the old one, and takes its tokens from the same bucket.
        The old one stays valid for `overlap_s` seconds, but not beyond its own end. Without `expires_at` the new one lives as long as
        the old one was to.

        Raises:
            InvalidInput: if the new key would have expired already.
            NotFound: if there is no such key.
            Conflict: if it was replaced or revoked, or has expired.
        """
        at = now(self._clock)
        _check_future(expires_at, at)
        secret, prefix = _new_secret()
        with self._unit_of_work() as uow:
            old = uow.api_keys.get(key_id)
            if old.expires_at is not None and old.expires_at <= at:
                raise Conflict(f"the API key {old.prefix} has expired; make a new one")
            ends_at = at + timedelta(seconds=overlap_s)
            if old.expires_at is not None:
                ends_at = min(ends_at, old.expires_at)
                # An old key's end may be that of the calendar, beyond which its successor's would lie.
                expires_at = expires_at or at + min(old.expires_at - old.created_at, LATEST - at)
            key = replace(
                old,
                key_id=uuid4().hex,
                prefix=prefix,
                key_hash=_digest(secret),
                created_at=at,
                expires_at=expires_at,
                last_used_at=None,
                series_id=old.series_id or old.key_id,
            )
            replaced = uow.api_keys.replace(key_id, key.key_id, ends_at)
            uow.api_keys.add(key)
            uow.audit.append(
                at=at,
                actor=actor,
                action="api_key.rotate",
                subject=f"{PROGRAM_MARK}{key.name}",
                reason=reason,
                before=_audited(old),
                after={**_audited(key), "old_expires_at": ends_at.isoformat()},
            )
        return secret, key, replaced

    def revoke_api_key(self, key_id: str, *, actor: str, reason: str, idempotency_key: str | None = None) -> ApiKey:
        """End a key at once; the keys that it replaced or was replaced by stay as they are.

        Raises:
            NotFound: if there is no such key.
            Conflict: if the idempotency key was used for something else.
        """

        def change(uow: UnitOfWork) -> _Revoked:
            key = uow.api_keys.revoke(key_id, now(self._clock))
            uow.audit.append(
                at=now(self._clock),
                actor=actor,
                action="api_key.revoke",
                subject=f"{PROGRAM_MARK}{key.name}",
                reason=reason,
                before={"key_id": key_id},
                after={"key_id": key_id, "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None},
            )
            return _Revoked(key_id=key.key_id)

        asked = Asked(actor, "revoke_api_key", {"key_id": key_id, "reason": reason}, idempotency_key)
        done = once(self._unit_of_work, self._clock, asked, _Revoked, change)
        with self._unit_of_work(read_only=True) as uow:
            return uow.api_keys.get(done.key_id)

    def api_keys(self) -> list[ApiKey]:
        """All keys, newest first, also ended ones."""
        with self._unit_of_work(read_only=True) as uow:
            return uow.api_keys.all()

    def authenticate(self, credential: str) -> Client:
        """The client behind a token or an API key. A token needs no database; a key costs one look-up.

        Raises:
            Unauthenticated: if the credential is wrong, has expired or was revoked.
            Forbidden: if an external token gives no role.
            Unavailable: if it cannot be checked for the moment.
        """
        if credential.startswith(KEY_MARK):
            key = self._valid_key(_digest(credential))
            self._note_use(key)
            return _program(key)
        if self._external is not None and self._external.recognises(credential):
            claims = self._external.verify(credential)
            return Client(f"{EXTERNAL_MARK}{claims.subject}", claims.role, claims.expires_at, is_external=True)
        claims = self._tokens.verify(credential)
        return Client(claims.subject, claims.role, claims.expires_at)

    def confirm(self, client: Client) -> Client:
        """The client as the database knows it now: for changes, where what was checked a while ago is not enough.

        Whoever has an external token is believed until it ends: its issuer keeps such lives short.

        Raises:
            Unauthenticated: if the user was disabled or is gone, or the key was revoked or has expired.
        """
        if client.key_hash is not None:
            return _program(self._valid_key(client.key_hash))
        if client.is_external:
            return client
        with self._unit_of_work(read_only=True) as uow:
            user = uow.users.by_name(client.client_id)
        if user is None or user.disabled_at is not None:
            raise Unauthenticated("this user may sign in no more; ask an admin")
        return replace(client, role=user.role)

    def _valid_key(self, key_hash: str) -> ApiKey:
        with self._unit_of_work(read_only=True) as uow:
            key = uow.api_keys.by_hash(key_hash)
        if key is None:
            raise Unauthenticated("the API key is not valid; ask an admin for a new one")
        if key.revoked_at is not None:
            raise Unauthenticated(f"the API key {key.prefix} was revoked; ask an admin for a new one")
        if key.expires_at is not None and now(self._clock) >= key.expires_at:
            remedy = "ask an admin for a new one" if key.successor_id is None else "use the key that has replaced it"
            raise Unauthenticated(f"the API key {key.prefix} has expired; {remedy}")
        return key

    def _note_use(self, key: ApiKey) -> None:
        at = now(self._clock)
        if key.last_used_at is not None and at - key.last_used_at < LAST_USED_EVERY:
            return
        # Who may come in does not depend on whether this can be written.
        with suppress(Conflict, Unavailable), self._unit_of_work() as uow:
            uow.api_keys.touch(key.key_id, at)

    def _note_sign_in(self, user: User) -> None:
        with suppress(Conflict, Unavailable), self._unit_of_work() as uow:
            uow.users.touch(user.user_id, now(self._clock))

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(16))


def _digest(secret: str) -> str:
    # A key carries 256 random bits, so that a fast hash is enough, and the look-up by digest leaks no prefix of it.
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked_scopes(scopes: Sequence[str], role: Role) -> tuple[Scope, ...]:
    """The scopes in their usual order, each once."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        what = f"there is no scope {', '.join(map(repr, unknown))}" if unknown else "a key without a scope may do nothing"
        raise InvalidInput(f"{what}; choose {', '.join(SCOPES)}")
    beyond = sorted(set(scopes) - SCOPES_OF[role])
    if beyond:
        raise InvalidInput(f"the role {role} does not allow {', '.join(beyond)}; leave that out, or choose a higher role")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _check_future(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at <= at:
        raise InvalidInput(f"the API key would have expired at {expires_at.isoformat()} already; choose a later time")


def _new_secret() -> tuple[str, str]:
    """A key and its prefix."""
    prefix = secrets.token_hex(4)
    return f"{KEY_MARK}{prefix}_{secrets.token_urlsafe(32)}", prefix


def _audited(key: ApiKey) -> dict[str, Any]:
    """What the audit keeps of a key."""
    return {
        "key_id": key.key_id,
        "prefix": key.prefix,
        "role": key.role,
        "scopes": key.scopes and list(key.scopes),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "limit": key.limit and list(key.limit),
    }


def _program(key: ApiKey) -> Client:
    """The client that a key stands for."""
    return Client(
        f"{PROGRAM_MARK}{key.name}",
        key.role,
        key.expires_at,
        key.key_hash,
        key.limit,
        f"{PROGRAM_MARK}{key.series_id or key.key_id}",
        None if key.scopes is None else frozenset(key.scopes),
    )
