"""Jobs: batch forecasts, training runs and evaluations; what runs now, what came of the others, and how to start one."""

from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.changes import role_refusal
from console.jobs.detail import cancel_button, detail_part, progress
from console.jobs.dialogs import PendingJob, open_task, show_pending
from console.jobs.words import KINDS, came_of, lasted, model_words, name_of, task_mark, verdict, versions_of
from console.wording import ago
from trajops.contracts.tasks import TaskOut, TasksOut
from trajops.tasks.lifecycle import OVER, TaskState

LIMIT = 100
PER_PAGE = 10
ALL = "All"
STATES = {ALL: None, "Waits": TaskState.QUEUED, "Runs": TaskState.RUNNING, "Done": TaskState.DONE, "Failed": TaskState.FAILED,
          "Cancelled": TaskState.CANCELLED}  # fmt: skip


def live_part() -> None:
    """Everything that changes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # The confirmation belongs to the page, where refreshes of this part do not reach it.
    asked = st.query_params.get("task")
    if asked:
        detail_part(asked)
        return
    with frame.first_load(420):
        read = session.fetch("tasks", lambda c: c.tasks(LIMIT))
    frame.freshness(read, key="jobs")
    if read.value is None:
        return
    now = datetime.now(UTC)
    top(read.value, now)
    st.header("All jobs")
    job_list(read.value, now)


def top(tasks: TasksOut, now: datetime) -> None:
    """What runs with how far it is, what waits, and the way to start another."""
    mark, sentence = verdict(tasks, now)
    with st.container(border=True, key="jobs-verdict", gap="small"):
        st.markdown(f"{frame.badge(mark)} &nbsp;**{frame.plain(sentence)}**")
        for task in tasks.tasks:
            if task.state is TaskState.RUNNING:
                progress(task)
        refusal = role_refusal(session.role())
        if refusal is None and tasks.queued >= tasks.max_queued:
            refusal = f"{tasks.queued} jobs wait already, which is as many as may. Wait until one is begun."
        with st.container(horizontal=True, gap="small"):
            confirmation.button("Start a job", PendingJob("start"), key="start-job", refusal=refusal, icon=":material/add:", is_first=True)
            for task in tasks.tasks:
                if task.state is TaskState.RUNNING:
                    st.button("Follow its log", key="follow-job", icon=":material/arrow_forward:", on_click=open_task, args=(task.task_id,))
        if refusal is not None:
            st.caption(f":material/lock: {frame.plain(refusal)}")


def job_list(tasks: TasksOut, now: datetime) -> None:
    """The jobs that the filter leaves, newest first."""
    if not tasks.tasks:
        frame.empty("No job was ever started.", "Start one above: forecast a file of tracks, train on it, or measure a version.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="job-filters"):
        kind = st.selectbox("Kind", list(KINDS), index=None, key="kind", bind="query-params", placeholder="any", width=180)
        state = st.selectbox("State", list(STATES), key="job_state", bind="query-params", width=140)
    wanted = STATES.get(state or ALL)
    found = [one for one in tasks.tasks if kind in {None, _kind(one)} and wanted in {None, one.state}]
    if not found:
        frame.empty("No job is left by these filters.", "Choose another kind or state above.", icon="filter_alt_off")
        return
    pages = -(-len(found) // PER_PAGE)
    page = st.pagination(pages, key="jobs-page") if pages > 1 else 1
    for task in found[(page - 1) * PER_PAGE : page * PER_PAGE]:
        card(task, now)


def _kind(task: TaskOut) -> str:
    return next(word for word, kind in KINDS.items() if kind == task.asked.kind)


def card(task: TaskOut, now: datetime) -> None:
    """One job: how it stands, what it is, who asked for it, what came of it."""
    with st.container(border=True, gap="xsmall", key=f"job-{task.task_id}"):
        left, right = st.columns([5, 2], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            when = f"asked for {ago(task.created_at, now)} by {task.by}"
            took = f" · took {lasted(task, now)}" if task.finished_at is not None and task.started_at is not None else ""
            st.markdown(f"{frame.badge(task_mark(task))} &nbsp;:gray[:small[{frame.plain(when + took)}]]")
            st.markdown(f"**{frame.plain(name_of(task))}** &nbsp;:gray[{frame.plain(model_words(task))}]")
            st.caption(frame.plain(came_of(task)))
        with right, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="xsmall"):
            if task.state in OVER:
                for number in versions_of(task)[:2]:
                    st.page_link(
                        "views/models.py",
                        label=f"v{number}",
                        query_params={"version": str(number)},
                        icon=":material/arrow_forward:",
                        help="",
                    )
            cancel_button(task, key=f"cancel-{task.task_id}")
            st.button(
                "Details",
                icon=":material/arrow_forward:",
                type="tertiary",
                key=f"details-{task.task_id}",
                on_click=open_task,
                args=(task.task_id,),
            )


def render() -> None:
    """Draw the page."""
    st.title("Jobs")
    confirmation.show_notice()
    show_pending()
    frame.live(live_part)


if __name__ == "__main__":
    render()
