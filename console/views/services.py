"""Services: does every part work, how much of the error budget is left, and what do the jobs do."""

from datetime import UTC, datetime

import streamlit as st

from console import charts, frame, session
from console.changes import MIN_REASON, role_refusal
from console.services import budget
from console.services import charts as availability_charts
from console.services.tiles import service_tiles
from console.wording import DASH, ago, count, seconds, share
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.availability import AvailabilityOut
from trajops.contracts.jobs import JobOut, JobRunsOut, job_title
from trajops.contracts.status import StatusOut

HOURS = {"24 hours": 24, "30 days": 720}
RUNS = 50


def live_part() -> None:
    """Verdict, tiles, error budget, latency and errors, jobs; refreshes by itself."""
    hours = HOURS.get(st.session_state.get("availability-hours") or "24 hours", 24)
    with frame.first_load(420):
        status = session.fetch("status", lambda c: c.status())
        availability = session.fetch(f"availability:{hours}", lambda c: c.availability(hours))
    frame.freshness(status, availability, key="services")
    if status.value is None:
        return
    now = datetime.now(UTC)
    verdict(status.value, availability.value)
    st.header("Parts")
    service_tiles(status.value)
    error_budget(availability.value, now)
    latency_and_errors(status.value, availability.value)
    jobs(status.value.jobs, now)


def verdict(status: StatusOut, availability: AvailabilityOut | None) -> None:
    """How everything stands in one sentence, and which routes the API's processes answer by."""
    mark, sentence = budget.verdict(status, availability)
    with st.container(border=True, key="services-verdict", gap="xsmall"):
        st.markdown(f"{frame.badge(mark)} &nbsp;**{frame.plain(sentence)}**")
        words = budget.processes_words(status.processes, status.route.epoch)
        if words:
            st.caption(frame.plain(words))


def error_budget(availability: AvailabilityOut | None, now: datetime) -> None:
    """What is left, how fast it burns, and availability over time."""
    st.header("Error budget")
    if availability is None:
        return
    if availability.last_probe_at is None:
        frame.empty("Nobody has probed the API yet.", "Start the workers with `python -m workers`; the job Probe the API asks every 5 s.")
        return
    days = availability.window_days
    tiles = [
        (
            "Budget left",
            share(availability.budget_left, 0),
            "missed" if (availability.budget_left or 0.0) < 0 else None,
            f"Share of the {budget.minutes(availability.allowed_min)} that may be bad in {days} days. Below 0 the objective is missed.",
        ),
        ("Bad so far", budget.minutes(availability.bad_min), None, f"Minutes of the last {days} days, each by its share of bad probes."),
        (
            "Availability",
            budget.availability_words(availability.availability),
            None,
            f"Good ones among the {count(availability.known_min)} known minutes of {days} days; objective {100 * availability.target:g} %.",
        ),
        (
            "Unknown",
            budget.minutes(availability.unknown_min),
            None,
            "So long nobody probed since the first probe: neither good nor bad, and no part of the window that the budget is a share of.",
        ),
        ("Last probe", ago(availability.last_probe_at, now), None, "The workers ask for a prediction as a client would."),
    ]
    with st.grid(5, min_column_width=150):
        for label, value, described, explanation in tiles:
            st.metric(
                label,
                value,
                delta=described,
                delta_color=frame.COLOURS[budget.budget_tone(availability.budget_left)],
                delta_arrow="off",
                help=explanation,
                border=True,
                height="stretch",
            )
    left, right = st.columns(2, gap="medium")
    with left:
        st.radio("Availability of the last", list(HOURS), horizontal=True, key="availability-hours", label_visibility="collapsed")
        frame.chart(
            availability_charts.availability_over_time(availability.series, availability.target, availability.bucket_s, frame.palette()),
            key="availability-chart",
            alt="Share of good minutes over time against the objective; stretches without a probe are grey",
            about=str(st.session_state.get("availability-hours")),
        )
    with right:
        frame.table(
            budget.burn_rows(availability),
            alt="How fast the error budget burns, by window",
            column_config={
                "Window": st.column_config.TextColumn(width=60),
                "State": st.column_config.TextColumn(width=130),
                "Burn rate": st.column_config.NumberColumn(
                    format="%.2f",
                    help=f"1 uses the budget up in exactly {days} days. By the minutes that are known, where they are half of the window.",
                ),
                "At least": st.column_config.NumberColumn(
                    format="%.2f", help="If every minute was good in which nobody probed. Alarms go by this."
                ),
                "Known": st.column_config.TextColumn(help="Share of the window in which somebody probed"),
                "Somebody is told above": st.column_config.TextColumn(
                    "Alarm above", help="An alarm needs both of its windows to burn faster than its factor."
                ),
            },
        )
        words = budget.failure_words(availability) or "No bad answer is on record."
        st.caption(frame.plain(f"{words.removesuffix('.')}. {budget.lived_words(availability)}".rstrip()))


def latency_and_errors(status: StatusOut, availability: AvailabilityOut | None) -> None:
    """What clients were answered beside what the probe met."""
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Answers to clients")
        if status.traffic:
            frame.chart(
                charts.traffic_over_time(status.traffic, frame.palette()), key="services-traffic", alt="Predictions and latency over time"
            )
            st.caption("The last 15 minutes; time in the API.")
        else:
            frame.empty("No prediction has been answered yet.", "Try one on the Live predict page.", page="views/live_predict.py")
    with right:
        st.header("Errors and latency of the probe")
        if availability is not None and availability.series:
            frame.chart(
                availability_charts.probe_over_time(availability.series, availability.bucket_s, frame.palette()),
                key="services-probe",
                alt="Share of bad probes and the slowest answer over time",
                about=str(st.session_state.get("availability-hours")),
            )
            st.caption(f"Buckets of {seconds(availability.bucket_s)}; time as a client sees it that comes for the first time.")
        else:
            frame.empty("Nobody has probed the API yet.", "Start the workers with `python -m workers`.")


def jobs(known: list[JobOut], now: datetime) -> None:
    """All background jobs; what needs a look comes first."""
    st.header("Background jobs")
    if not known:
        frame.empty("No job is known.", "Start the workers with `python -m workers`.")
        return
    frame.table(
        budget.job_table(known, now),
        alt="Background jobs with state, last run, duration and next time",
        column_config={"What it does": st.column_config.TextColumn(width="large")},
    )


# One job


def one_job() -> None:
    """Choose a job; run it now, pause or resume it."""
    read = session.fetch("jobs", lambda c: c.jobs(), max_age_s=5.0)
    if read.value is None or not read.value.jobs:
        return
    by_name = {job.job: job for job in read.value.jobs}
    st.header("One job")
    with st.container(horizontal=True, vertical_alignment="bottom", key="job-bar"):
        names, asked = list(by_name), st.query_params.get("job")
        chosen = st.selectbox(
            "Job", names, index=names.index(asked) if asked in names else 0, key="chosen-job", format_func=job_title, width=280
        )
        st.query_params["job"] = chosen  # by its raw name: titles may change, links should not
        job = by_name[chosen]
        refusal = role_refusal(session.role())
        if st.button("Run now", icon=":material/play_arrow:", key="run-job", disabled=refusal is not None, help=refusal):
            run_now(job)
        label, icon = ("Resume", "resume") if job.paused_at is not None else ("Pause", "pause")
        with st.popover(
            label, icon=f":material/{icon}:", disabled=refusal is not None, help=refusal, key=f"pause-popover-{job.job}-{icon}"
        ):
            if refusal is None:
                change_pause(job)
    frame.live(lambda: history(job))


def run_now(job: JobOut) -> None:
    """Ask for a run, and say what came of it."""
    try:
        with st.spinner(f"Asking the workers to run “{job_title(job.job)}”…"):
            run = session.client().run_job(job.job)
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error)
    else:
        words = {"running": "has begun", "succeeded": "has run", "failed": "has failed"}[run.state]
        icon = ":material/error:" if run.state == "failed" else ":material/check_circle:"
        session.flash(f"{job_title(job.job)} {words} · run {run.run_id}", icon)
        session.expire()
        st.rerun()


def change_pause(job: JobOut) -> None:
    """Ask for the reason, then pause or resume."""
    is_paused = job.paused_at is not None
    st.markdown(
        "It runs by its schedule again; what was missed is made up for."
        if is_paused
        else "It runs by hand only, until somebody resumes it. A run in progress goes on."
    )
    with st.form(f"pause-form-{job.job}-{is_paused}", border=False):
        reason = st.text_input(
            "Reason", key=f"pause-reason-{job.job}-{is_paused}", placeholder=f"At least {MIN_REASON} characters, for the audit"
        )
        label = "Resume this job" if is_paused else "Pause this job"
        is_sent = st.form_submit_button(label, key=f"pause-submit-{job.job}-{is_paused}", type="primary")
    if not is_sent:
        return
    if len(reason.strip()) < MIN_REASON:
        st.error(f"Say why in at least {MIN_REASON} characters.", icon=":material/error:")
        return
    try:
        client = session.client()
        (client.resume_job if is_paused else client.pause_job)(job.job, reason.strip())
    except (ApiProblem, ApiUnavailable) as error:
        frame.refused(error)
    else:
        session.flash(f"{job_title(job.job)} {'runs by its schedule again' if is_paused else 'is paused'}")
        session.expire()
        st.rerun()


def history(job: JobOut) -> None:
    """The newest runs of the chosen job, with what went wrong."""
    read = session.fetch(f"runs:{job.job}", lambda c: c.job_runs(job.job, RUNS))
    if read.value is None:
        frame.freshness(read, key="runs")
        return
    told: JobRunsOut = read.value
    now = datetime.now(UTC)
    st.markdown(frame.plain(budget.job_sentence(told, now)))
    failed = next((run for run in told.runs if run.error), None)
    if failed is not None and told.runs[0].state == "failed":
        st.error(frame.plain(failed.error or DASH), icon=":material/error:")
    if not told.runs:
        frame.empty("This job has not run yet.", "Run it now with the button above, or wait for its time.")
        return
    frame.table(
        budget.run_rows(told.runs),
        alt=f"Runs of the job {job_title(job.job)}, newest first",
        column_config={
            "Began (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
            "Result": st.column_config.TextColumn(width="large"),
            "Run": st.column_config.TextColumn(width="small"),
        },
    )


def render() -> None:
    """Draw the page."""
    st.title("Services")
    frame.live(live_part)
    one_job()


if __name__ == "__main__":
    render()
