"""Admin: what is said of users and keys, what may be done with them, what a change needs. Pure."""

import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from console.changes import Action
from console.wording import DASH, Mark, ago, moment, number
from trajops.contracts.keys import KeyOut
from trajops.contracts.session import Role, Scope
from trajops.contracts.users import UserOut

UserChange = Literal["create", "role", "password", "disable", "enable"]
KeyChange = Literal["key_create", "key_rotate", "key_revoke"]
ROLES: dict[Role, str] = {
    "viewer": "viewer: sees everything, predicts, changes nothing",
    "operator": "operator: also changes what is served, tests and alerts",
    "admin": "admin: also manages users and API keys",
}
SCOPES: dict[Scope, str] = {
    "predict": "predict: ask for predictions",
    "observe": "observe: post observations",
    "read": "read: what pages show",
    "operate": "operate: change what is served",
    "admin": "admin: users and API keys",
}
LIVES: dict[str, timedelta | None] = {
    "30 days": timedelta(days=30),
    "90 days": timedelta(days=90),
    "1 year": timedelta(days=365),
    "No end": None,
}
OVERLAPS: dict[str, float] = {"1 hour": 3_600.0, "1 day": 86_400.0, "7 days": 604_800.0, "None: it ends now": 0.0}
_LETTERS = "".join(c for c in string.ascii_letters + string.digits if c not in "0O1lI")  # what is read aloud is read right

# Who may


def admin_refusal(role: Role) -> str | None:
    """Why the page is closed to a role; None for an admin. The API decides; this is only said in advance."""
    return None if role == "admin" else f"You are signed in as {'an' if role == 'operator' else 'a'} {role}; this page is for admins."


def new_password() -> str:
    """A password of 16 letters and digits, some 93 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


# Users


def user_mark(user: UserOut) -> Mark:
    """Whether somebody may sign in."""
    return Mark("May sign in", "ok", "check_circle") if user.disabled_at is None else Mark("Disabled", "unknown", "block")


def user_words(user: UserOut, now: datetime) -> str:
    """Since when, and when they came last."""
    since = f"since {moment(user.created_at)[:10]}"
    last = "has never signed in" if user.last_signed_in_at is None else f"signed in {ago(user.last_signed_in_at, now)}"
    return f"{since} · {last}" if user.disabled_at is None else f"{since} · {last} · disabled {ago(user.disabled_at, now)}"


def is_last_admin(user: UserOut, users: Sequence[UserOut]) -> bool:
    """Whether nobody else who may sign in is an admin."""
    return [one.username for one in users if one.role == "admin" and one.disabled_at is None] == [user.username]


def user_actions(user: UserOut, users: Sequence[UserOut], me: str) -> list[Action[UserChange]]:
    """What can be done with a user."""
    last = "The last admin who may sign in stays one; make somebody else an admin first." if is_last_admin(user, users) else None
    own = "Nobody disables themselves; ask another admin." if user.username == me else None
    ending: Action[UserChange] = Action("disable", "Disable", own or last) if user.disabled_at is None else Action("enable", "Enable")
    return [Action("role", "Change role", last), Action("password", "New password"), ending]


def users_sentence(users: Sequence[UserOut]) -> str:
    """How many there are, by role."""
    may = [user for user in users if user.disabled_at is None]
    parts = [f"{n} {role}{'' if n == 1 else 's'}" for role in ("admin", "operator", "viewer") if (n := sum(u.role == role for u in may))]
    said = f"{len(may)} {'user' if len(may) == 1 else 'users'} may sign in" + (f": {', '.join(parts)}" if parts else "")
    return f"{said}; {len(users) - len(may)} disabled." if len(users) > len(may) else f"{said}."


# Keys


def is_ended(key: KeyOut, now: datetime) -> bool:
    """Whether a key opens nothing any more."""
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def key_mark(key: KeyOut, now: datetime) -> Mark:
    """Whether a key is valid, and for how long still."""
    if key.revoked_at is not None:
        return Mark("Revoked", "unknown", "block")
    if key.expires_at is not None and key.expires_at <= now:
        return Mark("Expired", "unknown", "timer_off")
    if key.successor_id is not None:
        return Mark("Being replaced", "info", "sync")
    if key.expires_at is not None and key.expires_at - now < timedelta(days=7):
        return Mark("Ends soon", "warn", "hourglass_bottom")
    return Mark("Valid", "ok", "check_circle")


def key_words(key: KeyOut, now: datetime) -> str:
    """Since when, until when, when it was used last."""
    used = "never used" if key.last_used_at is None else f"used {ago(key.last_used_at, now)}"
    if key.revoked_at is not None:
        end = f"revoked {ago(key.revoked_at, now)}"
    else:
        end = "no end" if key.expires_at is None else f"{'ended' if key.expires_at <= now else 'ends'} {moment(key.expires_at)}"
    return f"since {moment(key.created_at)[:10]} · {end} · {used}"


def may_words(key: KeyOut) -> str:
    """Role, scopes and limit."""
    limit = "everybody's limit"
    if key.rate_limit_per_s is not None:
        limit = "no limit" if key.rate_limit_per_s == 0 else f"{number(key.rate_limit_per_s, 0)} predictions/s"
    return f"{key.role} · {', '.join(key.scopes) or DASH} · {limit}"


def key_actions(key: KeyOut, now: datetime) -> list[Action[KeyChange]]:
    """What can be done with a key."""
    if is_ended(key, now):
        return []
    held = None if key.successor_id is None else "It is being replaced already; rotate the key that replaces it."
    return [Action("key_rotate", "Rotate", held), Action("key_revoke", "Revoke")]


def keys_sentence(keys: Sequence[KeyOut], now: datetime) -> str:
    """How many are valid, and how many of them end soon."""
    valid = [key for key in keys if not is_ended(key, now)]
    soon = sum(key_mark(key, now).word == "Ends soon" for key in valid)
    said = f"{len(valid)} API {'key is' if len(valid) == 1 else 'keys are'} valid"
    return f"{said}; {soon} of them {'ends' if soon == 1 else 'end'} within 7 days." if soon else f"{said}."


def allowed_scopes(role: Role) -> list[Scope]:
    """What a key of this role can be restricted to."""
    names: list[Scope] = ["predict", "observe", "read", "operate", "admin"]
    return names[: {"viewer": 3, "operator": 4, "admin": 5}[role]]


# What a form needs


def username_problem(username: str) -> str | None:
    """What is wrong with a name; None when it is good. The API decides."""
    if not username.strip():
        return "Give a name; it is what they sign in with."
    return None


def own_password_problem(old: str, new: str, again: str) -> str | None:
    """What is wrong with what was typed to change one's own password."""
    if not old:
        return "Type the password so far."
    if len(new) < 8:
        return f"The new password needs at least 8 characters ({len(new)} so far)."
    if new != again:
        return "The new password was typed in two ways; type it again."
    return "The new password is the one so far; choose another." if new == old else None
