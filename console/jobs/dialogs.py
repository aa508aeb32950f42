"""Confirmations of the Jobs page: a new job, and the end of one."""

from typing import Literal, NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.changes import reason_problem
from console.jobs.form import job_form
from console.jobs.words import conflict, name_of
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.tasks import TaskIn, TaskOut
from trajops.tasks.lifecycle import TaskState


class PendingJob(NamedTuple):
    """A job that waits to be started or ended.

    Attributes:
        name: which of both.
        task: as it was when the button was drawn; None: a new one.
        dialog_id: one opening of the dialog.
    """

    name: Literal["start", "cancel"]
    task: TaskOut | None = None
    dialog_id: str = ""


def show_pending() -> None:
    """Show the confirmation that is open, if one is."""
    pending = confirmation.waiting(PendingJob)
    if pending is None:
        return
    task = pending.task
    if task is None:
        confirmation.show(pending, "Start a job", lambda: start(pending))
    else:
        confirmation.show(pending, "Cancel a job", lambda: cancel(pending, task))


def open_task(task_id: str | None) -> None:
    """Show one job instead of the list; None: the list again."""
    if task_id is None:
        st.query_params.pop("task", None)
    else:
        st.query_params["task"] = task_id


def start(pending: PendingJob) -> None:
    """The form, and the call once it is sent."""
    asked = job_form(pending.dialog_id)
    if asked is None:
        return
    key = confirmation.call_key(pending.dialog_id, _fingerprint(asked))
    try:
        with st.spinner("Sending…"):
            change = session.client().start_task(asked, idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        confirmation.refused(error)
        return
    session.flash(f"Started: {frame.plain(name_of(change.task))} · audit {change.audit_id}")
    open_task(change.task.task_id)
    confirmation.settle(pending)


def _fingerprint(asked: TaskIn) -> str:
    return asked.model_dump_json()


def cancel(pending: PendingJob, task: TaskOut) -> None:
    """What is lost by it, the reason, and the call."""
    st.markdown(f"**{frame.plain(name_of(task))}**")
    if task.state is TaskState.RUNNING:
        st.markdown("It ends within seconds. What it has done so far is lost, but for versions that it has registered already.")
    else:
        st.markdown("It has not begun; it never will.")
    with st.form(f"job-cancel-{pending.dialog_id}", border=False):
        reason = confirmation.reason_area(f"job-reason-{pending.dialog_id}")
        is_sent = st.form_submit_button("Cancel job", key="job-submit", type="primary")
    if not is_sent or not confirmation.is_complete(reason_problem(reason)):
        return
    key = confirmation.call_key(pending.dialog_id, task.task_id, task.version, reason)
    try:
        with st.spinner("Sending…"):
            change = session.client().cancel_task(task.task_id, task.version, reason.strip(), idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        if isinstance(error, ApiProblem) and error.status == 409:
            session.expire()
            read = session.fetch(f"task:{task.task_id}", lambda c: c.task(task.task_id))
            confirmation.came_too_late(pending, conflict(read.value))
        confirmation.refused(error)
        return
    session.flash(f"Cancelled: {frame.plain(name_of(task))} · audit {change.audit_id}")
    confirmation.settle(pending)
