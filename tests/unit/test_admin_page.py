"""What the Admin page says of users and keys, and what it offers to do with them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.admin.words import (
    admin_refusal,
    allowed_scopes,
    is_last_admin,
    key_actions,
    key_mark,
    keys_sentence,
    new_password,
    own_password_problem,
    user_actions,
    users_sentence,
)
from tests.account_calls import KEY
from trajops.clients import ROLES, SCOPES_OF
from trajops.contracts.keys import KeyOut
from trajops.contracts.session import Role
from trajops.contracts.users import UserOut

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def user(username: str, role: Role = "admin", disabled_at: datetime | None = None) -> UserOut:
    return UserOut(username=username, role=role, created_at=AT, disabled_at=disabled_at, last_signed_in_at=None)


def key(**fields: Any) -> KeyOut:
    return KeyOut.model_validate(KEY | fields)


def refusals(one: UserOut, users: list[UserOut], me: str) -> dict[str, bool]:
    return {action.name: action.refusal is not None for action in user_actions(one, users, me)}


def test_the_last_admin_who_may_sign_in_is_neither_demoted_nor_disabled() -> None:
    ada, gone, bob = user("ada"), user("bob", disabled_at=AT), user("bob")
    assert refusals(ada, [ada, gone], "root") == {"role": True, "password": False, "disable": True}
    assert refusals(ada, [ada, bob], "root") == {"role": False, "password": False, "disable": False}
    assert refusals(ada, [ada, bob], "ada")["disable"], "nobody disables themselves"
    assert refusals(gone, [ada, gone], "ada") == {"role": False, "password": False, "enable": False}
    assert not is_last_admin(user("vera", "viewer"), [user("vera", "viewer")])


def test_users_are_counted_by_role() -> None:
    users = [user("a"), user("b", "viewer"), user("c", "viewer"), user("d", "operator", AT)]
    assert users_sentence(users) == "3 users may sign in: 1 admin, 2 viewers; 1 disabled."
    assert users_sentence([]) == "0 users may sign in."


@pytest.mark.parametrize(
    ("fields", "word", "actions"),
    [
        ({}, "Valid", ["key_rotate", "key_revoke"]),
        ({"expires_at": AT + timedelta(days=6)}, "Ends soon", ["key_rotate", "key_revoke"]),
        ({"expires_at": AT + timedelta(days=6), "successor_id": "k2"}, "Being replaced", ["key_rotate", "key_revoke"]),
        ({"expires_at": AT}, "Expired", []),
        ({"revoked_at": AT}, "Revoked", []),
    ],
    ids=str,
)
def test_a_key_says_how_it_stands(fields: dict[str, Any], word: str, actions: list[str]) -> None:
    assert key_mark(key(**fields), AT).word == word
    assert [action.name for action in key_actions(key(**fields), AT)] == actions


def test_keys_that_end_soon_are_counted() -> None:
    keys = [key(), key(expires_at=AT + timedelta(days=1)), key(revoked_at=AT)]
    assert keys_sentence(keys, AT) == "2 API keys are valid; 1 of them ends within 7 days."


@pytest.mark.parametrize("role", ROLES)
def test_a_key_can_be_restricted_to_what_its_role_may(role: Role) -> None:
    assert set(allowed_scopes(role)) == SCOPES_OF[role]
    assert (admin_refusal(role) is None) == (role == "admin")


def test_passwords_are_long_and_never_the_same() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == 16 and one.isalnum() and not set(one) & set("0O1lI") for one in made)


@pytest.mark.parametrize(
    ("old", "new", "again", "problem"),
    [
        ("", "a new one", "a new one", "so far"),
        ("an old one", "short", "short", "8 characters"),
        ("an old one", "a new one", "a nwe one", "two ways"),
        ("an old one", "an old one", "an old one", "choose another"),
        ("an old one", "a new one", "a new one", None),
    ],
)
def test_the_own_password_is_checked_before_it_is_sent(old: str, new: str, again: str, problem: str | None) -> None:
    said = own_password_problem(old, new, again)
    assert (said is None) if problem is None else (said is not None and problem in said)
