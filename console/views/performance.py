"""Performance: are the versions that answer as good as they were validated, where not, and do their intervals hold what they say."""

from datetime import UTC, datetime, timedelta

import streamlit as st

from console import confirmation, frame, session
from console.changes import role_refusal
from console.names import run_words
from console.performance import calibration_dialog
from console.performance import charts as performance_charts
from console.performance.words import (
    DIMENSIONS,
    METRICS,
    STEP_METRICS,
    calibration_sentence,
    coverage_tone,
    estimate_sentence,
    factor_words,
    figure_of,
    slice_rows,
)
from console.viewmodels import RANGES, ending_at
from console.wording import Mark, ago, calibration_mark, count, figure_mark, moment, share, tone_icon
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.calibrations import CalibrationOut, CalibrationsOut
from trajops.contracts.jobs import JobsOut
from trajops.contracts.performance import EstimateOut, PerformanceChecksOut, SliceBy, SlicesOut

LONGEST = timedelta(days=1)
GRID = timedelta(seconds=10)
JOB = "recalibrate"


def live_part() -> None:
    """Verdict, slices, calibrations and estimates; refreshes by itself."""
    chosen = frame.time_range()
    dimension = st.session_state.get("slice-by") or "Version"
    by = DIMENSIONS[dimension]
    with frame.first_load(420):
        whole = session.fetch(f"slices:model_version:{chosen}", lambda c: _slices(c, chosen, "model_version"))
        checks = session.fetch("performance-checks", lambda c: c.performance_checks())
        parts = whole if by == "model_version" else session.fetch(f"slices:{by}:{chosen}", lambda c: _slices(c, chosen, by))
        steps = session.fetch(f"slices:step:{chosen}", lambda c: _slices(c, chosen, "step"), max_age_s=5.0)
        calibrations = session.fetch("calibrations", lambda c: c.calibrations())
        carried = session.fetch(f"slices:calibration:{chosen}", lambda c: _slices(c, chosen, "calibration"), max_age_s=5.0)
        estimates = session.fetch(f"estimate:{chosen}", lambda c: _estimate(c, chosen), max_age_s=5.0)
        jobs = session.fetch("jobs", lambda c: c.jobs(), max_age_s=5.0)
    # The others may be some seconds older; they are named when they could not be read.
    failed = [read for read in (steps, carried, estimates, jobs) if read.problem is not None]
    frame.freshness(whole, checks, parts, calibrations, *failed, key="performance")
    if whole.value is None:
        return
    verdict(whole.value, checks.value)
    if RANGES[chosen] > LONGEST:
        st.caption("Figures are taken apart for the last 24 hours at most; longer ranges are on the Overview.")
    left, right = st.columns(2, gap="medium")
    with left:
        slices(parts.value, dimension, by)
    with right:
        horizon(steps.value)
    table(parts.value, dimension, by)
    intervals(calibrations.value, carried.value, jobs.value)
    before_truth(estimates.value)


def _range(chosen: str) -> tuple[datetime, datetime]:
    return ending_at(datetime.now(UTC), min(RANGES[chosen], LONGEST), GRID)


def _slices(client: session.TrajOpsClient, chosen: str, by: SliceBy) -> SlicesOut:
    return client.performance_slices(by, *_range(chosen))


def _estimate(client: session.TrajOpsClient, chosen: str) -> EstimateOut:
    return client.performance_estimate(*_range(chosen))


def verdict(whole: SlicesOut, checks: PerformanceChecksOut | None) -> None:
    """Live figures against validation in one sentence, and what the checks in the background say."""
    champion = next((one for one in whole.slices if one.model_version == whole.champion), None)
    with st.container(border=True, key="performance-verdict", gap="xsmall"):
        mark = figure_mark(champion.verdict if champion is not None else "too_little_data")
        st.markdown(f"{frame.badge(mark)} &nbsp;**{frame.plain(whole.sentence)}**")
        parts = [f"{moment(whole.since)} – {moment(whole.until)}"]
        if champion is not None:
            parts.append(f"{count(champion.agents)} agents, {count(champion.predictions)} predictions with truth for the whole horizon")
        parts.append(f"{share(whole.confidence, 0)} intervals over agents")
        st.caption(" · ".join(parts))
        latest = next((one for one in checks.latest if one.model_version == whole.champion), None) if checks is not None else None
        if latest is not None:
            when = f"Last check {ago(latest.at, datetime.now(UTC))}: "
            frame.small(when, figure_mark(latest.verdict), latest.sentence)


def slices(found: SlicesOut | None, dimension: str, by: SliceBy) -> None:
    """Dots with whiskers, taken apart as chosen."""
    st.header("Live figures against validation")
    with st.container(horizontal=True):
        st.radio("Take apart by", list(DIMENSIONS), horizontal=True, key="slice-by")
        name = st.selectbox("Figure", list(METRICS), key="slice-metric", width=150)
    if found is None:
        return
    if not found.slices:
        _empty("slices")
        return
    metric = METRICS[name]
    if not any(figure_of(one, metric) for one in found.slices):
        frame.empty(f"No prediction of this range carries its {name.lower()} yet.", "Choose another figure above.")
        return
    frame.chart(
        performance_charts.slice_dots(found.slices, by, metric, frame.palette(), nominal=found.nominal_coverage),
        key="slice-chart",
        alt=f"{name} with intervals by {dimension.lower()}, beside validation",
    )


def horizon(found: SlicesOut | None) -> None:
    """The figures at each step of the horizon."""
    st.header("By step of the horizon")
    name = st.selectbox("Figure at each step", list(STEP_METRICS), key="step-metric", width=150)
    if found is None:
        return
    if not found.slices:
        _empty("horizon")
        return
    frame.chart(
        performance_charts.by_step(found.slices, STEP_METRICS[name], frame.palette(), nominal=found.nominal_coverage),
        key="step-chart",
        alt=f"{name} at each step of the horizon with intervals, beside validation",
    )


def _empty(key: str) -> None:
    frame.empty_range("No prediction of this range has its truth yet; it is scored about 5 s after the answer.", _newest(), key=key)


def _newest() -> datetime | None:
    """When truth arrived last, in whichever range."""
    read = session.fetch("newest-outcome", lambda c: c.performance(*_range("15m")), max_age_s=10.0)
    return None if read.value is None else read.value.last_outcome_at


def table(found: SlicesOut | None, dimension: str, by: SliceBy) -> None:
    """All figures of the slices."""
    if found is None or not found.slices:
        return
    number = st.column_config.NumberColumn
    frame.table(
        slice_rows(found.slices, by, dimension),
        alt=f"Live figures by {dimension.lower()} and version",
        column_config={
            "Verdict": st.column_config.TextColumn(
                help="The gravest of the figures; degraded: the whole interval lies beyond the tolerance"
            ),
            "ADE (m)": number(format="%.3f"),
            "FDE (m)": number(format="%.3f"),
            "Miss rate (%)": number("Miss rate", format="%.1f %%", help="Final displacement above the threshold"),
            "NLL (nats)": number(format="%.2f"),
            "Steps inside ellipse (%)": number("Coverage", format="%.1f %%", help=f"Nominal {share(found.nominal_coverage, 0)}"),
            "Radius (m)": number(
                format="%.2f", help="Sharpness: radius of the circle as large as the nominal ellipse, mean over the steps"
            ),
            "ADE at validation (m)": number(format="%.3f"),
        },
    )


def intervals(found: CalibrationsOut | None, carried: SlicesOut | None, jobs: JobsOut | None) -> None:
    """Calibrations in force and proposed, with coverage before and after, and what may be done about them."""
    st.header("Calibration of the intervals")
    last = next((job.last_run for job in jobs.jobs if job.job == JOB), None) if jobs is not None else None
    if last is not None and last.finished_at is not None:
        st.caption(frame.plain(f"Last recalibration {ago(last.finished_at, datetime.now(UTC))}: {run_words(last)}"))
    if found is None:
        return
    if not found.calibrations:
        frame.empty("No calibration has been made yet: the versions are served as they were trained.", "Press “Recalibrate now” above.")
    refusal = role_refusal(session.role())
    open_ones = [one for one in found.calibrations if one.state in {"applied", "proposed"}]
    if found.calibrations and not open_ones:
        newest = found.calibrations[0]
        frame.empty(
            f"Nothing is in force: calibration {newest.number} was taken out by {newest.changed_by}.",
            "Press “Recalibrate now” above for a proposal.",
        )
    for one in open_ones[:4]:
        _card(one, carried, refusal)
    rest = [one for one in found.calibrations if one not in open_ones]
    if rest:
        with st.expander(f"Earlier calibrations ({count(len(rest))})", key="earlier-calibrations"):
            for one in rest[:10]:
                st.caption(
                    f"**{one.number}** of v{one.model_version} · {frame.badge(calibration_mark(one.state))} "
                    f"{moment(one.changed_at)} by {frame.plain(one.changed_by)} · {frame.plain(calibration_sentence(one))}"
                )


def _card(one: CalibrationOut, carried: SlicesOut | None, refusal: str | None) -> None:
    with st.container(border=True, key=f"calibration-{one.number}", gap="xsmall"):
        head, buttons = st.columns([4, 1], vertical_alignment="center")
        with head:
            st.markdown(
                f"{frame.badge(calibration_mark(one.state))} &nbsp;**Calibration {one.number} of v{one.model_version}** "
                f"&nbsp;:gray[:small[{ago(one.made_at, datetime.now(UTC))} · {factor_words(one.factors)}]]"
            )
            st.markdown(frame.plain(calibration_sentence(one)))
            live = _live_coverage(one, carried)
            if live is not None:
                st.markdown(live)
        with buttons:
            actions: tuple[calibration_dialog.ActionName, ...] = ("revert",) if one.state == "applied" else ("apply", "revert")
            for action in actions:
                label = "Refuse" if (action, one.state) == ("revert", "proposed") else calibration_dialog.LABELS[action]
                is_pressed = st.button(
                    label,
                    key=f"{action}-calibration-{one.number}",
                    disabled=refusal is not None,
                    help=refusal,
                    width="stretch",
                    on_click=confirmation.open_dialog,
                    args=(calibration_dialog.Pending("", action, one),),
                )
                if is_pressed:
                    st.rerun()  # of the whole page: the dialog does not belong to the part that refreshes


def _live_coverage(one: CalibrationOut, carried: SlicesOut | None) -> str | None:
    """Coverage of what was served with a calibration, beside what was served without, in the chosen range."""
    mine = [found for found in carried.slices if found.model_version == one.model_version] if carried is not None else []
    said = []
    for value, words in (("0", "as trained"), (str(one.number), "with this calibration")):
        figure = next((figure_of(found, "coverage") for found in mine if found.value == value), None)
        if figure is not None and figure.mean is not None:
            tone = coverage_tone(figure.mean, one.nominal_coverage)
            mark = Mark(share(figure.mean), tone, tone_icon(tone))
            between = "" if figure.low is None else f" ({share(figure.low)} to {share(figure.high)})"
            said.append(f"{frame.badge(mark)} {words}{between}")
    return f"Live in this range: {' &nbsp;→&nbsp; '.join(said)}" if said else None


def before_truth(found: EstimateOut | None) -> None:
    """The error of what has no truth yet, and how such estimates came out."""
    st.header("Estimated before truth, observed since")
    if found is None:
        return
    versions = [one for one in found.versions if any(point.predictions for point in one.points)]
    if not versions:
        frame.empty_range("No prediction in this range.", _newest(), key="before-truth")
        return
    names = {f"v{one.model_version}": one for one in sorted(versions, key=lambda one: -sum(point.predictions for point in one.points))}
    chosen = st.radio("Version", list(names), horizontal=True, key="estimate-version", label_visibility="collapsed")
    one = names.get(chosen or "") or next(iter(names.values()))
    st.markdown(frame.plain(estimate_sentence(one)))
    frame.chart(
        performance_charts.estimated_against_observed(one, frame.palette()),
        key="estimate-chart",
        alt=f"ADE of v{one.model_version}, estimated before its truth and observed since",
    )
    st.caption(
        "What covariances expect, times what was observed of it in each speed band. "
        "Errors that neither speed nor spread shows are not seen."
    )


def recalibrate_now() -> None:
    """Run the recalibration at once, on behalf of an operator."""
    refusal = role_refusal(session.role())
    if st.button("Recalibrate now", icon=":material/tune:", key="recalibrate", disabled=refusal is not None, help=refusal):
        try:
            with st.spinner("Asking the workers for a recalibration…"):
                run = session.client().run_job(JOB)
        except (ApiProblem, ApiUnavailable) as error:
            frame.refused(error)
        else:
            session.flash(f"Recalibration {run.state} · run {run.run_id}")
            session.expire()
            st.rerun()


def render() -> None:
    """Draw the page."""
    st.title("Performance")
    recalibrate_now()
    calibration_dialog.show_pending()
    frame.live(live_part)


if __name__ == "__main__":
    render()
