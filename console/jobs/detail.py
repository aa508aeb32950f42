"""One job: how far it is, what it says, what came of it."""

from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.changes import role_refusal
from console.jobs.dialogs import PendingJob, open_task
from console.jobs.words import (
    HELP,
    ended_because,
    facts,
    figures,
    lasted,
    left_words,
    name_of,
    runs_link,
    size,
    task_mark,
    versions_of,
)
from console.signin import RESULTS
from console.wording import ago, share
from trajops.contracts.tasks import TaskOut
from trajops.tasks.lifecycle import ACTIVE, TaskState

LINES = 200


def progress(task: TaskOut) -> None:
    """How far it is, in a bar with words."""
    st.progress(task.progress, text=frame.plain(f"{share(task.progress, 0)} · {task.stage} · {left_words(task)}"))


def cancel_button(task: TaskOut, *, key: str) -> None:
    """The way to end it, or why there is none; nothing once it is over or is being ended."""
    if task.state in ACTIVE and task.cancelled is None:
        refusal = role_refusal(session.role())
        confirmation.button("Cancel", PendingJob("cancel", task), key=key, refusal=refusal, icon=":material/cancel:")


def detail_part(task_id: str) -> None:
    """The job with this id, or why it cannot be shown."""
    st.button("All jobs", icon=":material/arrow_back:", type="tertiary", key="all-jobs", on_click=open_task, args=(None,))
    with frame.first_load(420):
        read = session.fetch(f"task:{task_id}", lambda c: c.task(task_id))
    if read.value is None:
        frame.freshness(read, key="job")
        frame.empty(f"Job {frame.plain(task_id)} cannot be shown.", "Go back to all jobs above.", icon="search_off")
        return
    frame.freshness(read, key="job")
    task, now = read.value, datetime.now(UTC)
    head(task, now)
    grid = st.grid(2, min_column_width=380, gap="medium")
    with grid.cell():
        st.header("Log")
        log(task)
    with grid.cell():
        if found := figures(task):
            st.header("Measured")
            measured(found)
        st.header("About it")
        frame.facts(facts(task))
        st.caption("Its id")
        st.code(task.task_id, language=None)


def head(task: TaskOut, now: datetime) -> None:
    """What it is, how it stands, and what can be done."""
    with st.container(border=True, gap="xsmall", key="job-head"):
        since = f"ended {ago(task.finished_at, now)}" if task.finished_at is not None else f"asked for {ago(task.created_at, now)}"
        took = f" · took {lasted(task, now)}" if task.finished_at is not None and task.started_at is not None else ""
        st.markdown(f"{frame.badge(task_mark(task))} &nbsp;:gray[:small[{frame.plain(since + took)}]]")
        st.header(frame.plain(name_of(task)), anchor=False)
        if task.error is not None:
            st.error(frame.plain(ended_because(task.error)), icon=":material/error:")
        if task.outcome is not None:
            st.markdown(frame.plain(task.outcome.sentence))
        if task.state is TaskState.RUNNING:
            progress(task)
        elif task.state is TaskState.QUEUED:
            st.caption(frame.plain(f"{task.stage}. One job runs at a time, the oldest first."))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            outcome = task.outcome
            if outcome is not None and outcome.filename is not None:
                st.link_button(
                    f"Download {outcome.filename} ({size(outcome.bytes)})",
                    f"{RESULTS}{task.task_id}",
                    icon=":material/download:",
                    key="job-result",
                )
            links(task)
            cancel_button(task, key="job-cancel")


def links(task: TaskOut) -> None:
    """The ways to the versions that a task has made or asked, and to the training runs behind them."""
    for number in versions_of(task):
        st.page_link(
            "views/models.py",
            label=f"v{number} under Models",
            query_params={"version": str(number)},
            icon=":material/arrow_forward:",
            help="",
        )
    if (runs := runs_link(task)) is not None:
        is_one = "," not in runs["runs"]
        st.page_link(
            "views/experiments.py",
            label=f"Its training run{'' if is_one else 's'} under Experiments",
            query_params=runs,
            icon=":material/arrow_forward:",
            help="",
        )


def measured(found: list[tuple[str, str]]) -> None:
    """The figures, each with what it means."""
    with st.grid(3, min_column_width=140):
        for word, value in found:
            st.metric(word, value, help=HELP.get(word), border=True, height="stretch")


def log(task: TaskOut) -> None:
    """The last lines; they follow while it runs."""
    read = session.fetch(f"task-log:{task.task_id}", lambda c: c.task_log(task.task_id, LINES))
    if read.value is None:
        st.caption(frame.plain(read.problem or ""))
        return
    if not read.value.lines:
        frame.empty(
            "It has said nothing yet.", "Wait until a worker has begun it." if task.state in ACTIVE else "See what came of it above."
        )
        return
    if read.value.is_cut:
        st.caption(f"The last {len(read.value.lines)} lines.")
    st.code("\n".join(read.value.lines), language=None, height=360 if len(read.value.lines) > 12 else "content", wrap_lines=True)
