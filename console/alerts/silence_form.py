"""The form of a new silence: conditions row by row, for how long, what it would hold now, and why.

Keys carry the opening of the dialog: a browser remembers by key what was typed, and would put it into the next dialog.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import streamlit as st

from console import confirmation, frame
from console.alerts.history import alert_label
from console.alerts.silencing import DURATIONS, MAX_MATCHERS, OPERATORS, Row, end_after, held, parse, preview
from console.changes import reason_problem
from console.wording import moment
from trajops.contracts.alerts import AlertOut, MatcherIn

ROWS = "silence_rows"
EMPTY = Row("", "=", "")
SENT = "silence_sent"
MOST_NAMED = 5


class Silencing(NamedTuple):
    """A silence that is ready to be sent.

    Attributes:
        matchers: its conditions.
        starts_at: None: now.
        ends_at: fixed when it was sent first, so that sending it again is the same call.
        reason: why.
        fingerprint: of all but the reason, for the idempotency key.
    """

    matchers: list[MatcherIn]
    starts_at: datetime | None
    ends_at: datetime
    reason: str
    fingerprint: str


def silence_form(dialog_id: str, given: Sequence[Row], alerts: Sequence[AlertOut]) -> Silencing | None:
    """Draw the form; a silence once it was sent and nothing is wrong with it.

    Args:
        dialog_id: of this opening of the dialog.
        given: conditions to begin with.
        alerts: that are known, for the preview.
    """
    matchers, problems = parse(edited_rows(dialog_id, given))
    for problem in problems:
        st.caption(f":red[:material/error: {frame.plain(problem)}]")
    if not problems:
        st.info(preview(matchers, alerts), icon=":material/notifications_off:")
        for alert in held(matchers, alerts)[:MOST_NAMED]:
            st.caption(f":material/subdirectory_arrow_right: {frame.plain(alert_label(alert))}")
        if len(held(matchers, alerts)) > MOST_NAMED:
            st.caption(f"and {len(held(matchers, alerts)) - MOST_NAMED} more")
    duration = (
        st.segmented_control("For how long", list(DURATIONS), default="2 h", required=True, key=f"silence-duration-{dialog_id}") or "2 h"
    )
    starts_at = _start(dialog_id)
    st.caption(f"Ends {moment(end_after(duration, starts_at, datetime.now(UTC)))}, by itself.")
    reason = confirmation.reason_area(f"alert-reason-{dialog_id}")
    if not st.button("Create silence", key="alert-submit", type="primary"):
        return None
    if not confirmation.is_complete(*problems, reason_problem(reason)):
        return None
    fingerprint = f"{[m.model_dump() for m in matchers]}:{duration}:{starts_at}"
    held_end = st.session_state.get(SENT)
    if held_end is None or held_end[0] != (dialog_id, fingerprint):
        held_end = ((dialog_id, fingerprint), end_after(duration, starts_at, datetime.now(UTC)))
        st.session_state[SENT] = held_end
    return Silencing(matchers, starts_at, held_end[1], reason.strip(), fingerprint)


def edited_rows(dialog_id: str, given: Sequence[Row]) -> list[Row]:
    """The conditions, each a label, an operator and a value that can be changed or removed."""
    state = st.session_state.get(ROWS)
    if state is None or state[0] != dialog_id:
        state = (dialog_id, dict(enumerate(given or [EMPTY])))
        st.session_state[ROWS] = state
    rows: dict[int, Row] = state[1]
    edited = []
    with st.container(gap="xsmall", key="silence-rows"):
        for number, (row_id, row) in enumerate(rows.items()):
            head: Literal["visible", "collapsed"] = "visible" if number == 0 else "collapsed"
            cells = st.columns([3, 2.4, 4, 0.8], gap="xsmall", vertical_alignment="bottom")
            label = cells[0].text_input(
                "Label", row.label, key=f"matcher-{dialog_id}-{row_id}-label", placeholder="rule", label_visibility=head
            )
            operator = cells[1].selectbox(
                "Condition",
                list(OPERATORS),
                list(OPERATORS).index(row.operator),
                key=f"matcher-{dialog_id}-{row_id}-operator",
                format_func=lambda sign: OPERATORS[sign],
                label_visibility=head,
            )
            value = cells[2].text_input("Value", row.value, key=f"matcher-{dialog_id}-{row_id}-value", label_visibility=head)
            cells[3].button(
                "",
                icon=":material/delete:",
                key=f"matcher-{dialog_id}-{row_id}-remove",
                help="Remove this condition",
                on_click=_remove,
                args=(rows, row_id),
                disabled=len(rows) == 1,
            )
            edited.append(Row(label or "", operator, value or ""))
    st.button(
        "Add a condition",
        icon=":material/add:",
        key=f"matcher-{dialog_id}-add",
        type="tertiary",
        disabled=len(rows) >= MAX_MATCHERS,
        on_click=_add,
        args=(rows,),
    )
    return edited


def _add(rows: dict[int, Row]) -> None:
    rows[max(rows) + 1] = EMPTY


def _remove(rows: dict[int, Row], row_id: int) -> None:
    rows.pop(row_id, None)


def _start(dialog_id: str) -> datetime | None:
    if not st.toggle("Begin later", key=f"silence-later-{dialog_id}", help="For work that is planned. Otherwise it begins at once."):
        return None
    key = f"silence-start-{dialog_id}"
    # Not as the default of the widget, which would be another one in each run.
    st.session_state.setdefault(key, datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None))
    at = st.datetime_input("Begins at (UTC)", key=key)
    return None if at is None else at.replace(tzinfo=UTC)
