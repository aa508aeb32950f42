"""One alert: what it is, what happened to it, and what was changed before it began."""

from datetime import UTC, datetime
from html import escape

import streamlit as st

from console import confirmation, frame, session
from console.alerts.answers import answered
from console.alerts.delivery import is_address
from console.alerts.dialogs import about_alert
from console.alerts.history import Step, linked_changes, reaches_back, steps
from console.alerts.words import alert_actions, facts, place, since_words
from console.changes import role_refusal
from console.wording import SILENCED, Tone, alert_mark, severity_mark
from trajops.contracts.alerts import AlertDetailOut, AlertOut

AUDIT_LIMIT = 500


def open_detail(alert_id: str | None) -> None:
    """Show one alert instead of the list; None: the list again."""
    if alert_id is None:
        st.query_params.pop("alert", None)
    else:
        st.query_params["alert"] = alert_id


def detail_part(alert_id: str) -> None:
    """The alert with this id, or why it cannot be shown."""
    st.button("All alerts", icon=":material/arrow_back:", type="tertiary", key="all-alerts", on_click=open_detail, args=(None,))
    read = session.fetch(f"alert:{alert_id}", lambda c: c.alert(alert_id))
    if read.value is None:
        frame.empty(
            f"Alert {frame.plain(alert_id)} cannot be shown: {frame.plain((read.problem or '').removesuffix('.'))}.",
            "Go back to all alerts above.",
            icon="search_off",
        )
        return
    now = datetime.now(UTC)
    head(read.value.alert, now)
    answered(read.value.alert, now)
    grid = st.grid(2, min_column_width=380, gap="medium")
    with grid.cell():
        st.header("What happened")
        timeline(read.value)
    with grid.cell():
        changed_before(read.value.alert)
        known(read.value.alert)


def head(alert: AlertOut, now: datetime) -> None:
    """What it is, how it stands, where to look, and what can be done."""
    with st.container(border=True, gap="xsmall", key="alert-head"):
        marks = f"{frame.badge(severity_mark(alert.severity.value))} {frame.badge(alert_mark(alert.state.value))}"
        if alert.is_silenced:
            marks += f" {frame.badge(SILENCED)}"
        st.markdown(f"{marks} &nbsp;:gray[:small[{frame.plain(since_words(alert, now))}]]")
        st.header(frame.plain(alert.title), anchor=False)
        st.markdown(frame.plain(alert.summary))
        if alert.detail:
            st.caption(frame.plain(alert.detail))
        where = place(alert)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.page_link(where.view, label=where.label, icon=":material/arrow_forward:", help="")
            if alert.runbook is not None:
                web_link(alert.runbook, "What to do about it", key="alert-runbook", icon="menu_book")
            if alert.link is not None:
                web_link(alert.link, "At its source", key="alert-source", icon="open_in_new")
        offered = alert_actions(alert, session.role())
        if offered:
            with st.container(horizontal=True, gap="xsmall"):
                for action in offered:
                    confirmation.button(
                        action.label,
                        about_alert(action.name, alert),
                        key=f"detail-{action.name}",
                        refusal=action.refusal,
                        is_first=action.name == "acknowledge",
                    )
        refusal = role_refusal(session.role())
        if offered and refusal is not None:
            st.caption(f":material/lock: {refusal}")


def web_link(address: str, label: str, *, key: str, icon: str) -> None:
    """An address on the web, or a path of the console, as a link; one of another kind, such as a file of the documentation, as text."""
    if is_address(address):
        st.link_button(label, address, key=key, icon=f":material/{icon}:", type="tertiary")
    else:
        st.caption(f":material/{icon}: {label}: {frame.plain(address)}")


def timeline(detail: AlertDetailOut) -> None:
    """Steps one below the other along a line: filled where the alert changed, hollow where somebody was told."""
    found = steps(detail)
    if not found:
        frame.empty("Nothing has been recorded of it yet.", "The first step is written when it fires.", icon="hourglass_empty")
        return
    st.html(f'<ol style="list-style:none;margin:0;padding:0 0 0 6px">{"".join(_item(s, is_last=s is found[-1]) for s in found)}</ol>')


def _item(step: Step, *, is_last: bool) -> str:
    palette = frame.palette()
    colours: dict[Tone, str] = {t: getattr(palette, t) for t in ("ok", "warn", "bad", "info", "unknown")}
    colour = colours[step.tone]
    line = "transparent" if is_last else palette.grid
    fill = palette.surface if step.is_message else colour
    when = f"{step.at} · {step.after}" if step.after else step.at
    return (
        f'<li style="position:relative;border-left:2px solid {line};padding:0 0 14px 18px">'
        f'<span aria-hidden="true" style="position:absolute;left:-7px;top:4px;width:8px;height:8px;border-radius:50%;'
        f'border:2px solid {colour};background:{fill}"></span>'
        f'<strong style="color:{colour}">{escape(step.word)}</strong> '
        f'<span style="color:{palette.muted};font-size:12px">{escape(when)} · {escape(step.actor)}</span>'
        f"<div>{escape(step.text)}</div></li>"
    )


def changed_before(alert: AlertOut) -> None:
    """Changes of the product in the half hour before, which it may come from."""
    st.header("Changed in the 30 minutes before")
    read = session.fetch("audit:changes", lambda c: c.audit(limit=AUDIT_LIMIT), max_age_s=10.0)
    if read.value is None:
        st.caption(frame.plain(f"The changes cannot be read: {read.problem}"))
        return
    found = linked_changes(read.value.entries, alert)
    with st.container(gap="xsmall", key="linked-changes"):
        for change in found:
            with st.container(border=True, gap=None):
                st.markdown(f"**{frame.plain(change.words)}** &nbsp;:gray[:small[{frame.plain(f'{change.before} · {change.actor}')}]]")
                frame.audited(change.reason, change.audit_id)
        if any(change.is_release for change in found):
            st.page_link("views/models.py", label="What was live when, on the Models page", icon=":material/arrow_forward:", help="")
    if not reaches_back(read.value.entries, AUDIT_LIMIT, alert):
        st.caption(f"The newest {AUDIT_LIMIT} changes do not reach back to that time; there may have been more.")
    elif not found:
        st.caption("Nothing was changed in that time, so look at the traffic and at the services first.")


def known(alert: AlertOut) -> None:
    """What is known of it, a line each."""
    st.header("Facts")
    rows = [f"| {name} | {frame.plain(value)} |" for name, value in facts(alert)]
    st.markdown("\n".join([rows[0], "|:--|:--|", *rows[1:]]))
    st.code(alert.alert_id, language=None)
