"""The checklist before a launch, and how long an experiment will take."""

import hashlib

import streamlit as st

from console import frame, session
from console.ab.planning import CHANGES, check_mark, check_title, duration_words, with_change
from console.wording import count
from trajops.contracts.experiments import ChecklistOut, ExperimentPlan

MAX_AGE_S = 20.0


def check_of(plan: ExperimentPlan) -> session.Fetched[ChecklistOut]:
    """The checklist of a plan, by the recent traffic."""
    text = plan.model_dump_json(exclude={"name", "hypothesis"})
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return session.fetch(f"check:{key}", lambda c: c.check_experiment(plan), max_age_s=MAX_AGE_S)


def checklist(read: session.Fetched[ChecklistOut]) -> None:
    """Line by line: fine, a warning, or what blocks it."""
    if read.value is None:
        st.error(frame.plain(f"It cannot be checked now. {read.problem}"), icon=":material/cloud_off:")
        return
    with st.container(border=True, gap="xsmall", key="checklist"):
        for one in read.value.checks:
            st.markdown(f"{frame.badge(check_mark(one.state))} **{check_title(one.name)}** &nbsp;{frame.plain(one.detail)}")
        if read.problem is not None:
            st.caption(frame.plain(f"As of a moment ago: {read.problem}"))


def calculator(plan: ExperimentPlan, read: session.Fetched[ChecklistOut]) -> None:
    """How many units and how long the expected change takes; other changes beside it when they are asked for."""
    found = read.value
    tiles = [
        ("Expected change", f"−{-100 * plan.expected_change:g} %", "Change it above; a smaller one takes more units."),
        (
            f"{plan.unit.capitalize()}s needed",
            count(found.expected_units if found else None),
            "Of all arms, to find it in four of five experiments.",
        ),
        ("Takes about", duration_words(found.expected_s if found else None), "At the present rate of new units."),
        (
            f"New {plan.unit}s a day",
            count(round(found.units_per_day)) if found and found.units_per_day else "–",
            "By the last 24 hours, or by what came since the first answer.",
        ),
    ]
    with st.grid(4, min_column_width=130):
        for label, value, explanation in tiles:
            st.metric(label, value, help=explanation, border=True, height="stretch")
    others = st.expander("What other changes would take", on_change="rerun", key="other-changes")
    if others.open:
        with others:
            lines = ["| Change | Units | Takes about |", "|--:|--:|:--|"]
            for change in CHANGES:
                one = check_of(with_change(plan, change)).value
                units, span = (count(one.expected_units), duration_words(one.expected_s)) if one is not None else ("–", "–")
                lines.append(frame.unbroken(f"|−{-100 * change:g} %|{units}|{span}|"))
            st.markdown("\n".join(lines))
