"""What the policy does about one alert: its steps in their order, what was compared, and the decision on a proposal."""

from datetime import datetime
from typing import Literal

import streamlit as st

from console import confirmation, frame, session
from console.alerts.answer_words import (
    action_words,
    answer_mark,
    begun_words,
    compared,
    go_on_words,
    is_proposed,
    model_version,
    sentence,
    step_mark,
)
from console.alerts.dialogs import about_answer
from console.changes import role_refusal
from console.wording import clock
from trajops.contracts.alerts import AlertOut
from trajops.contracts.answers import AnswerOut, AnswersOut, AnswerStepOut

NEWEST = 100


def read_answers() -> session.Fetched[AnswersOut]:
    """What the policy has done about alerts, newest first."""
    return session.fetch("answers", lambda c: c.answers(limit=NEWEST))


def answered(alert: AlertOut, now: datetime) -> None:
    """What was done about an alert without a hand; nothing where no rule of the policy answers it."""
    read = session.fetch(f"answers:{alert.alert_id}", lambda c: c.answers(alert_id=alert.alert_id))
    if read.value is None:
        st.caption(frame.plain(f"What the policy does about it cannot be read: {read.problem}"))
        return
    for answer in read.value.answers:
        st.header("Answered without a hand")
        with st.container(border=True, gap="small", key="alert-answer"):
            st.markdown(f"{frame.badge(answer_mark(answer.state.value))} &nbsp;:gray[:small[{frame.plain(begun_words(answer, now))}]]")
            for number, step in enumerate(answer.steps, 1):
                answer_step(number, step, answer)
            decision(answer)


def answer_step(number: int, step: AnswerStepOut, answer: AnswerOut) -> None:
    """One step: where it stands, since when, what was done or why not, and what was compared for it."""
    with st.container(gap="xxsmall", key=f"answer-step-{number}"):
        when = f" &nbsp;:gray[:small[{frame.plain(clock(step.at))} UTC]]" if step.at is not None else ""
        st.markdown(f"{frame.badge(step_mark(step, answer))} &nbsp;**{number}. {sentence(action_words(step.action))[:-1]}**{when}")
        if step.sentence:
            st.markdown(frame.plain(sentence(step.sentence)))
        if step.action == "pause_rollout" and step.state.value == "done" and (more := go_on_words(answer)):
            st.caption(frame.plain(more))
        found = compared(step)
        if found is not None:
            figure = f"Mean ADE over {found.agents} agents" if found.agents else "Mean ADE"
            st.markdown(
                f"| Compared | {frame.plain(found.candidate)} | the champion | Difference |\n|:--|--:|--:|:--|\n"
                f"| {figure} | {found.candidate_ade} | {found.champion_ade} | {found.words} |"
            )
        version = model_version(step)
        if version is not None:
            st.page_link("views/models.py", label=f"v{version} on the Models page", icon=":material/arrow_forward:", help="")


def decision(answer: AnswerOut, *, align: Literal["left", "right"] = "left") -> None:
    """The buttons that approve or dismiss a proposal; nothing where there is nothing to decide."""
    if not is_proposed(answer):
        return
    refusal = role_refusal(session.role())
    with st.container(horizontal=True, gap="xsmall", horizontal_alignment=align):
        confirmation.button("Approve", about_answer("approve", answer), key=f"approve-{answer.answer_id}", refusal=refusal, is_first=True)
        confirmation.button("Dismiss", about_answer("dismiss", answer), key=f"dismiss-{answer.answer_id}", refusal=refusal)
