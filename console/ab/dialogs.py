"""Confirmations of changes of experiments: what will happen, figures in words, a reason, what must be typed; then the call."""

from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.ab.actions import (
    DONE,
    EFFECTS,
    ICONS,
    LABELS,
    STOP_WORD,
    TITLES,
    ActionName,
    Ending,
    arm_differences,
    conflict_sentence,
    endings,
    enrolled_words,
    typed_problem,
)
from console.ab.checking import check_of, checklist
from console.ab.reads import own_audit, read_one, read_routes
from console.ab.words import arm_words, effect_sentence, shown_effects, treatments, versions_words
from console.change_dialog import difference_table
from console.changes import Action, reason_problem
from console.rollouts.reads import known_rollouts
from console.rollouts.words import decides_on
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.experiments import ExperimentChangeOut, ExperimentOut, KillSwitchOut


class PendingChange(NamedTuple):
    """A change that waits for confirmation.

    Attributes:
        dialog_id: one opening of the dialog.
        name: which change.
        seen: the experiment when the button was drawn; None for the kill switch.
        expected_epoch: the routing epoch then, for the kill switch.
    """

    dialog_id: str
    name: ActionName
    seen: ExperimentOut | None = None
    expected_epoch: int = 1


class Sent(NamedTuple):
    """What a form holds beside the reason.

    Attributes:
        coverage: share of units to enrol.
        ending: how it is stopped.
        unit_id: to override.
        variant: where the unit goes; None: back to where it belongs.
    """

    coverage: float | None = None
    ending: Ending | None = None
    unit_id: str | None = None
    variant: str | None = None


def change_button(action: Action[ActionName], pending: PendingChange, *, key: str, is_first: bool = False) -> None:
    """A button that opens the confirmation, or that says why it is disabled."""
    confirmation.button(action.label, pending, key=key, refusal=action.refusal, icon=f":material/{ICONS[action.name]}:", is_first=is_first)


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(PendingChange)
    if pending is not None:
        confirmation.show(pending, TITLES[pending.name], partial(body, pending))


def body(pending: PendingChange) -> None:
    """What the change does, the figures that speak for or against it, and the form that confirms it."""
    seen = pending.seen
    if seen is not None:
        st.markdown(f"**{frame.plain(seen.plan.name)}** · {versions_words(seen.plan)}")
    st.markdown(EFFECTS[pending.name])
    if seen is not None and pending.name in {"promote", "stop", "pause", "cover", "resume"}:
        comparison(seen)
    blocked = None
    if seen is not None and pending.name == "launch":
        read = check_of(seen.plan)
        checklist(read)
        blocked = None if read.value is not None and read.value.can_launch else "Something on the checklist blocks it."
    ending = choose_ending(pending, seen) if seen is not None and pending.name in {"promote", "stop"} else None
    with st.form(f"experiment-form-{pending.dialog_id}", border=False):
        sent = fields(pending, ending)
        reason = confirmation.reason_area(f"experiment-reason-{pending.dialog_id}")
        wanted = wanted_word(pending, ending)
        typed = ""
        if wanted is not None:
            typed = st.text_input(f"Type {wanted} to confirm", key=f"experiment-typed-{pending.dialog_id}", autocomplete="off")
        is_sent = st.form_submit_button(
            LABELS[pending.name], key="experiment-submit", type="primary", disabled=blocked is not None, help=blocked
        )
    problems = [reason_problem(reason), typed_problem(typed, wanted) if wanted is not None else None]
    if pending.name == "override" and not sent.unit_id:
        problems.append("Name the unit, for example scene/agent.")
    if is_sent and confirmation.is_complete(*problems):
        send(pending, reason.strip(), sent)


def wanted_word(pending: PendingChange, ending: Ending | None) -> str | None:
    """What must be typed: the version that becomes the champion, or a word that stops everything."""
    if pending.name == "stop_all":
        return STOP_WORD
    return None if ending is None or ending.model_version is None else str(ending.model_version)


def comparison(experiment: ExperimentOut) -> None:
    """Each treatment beside the control, in better/worse words."""
    plan, verdict = experiment.plan, experiment.verdict
    if verdict is None:
        st.caption("There are no figures yet.")
        return
    if verdict.kind == "invalid":
        st.warning("The data are invalid: figures of the arms cannot be compared.", icon=":material/error:")
        return
    for effect in shown_effects(verdict):
        st.markdown(frame.plain(effect_sentence(plan, effect)))
    control = plan.arms[0]
    for arm in plan.arms[1:]:
        if arm.variant in treatments(experiment):
            rows = arm_differences(verdict, control.variant, arm.variant)
            difference_table(rows, f"{arm_words(plan, arm.variant)} beside A", control.model_version, arm.model_version)
    st.caption(
        "Means so far. Whether a difference is more than chance is what the sequence says"
        + ("." if plan.is_beside else "; what constant velocity's error explains is taken out of it (CUPED).")
    )


def choose_ending(pending: PendingChange, seen: ExperimentOut) -> Ending:
    """Who wins: outside of the form, because what must be typed follows from it."""
    found = endings(seen)
    if decides_on(known_rollouts(), experiment_id=seen.experiment_id):
        found = [one for one in found if one.model_version is None]
    wanted = seen.winner if pending.name == "promote" else None
    if pending.name == "promote":
        found = [one for one in found if one.model_version is not None]
    if not found:
        return Ending(None, "")
    if len(found) == 1:
        st.markdown(f"**{frame.plain(found[0].words)}.**")
        return found[0]
    names = [one.winner for one in found]
    return st.radio(
        "Winner",
        found,
        index=names.index(wanted) if wanted in names else 0,
        format_func=lambda one: one.words,
        key=f"experiment-winner-{pending.dialog_id}",
    )


def fields(pending: PendingChange, ending: Ending | None) -> Sent:
    """What a change needs beside its reason."""
    seen, name = pending.seen, pending.dialog_id
    if seen is None:
        return Sent()
    if pending.name in {"cover", "resume"}:
        present = round(100 * (seen.coverage if pending.name == "cover" else seen.coverage or seen.plan.coverage))
        coverage = st.slider(
            f"{seen.plan.unit.capitalize()}s enrolled (%)",
            1,
            100,
            max(1, present),
            key=f"experiment-coverage-{name}",
            help="They are divided among the arms by the weights, which stay as they are.",
        )
        routes = read_routes().value
        st.caption(f"Now: {enrolled_words(seen, seen.coverage, 0.0 if routes is None else routes.current.held_out)}")
        return Sent(coverage=coverage / 100)
    if pending.name == "override":
        unit = st.text_input(
            f"{seen.plan.unit.capitalize()}",
            key=f"experiment-unit-{name}",
            max_chars=128,
            placeholder="scene/agent" if seen.plan.unit == "agent" else seen.plan.unit,
            autocomplete="off",
        )
        arms: list[str | None] = [*(arm.variant for arm in seen.plan.arms), None]
        variant = st.selectbox(
            "Arm",
            arms,
            format_func=lambda one: "back to where it belongs" if one is None else arm_words(seen.plan, one),
            key=f"experiment-arm-{name}",
        )
        return Sent(unit_id=unit.strip(), variant=variant)
    return Sent(ending=ending)


def send(pending: PendingChange, reason: str, sent: Sent) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    key = confirmation.call_key(pending.dialog_id, pending.name, sent, reason)
    try:
        with st.spinner("Sending…"):
            changed = call(pending, reason, sent, key)
    except (ApiProblem, ApiUnavailable) as error:
        if isinstance(error, ApiProblem) and error.status == 409:
            confirmation.came_too_late(pending, too_late(pending, error.detail))
        confirmation.refused(error)
    else:
        about = f": {frame.plain(pending.seen.plan.name)}" if pending.seen is not None else ""
        session.flash(f"{DONE[pending.name]}{about} · epoch {changed.epoch} · audit {changed.audit_id}")
        if pending.seen is not None:  # what is over is no longer what an address without a name shows
            st.query_params["experiment"] = pending.seen.experiment_id
        confirmation.settle(pending)


def call(pending: PendingChange, reason: str, sent: Sent, key: str) -> ExperimentChangeOut | KillSwitchOut:
    """The one API call that the change is."""
    client, seen = session.client(), pending.seen
    if seen is None:
        return client.switch_experiments(pending.expected_epoch, pending.name == "stop_all", reason, idempotency_key=key)
    about = (seen.experiment_id, seen.version)
    if pending.name == "launch":
        return client.launch_experiment(*about, reason, idempotency_key=key)
    if sent.coverage is not None:
        return client.cover_experiment(*about, sent.coverage, reason, idempotency_key=key)
    if pending.name == "pause":
        return client.pause_experiment(*about, reason, idempotency_key=key)
    if sent.unit_id is not None:
        return client.override_unit(*about, sent.unit_id, sent.variant, reason, idempotency_key=key)
    winner = sent.ending.winner if sent.ending is not None else None
    return client.stop_experiment(*about, reason, winner=winner, idempotency_key=key)


def too_late(pending: PendingChange, detail: str) -> str:
    """What to say after a 409: the present experiment, read again, beside the one that the button was drawn with."""
    session.expire()
    seen = pending.seen
    if seen is None:
        return conflict_sentence(pending.name, None, None, [], detail=detail, now=datetime.now(UTC))
    read, audit = read_one(seen.experiment_id), own_audit(seen.experiment_id)
    present = read.value if read.problem is None else None
    entries = audit.value.entries if audit.value is not None else []
    return conflict_sentence(pending.name, seen, present, entries, detail=detail, now=datetime.now(UTC))
