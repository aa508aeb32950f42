"""Experiments: training runs of MLflow, which are the best, how they differ; compare up to ten, and register from here."""

import streamlit as st

from console import confirmation, frame
from console.runs import dialog, reads
from console.runs.choosing import baseline_of
from console.runs.samples import samples
from console.runs.sections import choose, chosen_ids, comparison, curves, pareto, run_list
from console.runs.words import STATUSES, status_words, verdict
from trajops.contracts.models import family_words
from trajops.contracts.runs import RunDetailOut, RunsOut

FILTERS = ("run_family", "run_data", "run_status", "run_text")


def live_part() -> None:
    """Everything on the page; refreshes by itself."""
    if confirmation.is_waiting():
        st.rerun()  # The confirmation belongs to the page, where refreshes of this part do not reach it.
    with frame.first_load(420):
        everything = reads.read_runs()
    asked = filters(everything.value)
    listed = reads.read_runs(asked) if any(asked) else everything
    frame.freshness(listed, key="runs")
    if listed.value is None:
        return
    found = listed.value
    with st.container(border=True, key="runs-verdict"):
        said = verdict(found.runs, has_more=found.next_page_token is not None, is_filtered=any(asked))
        st.markdown(f"**{frame.plain(said)}**")
        if found.next_page_token is not None:
            st.caption("Filters reach the older ones.")
    ids = chosen_ids()
    details = [detail for one in ids if (detail := known(one)) is not None]
    if not found.runs:
        nothing(is_filtered=any(asked))
    else:
        pinned = baseline_of([detail.run.run_id for detail in details], st.query_params.get("baseline"))
        by_id = {run.run_id: run for run in (*(detail.run for detail in details), *found.runs)}
        measured = next((run for run in found.runs if run.metrics), found.runs[0])
        reference = by_id[pinned] if pinned else measured
        pareto(found.runs, ids, reference)
        run_list(found.runs, ids, reference)
    st.header("Comparison")
    if not details:
        frame.empty("No run is chosen.", "Tick runs in the list above, or click their points.", icon="compare_arrows")
        return
    comparison(details)
    curves(details)
    samples([detail.run for detail in details])


def filters(everything: RunsOut | None) -> reads.Filters:
    """What is asked for; in the URL."""
    runs = everything.runs if everything is not None else []
    families = options({run.family for run in runs}, "run_family")
    datasets = options({run.dataset for run in runs}, "run_data")
    with st.container(horizontal=True, vertical_alignment="bottom", key="runs-filters"):
        bound = {"bind": "query-params", "index": None, "width": 200}
        family = st.selectbox("Family", families, key="run_family", format_func=family_words, placeholder="all", **bound)
        dataset = st.selectbox("Data", datasets, key="run_data", placeholder="all", **bound)
        status = st.selectbox("Status", STATUSES, key="run_status", format_func=status_words, placeholder="all", **bound)
        text = st.text_input(
            "Name, commit or run id",
            key="run_text",
            bind="query-params",
            icon=":material/search:",
            placeholder="any",
            max_chars=256,
            width=260,
        )
        st.button("Clear", key="runs-clear", type="tertiary", on_click=clear, disabled=not any((family, dataset, status, text)))
    return reads.Filters(family, dataset, status, (text or "").strip() or None)


def options(known_values: set[str | None], key: str) -> list[str]:
    """What there is, and what was chosen, were it there or not."""
    return sorted({value for value in (*known_values, st.session_state.get(key)) if value})


def clear() -> None:
    """Ask for all runs."""
    for key in FILTERS:
        st.session_state[key] = "" if key == "run_text" else None


def known(run_id: str) -> RunDetailOut | None:
    """A chosen run, or why it cannot be shown, and the way without it."""
    read = reads.read_run(run_id)
    if read.value is None:
        with st.container(horizontal=True, vertical_alignment="center", key=f"runs-lost-{run_id}"):
            st.warning(frame.plain(f"Run {run_id[:12]} cannot be shown: {read.problem}"), icon=":material/search_off:", width="stretch")
            rest = [one for one in chosen_ids() if one != run_id]
            st.button("Leave it out", key=f"runs-leave-{run_id}", on_click=choose, args=(rest,))
    return read.value


def nothing(*, is_filtered: bool) -> None:
    """No run: none that the filters let through, or none at all."""
    if is_filtered:
        frame.empty("No run matches these filters.", "Press Clear above to see all.", icon="filter_alt_off")
    else:
        frame.empty(
            "Nothing has been trained yet.",
            "Train with `python -m workers.training`; its runs appear here by themselves.",
            icon="model_training",
        )


def render() -> None:
    """Draw the page."""
    st.title("Experiments")
    dialog.show_pending()
    frame.live(live_part)


if __name__ == "__main__":
    render()
