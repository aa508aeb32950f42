"""A/B tests: what is being compared, whether the data are well, what they say, and what can be done about it."""

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.ab.actions import switch_action
from console.ab.dialogs import PendingChange, change_button, show_pending
from console.ab.reads import read_experiments, read_one, read_routes
from console.ab.sections import arms, banner, change_bar, choose, effects, every_experiment, guardrails, health, the_plan, timeline
from console.ab.slices import exploratory
from console.ab.wizard import is_open, open_wizard, wizard
from console.ab.words import first_shown, list_words
from console.wording import share
from trajops.contracts.deployments import RouteOut
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.status import StatusOut

CHOICE = "ab-choice"


def live_part() -> None:
    """Everything that changes by itself."""
    if confirmation.is_waiting() or is_open():
        st.rerun()  # Confirmations and the form belong to the page, where refreshes of this part do not reach them.
    asked = st.query_params.get("experiment")
    with frame.first_load(420):
        read = read_experiments()
        status = session.fetch("status", lambda c: c.status())
        routes = read_routes()
    frame.freshness(read, status, routes, key="ab")
    if read.value is None:
        return
    experiments = read.value.experiments
    route = None if routes.value is None else routes.value.current
    is_off = route is not None and route.is_stopped
    shown = chosen(experiments, asked)
    top(experiments, shown, route)
    if is_off:
        st.error(
            "**All experiments are stopped by hand.** The champion answers everybody; what is running collects nothing meanwhile.",
            icon=":material/block:",
        )
    if route is not None and route.held_out:
        st.caption(f"{share(route.held_out)} of all units are held out of every experiment; the champion answers them.")
    now = datetime.now(UTC)
    if shown is None and asked:
        frame.empty(f"Experiment {frame.plain(asked)} cannot be shown.", "Choose another one of the list.", icon="search_off")
    elif shown is None:
        frame.empty("No experiment has been planned yet.", "Press “Plan an experiment” above.", icon="science")
        return
    else:
        one_experiment(shown, status.value, now)
    if experiments:
        every_experiment(experiments, shown, now)


def chosen(experiments: list[ExperimentOut], asked: str | None) -> ExperimentOut | None:
    """The one that the URL names, however old; without a name, what is running now."""
    if not asked:
        return first_shown(experiments)
    found = next((one for one in experiments if one.experiment_id == asked), None)
    return found if found is not None else read_one(asked).value


def top(experiments: list[ExperimentOut], shown: ExperimentOut | None, route: RouteOut | None) -> None:
    """Which one is shown, the way to a new one, and the kill switch."""
    now = datetime.now(UTC)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="ab-top"):
        by_id = {one.experiment_id: one for one in experiments}
        if shown is not None:
            by_id.setdefault(shown.experiment_id, shown)
            st.session_state[CHOICE] = shown.experiment_id
            st.selectbox(
                "Experiment",
                list(by_id),
                key=CHOICE,
                format_func=lambda one: list_words(by_id[one], now) if one in by_id else one,
                on_change=pick,
                args=(shown.experiment_id,),
                width=420,
            )
        st.space("stretch")
        st.button(
            "Plan an experiment",
            icon=":material/add:",
            type="primary" if shown is None else "secondary",
            key="ab-plan",
            on_click=open_wizard,
        )
        epoch = None if route is None else route.epoch
        action = switch_action(session.role(), is_stopped=route is not None and route.is_stopped, epoch=epoch)
        change_button(action, PendingChange("", action.name, None, epoch or 1), key="ab-switch")


def pick(shown: str) -> None:
    """Show another experiment than the one that is shown.

    A browser that is busy may tell the box's value once more after the box has made way for the form of a plan, with the URL as it was
    before. That is no choice, and to write it into that URL would close the form.
    """
    if st.session_state.get(CHOICE, shown) != shown:
        choose(st.session_state[CHOICE])


def one_experiment(experiment: ExperimentOut, status: StatusOut | None, now: datetime) -> None:
    """The chosen one: verdict, health, effect, arms, guardrails, what happened."""
    banner(experiment, now, 0.0 if status is None else status.route.held_out)
    change_bar(experiment)
    if experiment.started_at is not None:
        health(experiment, status)
        effects(experiment)
        if len(experiment.plan.arms) == 2:
            beside(lambda: arms(experiment), lambda: timeline(experiment, now))
            guardrails(experiment)
            exploratory(experiment)
            the_plan(experiment)
            return
        arms(experiment)
        guardrails(experiment)
        exploratory(experiment)
    beside(lambda: timeline(experiment, now), lambda: the_plan(experiment))


def beside(left: Callable[[], None], right: Callable[[], None]) -> None:
    """Two sections side by side where there is room."""
    grid = st.grid(2, min_column_width=380, gap="medium")
    with grid.cell():
        left()
    with grid.cell():
        right()


def render() -> None:
    """Draw the page."""
    st.title("A/B tests")
    confirmation.show_notice()
    show_pending()
    if is_open():
        wizard()
    else:
        frame.live(live_part)


if __name__ == "__main__":
    render()
