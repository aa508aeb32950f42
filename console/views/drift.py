"""Drift: does the traffic still look like the reference, and if not, which column moved."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from console import confirmation, drift_charts, frame, session
from console.changes import reason_problem, role_refusal
from console.drift_choices import CHOICES, reference_words
from console.viewmodels import RANGES, carriers_sentence, check_rows, drift_rows, quality_rows, scene_rows
from console.wording import ago, count, drift_mark, moment
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.drift import (
    MOST_CHECKS,
    DriftCheckOut,
    DriftReportOut,
    DriftSettings,
    MuteIn,
    ReferenceChoice,
    ReferenceIn,
    column_title,
    column_words,
)

TOO_LITTLE = (
    "**Too little data** is a verdict of its own: the windows hold too few agents for the comparison to mean anything, "
    "so nothing is said about drift, neither yes nor no. It ends by itself as traffic arrives."
)


ALL = "All traffic"
MUTES: dict[str, timedelta | None] = {
    "1 hour": timedelta(hours=1),
    "8 hours": timedelta(hours=8),
    "2 days": timedelta(days=2),
    "Speak again": None,
}


def live_part() -> None:
    """Verdict, heat map, histogram and tables; refreshes by itself."""
    scene = st.query_params.get("scene")
    with frame.first_load(420):
        chosen = frame.time_range()
        read = session.fetch(f"drift:{scene}:{chosen}", lambda c: c.drift(scene, _since(chosen)))
    frame.freshness(read, key="drift")
    if read.value is None:
        if scene is not None:
            st.button(ALL, icon=":material/arrow_back:", key="drift-all", on_click=st.query_params.pop, args=("scene", None))
        return
    latest = read.value.latest
    if latest is None:
        frame.empty("No drift check has run yet.", "Run one now with the button above, or wait for the schedule.", icon="query_stats")
        return
    choose_scene(latest, scene)
    verdict(latest, read.value.last_report)
    if latest.verdict == "insufficient_data":
        st.info(TOO_LITTLE, icon=":material/hourglass_empty:")
    since = _since(chosen)
    checks = list(dict.fromkeys([latest.check_id, *(c.check_id for c in read.value.history)]))
    by_id = {c.check_id: c for c in [*read.value.history, latest]}
    past = [by_id[i] for i in checks]
    columns(latest, [c for c in past if c.at >= since], scene, has_report=read.value.last_report is not None)
    scenes_and_quality(latest, scene)
    history(past)
    choices(read.value.settings, latest)


def _since(chosen: str) -> datetime:
    """Begin of the chosen range, on a grid of ten seconds, so that one answer serves all sessions."""
    return datetime.fromtimestamp(time.time() // 10 * 10, UTC) - RANGES[chosen]


def choose_scene(latest: DriftCheckOut, scene: str | None) -> None:
    """All traffic or one scene; the choice is in the address, so that a link opens it."""
    names = [one.scene for one in latest.scenes]
    if not names and scene is None:
        return
    options = list(dict.fromkeys([ALL, *names, *([scene] if scene else [])]))
    chosen = st.selectbox("Scene", options, index=options.index(scene or ALL), key=f"drift-scene-{scene}")
    if chosen != (scene or ALL):
        if chosen == ALL:
            del st.query_params["scene"]
        else:
            st.query_params["scene"] = chosen
        st.rerun()


def scenes_and_quality(latest: DriftCheckOut, scene: str | None) -> None:
    """Verdicts by scene, and what the rules on data quality found."""
    if latest.scenes and scene is None:
        st.header("Scenes")
        frame.table(
            scene_rows(latest.scenes),
            alt="Verdicts by scene, worst first",
            column_config={"What it says": st.column_config.TextColumn(width="large")},
        )
    if latest.quality:
        st.header("Data quality")
        frame.table(
            quality_rows(latest.quality),
            alt="Findings on data quality, worst first",
            column_config={
                "Value": st.column_config.NumberColumn(
                    format="%.3g", help="A share of agents or positions, a ratio, or nats; see the sentence"
                ),
                "Limit": st.column_config.NumberColumn(format="%.3g"),
                "What it says": st.column_config.TextColumn(width="large"),
            },
        )


def choices(settings: DriftSettings, latest: DriftCheckOut) -> None:
    """What operators have chosen, and the forms to choose something else."""
    refusal = role_refusal(session.role())
    with st.expander("Reference and muted columns", icon=":material/tune:", key="drift-choices"):
        now = datetime.now(UTC)
        muted = [f"{column_words(one.column)} until {moment(one.until)}" for one in settings.mutes if one.until > now]
        st.caption(f"Reference: {reference_words(settings.reference)} · muted: {', '.join(muted) or 'nothing'}")
        with st.form("drift-reference", border=False):
            kind = st.selectbox("Compare traffic with", list(CHOICES), format_func=CHOICES.__getitem__)
            begin, end = st.columns(2)
            since = begin.datetime_input("From (UTC), for a range", value=(now - timedelta(days=1)).replace(tzinfo=None))
            until = end.datetime_input("To (UTC)", value=now.replace(tzinfo=None))
            reason = confirmation.reason_area("drift-reference-reason")
            if st.form_submit_button("Choose this reference", disabled=refusal is not None, help=refusal):
                is_range = kind == "range"
                choice = ReferenceChoice(
                    kind=kind,
                    since=since.replace(tzinfo=UTC) if is_range else None,
                    until=until.replace(tzinfo=UTC) if is_range else None,
                )
                _change(reason, lambda c: c.choose_reference(ReferenceIn(reference=choice, reason=reason.strip())), "Reference chosen")
        with st.form("drift-mute", border=False):
            names = list(dict.fromkeys(c.column.removesuffix("_ratio") for c in latest.columns)) or ["speed_mps"]
            column = st.selectbox("Column", names, format_func=column_words)
            length = st.selectbox("Mute it for", list(MUTES))
            reason = confirmation.reason_area("drift-mute-reason")
            if st.form_submit_button("Mute the column", disabled=refusal is not None, help=refusal):
                span = MUTES[length]
                ends = None if span is None else now + span
                done = "Muted" if span else "Speaks again"
                _change(reason, lambda c: c.mute_column(column, MuteIn(until=ends, reason=reason.strip())), done)


def _change(reason: str, call: Callable[[Any], Any], done: str) -> None:
    if not confirmation.is_complete(reason_problem(reason)):
        return
    try:
        call(session.client())
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error)
    else:
        session.flash(f"{done}; it holds from the next check on")
        session.expire()
        st.rerun()


def verdict(check: DriftCheckOut, report: DriftReportOut | None) -> None:
    """The verdict in one sentence, the windows that it compares, and the newest full report, which few checks have."""
    with st.container(border=True, key="drift-verdict", gap="xsmall"):
        st.markdown(f"{frame.badge(drift_mark(check.verdict))} &nbsp;**{frame.plain(check.sentence)}**")
        reference = (
            f"{moment(check.reference_since)} – {moment(check.reference_until)}" if check.reference_since is not None else "none yet"
        )
        st.caption(
            f"Current window {moment(check.current_since)} – {moment(check.current_until)}, {count(check.current_agents)} agents · "
            f"reference {reference}, {count(check.reference_agents)} agents · checked {ago(check.at, datetime.now(UTC))}"
        )
        if report is not None:
            st.link_button(
                f"Last full report, {_when(report.at)}",
                f"/session/drift-reports/{report.check_id}",
                icon=":material/open_in_new:",
                key="open-report",
            )


def _when(at: datetime) -> str:
    """The time of day, with the date if it is another one than today's."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == datetime.now(UTC).date() else moment(at)


def columns(latest: DriftCheckOut, checks: list[DriftCheckOut], scene: str | None, *, has_report: bool) -> None:
    """Which column drifted, when and how, in all traffic or one scene; `has_report`: a full report stands above."""
    if not latest.columns:
        return
    grid = st.grid(2, min_column_width=400, gap="medium")
    with grid.cell():
        st.header("Score against threshold, by column and check")
        if checks:
            frame.chart(
                drift_charts.drift_heatmap(checks, frame.palette()),
                key="drift-heatmap",
                alt="How far each column had gone towards its threshold in each check",
                about=scene or ALL,
            )
        else:
            frame.empty_range("No check in this range.", latest.at, key="heatmap")
    with grid.cell():
        st.header("Reference and current")
        with_bins = [c for c in latest.columns if len(c.bins) > 1]
        if with_bins:
            ordered = sorted(with_bins, key=lambda c: not c.is_drifted)
            by_name = {c.column: c for c in ordered}
            name = st.selectbox("Column", list(by_name), key="drift-column", format_func=column_title)
            frame.chart(
                drift_charts.reference_against_current(by_name[name], frame.palette()),
                key="drift-histogram",
                alt=f"Distribution of {column_words(name)}, reference against current window",
                about=scene or ALL,
            )
            st.caption("Dotted line: reference mean. Dashed line: current mean.")
        else:
            report = "Open the full report above, or wait" if has_report else "Wait"
            frame.empty("This check kept no histograms.", f"{report} for the next check that has enough data.")
    st.header("Columns of the newest check")
    rows = drift_rows(latest.columns)
    frame.table(
        rows,
        alt="Compared columns with score, threshold and means",
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f", help="In the unit that “Method” names"),
            "Threshold": st.column_config.NumberColumn(
                format="%.3f",
                help="A higher score is drift. A ratio of medians has a threshold on either side of 1; the nearer one is shown.",
            ),
            "Share of threshold": st.column_config.ProgressColumn(
                "Of threshold",
                format="%.2f",
                width=90,
                min_value=0.0,
                max_value=2.0,
                help="0: like the reference. From 1 on: drifted, in either direction.",
            ),
            "Reference": st.column_config.NumberColumn(format="%.3f", help="Mean; for a ratio of medians, the median"),
            "Current": st.column_config.NumberColumn(format="%.3f", help="Mean; for a ratio of medians, the median"),
            "Raw name": st.column_config.TextColumn(help="As the column is called in configs/drift.yaml and in the API"),
        },
    )
    carried = carriers_sentence(latest.columns)
    if carried is not None:
        st.caption(frame.plain(carried))


def history(checks: list[DriftCheckOut]) -> None:
    """Past checks, newest first."""
    st.header("Past checks")
    rows = check_rows(checks[:200])
    frame.table(
        rows,
        alt="Past drift checks, newest first",
        column_config={
            "Checked (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
            "What it says": st.column_config.TextColumn(width=320),
            "Full report": st.column_config.LinkColumn(display_text="Open"),
        },
    )
    if len(checks) >= MOST_CHECKS:
        st.caption("Where the time range holds more checks, the worst of each part of it is shown.")


def run_now() -> None:
    """Run the scheduled drift job at once, on behalf of an operator."""
    jobs = session.fetch("jobs", lambda c: c.jobs(), max_age_s=10.0)
    name = next((j.job for j in jobs.value.jobs if "drift" in j.job), None) if jobs.value is not None else None
    refusal = role_refusal(session.role()) or (None if name else "The workers have not announced a drift job; start them first.")
    if st.button("Run a check now", icon=":material/play_arrow:", key="run-drift", disabled=refusal is not None, help=refusal) and name:
        try:
            with st.spinner("Asking the workers for a drift check…"):
                run = session.client().run_job(name)
        except (ApiProblem, ApiUnavailable) as error:
            frame.refused(error)
        else:
            session.flash(f"Drift check {run.state} · run {run.run_id}")
            session.expire()
            st.rerun()


def render() -> None:
    """Draw the page."""
    st.title("Drift")
    run_now()
    frame.live(live_part)


if __name__ == "__main__":
    render()
