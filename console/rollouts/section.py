"""The rollout on the Models page: how far it has come, what it waits for, what can be done, how it came here."""

from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.rollouts.dialogs import PendingRollout, change_button
from console.rollouts.reads import own_audit, read_rollouts
from console.rollouts.words import PathStep, actions, gate_lines, history, path, policy_words, rollout_mark, shown, stale_words
from console.wording import ago
from trajops.contracts.rollouts import RolloutOut
from trajops.rollouts.lifecycle import ACTIVE


def rollout_part() -> None:
    """The active rollout, or how the last one ended; refreshes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # Confirmations belong to the page, where refreshes of this part do not reach them.
    st.header("Rollout")
    read = read_rollouts()
    if read.value is None:
        if read.problem is not None:
            st.caption(frame.plain(read.problem))
        return
    rollout = shown(read.value.rollouts)
    if rollout is None:
        frame.empty("No version has been rolled out step by step yet.", "Press “Roll out” on a staged version below.", icon="rocket_launch")
        return
    with st.container(border=True, key="rollout", gap="small"):
        one_rollout(rollout, datetime.now(UTC))


def one_rollout(rollout: RolloutOut, now: datetime) -> None:
    """Where it is in one glance, then gates and changes."""
    is_active = rollout.state in ACTIVE
    since = f"began {ago(rollout.created_at, now)}" if is_active else f"ended {ago(rollout.ended_at, now)}"
    st.markdown(
        f"**v{rollout.model_version}** over v{rollout.champion_version} &nbsp;{frame.badge(rollout_mark(rollout.state))} "
        f"&nbsp;:gray[:small[{since} · policy {frame.plain(rollout.policy.name)}]]",
        help=policy_words(rollout.policy),
    )
    steps(path(rollout))
    st.markdown(frame.plain(rollout.sentence))
    stale = stale_words(rollout, now)
    if stale is not None:
        st.warning(frame.plain(stale), icon=":material/visibility_off:")
    offered = actions(rollout, session.role())
    if offered:
        with st.container(horizontal=True, gap="xsmall", key="rollout-actions"):
            for action in offered:
                pending = PendingRollout("", action.name, rollout.model_version, rollout)
                change_button(action, pending, key=f"rollout-{action.name}", is_first=action.name in {"approve", "resume"})
    if rollout.gates and is_active:
        with st.grid(3, min_column_width=240, gap="small", key="rollout-gates") as grid:
            for name, mark, detail in gate_lines(rollout.gates):
                with grid.cell():
                    st.markdown(
                        f":{frame.COLOURS[mark.tone]}[:material/{mark.icon}:] **{name}**  \n:gray[:small[{frame.plain(detail)}]]",
                        help=mark.word,
                    )
    details = st.expander("How it came here", key=f"rollout-history-{rollout.rollout_id}", on_change="rerun")
    if details.open:
        with details:
            audit = own_audit(rollout.rollout_id)
            rows = history(rollout, audit.value.entries, now) if audit.value is not None else []
            frame.prose(rows, alt="Steps of this rollout, newest first", names={"When", "To", "By"})


def steps(places: list[PathStep]) -> None:
    """The path as one line of marks."""
    with st.container(horizontal=True, gap="xsmall", key="rollout-path", vertical_alignment="center"):
        for number, place in enumerate(places):
            if number:
                st.markdown(":gray[→]", width="content")
            st.badge(place.words, icon=f":material/{place.mark.icon}:", color=frame.COLOURS[place.mark.tone], help=place.explanation)
