"""Confirmations of changes about alerts: what will happen, a reason, and what the change needs; then the call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.alerts.answer_words import answer_label, decision_conflict, steps_words
from console.alerts.history import alert_label
from console.alerts.silence_form import Silencing, silence_form
from console.alerts.silencing import Row, rows_for
from console.alerts.words import ActionName, conflict_sentence
from console.changes import reason_problem
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.alerts import AlertOut, NotificationOut, SilenceIn, SilenceOut
from trajops.contracts.answers import AnswerOut

TESTS = "receiver_tests"
Name = Literal["acknowledge", "assign", "silence", "resolve", "expire", "resend", "test", "approve", "dismiss"]
TITLES: dict[Name, str] = {
    "acknowledge": "Acknowledge an alert",
    "assign": "Assign an alert",
    "silence": "Silence alerts",
    "resolve": "Resolve an alert",
    "expire": "End a silence now",
    "resend": "Send a dead letter again",
    "test": "Send a test",
    "approve": "Approve a proposed answer",
    "dismiss": "Dismiss a proposed answer",
}
BUTTONS: dict[Name, str] = {
    "acknowledge": "Acknowledge",
    "assign": "Assign",
    "silence": "Create silence",
    "resolve": "Resolve",
    "expire": "End silence",
    "resend": "Send again",
    "test": "Send a test",
    "approve": "Approve",
    "dismiss": "Dismiss",
}
EFFECTS: dict[Name, str] = {
    "acknowledge": "You say that somebody looks after it: it is neither repeated nor escalated any more. It ends with its condition.",
    "assign": "You say who is to mend it. Who is told stays as it is.",
    "silence": "For a while nobody is told about alerts that all of these conditions hold for. They are raised and shown as before.",
    "resolve": "You end it by hand. If its condition still holds when the rules are looked at next, it comes again as another alert.",
    "expire": "Receivers are told again about alerts that it held, from now on.",
    "resend": "It is tried again at once, and as often as a new message if that fails.",
    "test": "The receiver gets one message that says it is a test. What has become of it is shown beside the receiver.",
    "approve": "The workers take its steps, one after the other. Each still looks first whether it would help, and is left out if not.",
    "dismiss": "Nothing of it is done. This alert is not answered by the policy again.",
}
DONE: dict[Name, str] = {
    "acknowledge": "Acknowledged: {about}",
    "assign": "Assigned: {about}",
    "silence": "Silence created",
    "resolve": "Resolved: {about}",
    "expire": "The silence is over",
    "resend": "It is sent again: {about}",
    "test": "A test is on its way to {about}",
    "approve": "Approved: {about}",
    "dismiss": "Dismissed: {about}",
}


class PendingChange(NamedTuple):
    """A change that waits for confirmation.

    Attributes:
        dialog_id: one opening of the dialog.
        name: which change.
        subject_id: of the alert, silence, message, receiver or answer; empty for a new silence.
        about: what it is called.
        seen: the alert when the button was drawn.
        rows: conditions that a new silence begins with.
        answer: the proposal when the button was drawn.
    """

    dialog_id: str
    name: Name
    subject_id: str = ""
    about: str = ""
    seen: AlertOut | None = None
    rows: tuple[Row, ...] = ()
    answer: AnswerOut | None = None


def about_alert(name: ActionName, alert: AlertOut) -> PendingChange:
    """A change of one alert, or a silence for it and for what comes again of it."""
    return PendingChange("", name, alert.alert_id, alert_label(alert), alert, rows_for(alert) if name == "silence" else ())


def about_answer(name: Literal["approve", "dismiss"], answer: AnswerOut) -> PendingChange:
    """A decision on a proposed answer."""
    return PendingChange("", name, answer.answer_id, answer_label(answer), answer=answer)


def show_pending(alerts: Sequence[AlertOut]) -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(PendingChange)
    if pending is not None:
        confirmation.show(pending, TITLES[pending.name], partial(body, pending, alerts))


def body(pending: PendingChange, alerts: Sequence[AlertOut]) -> None:
    """What the change does, and the form that confirms it."""
    if pending.about and pending.name != "silence":
        st.markdown(f"**{frame.plain(pending.about)}**")
    st.markdown(EFFECTS[pending.name])
    if pending.answer is not None:
        st.markdown(frame.plain(f"It would {steps_words(pending.answer)}."))
    if pending.name == "silence":
        silencing = silence_form(pending.dialog_id, pending.rows, alerts)
        if silencing is not None:
            send(pending, silencing.reason, silencing=silencing)
        return
    assignee = None
    with st.form(f"alert-form-{pending.dialog_id}", border=False):
        if pending.name == "assign":
            held = pending.seen.assigned_to if pending.seen is not None else None
            assignee = st.text_input(
                "Who is to mend it",
                value=held or _own_name(),
                key=f"alert-assignee-{pending.dialog_id}",
                max_chars=128,
                placeholder="nobody",
                help="Leave it empty for nobody.",
            )
        reason = confirmation.reason_area(f"alert-reason-{pending.dialog_id}")
        is_sent = st.form_submit_button(BUTTONS[pending.name], key="alert-submit", type="primary")
    if is_sent and confirmation.is_complete(reason_problem(reason)):
        send(pending, reason.strip(), assignee=(assignee or "").strip() or None)


def _own_name() -> str:
    me = session.user().value
    return me.username if me is not None else ""


def send(pending: PendingChange, reason: str, *, assignee: str | None = None, silencing: Silencing | None = None) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    sent = silencing.fingerprint if silencing is not None else assignee
    key = confirmation.call_key(pending.dialog_id, pending.name, sent, reason)
    try:
        with st.spinner("Sending…"):
            changed = call(pending, reason, key, assignee, silencing)
    except (ApiProblem, ApiUnavailable) as error:
        if isinstance(error, ApiProblem) and error.status == 409 and (told := conflict(pending, error.detail)) is not None:
            confirmation.came_too_late(pending, told)
        confirmation.refused(error)
    else:
        session.flash(f"{DONE[pending.name].format(about=frame.plain(pending.about))}{_held(changed)}{_audit(pending, changed)}")
        confirmation.settle(pending)


def call(pending: PendingChange, reason: str, key: str, assignee: str | None, silencing: Silencing | None) -> Any:
    """The one API call that the change is."""
    client, subject = session.client(), pending.subject_id
    expected = pending.seen.version if pending.seen is not None else 1
    if pending.name == "acknowledge":
        return client.acknowledge_alert(subject, expected, reason, idempotency_key=key)
    if pending.name == "resolve":
        return client.resolve_alert(subject, expected, reason, idempotency_key=key)
    if pending.name == "assign":
        return client.assign_alert(subject, expected, assignee, reason, idempotency_key=key)
    if pending.answer is not None:
        decide = client.approve_answer if pending.name == "approve" else client.dismiss_answer
        return decide(subject, pending.answer.version, reason, idempotency_key=key)
    if pending.name == "expire":
        return client.expire_silence(subject, reason, idempotency_key=key)
    if pending.name == "resend":
        return client.resend_notification(subject, reason, idempotency_key=key)
    if pending.name == "test":
        sent = client.test_receiver(subject, reason, idempotency_key=key)
        st.session_state.setdefault(TESTS, {})[subject] = sent.notification_id
        return sent
    if silencing is None:
        raise ValueError("a silence needs conditions")
    body = SilenceIn(matchers=silencing.matchers, starts_at=silencing.starts_at, ends_at=silencing.ends_at, reason=reason)
    return client.create_silence(body, idempotency_key=key)


def _held(changed: Any) -> str:
    if not isinstance(changed, SilenceOut) or changed.state == "over":
        return ""
    return f" · holds for {changed.alerts} {'alert' if changed.alerts == 1 else 'alerts'} now"


def _audit(pending: PendingChange, changed: Any) -> str:
    """The audit entry of the change, where it can be found; the change stands either way."""
    if isinstance(changed, SilenceOut):
        subject = f"silence/{changed.silence_id}"
    elif isinstance(changed, AnswerOut):
        subject = f"alert/{changed.alert_id}"
    else:
        subject = f"receiver/{changed.receiver}" if isinstance(changed, NotificationOut) else f"alert/{pending.subject_id}"
    try:
        entries = session.client().audit(limit=1, subject=subject).entries
    except (ApiProblem, ApiUnavailable):
        return ""
    return f" · audit {entries[0].audit_id}" if entries else ""


def conflict(pending: PendingChange, detail: str) -> str | None:
    """What to say after a 409; None where the API has said all that can be said."""
    if pending.seen is not None:
        return too_late(pending, pending.seen, detail)
    return decided_before(pending, pending.answer, detail) if pending.answer is not None else None


def too_late(pending: PendingChange, seen: AlertOut, detail: str) -> str:
    """What to say after a 409: the present alert, read again, beside the one that the button was drawn with."""
    session.expire()
    read = session.fetch(f"alert:{pending.subject_id}", lambda c: c.alert(pending.subject_id))
    present, events = (read.value.alert, read.value.events) if read.value is not None and read.problem is None else (None, [])
    return conflict_sentence(BUTTONS[pending.name], seen, present, events, detail=detail, now=datetime.now(UTC))


def decided_before(pending: PendingChange, seen: AnswerOut, detail: str) -> str:
    """What to say after a 409 about a proposal: how it stands now, read again."""
    session.expire()
    read = session.fetch(f"answers:{seen.alert_id}", lambda c: c.answers(alert_id=seen.alert_id))
    found = read.value.answers if read.value is not None and read.problem is None else []
    present = next((answer for answer in found if answer.answer_id == seen.answer_id), None)
    return decision_conflict(BUTTONS[pending.name], present, detail=detail, now=datetime.now(UTC))
