"""An experiment taken apart: read when somebody asks for it, and labelled for what it is."""

from datetime import datetime
from typing import Any, TypeVar

import streamlit as st

from console import frame, session
from console.ab import charts
from console.ab.reads import read_errors, read_slices
from console.ab.words import METRICS, arm_words, bounds_words, signed
from console.wording import count, moment
from trajops.contracts.experiments import ExperimentErrorsOut, ExperimentOut, ExperimentSliceBy, ExperimentSliceOut, ExperimentSlicesOut

CHOICE = "ab-slices-by"
ERRORS = "ab-errors"
KINDS: dict[str, ExperimentSliceBy] = {"Scene": "scene", "Speed": "speed_band", "Step": "step", "Client": "client"}
_HEADS: dict[ExperimentSliceBy, str] = {"scene": "Scene", "speed_band": "Speed band", "step": "Step", "client": "Client"}
View = TypeVar("View", ExperimentSlicesOut, ExperimentErrorsOut)


def exploratory(experiment: ExperimentOut) -> None:
    """The effect in parts of the traffic, and how errors are spread, each once somebody asks for it."""
    _slices(experiment)
    details = st.expander("Errors of units", key=ERRORS, on_change="rerun")
    if details.open:
        with details:
            _errors(experiment)


def _errors(experiment: ExperimentOut) -> None:
    """Share of units whose error is at most so much, by arm."""
    plan = experiment.plan
    found = _told(read_errors(experiment.experiment_id))
    if found is None:
        return
    if not any(one.errors for one in found.arms):
        frame.empty(
            "Too few units have truth yet.", f"An arm has a line from {count(plan.stop.min_units)} units on.", icon="hourglass_empty"
        )
        return
    frame.chart(
        charts.unit_errors(plan, found.shares, found.arms, frame.palette()),
        key="ab-errors-chart",
        alt=f"Share of {plan.unit}s whose {METRICS[plan.metric]} is at most so much, a line an arm",
        about=experiment.experiment_id,
    )
    later = f" Received since {moment(found.since)}, the newest of very many." if _is_later(found.since, experiment.started_at) else ""
    st.caption(
        frame.plain(
            f"Share of {plan.unit}s whose mean {METRICS[plan.metric]} is at most so much. The line farther to the left has smaller errors; "
            f"the largest 2 % may lie beyond the axis.{later}"
        )
    )


def _told(read: session.Fetched[View]) -> View | None:
    """What was read, if there is something to be drawn; it is said what it is good for, or why nothing is shown."""
    found = read.value
    if read.problem is not None:
        st.caption(f":orange[:material/cloud_off: {frame.plain(read.problem)}]")
    if found is None:
        return None
    st.warning(frame.plain(found.label), icon=":material/explore:")
    if found.hidden_because is not None:
        st.info(frame.plain(f"Nothing is shown: {found.hidden_because}."), icon=":material/visibility_off:")
        return None
    return found


def _slices(experiment: ExperimentOut) -> None:
    """The effect in parts of the traffic, once a way to take it apart is chosen."""
    st.header("Slices", help="Where the effect is larger or smaller. What is found here is a hypothesis for the next experiment.")
    chosen = st.segmented_control("Take apart by", list(KINDS), key=CHOICE, label_visibility="collapsed")
    if chosen is None:
        st.caption("Choose what it is taken apart by. Exploratory: nothing is decided by it.")
        return
    found = _told(read_slices(experiment.experiment_id, KINDS[chosen]))
    if found is None:
        return
    if not found.slices:
        frame.empty("No slice has units in both arms yet.", "It fills in as truth arrives.", icon="hourglass_empty")
        return
    if any(one.change is not None for one in found.slices):
        frame.chart(
            charts.slice_effects(experiment.plan, found.slices, frame.palette(), metric_words(experiment, found)),
            key="ab-slices-chart",
            alt=f"Change of the error by {_HEADS[found.by].lower()}, each with its interval, and zero",
            about=experiment.experiment_id,
        )
    frame.table(
        [row(experiment, found, one) for one in found.slices],
        alt=f"Effect by {_HEADS[found.by].lower()}",
        column_config={"Change": st.column_config.TextColumn(help="Against A; none where an arm has too few units")},
    )
    st.caption(frame.plain(about(experiment, found)))


def row(experiment: ExperimentOut, found: ExperimentSlicesOut, one: ExperimentSliceOut) -> dict[str, Any]:
    """One slice as a row."""
    plan = experiment.plan
    has_length = found.by == "step" or plan.metric != "miss_rate"
    a, b = (f"{mean:.3f} m" if has_length else f"{100 * mean:.1f} %" for mean in (one.control_mean, one.treatment_mean))
    arm = {} if len(plan.arms) == 2 else {"Arm": arm_words(plan, one.variant)}
    return {
        _HEADS[found.by]: one.value.replace("_", " ") if found.by == "speed_band" else one.value,
        **arm,
        "Units A": one.control_units,
        "Units B" if len(plan.arms) == 2 else "Units": one.treatment_units,
        "A": a,
        "B" if len(plan.arms) == 2 else "Treatment": b,
        "Change": "too few units" if one.change is None else f"{signed(one.change)} ({bounds_words(one)})",
    }


def about(experiment: ExperimentOut, found: ExperimentSlicesOut) -> str:
    """What was read, of what, and what is left out."""
    least = experiment.plan.stop.min_units
    said = [f"Mean {metric_words(experiment, found)} over {experiment.plan.unit}s; an interval from {count(least)} units an arm on"]
    if _is_later(found.since, experiment.started_at):
        said.append(f"received since {moment(found.since)}, the newest of very many")
    if found.left_out:
        said.append(f"{count(found.left_out)} more with fewer units are not listed")
    return "; ".join(said) + "."


def metric_words(experiment: ExperimentOut, found: ExperimentSlicesOut) -> str:
    """What is compared: by step the displacement, whatever the metric."""
    return "displacement at the step" if found.by == "step" else METRICS[experiment.plan.metric]


def _is_later(since: datetime | None, started: datetime | None) -> bool:
    return since is not None and started is not None and since > started
