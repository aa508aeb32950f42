"""What is done about alerts, and who is told of them and who is not: answers, silences, messages, receivers and rules."""

from datetime import datetime

import streamlit as st

from console import confirmation, frame, session
from console.alerts.answer_words import answer_label, answer_mark, begun_words, done_sentence
from console.alerts.answers import decision, read_answers
from console.alerts.delivery import (
    attempt_sentence,
    kind_words,
    notification_mark,
    notification_rows,
    occasion_words,
    receiver_mark,
    receiver_sentence,
    rule_rows,
)
from console.alerts.detail import open_detail
from console.alerts.dialogs import TESTS, PendingChange
from console.alerts.silencing import matcher_words, time_words
from console.changes import role_refusal
from console.wording import ago, count, severity_mark, silence_mark
from trajops.contracts.alerts import NotificationOut, ReceiverOut, SilenceOut
from trajops.contracts.answers import AnswerOut

PER_PAGE = 10
NEWEST = 100
UTC_TIME = "YYYY-MM-DD HH:mm:ss"


def answers(now: datetime) -> None:
    """What follows alerts without a hand, newest first."""
    read = read_answers()
    frame_problem(read.problem)
    if read.value is None:
        return
    if not read.value.answers:
        frame.empty(
            "No alert has been answered without a hand yet.", "What follows which alert stands in `configs/policy.yaml`.", icon="smart_toy"
        )
        return
    found = read.value.answers
    pages = -(-len(found) // PER_PAGE)
    page = st.pagination(pages, key="answers-page") if pages > 1 else 1
    for answer in found[(page - 1) * PER_PAGE : page * PER_PAGE]:
        answer_card(answer, now)
    st.caption("What follows which alert stands in `configs/policy.yaml`. Nothing is begun while the job “Follow the policy” is paused.")
    about = {"job": "answer_alerts"}
    st.page_link("views/services.py", label="Its switch, under Services", icon=":material/arrow_forward:", help="", query_params=about)


def answer_card(answer: AnswerOut, now: datetime) -> None:
    """One answer: where it stands, to which alert, by which rule, and what was done."""
    with st.container(border=True, gap="xsmall", key=f"answer-{answer.answer_id}"):
        left, right = st.columns([6, 2], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            st.markdown(f"{frame.badge(answer_mark(answer.state.value))} &nbsp;:gray[:small[{frame.plain(begun_words(answer, now))}]]")
            st.markdown(f"**{frame.plain(answer_label(answer))}**")
            st.markdown(frame.plain(done_sentence(answer)))
        with right, st.container(horizontal_alignment="right", gap="xsmall"):
            st.button(
                "The alert",
                icon=":material/arrow_forward:",
                type="tertiary",
                key=f"answered-{answer.answer_id}",
                on_click=open_detail,
                args=(answer.alert_id,),
            )
            decision(answer, align="right")


def silences(now: datetime) -> None:
    """Silences in force, those that wait, and those that are over."""
    read = session.fetch("silences", lambda c: c.silences())
    refusal = role_refusal(session.role())
    with st.container(horizontal=True, vertical_alignment="center"):
        confirmation.button("New silence", PendingChange("", "silence"), key="new-silence", refusal=refusal, icon=":material/add:")
        st.caption("While a silence is in force, nobody is told about alerts that all of its conditions hold for.")
    frame_problem(read.problem)
    if read.value is None:
        return
    if not read.value.silences:
        frame.empty("There is no silence.", "Press “Silence” on an alert, or create one above.", icon="notifications_off")
        return
    running = [s for s in read.value.silences if s.state != "over"]
    for silence in running:
        silence_card(silence, now, refusal)
    over = [s for s in read.value.silences if s.state == "over"]
    if not running:
        frame.empty("No silence is in force.", "Press “Silence” on an alert, or create one above.", icon="notifications_active")
    if not over:
        return
    past = st.expander(f"Over ({count(len(over))})", on_change="rerun", key="silences-over")
    if past.open:
        with past:
            pages = -(-len(over) // PER_PAGE)
            page = st.pagination(pages, key="silences-page") if pages > 1 else 1
            for silence in over[(page - 1) * PER_PAGE : page * PER_PAGE]:
                silence_card(silence, now, refusal)


def silence_card(silence: SilenceOut, now: datetime, refusal: str | None) -> None:
    """One silence: what for, from when to when, by whom and why."""
    with st.container(border=True, gap="xsmall", key=f"silence-{silence.silence_id}"):
        left, right = st.columns([6, 1.6], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            held = "" if silence.state != "in_force" else f"holds for {count(silence.alerts)} now · "
            st.markdown(f"{frame.badge(silence_mark(silence.state))} &nbsp;:gray[:small[{frame.plain(held + time_words(silence, now))}]]")
            st.markdown(" ".join(f"`{text.replace('`', '')}`" for text in matcher_words(silence.matchers)))
            st.caption(frame.plain(f"{silence.reason} · {silence.created_by}, {ago(silence.created_at, now)}"))
        if silence.state != "over":
            with right, st.container(horizontal=True, horizontal_alignment="right"):
                confirmation.button(
                    "End now",
                    PendingChange("", "expire", silence.silence_id, " ".join(matcher_words(silence.matchers))),
                    key=f"expire-{silence.silence_id}",
                    refusal=refusal,
                )


def notifications(now: datetime) -> None:
    """Dead letters with what can be done about them, then the newest messages."""
    dead = session.fetch("notifications:dead", lambda c: c.notifications(state="dead", limit=NEWEST))
    newest = session.fetch("notifications", lambda c: c.notifications(limit=NEWEST))
    frame_problem(dead.problem or newest.problem)
    if dead.value is None or newest.value is None:
        return
    if not newest.value.notifications and not dead.value.notifications:
        frame.empty("Nobody has been told anything yet.", "Send a test under Receivers.", icon="mail")
        return
    if dead.value.notifications:
        st.header("Dead letters")
        st.caption("Given up after many tries. Mend the receiver first, then send them again.")
        letters = dead.value.notifications
        pages = -(-len(letters) // PER_PAGE)
        page = st.pagination(pages, key="letters-page") if pages > 1 else 1
        for letter in letters[(page - 1) * PER_PAGE : page * PER_PAGE]:
            letter_card(letter, now)
    st.header("Newest messages")
    frame.table(
        notification_rows(newest.value.notifications),
        alt="Messages, newest first",
        column_config={
            "Written (UTC)": st.column_config.DatetimeColumn(format=UTC_TIME),
            "Arrived (UTC)": st.column_config.DatetimeColumn(format=UTC_TIME),
            "Message": st.column_config.TextColumn(width="medium"),
            "Because": st.column_config.TextColumn(help="Why it was written"),
            "Last error": st.column_config.TextColumn(width="medium"),
        },
    )


def letter_card(letter: NotificationOut, now: datetime) -> None:
    """One message that was given up."""
    with st.container(border=True, gap="xsmall", key=f"letter-{letter.notification_id}"):
        left, right = st.columns([6, 1.6], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            st.markdown(
                f"{frame.badge(notification_mark(letter.state.value))} {frame.badge(severity_mark(letter.severity.value))} "
                f"&nbsp;:gray[:small[for {frame.plain(letter.receiver)}, written {ago(letter.created_at, now)}, "
                f"because {occasion_words(letter.occasion)}]]"
            )
            st.markdown(f"**{frame.plain(letter.title)}**")
            st.caption(frame.plain(attempt_sentence(letter, now)[:1].upper() + attempt_sentence(letter, now)[1:]))
        with right, st.container(horizontal=True, horizontal_alignment="right"):
            confirmation.button(
                "Send again",
                PendingChange("", "resend", letter.notification_id, letter.title),
                key=f"resend-{letter.notification_id}",
                refusal=role_refusal(session.role()),
            )


def receivers(now: datetime) -> None:
    """Who is told, whether that is set up, and whether it arrives."""
    read = session.fetch("receivers", lambda c: c.receivers())
    frame_problem(read.problem)
    if read.value is None:
        return
    if not read.value.receivers:
        frame.empty("Nobody is told of alerts.", "Name receivers in `configs/alerts.yaml`, then restart the workers.", icon="mail_off")
        return
    with st.grid(2, min_column_width=340, border=True) as grid:
        for receiver in read.value.receivers:
            with grid.cell(), st.container(gap="xsmall", key=f"receiver-{receiver.name}"):
                receiver_card(receiver, now)


def receiver_card(receiver: ReceiverOut, now: datetime) -> None:
    """One receiver: ready, or what is missing; and what became of the last test."""
    st.markdown(f"**{frame.plain(receiver.name)}** &nbsp;{frame.badge(receiver_mark(receiver))}")
    target = receiver.target.replace("`", "")
    st.caption(kind_words(receiver.kind) + (f" · `{target}`" if target else ""))
    st.markdown(frame.plain(receiver_sentence(receiver, now)))
    test_id = st.session_state.get(TESTS, {}).get(receiver.name)
    if test_id is not None:
        test = session.fetch(f"notification:{test_id}", lambda c: c.notification(test_id))
        if test.value is not None:
            frame.small("Test: ", notification_mark(test.value.state.value), attempt_sentence(test.value, now))
    not_ready = None if receiver.is_ready else "It is not set up; what is missing stands above."
    confirmation.button(
        "Send a test",
        PendingChange("", "test", receiver.name, receiver.name),
        key=f"test-{receiver.name}",
        refusal=role_refusal(session.role()) or not_ready,
        icon=":material/send:",
    )


def rules() -> None:
    """When alerts are raised, and who is told; the file says it."""
    read = session.fetch("alert-rules", lambda c: c.alert_rules(), max_age_s=5.0)
    frame_problem(read.problem)
    if read.value is None:
        return
    if not read.value.rules:
        frame.empty("No rule is watched.", f"Write rules in `{read.value.file}`, then restart the workers.", icon="rule")
        return
    frame.table(
        rule_rows(read.value.rules),
        alt="Rules of alerts, in the order of the file",
        column_config={
            "For": st.column_config.TextColumn(help="For how long the condition must hold before it fires"),
            "Ends after": st.column_config.TextColumn(help="For how long the condition must have ceased"),
            "Firing": st.column_config.NumberColumn(help="Alerts of this rule that are not over"),
            "Tells": st.column_config.TextColumn(help="Receivers of an alert with the rule's own labels"),
            "What to do": st.column_config.LinkColumn(display_text="open runbook"),
            "Raw name": st.column_config.TextColumn(help="As the rule is called in the file, in the API and in the filter"),
        },
    )
    st.caption(f"Read from `{read.value.file}` when a process starts. Change a rule there, and restart the workers and the API.")


def frame_problem(problem: str | None) -> None:
    """Why a section shows older values, or none."""
    if problem is not None:
        st.caption(f":orange[:material/cloud_off: {frame.plain(problem[:1].upper() + problem[1:])}]")
