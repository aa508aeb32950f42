"""The parts of the Admin page: users, and API keys."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import streamlit as st

from console import confirmation, frame, session
from console.admin.dialogs import Name, PendingAdmin
from console.admin.words import (
    is_ended,
    key_actions,
    key_mark,
    key_words,
    keys_sentence,
    may_words,
    user_actions,
    user_mark,
    user_words,
    users_sentence,
)
from trajops.client import TrajOpsClient
from trajops.contracts.keys import KeyOut
from trajops.contracts.users import UserOut

PER_PAGE = 20
Row, Read = TypeVar("Row"), TypeVar("Read")


def users(me: str) -> None:
    """Everybody who may sign in, or might; and a new one."""
    read = _read("users", lambda c: c.users())
    if read is None:
        return
    found, now = read.users, datetime.now(UTC)
    _top("users", users_sentence(found), "Add a user", "create", icon="person_add")
    if not found:
        frame.empty("Nobody signs in with a password yet.", "Press “Add a user” above.", icon="group_off")
        return
    for user in _paged(found, "users-page"):
        user_card(user, found, me, now)


def user_card(user: UserOut, users: list[UserOut], me: str, now: datetime) -> None:
    """One user: who, in which role, how they stand, and what can be done."""
    with st.container(border=True, gap="xsmall", key=f"user-{user.username}"):
        left, right = st.columns([5, 4], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            you = " (you)" if user.username == me else ""
            st.markdown(f"**{frame.plain(user.username)}**{you} &nbsp;:blue-badge[{user.role}] {frame.badge(user_mark(user))}")
            st.caption(frame.plain(user_words(user, now)))
        with right, st.container(horizontal=True, gap="xsmall", horizontal_alignment="right"):
            for action in user_actions(user, users, me):
                pending = PendingAdmin("", action.name, user.username, user.username, user.role)
                confirmation.button(action.label, pending, key=f"user-{action.name}-{user.username}", refusal=action.refusal)


def keys() -> None:
    """Keys of programs, those that are valid first; and a new one."""
    read = _read("keys", lambda c: c.keys())
    if read is None:
        return
    found, now = read.keys, datetime.now(UTC)
    _top("keys", keys_sentence(found, now), "Make a key", "key_create", icon="add")
    if not found:
        frame.empty("No program has a key yet.", "Press “Make a key” above.", icon="key_off")
        return
    with_ended = st.toggle("Show ended keys", key="ended", bind="query-params")
    shown = [key for key in found if with_ended or not is_ended(key, now)]
    if not shown:
        frame.empty("All keys have ended.", "Press “Make a key” above.", icon="key_off")
    for key in _paged(sorted(shown, key=lambda one: is_ended(one, now)), "keys-page"):
        key_card(key, now)


def key_card(key: KeyOut, now: datetime) -> None:
    """One key: whose, what it may do, how it stands, and what can be done."""
    with st.container(border=True, gap="xsmall", key=f"key-{key.key_id}"):
        left, right = st.columns([6, 2], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            st.markdown(f"**{frame.plain(key.name)}** &nbsp;`tok_{key.prefix}…` {frame.badge(key_mark(key, now))}")
            st.markdown(f":small[{frame.plain(may_words(key))}]")
            st.caption(frame.plain(key_words(key, now)))
        with right, st.container(horizontal=True, gap="xsmall", horizontal_alignment="right"):
            for action in key_actions(key, now):
                pending = PendingAdmin("", action.name, key.key_id, key.name, key.role)
                confirmation.button(action.label, pending, key=f"{action.name}-{key.key_id}", refusal=action.refusal)


def _read(name: str, read: Callable[[TrajOpsClient], Read]) -> Read | None:
    """What there is, with how fresh it is; None where that cannot be said."""
    with frame.first_load(320):
        found = session.fetch(name, read, max_age_s=2.0)
    frame.freshness(found, key=name)
    return found.value


def _top(name: str, sentence: str, label: str, opens: Name, *, icon: str) -> None:
    """How things stand, and the way to add one."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key=f"{name}-top"):
        st.markdown(f"**{sentence}**", width="content")
        key = f"{name.removesuffix('s')}-create"
        confirmation.button(label, PendingAdmin("", opens), key=key, refusal=None, icon=f":material/{icon}:", is_first=True)


def _paged(rows: Sequence[Row], key: str) -> Sequence[Row]:
    pages = -(-len(rows) // PER_PAGE)
    page = st.pagination(pages, key=key) if pages > 1 else 1
    return rows[(page - 1) * PER_PAGE : page * PER_PAGE]
