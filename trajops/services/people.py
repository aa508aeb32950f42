"""People who sign in: new ones, their roles and passwords, and their end. There is always an admin left."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from trajops.clients import ROLES
from trajops.clock import SystemClock, now
from trajops.contracts.session import Role
from trajops.contracts.users import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, UserChangeOut, UserOut
from trajops.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from trajops.ports import Clock, PasswordHasher
from trajops.records import User
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory

PROGRAM_MARK, EXTERNAL_MARK = "key:", "jwt:"
# Names of those who act by themselves; a person of that name could not be told from them in the audit.
_ACTOR_MARKS = (PROGRAM_MARK, EXTERNAL_MARK, "worker:", "policy:", "api:", "shell:")


class People:
    """Users over their ports. No password is ever in an answer, a log or the audit."""

    def __init__(self, unit_of_work: UnitOfWorkFactory, hasher: PasswordHasher, *, clock: Clock | None = None) -> None:
        self._unit_of_work = unit_of_work
        self._hasher = hasher
        self._clock: Clock = clock or SystemClock()

    def users(self) -> list[User]:
        """All users by name, also disabled ones."""
        with self._unit_of_work(read_only=True) as uow:
            return uow.users.all()

    def create_user(self, username: str, password: str, role: Role, *, actor: str, reason: str) -> UserChangeOut:
        """Add somebody who may sign in.

        Raises:
            InvalidInput: if the password is shorter than 8 characters, or name or role cannot be used.
            Conflict: if the name is taken.
        """
        _check_username(username)
        check_role(role)
        at = now(self._clock)
        user = User(uuid4().hex, username, self._hashed(password), role, at)
        with self._unit_of_work() as uow:
            uow.users.add(user)
            return self._written(uow, user, "create", actor, reason, {}, {"role": role})

    def set_role(self, username: str, role: Role, *, actor: str, reason: str, idempotency_key: str | None = None) -> UserChangeOut:
        """Give somebody another role; the one that they have already is no error.

        Raises:
            NotFound: if there is no such user.
            Conflict: if nobody else who may sign in is an admin, or the idempotency key was used for something else.
        """
        check_role(role)

        def change(uow: UnitOfWork) -> UserChangeOut:
            user = _known(uow, username)
            if role != "admin":
                _keep_an_admin(uow, user)
            changed = replace(user, role=role)
            uow.users.replace(changed)
            return self._written(uow, changed, "set_role", actor, reason, {"role": user.role}, {"role": role})

        asked = Asked(actor, "set_role", {"username": username, "role": role, "reason": reason}, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, UserChangeOut, change)

    def set_password(self, username: str, password: str, *, actor: str, reason: str) -> UserChangeOut:
        """Give somebody a new password.

        Raises:
            InvalidInput: if the password is shorter than 8 characters.
            NotFound: if there is no such user.
        """
        password_hash = self._hashed(password)
        with self._unit_of_work() as uow:
            changed = replace(_known(uow, username), password_hash=password_hash)
            uow.users.replace(changed)
            return self._written(uow, changed, "set_password", actor, reason, {}, {})

    def change_own_password(self, username: str, old: str, new: str) -> UserChangeOut:
        """Let somebody change their own password.

        Raises:
            InvalidInput: if the new one is too short, or is the old one.
            Unauthenticated: if the old one is not theirs, or they may sign in no more.
        """
        with self._unit_of_work(read_only=True) as uow:
            user = uow.users.by_name(username)
        if user is None or user.disabled_at is not None or not self._hasher.verify(user.password_hash, old):
            raise Unauthenticated("the password so far is another one; try again, or ask an admin for a new password")
        if old == new:
            raise InvalidInput("the new password is the old one; choose another")
        password_hash = self._hashed(new)
        with self._unit_of_work() as uow:
            present = _known(uow, username)
            if present.password_hash != user.password_hash:
                raise Conflict("the password was changed meanwhile; sign in again")
            changed = replace(present, password_hash=password_hash)
            uow.users.replace(changed)
            return self._written(uow, changed, "change_password", username, "changed their own password", {}, {})

    def disable_user(self, username: str, *, actor: str, reason: str, idempotency_key: str | None = None) -> UserChangeOut:
        """Let somebody sign in no more; what is asked with an older token fails at `confirm`.

        Raises:
            NotFound: if there is no such user.
            Conflict: if it is the actor, nobody else who may sign in is an admin, or the idempotency key was used for something else.
        """
        if username == actor:
            raise Conflict("nobody disables themselves; ask another admin")

        def change(uow: UnitOfWork) -> UserChangeOut:
            user = _known(uow, username)
            _keep_an_admin(uow, user)
            changed = replace(user, disabled_at=user.disabled_at or now(self._clock))
            uow.users.replace(changed)
            was = {"is_disabled": user.disabled_at is not None}
            return self._written(uow, changed, "disable", actor, reason, was, {"is_disabled": True})

        asked = Asked(actor, "disable_user", {"username": username, "reason": reason}, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, UserChangeOut, change)

    def enable_user(self, username: str, *, actor: str, reason: str, idempotency_key: str | None = None) -> UserChangeOut:
        """Let somebody sign in again, with the role and the password that they had.

        Raises:
            NotFound: if there is no such user.
            Conflict: if the idempotency key was used for something else.
        """

        def change(uow: UnitOfWork) -> UserChangeOut:
            user = _known(uow, username)
            changed = replace(user, disabled_at=None)
            uow.users.replace(changed)
            was = {"is_disabled": user.disabled_at is not None}
            return self._written(uow, changed, "enable", actor, reason, was, {"is_disabled": False})

        asked = Asked(actor, "enable_user", {"username": username, "reason": reason}, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, UserChangeOut, change)

    def _hashed(self, password: str) -> str:
        if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
            needed = f"it needs {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH}"
            raise InvalidInput(f"the password has {len(password)} characters; {needed}")
        return self._hasher.hash(password)

    def _written(
        self, uow: UnitOfWork, user: User, change: str, actor: str, reason: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> UserChangeOut:
        entry = uow.audit.append(
            at=now(self._clock),
            actor=actor,
            action=f"user.{change}",
            subject=user.username,
            reason=reason,
            before=dict(before),
            after=dict(after),
        )
        return UserChangeOut(user=shown(user), audit_id=entry.audit_id)


def shown(user: User) -> UserOut:
    """A user as others may see them."""
    return UserOut(
        username=user.username,
        role=user.role,
        created_at=user.created_at,
        disabled_at=user.disabled_at,
        last_signed_in_at=user.last_signed_in_at,
    )


def check_role(role: str) -> None:
    """Raise InvalidInput unless there is such a role."""
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}; choose {', '.join(ROLES)}")


def _check_username(username: str) -> None:
    if not 1 <= len(username) <= 128 or not username.isprintable() or username.startswith(_ACTOR_MARKS):
        marks = ", ".join(map(repr, _ACTOR_MARKS))
        raise InvalidInput(f"a username has 1 to 128 printable characters and does not start with one of {marks}")
    if username.strip() != username or "/" in username or username in {".", ".."}:
        raise InvalidInput("a username has no blanks around it, no slash in it, and is more than dots; choose another")


def _known(uow: UnitOfWork, username: str) -> User:
    """The user as they stand, after everybody who changes admins has done so."""
    uow.users.enabled_admins()
    user = uow.users.by_name(username)
    if user is None:
        raise NotFound(f"there is no user {username!r}")
    return user


def _keep_an_admin(uow: UnitOfWork, user: User) -> None:
    """Raise Conflict if this is the only admin who may sign in."""
    if [admin.user_id for admin in uow.users.enabled_admins()] == [user.user_id]:
        raise Conflict(f"{user.username} is the last admin who may sign in; make somebody else an admin first")
