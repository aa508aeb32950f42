"""The form that plans an experiment: what is compared, on whom, until when; how long it takes, what blocks it; draft or launch."""

import uuid
from typing import Any

import streamlit as st

from console import confirmation, frame, session
from console.ab.checking import calculator, check_of, checklist
from console.ab.planning import (
    MOST_TREATMENTS,
    USUAL,
    Fields,
    candidates,
    even_weights,
    launch_refusal,
    no_plan_reason,
    plan_of,
    variants,
)
from console.ab.tables import plan_lines
from console.ab.words import METRIC_HELP, METRICS, UNITS
from console.changes import reason_problem, role_refusal
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.experiments import ExperimentPlan, Mode
from trajops.contracts.models import ModelsOut, family_words

OPENING = "experiment_wizard"
QUERY = "plan"
MODES: dict[str, Mode] = {"Live": "live", "Shadow": "shadow"}
AIMS = {"Be better than A": "better", "Be no worse than A": "no_worse"}
ON_WIN = {"Recommend it to an operator": "recommend", "Promote it without a hand": "promote"}


def is_open() -> bool:
    """Whether a plan is being made; it is in the URL."""
    return bool(st.query_params.get(QUERY))


def open_wizard() -> None:
    """Begin a plan."""
    st.query_params[QUERY] = "new"
    st.session_state[OPENING] = uuid.uuid4().hex


def close_wizard() -> None:
    """Back to the experiments; what was filled in is forgotten."""
    st.query_params.pop(QUERY, None)
    st.session_state.pop(OPENING, None)


def wizard() -> None:
    """The whole form."""
    st.button("Back to the experiments", icon=":material/arrow_back:", type="tertiary", key="plan-close", on_click=close_wizard)
    opening = st.session_state.setdefault(OPENING, uuid.uuid4().hex)
    with frame.first_load(420):
        models = session.fetch("models", lambda c: c.models())
        routes = session.fetch("routes", lambda c: c.routes())
    frame.freshness(models, routes, key="plan")
    if models.value is None or routes.value is None:
        return
    route = routes.value.current
    st.header("Plan an experiment")
    nothing = no_plan_reason(models.value, route)
    if nothing is not None or route.champion is None:
        frame.empty(nothing or "", "Go to the Models page", page="views/models.py", icon="science")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        fields = form(models.value, route.champion.model_version, opening)
    plan, problems = plan_of(fields)
    with right:
        outlook(plan, problems, opening)


def form(models: ModelsOut, control: int, opening: str) -> Fields:
    """What is filled in; every field has a default that may stay."""
    families = {one.model_version: family_words(one.family) for one in models.versions}

    def called(version: int) -> str:
        return f"v{version} {families.get(version, '')}".strip()

    with st.container(border=True, gap="small", key="plan-what"):
        st.markdown(f"**What is compared** &nbsp; A, the control, is the champion: {frame.plain(called(control))}.")
        staged = [one.model_version for one in candidates(models)]
        chosen = st.multiselect(
            "Treatments",
            staged,
            default=staged[:1],
            format_func=called,
            max_selections=MOST_TREATMENTS,
            key=f"plan-treatments-{opening}",
            help="Staged versions. With several, each is compared with A, and each needs its own units.",
        )
        usual = f"{', '.join(f'v{one}' for one in chosen) or 'new'} against v{control}"
        name = st.text_input("Name", key=f"plan-name-{opening}", placeholder=usual, max_chars=128)
        hypothesis = st.text_area(
            "Hypothesis",
            key=f"plan-hypothesis-{opening}",
            placeholder="What do you expect, and why? For example: the wider net is nearer to the truth for fast agents.",
            max_chars=1000,
            height=88,
        )
        mode = st.radio(
            "Mode",
            list(MODES),
            horizontal=True,
            key=f"plan-mode-{opening}",
            help="Live: treatments answer their units. Shadow: they predict beside the champion and answer nobody; "
            "it needs a quarter of the units, and tells accuracy only.",
        )
    chosen_units = units(chosen, opening)
    with st.container(border=True, gap="small", key="plan-goal"):
        st.markdown("**What decides**")
        row = st.columns(3)
        metric = row[0].selectbox(
            "Metric", list(METRICS), format_func=lambda one: METRICS[one], key=f"plan-metric-{opening}", help=METRIC_HELP
        )
        expected = row[1].number_input(
            "Expected drop (%)", 0.5, 90.0, 5.0, 0.5, key=f"plan-expected-{opening}", help="How much lower you hope the metric will be."
        )
        margin = row[2].number_input(
            "Margin (%)", 0.5, 50.0, 2.0, 0.5, key=f"plan-margin-{opening}", help="A rise up to this still counts as no worse than A."
        )
        pair = st.columns(2)
        aim = pair[0].selectbox("To win, a treatment must", list(AIMS), key=f"plan-aim-{opening}")
        on_win = pair[1].selectbox("If it wins", list(ON_WIN), key=f"plan-win-{opening}")
    chosen_rules = rules(opening)
    return Fields(
        name=name or usual,
        hypothesis=hypothesis,
        control=control,
        treatments=chosen,
        mode=MODES[mode],
        metric=metric,
        margin=margin,
        expected=expected,
        aim=AIMS[aim],
        on_win=ON_WIN[on_win],
        **chosen_units,
        **chosen_rules,
    )


def units(chosen: list[int], opening: str) -> dict[str, Any]:
    """Weights, coverage, unit and namespace."""
    with st.container(border=True, gap="small", key="plan-units"):
        st.markdown("**On whom**")
        wide = st.columns([2, 3])
        unit = wide[0].selectbox(
            "Unit",
            list(UNITS),
            format_func=lambda one: UNITS[one].capitalize(),
            key=f"plan-unit-{opening}",
            help="What stays in one arm: an agent (scene and agent), a client of the API, or a scene.",
        )
        coverage = wide[1].slider(
            "Coverage (%)",
            1,
            100,
            100,
            key=f"plan-coverage-{opening}",
            help="Share of the units that is enrolled. It may be changed later.",
        )
        names = variants(chosen) if chosen else ["control"]
        usual = even_weights(len(names)) if chosen else [100.0]
        each = st.columns(max(2, len(names)))
        weights = [
            each[k].number_input(
                f"{'ABCDE'[k]} · {name} (%)",
                0.1,
                99.9 if chosen else 100.0,
                usual[k],
                1.0,
                format="%.1f",
                key=f"plan-weight-{name}-{len(names)}-{opening}",
                help="Share of the enrolled units. It cannot be changed later.",
            )
            for k, name in enumerate(names)
        ]
        namespace = None
        if st.toggle(
            "Only a part of the units, so that another experiment can run beside it",
            key=f"plan-namespace-{opening}",
            help="Experiments in disjoint parts of one namespace share no unit.",
        ):
            part = st.columns([2, 3])
            space = part[0].text_input("Namespace", "main", key=f"plan-namespace-name-{opening}", max_chars=128)
            begin, end = part[1].slider("Its part (%)", 0, 100, (0, 50), key=f"plan-namespace-part-{opening}")
            namespace = (space, float(begin), float(end))
    return {"weights": weights, "coverage": float(coverage), "unit": unit, "namespace": namespace}


def rules(opening: str) -> dict[str, Any]:
    """Guardrails, stop rules and what the data must be like."""
    with st.container(border=True, gap="small", key="plan-rules"):
        st.markdown("**Guardrails** &nbsp;:gray[more units than in A have these: rolled back at once]")
        pair = st.columns(2)
        has_errors = pair[0].checkbox("Failed answers", value=True, key=f"plan-errors-{opening}")
        has_slow = pair[1].checkbox("Slow answers", value=True, key=f"plan-slow-{opening}")
        slow_ms = pair[1].number_input("An answer is slow above (ms)", 1.0, 10_000.0, 100.0, 10.0, key=f"plan-slow-ms-{opening}")
        tolerance = pair[0].number_input(
            "Ratio that is accepted", 1.0, 10.0, 1.0, 0.1, key=f"plan-tolerance-{opening}", help="1: any rise beyond chance is too much."
        )
        st.markdown("**When it ends**")
        row = st.columns(3)
        stop: dict[str, Any] = {
            "min_units": row[0].number_input(
                "Least units an arm", 20, 1_000_000, USUAL.min_units, 10, key=f"plan-min-units-{opening}", help="Before a win is decided."
            ),
            "min_minutes": row[1].number_input(
                "Least time (min)", 0, 10_000, round(USUAL.min_s / 60), 5, key=f"plan-min-time-{opening}", help="Before a win is decided."
            ),
            "horizon_days": row[2].number_input(
                "At most (days)", 0.1, 90.0, 7.0, 1.0, key=f"plan-horizon-{opening}", help="Then it ends without a decision, and A stays."
            ),
        }
        more = st.expander("What the data must be like", key=f"plan-data-{opening}")
        with more:
            row = st.columns(3)
            stop["min_join"] = row[0].number_input("Least truth in each arm (%)", 0, 100, 20, 5, key=f"plan-join-{opening}")
            stop["max_stale_s"] = row[1].number_input("Oldest newest truth (s)", 30, 86_400, 180, 30, key=f"plan-stale-{opening}")
            stop["invalid_for_s"] = row[2].number_input(
                "Pause after invalid for (s)", 0, 86_400, 60, 10, key=f"plan-invalid-{opening}", help="Invalid data pause it after so long."
            )
    stop |= advanced(opening)
    guardrails = {"errors": tolerance if has_errors else None, "slow_answers": tolerance if has_slow else None, "slow_ms": slow_ms}
    return {**guardrails, **stop}


def advanced(opening: str) -> dict[str, Any]:
    """What is seldom changed: how sure a decision must be, and at which size."""
    with st.expander("Advanced", key=f"plan-advanced-{opening}"):
        row = st.columns(3)
        alpha = row[0].number_input(
            "α (%)",
            0.1,
            20.0,
            5.0,
            0.5,
            key=f"plan-alpha-{opening}",
            help="Share of experiments of equal models that may end with a decision, however often someone looks. "
            "The sequence is that of 100 % − α; with several treatments each gets its part.",
        )
        tuned = row[1].number_input(
            "Tuned for units",
            50,
            10_000_000,
            1000,
            100,
            key=f"plan-tuned-{opening}",
            help="Units of both arms at which the sequence is narrowest. It is valid everywhere; choose what the calculator expects.",
        )
        horizon = row[2].number_input(
            "At most units",
            100,
            1_000_000_000,
            None,
            100,
            key=f"plan-horizon-units-{opening}",
            placeholder="no limit",
            help="Units of all arms after which it ends without a decision, and A stays. Empty: only time ends it.",
        )
        pair = st.columns(2)
        gap = pair[0].number_input(
            "Largest gap of truth (points)",
            0.5,
            100.0,
            5.0,
            0.5,
            key=f"plan-gap-{opening}",
            help="How far apart the arms' shares of predictions with truth may lie, beyond what chance may do. Farther apart, the data are "
            "invalid: what is missing in one arm only biases the comparison.",
        )
        harmed = pair[1].number_input(
            "Least units an arm for harm",
            10,
            1_000_000,
            USUAL.min_harmed_units,
            5,
            key=f"plan-min-harmed-{opening}",
            help="From here on a treatment that is proved worse is rolled back. Fewer than for a win: the champion is always there.",
        )
    return {
        "alpha": float(alpha),
        "tuned_units": int(tuned),
        "horizon_units": None if horizon is None else int(horizon),
        "max_join_gap": float(gap),
        "min_harmed_units": int(harmed),
    }


def outlook(plan: ExperimentPlan | None, problems: list[str], opening: str) -> None:
    """How long it takes, what blocks it, and the ways out of the form."""
    refusal = role_refusal(session.role())
    can_launch: bool | None = None
    if plan is None:
        with st.container(border=True, gap="xsmall", key="plan-problems"):
            st.markdown("**Still to do**")
            for one in problems:
                st.markdown(f":orange[:material/edit:] {frame.plain(one)}")
    else:
        read = check_of(plan)
        st.markdown("**How long it takes**")
        calculator(plan, read)
        st.markdown("**Checklist**")
        checklist(read)
        # A field that is out of its bounds stays as it was typed, and what counts is the value before.
        with st.expander("What is fixed by the launch", expanded=True, key="plan-fixed"):
            frame.facts(plan_lines(plan))
        can_launch = read.value.can_launch if read.value is not None else None
    reason = confirmation.reason_area(f"plan-reason-{opening}")
    blocked = launch_refusal(refusal, problems, can_launch)
    with st.container(horizontal=True, gap="xsmall", key="plan-actions"):
        is_launched = st.button(
            "Launch",
            type="primary" if blocked is None else "secondary",
            icon=":material/rocket_launch:",
            key="plan-launch",
            disabled=blocked is not None,
            help=blocked,
        )
        held = refusal or (problems[0] if problems else None)
        is_saved = st.button("Save as draft", icon=":material/save:", key="plan-save", disabled=held is not None, help=held)
    if blocked is not None:
        st.caption(frame.plain(f"Launch is disabled: {blocked[:1].lower()}{blocked[1:]}"))
    if (is_launched or is_saved) and plan is not None and confirmation.is_complete(reason_problem(reason)):
        send(plan, reason.strip(), opening, is_launched=is_launched)


def send(plan: ExperimentPlan, reason: str, opening: str, *, is_launched: bool) -> None:
    """Write it, then show it."""
    key = confirmation.call_key(opening, is_launched, plan.model_dump_json(), reason)
    try:
        with st.spinner("Sending…"):
            made = session.client().plan_experiment(plan, reason, is_launched=is_launched, idempotency_key=key)
    except (ApiProblem, ApiUnavailable) as error:
        session.expire()
        confirmation.refused(error)
        return
    done = "Launched" if is_launched else "Saved as a draft"
    session.flash(f"{done}: {frame.plain(plan.name)} · epoch {made.epoch} · audit {made.audit_id}")
    close_wizard()
    st.query_params["experiment"] = made.experiment.experiment_id
    session.expire()
    st.rerun()
