"""What all confirmations have in common: the button, the dialog, the reason, the key of the call, a refusal, the end.

One confirmation is open at a time. It waits in session state, so it survives refreshes of the page behind it.

The idempotency key belongs to one opening of a dialog and to what it sends: pressing twice, or trying again after a broken
connection, changes things once.
"""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Never, Protocol, Self, TypeVar

import streamlit as st

from console import frame, session
from trajops.client import ApiProblem, ApiUnavailable

PENDING, SHOWN = "pending_confirmation", "shown_confirmation"
NOTICE = "late_change"


class Pending(Protocol):
    """A change that waits for confirmation, with the opening of the dialog that it waits in."""

    @property
    def dialog_id(self) -> str:
        """One opening of the dialog; empty before it is opened."""

    def _replace(self, *, dialog_id: str) -> Self:
        """The same change in another opening."""


P = TypeVar("P", bound=Pending)


def button(label: str, pending: Pending, *, key: str, refusal: str | None, icon: str | None = None, is_first: bool = False) -> None:
    """A button that opens the confirmation, or that says why it is disabled."""
    st.button(
        label,
        key=key,
        type="primary" if is_first and refusal is None else "secondary",
        icon=icon,
        disabled=refusal is not None,
        help=refusal,
        on_click=open_dialog,
        args=(pending,),
    )


def open_dialog(pending: Pending) -> None:
    """Open the confirmation in the next run, and keep it open until it is sent or dismissed."""
    st.session_state[PENDING] = pending._replace(dialog_id=uuid.uuid4().hex)


def waiting(kind: type[P]) -> P | None:
    """The change of this kind whose confirmation is open, or about to be."""
    pending = st.session_state.get(PENDING)
    return pending if isinstance(pending, kind) else None


def is_open() -> bool:
    """Whether a confirmation is open, or about to be."""
    return PENDING in st.session_state


def is_waiting() -> bool:
    """Whether a button in a part that refreshes by itself has asked for a confirmation that the page has not shown yet; said once."""
    pending: Pending | None = st.session_state.get(PENDING)
    if pending is None or st.session_state.get(SHOWN) == pending.dialog_id:
        return False
    st.session_state[SHOWN] = pending.dialog_id
    return True


def show(pending: Pending, title: str, body: Callable[[], None]) -> None:
    """Show the confirmation that is open."""
    st.session_state[SHOWN] = pending.dialog_id
    st.dialog(title, width="medium", on_dismiss=partial(close, pending.dialog_id))(body)()


def reason_area(key: str) -> str:
    """Why; every change has one."""
    return st.text_area(
        "Reason",
        key=key,
        placeholder="Why, in at least 10 characters; kept in the audit trail",
        max_chars=500,
        height=88,
    )


def is_complete(*problems: str | None) -> bool:
    """Whether nothing is wrong with what was typed; what is wrong is said."""
    found = [problem for problem in problems if problem is not None]
    for problem in found:
        st.error(frame.plain(problem), icon=":material/error:")
    return not found


def call_key(dialog_id: str, *sent: object) -> str:
    """The idempotency key of what one opening of a dialog sends."""
    return uuid.uuid5(uuid.NAMESPACE_OID, ":".join(map(str, (dialog_id, *sent)))).hex


def refused(error: ApiProblem | ApiUnavailable) -> None:
    """Say why nothing was done, and leave the dialog as it is."""
    frame.refused(error, "Press again when it is back: the change is made at most once.")


def discard() -> None:
    """Forget what waits: it belongs to the page on which it was asked for."""
    st.session_state.pop(PENDING, None)


def close(dialog_id: str) -> None:
    """Forget the change that waited in this opening, and no other: that it was dismissed may be told with the press that opens the next."""
    pending: Pending | None = st.session_state.get(PENDING)
    if pending is not None and pending.dialog_id == dialog_id:
        del st.session_state[PENDING]


def came_too_late(pending: Pending, told: str) -> Never:
    """Close the dialog of a change that somebody else was faster than, and say on the page what changed meanwhile.

    That stands at the top of the page; a toast says so, because the button that was pressed may be far below.
    """
    st.session_state[NOTICE] = frame.plain(told)
    session.flash("Nothing was done; the top of the page says why", ":material/sync_problem:")
    settle(pending)


def show_notice() -> None:
    """Say once what `came_too_late` left."""
    notice = st.session_state.pop(NOTICE, None)
    if notice is not None:
        st.warning(notice, icon=":material/sync_problem:")


def settle(pending: Pending) -> Never:
    """Close the dialog, and draw the page anew from what the API holds."""
    close(pending.dialog_id)
    session.expire()
    st.rerun()
