"""Overview: is everything well, what is firing, how accurate are the live predictions, what changed, what do the jobs do."""

from dataclasses import replace
from datetime import UTC, datetime

import streamlit as st

from console import charts, confirmation, frame, session
from console.ab.reads import read_experiments
from console.ab.words import banner_mark, overview_words, routed
from console.alerts.answer_words import is_proposed, proposals_sentence
from console.alerts.answers import read_answers
from console.alerts.dialogs import about_alert, show_pending
from console.alerts.history import alert_label
from console.alerts.words import alert_actions, by_severity, evaluation_problem, firing_sentence, is_foreign, since_words
from console.names import action_words, actor_words
from console.reads import read_performance
from console.services.tiles import service_tiles
from console.viewmodels import (
    accuracy_sentence,
    gain_over_constant_velocity,
    job_rows,
    merged_row,
    paused_words,
    performance_rows,
)
from console.wording import ago, count, drift_mark, metres, milliseconds, moment, severity_mark, share, standing_mark
from trajops.contracts.alerts import AlertOut, AlertsOut
from trajops.contracts.answers import AnswersOut
from trajops.contracts.experiments import ExperimentsOut
from trajops.contracts.performance import PerformanceOut
from trajops.contracts.status import StatusOut

WORST = 3
METRICS: dict[str, charts.Metric] = {"ADE": "ade_m", "FDE": "fde_m", "Coverage": "coverage"}


def live_part() -> None:
    """Everything that changes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # The confirmation belongs to the page, where refreshes of this part do not reach it.
    chosen = frame.time_range()
    with frame.first_load(420):
        status = session.fetch("status", lambda c: c.status())
        performance = read_performance(chosen)
        alerts, answers, experiments = read_alerts(), read_answers(), read_experiments()
    frame.freshness(status, performance, alerts, key="overview")
    if status.value is None:
        return
    now = datetime.now(UTC)
    with st.grid(2, min_column_width=340, border=True) as grid:
        with grid.cell():
            verdict(status.value, performance.value)
            running_test(experiments.value)
        with grid.cell():
            open_alerts(alerts.value, answers.value, now)
    figures(status.value, performance.value)
    services(status.value)
    accuracy(performance.value)
    over_time(status.value, performance.value)
    changes(status.value, now)
    jobs(status.value, now)
    if status.value.environment == "demo":
        st.caption("Demo data: SkillCorner open data (MIT)")


def read_alerts() -> session.Fetched[AlertsOut]:
    """Alerts that are firing: more than are shown, because those that an Alertmanager has of its own may be among them."""
    return session.fetch("alerts:active", lambda c: c.alerts("active", limit=20))


def verdict(status: StatusOut, performance: PerformanceOut | None) -> None:
    """The state of the product in one sentence, then its accuracy in another."""
    with st.container(key="verdict", gap="xsmall"):
        st.markdown(f"{frame.badge(standing_mark(status))} &nbsp;**{frame.plain(status.sentence)}**")
        if performance is not None:
            st.markdown(frame.plain(accuracy_sentence(performance, status.route)))
        route = status.route
        parts = [f"Champion **v{route.champion.model_version}**" if route.champion else "No champion"]
        if route.challenger is not None and not route.coverage:
            parts.append(f"challenger **v{route.challenger.model_version}** paused")
        elif route.challenger is not None:
            parts.append(f"challenger **v{route.challenger.model_version}** on {share(route.coverage / 2, 0)} of agents")
        else:
            parts.append("no challenger")
        parts.append(f"routing epoch {route.epoch}")
        parts.append(f"drift {frame.badge(drift_mark(status.drift_verdict))}")
        if status.budget_left is not None:
            parts.append(f"error budget **{share(status.budget_left, 0)}** left")
        st.markdown(" · ".join(parts))
        paused = paused_words(route, status.drift_verdict)
        if paused:
            st.markdown(f":orange[:material/pause_circle:] {frame.plain(paused)}")
            st.page_link("views/models.py", label="Resume or stop it", icon=":material/arrow_forward:", help="")


def running_test(experiments: ExperimentsOut | None) -> None:
    """Which experiment decides now who answers whom, how it stands, and the way to it; nothing where none does."""
    said = overview_words(experiments.experiments) if experiments is not None else None
    if experiments is None or said is None:
        return
    newest = routed(experiments.experiments)[0]
    with st.container(gap="xxsmall", key="running-test"):
        st.markdown(f"{frame.badge(banner_mark(newest))} &nbsp;{frame.plain(said)}")
        about = {"experiment": newest.experiment_id}
        st.page_link("views/ab_tests.py", label="Look at the A/B test", icon=":material/arrow_forward:", help="", query_params=about)


def open_alerts(alerts: AlertsOut | None, answers: AnswersOut | None, now: datetime) -> None:
    """How many alerts are firing, how bad they are, what is proposed about them, and the worst of them to acknowledge."""
    with st.container(key="open-alerts", gap="xsmall"):
        if alerts is None:
            st.markdown("**Alerts cannot be read.**")
            return
        counts = " ".join(frame.badge(replace(mark, word=f"{count(n)} {mark.word.lower()}")) for mark, n in by_severity(alerts.counts) if n)
        st.markdown(f"{counts} &nbsp;**{frame.plain(firing_sentence(alerts.counts))}**")
        problem = evaluation_problem(alerts, now)
        if problem is not None:
            st.markdown(f":red[:material/visibility_off:] {problem}")
        waiting = [answer for answer in answers.answers if is_proposed(answer)] if answers is not None else []
        proposed = proposals_sentence(waiting)
        if proposed is not None:
            st.markdown(f":orange[:material/pending_actions:] {frame.plain(proposed)}")
            about, label = ({"alert": waiting[0].alert_id}, "Look at it") if len(waiting) == 1 else ({"section": "Answers"}, "Look at them")
            st.page_link("views/alerts.py", label=label, icon=":material/arrow_forward:", help="", query_params=about)
        for alert in [a for a in alerts.alerts if not is_foreign(a)][:WORST]:
            bad_alert(alert, now)
        st.page_link("views/alerts.py", label="All alerts, silences and receivers", icon=":material/notifications:", help="")


def bad_alert(alert: AlertOut, now: datetime) -> None:
    """One of the worst alerts: how bad, since when, the way to it; and the button of somebody who looks after it."""
    with st.container(gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(frame.badge(severity_mark(alert.severity.value)), width="content")
            st.caption(since_words(alert, now), width="content")
            st.space("stretch")
            for action in alert_actions(alert, session.role()):
                if action.name == "acknowledge":
                    pending = about_alert("acknowledge", alert)
                    confirmation.button(action.label, pending, key=f"acknowledge-{alert.alert_id}", refusal=action.refusal)
        st.page_link(
            "views/alerts.py",
            label=frame.plain(alert_label(alert)),
            icon=":material/arrow_forward:",
            help="",
            query_params={"alert": alert.alert_id},
        )


def figures(status: StatusOut, performance: PerformanceOut | None) -> None:
    """The champion's live figures."""
    champion = status.route.champion
    row = merged_row(performance.rows, champion.model_version) if performance is not None and champion is not None else None
    gain = gain_over_constant_velocity(row) if row is not None else None
    tiles = [
        ("Live ADE", metres(row.ade_m if row else None), "Mean distance between prediction and truth over the 12 steps."),
        ("Live FDE", metres(row.fde_m if row else None), "Distance at the last step, 4.8 s ahead."),
        (
            "Coverage",
            share(row.coverage if row else None),
            "Share of steps whose truth lies inside the ellipse"
            + (f"; nominal {share(performance.nominal_coverage, 0)}." if performance else "."),
        ),
        ("Predictions", count(row.predictions if row else None), "Answers of the champion in the time range."),
        ("Time to answer, p95", milliseconds(row.latency_p95_ms if row else None), "Time in the API for 95 % of the answers."),
    ]
    with st.grid(5, min_column_width=150):
        for label, value, explanation in tiles:
            described = gain.short if gain is not None and label == "Live ADE" else None
            tone = gain.tone if gain is not None else "unknown"
            st.metric(
                label,
                value,
                delta=described,
                delta_color=frame.COLOURS[tone],
                delta_arrow="off",
                help=explanation,
                border=True,
                height="stretch",
            )


def services(status: StatusOut) -> None:
    """One tile a service: name, health, detail."""
    st.header("Services")
    service_tiles(status)


def accuracy(performance: PerformanceOut | None) -> None:
    """Live accuracy by version and variant, against constant velocity, and over time."""
    st.header("Live accuracy")
    if performance is None:
        return
    if not performance.rows:
        if performance.last_outcome_at is not None:
            frame.empty_range("No prediction of this range has been scored.", performance.last_outcome_at, key="accuracy")
        else:
            frame.empty("No prediction has been scored yet.", "Send positions to `/predict`; truth is scored about 5 s later.")
        return
    frame.table(
        performance_rows(performance.rows),
        alt="Live accuracy by model version and variant",
        column_config={
            "Joined": st.column_config.NumberColumn(format="%.0f %%", help="Share of predictions old enough for truth that have any"),
            "ADE (m)": st.column_config.NumberColumn(format="%.3f"),
            "FDE (m)": st.column_config.NumberColumn(format="%.3f"),
            "Miss rate": st.column_config.NumberColumn(format="%.1f %%", help="Final displacement above 2 m"),
            "Coverage": st.column_config.NumberColumn(
                format="%.1f %%", help=f"Steps inside the ellipse; nominal {share(performance.nominal_coverage, 0)}"
            ),
            "NLL (nats)": st.column_config.NumberColumn(format="%.2f"),
            "CV ADE (m)": st.column_config.NumberColumn(format="%.3f", help="Constant velocity over the same steps"),
            "Answer p95 (ms)": st.column_config.NumberColumn(format="%.2f", help="Time in the API for 95 % of the answers"),
        },
    )
    st.caption(f"{moment(performance.since)} – {moment(performance.until)} · CV: constant velocity over the same steps")


def over_time(status: StatusOut, performance: PerformanceOut | None) -> None:
    """Accuracy over time beside traffic over time."""
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Accuracy over time")
        metric = st.radio("Figure over time", list(METRICS), horizontal=True, key="accuracy-metric", label_visibility="collapsed")
        if performance is not None and any(getattr(point, METRICS[metric]) is not None for point in performance.series):
            frame.chart(
                charts.accuracy_over_time(
                    performance.series, METRICS[metric], frame.palette(), nominal_coverage=performance.nominal_coverage
                ),
                key="accuracy-chart",
                alt=f"{metric} over time by model version",
            )
        else:
            newest = None if performance is None else performance.last_outcome_at
            frame.empty_range("Nothing has been scored in this range.", newest, key="over-time")
    with right:
        st.header("Traffic")
        if status.traffic:
            frame.chart(
                charts.traffic_over_time(status.traffic, frame.palette()), key="traffic-chart", alt="Predictions and latency over time"
            )
        else:
            frame.empty("No prediction has been answered yet.", "Try one on the Live predict page.", page="views/live_predict.py")


def changes(status: StatusOut, now: datetime) -> None:
    """Who changed what, when and why."""
    st.header("Recent changes")
    if not status.changes:
        frame.empty("Nothing has been changed yet.", "Stage or promote a version on the Models page.", page="views/models.py")
        return
    with st.container(gap="xsmall", key="recent-changes"):
        for entry in status.changes[:5]:
            when = f"{ago(entry.at, now)} · {frame.plain(actor_words(entry.actor))}"
            with st.container(border=True, gap=None):
                st.markdown(f"**{frame.plain(action_words(entry))}** &nbsp;:gray[:small[{when}]]")
                frame.audited(entry.reason, entry.audit_id)


def jobs(status: StatusOut, now: datetime) -> None:
    """Background jobs: last run, duration, result."""
    st.header("Background jobs")
    if not status.jobs:
        frame.empty("No job is known.", "Start the workers with `python -m workers`.")
        return
    frame.table(
        job_rows(status.jobs, now),
        alt="Background jobs with last run, duration and result",
        column_config={
            "Result": st.column_config.TextColumn(width="large"),
            "Raw name": st.column_config.TextColumn(help="As the job is called in configs/schedules.yaml, in the API and in the logs"),
        },
    )


def render() -> None:
    """Draw the page."""
    st.title("Overview")
    confirmation.show_notice()
    show_pending([])  # Alerts can be acknowledged here; silences, whose form counts what they hold for, are laid on the Alerts page.
    frame.live(live_part)


if __name__ == "__main__":
    render()
