"""The parts of the A/B tests page: verdict, health, effects, arms, guardrails, timeline, all experiments."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from console import frame, session
from console.ab import charts
from console.ab.actions import actions, enrolled_words
from console.ab.dialogs import PendingChange, change_button
from console.ab.reads import own_audit, read_verdicts, recent_audit
from console.ab.tables import arm_heads, arm_lines, arms_csv, guardrail_rows, overrides, plan_lines, shown_arms, steps
from console.ab.words import (
    HIDDEN,
    METRICS,
    SEQUENCE_HELP,
    STILL_OPEN,
    arm_words,
    banner_mark,
    banner_sentence,
    effect_sentence,
    effect_tone,
    experiment_mark,
    health_badge,
    health_tiles,
    is_over,
    notes,
    planned_words,
    running_words,
    shown_effects,
    stale_verdict,
    versions_words,
)
from console.changes import role_refusal
from console.rollouts.reads import known_rollouts
from console.rollouts.words import behind_gates
from console.wording import ago, count, moment, share, tone_icon
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.status import StatusOut

PER_PAGE = 10
ALERTS = {"ok": st.success, "warn": st.warning, "bad": st.error, "info": st.info, "unknown": st.info}


def banner(experiment: ExperimentOut, now: datetime, held_out: float = 0.0) -> None:
    """The verdict in one mark and one sentence; state, time, coverage and health below."""
    mark, sentence = banner_mark(experiment), banner_sentence(experiment)
    with st.container(key="ab-banner", gap="xsmall"):
        ALERTS[mark.tone](f"**{mark.word}.** {frame.plain(sentence)}", icon=f":material/{mark.icon}:")
        for note in notes(experiment):
            st.caption(frame.plain(note))
        stale = stale_verdict(experiment, now)
        if stale is not None:
            st.warning(frame.plain(stale), icon=":material/visibility_off:")
    verdict = experiment.verdict
    marks = [experiment_mark(experiment.state), health_badge(verdict)] if experiment.started_at else [experiment_mark(experiment.state)]
    st.markdown(
        " ".join(map(frame.badge, marks)) + f" &nbsp;:gray[:small[{frame.plain(versions_words(experiment.plan))}]]",
        help="State, and health: split, truth, freshness and jumpers together. Each stands below.",
    )
    if experiment.started_at is None:
        return
    needed = verdict.expected_units if verdict is not None else None
    tiles = [
        ("Ran for" if is_over(experiment) else "Running for", running_words(experiment, now), _started(experiment)),
        ("Coverage", share(experiment.coverage, 0), enrolled_words(experiment, experiment.coverage, held_out)),
        ("Units so far", count(verdict.units if verdict else None), "Units that were answered in an arm, or predicted for in a shadow."),
        (
            "Of planned units",
            planned_words(experiment),
            "Units with truth so far as a share of what the expected change takes, by the spread so far; beyond it, as a multiple.",
        ),
        (
            "Detectable now",
            "–" if verdict is None or verdict.detectable_change is None else f"−{share(verdict.detectable_change)}",
            "Smallest improvement that so many units show in four of five experiments.",
        ),
    ]
    with st.grid(5, min_column_width=150):
        for label, value, explanation in tiles:
            st.metric(label, value, help=explanation, border=True, height="stretch")
    if needed:
        st.caption(f"The expected change takes about {count(needed)} units of all arms, by what is known of their spread.")


def _started(experiment: ExperimentOut) -> str:
    if experiment.started_at is None:
        return "It has not been launched."
    ended = f", ended {moment(experiment.ended_at)}" if experiment.ended_at is not None else ""
    return f"Launched {moment(experiment.started_at)}{ended}."


def change_bar(experiment: ExperimentOut) -> None:
    """What can be done about it, each with the reason where it cannot."""
    offered = behind_gates(actions(experiment, session.role()), known_rollouts(), experiment_id=experiment.experiment_id)
    if not offered:
        return
    with st.container(horizontal=True, gap="xsmall", key="ab-actions"):
        for action in offered:
            change_button(
                action, PendingChange("", action.name, experiment), key=f"ab-{action.name}", is_first=action.name in {"launch", "promote"}
            )
    refusal = role_refusal(session.role())
    if refusal is not None:
        st.caption(f":material/lock: {refusal}")


def health(experiment: ExperimentOut, status: StatusOut | None) -> None:
    """What must be well before an effect means anything."""
    st.header("Health")
    if experiment.verdict is None:
        st.caption("Nobody has looked at it yet; each look fills this strip.")
    found = health_tiles(experiment, status.processes if status is not None else [], status.route.epoch if status is not None else None)
    with st.grid(len(found), min_column_width=150, border=True) as grid:
        for tile in found:
            with grid.cell(), st.container(gap="xsmall"):
                st.markdown(f"**{tile.title}**", help=tile.explanation)
                st.markdown(frame.badge(tile.mark))
                st.caption(frame.plain(tile.detail).replace(" %", "\u00a0%"))


def effects(experiment: ExperimentOut) -> None:
    """The change of the metric now, and over time; neither while the data are invalid."""
    plan, verdict = experiment.plan, experiment.verdict
    st.header("Effect", help=SEQUENCE_HELP)
    if verdict is not None and verdict.kind == "invalid":
        st.info(HIDDEN, icon=":material/visibility_off:")
        return
    known = shown_effects(verdict)
    if not known:
        frame.empty(STILL_OPEN, "It fills in as truth arrives, about 5 s after a prediction.", icon="hourglass_empty")
        return
    for effect in known:
        tone = effect_tone(effect)
        colour = frame.COLOURS[tone]
        st.markdown(f":{colour}[:material/{tone_icon(tone)}:] {frame.plain(effect_sentence(plan, effect))}")
    read = read_verdicts(experiment.experiment_id)
    if read.problem is not None:
        st.caption(f":orange[:material/cloud_off: {frame.plain(read.problem)}]")
    looks = read.value.verdicts if read.value is not None else []
    looks = [*looks, *([verdict] if verdict is not None and all(one.at < verdict.at for one in looks) else [])]
    if looks:
        frame.chart(
            charts.effect_over_time(plan, looks, frame.palette()),
            key="ab-effect-chart",
            alt=f"Change of {METRICS[plan.metric]} against the control over time, with its sequence, zero and the margin",
            about=experiment.experiment_id,
        )
        st.caption("The band is the sequence. Wholly below zero: better. Wholly below the dashed margin: no worse.")


def arms(experiment: ExperimentOut) -> None:
    """Figures of each arm, side by side; and how far the plan is."""
    plan, verdict = experiment.plan, experiment.verdict
    st.header("Arms")
    if verdict is None or not verdict.arms:
        if is_over(experiment):
            frame.empty("No unit was answered in an arm.", "Plan another one, on units that come.", icon="hourglass_empty")
        else:
            frame.empty("No unit has been answered in an arm yet.", "Launch it, or wait for traffic.", icon="hourglass_empty")
        return
    heads = arm_heads(plan, verdict.arms)
    lines = [
        f"| Figure | {' | '.join(frame.plain(one) for one in heads)} |",
        f"|:--|{'--:|' * len(heads)}",
        *(frame.unbroken(f"|{label}|{'|'.join(values)}|") for label, values in arm_lines(shown_arms(verdict))),
    ]
    with st.container(key="ab-arms"):
        st.markdown("\n".join(lines))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV",
            arms_csv(plan, verdict),
            file_name=f"ab-{experiment.experiment_id[:8]}-arms.csv",
            mime="text/csv",
            icon=":material/download:",
            key="ab-csv",
            on_click="ignore",
        )
        st.caption(
            "Coverage: steps inside the 90 % ellipse. Join rate: predictions with truth. Label delay: from an answer to its truth. "
            "Failed: answered by the baseline at least once. Time to answer: in the API."
        )


def guardrails(experiment: ExperimentOut) -> None:
    """How near each guardrail is to its trigger."""
    st.header("Guardrails")
    verdict = experiment.verdict
    if not experiment.plan.guardrails:
        st.caption("This plan has none.")
        return
    if verdict is None or not verdict.guardrails:
        st.caption("No treatment is being watched now.")
        return
    frame.table(
        guardrail_rows(experiment.plan, verdict),
        alt="Guardrails, nearest to their trigger first",
        column_config={
            "Evidence": st.column_config.TextColumn(help="How much more likely it is that the treatment does harm than that chance does"),
            "Limit": st.column_config.TextColumn(help="At this evidence the arm is rolled back at once"),
            "To the trigger": st.column_config.ProgressColumn(
                format="%.0f %%", min_value=0.0, max_value=100.0, help="On the scale of logarithms; 100 %: it is rolled back"
            ),
        },
    )


def the_plan(experiment: ExperimentOut) -> None:
    """What was fixed before the start."""
    st.header("Plan")
    frame.facts([*plan_lines(experiment.plan), ("Planned by", f"{experiment.created_by}, {moment(experiment.created_at)}")])
    st.code(experiment.experiment_id, language=None)


def timeline(experiment: ExperimentOut, now: datetime) -> None:
    """Who did what, when and why; decisions with the figures that caused them."""
    st.header("Timeline")
    own, recent = own_audit(experiment.experiment_id), recent_audit()
    if own.value is None:
        st.caption(frame.plain(f"The changes cannot be read: {own.problem}"))
        return
    held = overrides(own.value.entries, experiment)
    if held and not is_over(experiment):
        told = ", ".join(f"{unit} in {arm_words(experiment.plan, arm)}" for unit, arm in list(held.items())[:5])
        more = f" and {count(len(held) - 5)} more" if len(held) > 5 else ""
        st.caption(frame.plain(f"Put into an arm by hand, and in no figure since: {told}{more}."))
    found = steps(experiment.plan, own.value.entries, recent.value.entries if recent.value is not None else [], experiment.experiment_id)
    if not found:
        frame.empty("Nothing has been recorded of it yet.", "The first step is written when it is planned.", icon="hourglass_empty")
        return
    pages = -(-len(found) // PER_PAGE)
    page = st.pagination(pages, key="ab-timeline-page") if pages > 1 else 1
    with st.container(gap="xsmall", key="ab-timeline"):
        for step in found[(page - 1) * PER_PAGE : page * PER_PAGE]:
            with st.container(border=True, gap=None):
                when = f"{moment(step.at)} · {ago(step.at, now)} · {step.actor}"
                colour = frame.COLOURS[step.tone]
                st.markdown(
                    f":{colour}[:material/{tone_icon(step.tone)}:] **{frame.plain(step.word)}** &nbsp;:gray[:small[{frame.plain(when)}]]"
                )
                frame.audited(step.reason, step.audit_id)
                if step.figures:
                    st.caption(frame.plain(f"Figures: {step.figures}"))


def every_experiment(experiments: Sequence[ExperimentOut], chosen: ExperimentOut | None, now: datetime) -> None:
    """All of them, newest first, to choose from."""
    st.header("All experiments")
    pages = -(-len(experiments) // PER_PAGE)
    page = st.pagination(pages, key="ab-list-page") if pages > 1 else 1
    with st.container(border=True, gap="xsmall", key="ab-list"):
        for one in experiments[(page - 1) * PER_PAGE : page * PER_PAGE]:
            cells = st.columns([3.2, 2.2, 2.2, 1.2], vertical_alignment="center", gap="small")
            with cells[0]:
                st.markdown(
                    f"**{frame.plain(one.plan.name)}**  \n:gray[:small[{frame.plain(f'{versions_words(one.plan)} · {one.plan.mode}')}]]"
                )
            cells[1].markdown(frame.badge(experiment_mark(one.state)))
            winner = f"winner {arm_words(one.plan, one.winner)}" if one.winner else "no winner"
            started = f"launched {ago(one.started_at, now)}" if one.started_at is not None else f"planned {ago(one.created_at, now)}"
            cells[2].markdown(f":gray[:small[{frame.plain(winner)}  \n{frame.plain(started)}]]")
            is_chosen = chosen is not None and one.experiment_id == chosen.experiment_id
            cells[3].button(
                "Shown" if is_chosen else "Show",
                key=f"ab-show-{one.experiment_id}",
                disabled=is_chosen,
                help="It stands above." if is_chosen else f"Show {one.plan.name}",
                on_click=choose,
                args=(one.experiment_id,),
            )


def choose(experiment_id: str) -> None:
    """Show another experiment; it is in the URL."""
    st.query_params["experiment"] = experiment_id
