"""Alerts: what is firing, who looks after it, what the policy does about it, who was told; and what can be done."""

from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.alerts import charts as alert_charts
from console.alerts.answer_words import is_proposed, proposals_sentence
from console.alerts.answers import read_answers
from console.alerts.detail import detail_part, open_detail
from console.alerts.dialogs import about_alert, show_pending
from console.alerts.history import alert_spans, is_cut
from console.alerts.sections import answers, notifications, receivers, rules, silences
from console.alerts.words import (
    SEVERITIES,
    STATES,
    AlertFilter,
    AlertState,
    alert_actions,
    by_severity,
    carer_words,
    evaluation_problem,
    foreign_words,
    is_foreign,
    label_words,
    since_words,
    verdict,
)
from console.changes import role_refusal
from console.viewmodels import RANGES
from console.wording import SILENCED, ago, alert_mark, count, severity_mark
from trajops.contracts.alerts import AlertOut, AlertsOut

LIMIT = 200
PER_PAGE = 10
SECTIONS = ("Alerts", "Answers", "Silences", "Notifications", "Receivers", "Rules")


def read_alerts() -> session.Fetched[AlertsOut]:
    """Alerts that are not over, and those that ended within the time range."""
    chosen = frame.time_range()
    return session.fetch(f"alerts:{chosen}", lambda c: c.alerts(since=datetime.now(UTC) - RANGES[chosen], limit=LIMIT))


def live_part() -> None:
    """Everything that changes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # The confirmation belongs to the page, where refreshes of this part do not reach it.
    with frame.first_load(420):
        read = read_alerts()
    frame.freshness(read, key="alerts")
    if read.value is None:
        return
    now = datetime.now(UTC)
    top(read.value, now)
    asked = st.query_params.get("alert")
    if asked:
        detail_part(asked)
    else:
        tiles(read.value)
        sections(read.value, now)


def sections(alerts: AlertsOut, now: datetime) -> None:
    """What is chosen of the tabs; the others cost nothing."""
    tabs = dict(zip(SECTIONS, st.tabs(list(SECTIONS), key="section", bind="query-params"), strict=True))
    drawn = {
        "Alerts": lambda: alert_list(alerts, now),
        "Answers": lambda: answers(now),
        "Silences": lambda: silences(now),
        "Notifications": lambda: notifications(now),
        "Receivers": lambda: receivers(now),
        "Rules": rules,
    }
    for name, tab in tabs.items():
        if tab.open:
            with tab:
                drawn[name]()


def top(alerts: AlertsOut, now: datetime) -> None:
    """How many are firing and how bad they are, whether anybody looks, and whether anybody is told."""
    problem = evaluation_problem(alerts, now)
    if problem is not None:
        st.error(problem, icon=":material/visibility_off:")
    mark, sentence = verdict(alerts, now)
    with st.container(border=True, key="alerts-verdict", gap="xsmall"):
        st.markdown(f"{frame.badge(mark)} &nbsp;**{frame.plain(sentence)}**")
        looked = f"rules looked at {ago(alerts.evaluated_at, now)}" if alerts.evaluated_at is not None else "rules never looked at"
        if alerts.alertmanager is not None and alerts.alertmanager.is_reachable:
            looked += f" · Alertmanager at {alerts.alertmanager.url}: {alerts.alertmanager.detail.removesuffix('.')}"
        st.caption(frame.plain(f"{looked} · {count(alerts.counts.resolved_today)} ended in the last 24 h"))
        proposals()


def proposals() -> None:
    """Proposed answers that wait for an operator, and the way to them; nothing where none does."""
    read = read_answers()
    waiting = [answer for answer in read.value.answers if is_proposed(answer)] if read.value is not None else []
    said = proposals_sentence(waiting)
    if said is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="proposals"):
        st.markdown(f":orange[:material/pending_actions:] {frame.plain(said)}", width="content")
        st.button(
            "Look at it" if len(waiting) == 1 else "Look at them",
            icon=":material/arrow_forward:",
            type="tertiary",
            key="look-at-proposals",
            on_click=open_proposals,
            args=([answer.alert_id for answer in waiting],),
        )


def open_proposals(alert_ids: list[str]) -> None:
    """Show the alert of the only proposal, or all answers where there are several."""
    if len(alert_ids) == 1:
        open_detail(alert_ids[0])
        return
    open_detail(None)
    st.session_state["section"] = "Answers"


def tiles(alerts: AlertsOut) -> None:
    """How many are firing of each severity, and how many messages about alerts were given up."""
    shown = [
        *((f"{severity.word}", severity.icon, frame.COLOURS[severity.tone], n, None) for severity, n in by_severity(alerts.counts)),
        ("Dead letters", "unsubscribe", "red", alerts.counts.dead_letters, "Messages that were given up; they stand under Notifications."),
    ]
    with st.grid(4, min_column_width=110):
        for word, icon, colour, n, explanation in shown:
            st.metric(f":{colour if n else 'gray'}[:material/{icon}:] {word}", count(n), border=True, height="stretch", help=explanation)


def alert_list(alerts: AlertsOut, now: datetime) -> None:
    """The alerts that the filter leaves, those of the Alertmanager apart, and bars of the time range."""
    chosen = filters(alerts)
    found = [alert for alert in narrowed(alerts, chosen) if chosen.holds(alert)]
    own, foreign = [a for a in found if not is_foreign(a)], [a for a in found if is_foreign(a)]
    refusal = role_refusal(session.role())
    if refusal is not None:
        st.caption(f":material/lock: {refusal}")
    if own:
        pages = -(-len(own) // PER_PAGE)
        page = st.pagination(pages, key="alerts-page") if pages > 1 else 1
        for alert in own[(page - 1) * PER_PAGE : page * PER_PAGE]:
            alert_card(alert, now)
    elif chosen == AlertFilter():
        frame.empty("No alert is firing.", "What is watched stands under Rules.", icon="notifications_paused")
    else:
        frame.empty("No alert is left by these filters.", "Choose another state or a wider time range above.", icon="filter_alt_off")
    from_alertmanager(alerts, foreign, now)
    over_time(alerts, now)


def filters(alerts: AlertsOut) -> AlertFilter:
    """State, severity, rule and words, all in the URL."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="alert-filters"):
        state = st.selectbox("State", STATES, key="state", bind="query-params", width=136)
        severity = st.selectbox("Severity", list(SEVERITIES), index=None, key="severity", bind="query-params", placeholder="any", width=112)
        held = st.session_state.get("rule") or st.query_params.get("rule")
        known = sorted({a.rule for a in alerts.alerts} | ({held} if held else set()))
        rule = st.selectbox("Rule", known, index=None, key="rule", bind="query-params", placeholder="any", width=150)
        text = st.text_input("Words", key="text", bind="query-params", placeholder="in text, labels, names")
    return AlertFilter(state, SEVERITIES.get(severity or ""), rule, text or "")


def narrowed(alerts: AlertsOut, chosen: AlertFilter) -> list[AlertOut]:
    """What the filter is applied to: what was read, and what the API finds with the same filter where that may be more."""
    if chosen.state == "Pending" or (len(alerts.alerts) >= LIMIT and chosen != AlertFilter()):
        return _found(chosen.asked_state, chosen)
    return alerts.alerts + (_found("pending", chosen) if chosen.state == "All" else [])


def _found(state: AlertState | None, chosen: AlertFilter) -> list[AlertOut]:
    span = frame.time_range()
    read = session.fetch(
        f"alerts:{span}:{state}:{chosen.severity}:{chosen.rule}",
        lambda c: c.alerts(state, chosen.severity, chosen.rule, datetime.now(UTC) - RANGES[span], LIMIT),
    )
    return [] if read.value is None else read.value.alerts


def alert_card(alert: AlertOut, now: datetime) -> None:
    """One alert: how bad, what, since when, who looks after it; and what can be done."""
    with st.container(border=True, gap="xsmall", key=f"alert-{alert.alert_id}"):
        left, right = st.columns([5, 3], gap="small", vertical_alignment="center")
        with left, st.container(gap="xxsmall"):
            marks = f"{frame.badge(severity_mark(alert.severity.value))} {frame.badge(alert_mark(alert.state.value))}"
            if alert.is_silenced:
                marks += f" {frame.badge(SILENCED)}"
            st.markdown(f"{marks} &nbsp;:gray[:small[{frame.plain(since_words(alert, now))}]]")
            st.markdown(f"**{frame.plain(alert.title)}** &nbsp;{labels(alert)}")
            st.markdown(frame.plain(alert.summary))
            told = f"told: {', '.join(alert.told)}" if alert.told else "nobody was told"
            st.caption(frame.plain(f"{carer_words(alert)} · {told}"))
        with right, st.container(horizontal_alignment="right", gap="xsmall"):
            st.button(
                "Details",
                icon=":material/arrow_forward:",
                type="tertiary",
                key=f"details-{alert.alert_id}",
                on_click=open_detail,
                args=(alert.alert_id,),
            )
            with st.container(horizontal=True, gap="xsmall", horizontal_alignment="right"):
                for action in alert_actions(alert, session.role()):
                    confirmation.button(
                        action.label, about_alert(action.name, alert), key=f"{action.name}-{alert.alert_id}", refusal=action.refusal
                    )


def labels(alert: AlertOut) -> str:
    """Labels as inline code."""
    return " ".join(f"`{text.replace('`', '')}`" for text in label_words(alert))


def from_alertmanager(alerts: AlertsOut, found: list[AlertOut], now: datetime) -> None:
    """What an Alertmanager has of its own; nothing where none is set."""
    source = alerts.alertmanager
    if source is None:
        return
    st.header("In the Alertmanager")
    if not source.is_reachable:
        st.warning(
            frame.plain(f"Its own alerts are not shown: {source.detail.removesuffix('.')}."),
            icon=":material/cloud_off:",
        )
        return
    if not found:
        st.caption(frame.plain(foreign_words(source)))
        return
    st.caption(frame.plain(f"Read from {source.url} just now. They are acknowledged, silenced and resolved there."))
    for alert in found[:PER_PAGE]:
        with st.container(border=True, gap="xxsmall", key=f"foreign-{alert.fingerprint}"):
            silenced = f" {frame.badge(SILENCED)}" if alert.is_silenced else ""
            st.markdown(
                f"{frame.badge(severity_mark(alert.severity.value))} :gray-badge[:material/cloud: Alertmanager]{silenced} "
                f"&nbsp;:gray[:small[{frame.plain(since_words(alert, now))}]]"
            )
            source_link = f" [:material/open_in_new:]({alert.link} 'At its source')" if alert.link else ""
            st.markdown(f"**{frame.plain(alert.title)}**{source_link} &nbsp;{labels(alert)}")
            st.markdown(frame.plain(alert.summary))
    if len(found) > PER_PAGE:
        st.caption(f"and {count(len(found) - PER_PAGE)} more there")


def over_time(alerts: AlertsOut, now: datetime) -> None:
    """When each alert was firing."""
    st.header("Over time")
    begin = now - RANGES[frame.time_range()]
    spans = alert_spans(alerts.alerts, begin, now)
    if not spans:
        frame.empty("No alert was firing in this range.", "Choose a wider time range above.", icon="hourglass_empty")
        return
    figure = alert_charts.alert_timeline(spans, begin, now, frame.palette())
    frame.chart(figure, key="alerts-chart", alt="When each alert was firing, by rule and labels")
    if is_cut(alerts.alerts, spans, begin):
        st.caption("Only the newest lanes are drawn; a shorter time range shows all of its own.")


def render() -> None:
    """Draw the page."""
    st.title("Alerts")
    confirmation.show_notice()
    with frame.first_load(420):
        read = read_alerts()
    show_pending(read.value.alerts if read.value is not None else [])
    frame.live(live_part)


if __name__ == "__main__":
    render()
