"""What all confirmations have in common: the reason, what is wrong with what was typed, the key of the call, a refusal, the end.

The idempotency key belongs to one opening of a dialog and to what it sends: pressing twice, or trying again after a broken
connection, changes things once.
"""

import uuid
from typing import Never

import streamlit as st

from console import frame, session
from trajops.client import ApiProblem, ApiUnavailable


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


def close(pending_key: str) -> None:
    """Forget the change that waited under this key of the session."""
    st.session_state.pop(pending_key, None)


def settle(pending_key: str) -> Never:
    """Close the dialog, and draw the page anew from what the API holds."""
    close(pending_key)
    session.expire()
    st.rerun()
