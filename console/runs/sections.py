"""Parts of the page of training runs: the list, error against latency, and the comparison of what is chosen."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from console import confirmation, frame
from console.changes import role_refusal
from console.runs import charts, parts
from console.runs.choosing import MOST, baseline_of, parsed, picked, toggled
from console.runs.dialog import Pending
from console.runs.words import (
    Cell,
    Line,
    comparison_csv,
    data_words,
    figure_lines,
    fit_words,
    is_comparable,
    label,
    parameter_lines,
    status_mark,
)
from console.session import role
from console.wording import ago, number, share
from trajops.contracts.models import family_words
from trajops.contracts.runs import RunDetailOut, RunOut

PER_PAGE = 8
WIDTHS = [0.35, 2.4, 1.7, 0.95, 0.95, 1.35, 1.3, 1.7]
HEADS = {
    "": None,
    "Run": None,
    "Data": None,
    "ADE (m)": "Mean distance between forecast and truth, at validation",
    "FDE (m)": "Distance at the last step, at validation",
    "Coverage": "Share of the truth inside the ellipses of 90 %",
    "Time (ms)": "Of one forecast: the median, on the machine that trained",
    "Version": None,
}
CHART = "runs-pareto"
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "autoScale2d"], "responsive": True}
NOTHING: dict[str, object] = {}


def chosen_ids() -> list[str]:
    """What the URL names."""
    return parsed(st.query_params.get("runs"))


def choose(ids: Sequence[str]) -> None:
    """Compare these, and say so in the URL."""
    if ids:
        st.query_params["runs"] = ",".join(ids)
    else:
        st.query_params.pop("runs", None)
    if st.query_params.get("baseline") not in ids:
        st.query_params.pop("baseline", None)


def toggle(run_id: str) -> None:
    """Take one more, or leave it out."""
    choose(toggled(chosen_ids(), run_id))


def pick_in_chart(key: str, known: Sequence[str]) -> None:
    """Take what was clicked or lies in the box; the next figure begins without a selection."""
    selection = (st.session_state.get(key) or NOTHING).get("selection") or NOTHING
    choose(picked(chosen_ids(), selection, known))
    st.session_state["runs-drawn"] = st.session_state.get("runs-drawn", 0) + 1


def pareto(runs: Sequence[RunOut], chosen: Sequence[str], reference: RunOut) -> None:
    """Error against latency; what is clicked or boxed is chosen."""
    st.header("Error against latency")
    if not any(charts.ERROR in run.metrics and run.metrics.get(charts.LATENCY, 0.0) > 0 for run in runs):
        frame.empty("None of these runs has both an error and a latency.", "Choose other filters above.", icon="scatter_plot")
        return
    key = f"{CHART}-{st.session_state.get('runs-drawn', 0)}"
    st.plotly_chart(
        charts.error_against_latency(runs, chosen, reference, frame.palette()),
        key=key,
        alt="Error at validation against the time of one forecast, a point for each run, with the front of the best",
        theme="streamlit",
        config=CONFIG,
        on_select=lambda: pick_in_chart(key, [run.run_id for run in runs]),
        selection_mode=("points", "box"),
    )
    st.caption(
        "Click a point to compare its run, or take Box Select of the figure's tool bar for several. Lower and further left is better."
    )


def run_list(runs: Sequence[RunOut], chosen: Sequence[str], reference: RunOut) -> None:
    """All runs, newest first, to be ticked."""
    st.header("Runs")
    pages = -(-len(runs) // PER_PAGE)
    page = st.pagination(pages, key="runs_page", bind="query-params") if pages > 1 else 1
    with st.container(border=True, gap="xsmall", key="runs-list"):
        heads = st.columns(WIDTHS, vertical_alignment="bottom", gap="xsmall")
        for column, (text, about) in zip(heads, HEADS.items(), strict=True):
            column.caption(f"**{text}**" if text else " ", help=about)
        for run in runs[(page - 1) * PER_PAGE : page * PER_PAGE]:
            _line(run, runs, chosen, reference)
    with st.container(horizontal=True, vertical_alignment="center", key="runs-chosen"):
        st.caption(f"{len(chosen)} of at most {MOST} chosen to compare")
        st.space("stretch")
        st.button("Choose none", key="runs-none", type="tertiary", disabled=not chosen, on_click=choose, args=([],))


def _line(run: RunOut, runs: Sequence[RunOut], chosen: Sequence[str], reference: RunOut) -> None:
    is_apart = bool(run.metrics) and not is_comparable(run, reference)
    with st.container(key=f"run-{run.run_id}"):
        cells = st.columns(WIDTHS, vertical_alignment="center", gap="xsmall")
        with cells[0]:
            tick(run, chosen)
        name = family_words(run.family) if run.family else run.name
        about = f"{run.run_id[:8]} · {ago(run.started_at, datetime.now(UTC))}"
        took = fit_words(run)
        about += f" · {took}" if took is not None else ""
        mark = "" if run.status == "finished" else f" {frame.badge(status_mark(run))}"
        link = f" [:material/open_in_new:]({run.run_url} 'The run in MLflow')"
        cells[1].markdown(f"**{frame.plain(name[:1].upper() + name[1:])}**{link}{mark}  \n:gray[:small[{frame.plain(about)}]]")
        apart = "  \n:gray[:small[:material/block: not comparable]]" if is_apart else ""
        cells[2].markdown(f"{frame.plain(data_words(run, runs))}{apart}")
        figures = (
            number(run.metrics.get("val_ade_m"), 3),
            number(run.metrics.get("val_fde_m"), 3),
            share(run.metrics.get("val_coverage_90")),
            number(run.metrics.get("val_latency_ms"), 3),
        )
        for cell, text in zip(cells[3:7], figures, strict=True):
            cell.markdown(f":gray[{frame.unbroken(text)}]" if is_apart else frame.unbroken(text))
        with cells[7]:
            version(run)


def tick(run: RunOut, chosen: Sequence[str]) -> None:
    """A box that says whether a run is compared."""
    key = f"pick-{run.run_id}"
    st.session_state[key] = run.run_id in chosen
    is_full = len(chosen) >= MOST and run.run_id not in chosen
    st.checkbox(
        f"Compare {label(run)}",
        key=key,
        label_visibility="collapsed",
        disabled=is_full,
        help=f"{MOST} runs are chosen; leave one out first." if is_full else None,
        on_change=toggle,
        args=(run.run_id,),
    )


def version(run: RunOut) -> None:
    """The version that came of a run, or the way to one."""
    if run.model_versions:
        with st.container(horizontal=True, gap="xsmall"):
            for one in run.model_versions[-2:]:
                st.page_link(
                    "views/models.py", label=f"v{one}", query_params={"version": str(one)}, icon=":material/arrow_forward:", help=""
                )
        return
    refusal = role_refusal(role()) or _unfit(run)
    confirmation.button("Register", Pending("", run.run_id, label(run)), key=f"register-{run.run_id}", refusal=refusal)


def _unfit(run: RunOut) -> str | None:
    """Why a run cannot become a version, as far as the list tells; the API says the rest."""
    return {
        "running": "It is not over yet.",
        "scheduled": "It has not begun yet.",
        "failed": "It has failed; train again.",
        "killed": "It was stopped; train again.",
    }.get(run.status)


def comparison(details: Sequence[RunDetailOut]) -> None:
    """The chosen runs side by side: figures against the baseline, then parameters."""
    runs = [detail.run for detail in details]
    names = {run.run_id: label(run) for run in runs}
    pinned = baseline_of(list(names), st.query_params.get("baseline"))
    baseline = next(run for run in runs if run.run_id == pinned)
    with st.container(horizontal=True, vertical_alignment="bottom", key="runs-compared"):
        st.session_state["runs-baseline"] = baseline.run_id
        st.selectbox(
            "Baseline",
            list(names),
            key="runs-baseline",
            format_func=lambda one: names.get(one, one),
            on_change=pin,
            width=280,
            help="Better and worse are against this run.",
        )
        wants = st.toggle(
            "Differences only",
            value=True,
            key="differences",
            bind="query-params",
            help="Leave out figures and parameters that all of them share.",
        )
        only = wants and len(runs) > 1
        st.space("stretch")
        figures, parameters = figure_lines(runs, baseline), parameter_lines(runs)
        st.download_button(
            "CSV",
            comparison_csv(runs, baseline, _shown([*figures, *parameters], only)),
            file_name="training-runs.csv",
            mime="text/csv",
            key="runs-csv",
            icon=":material/download:",
            help="What is shown below",
        )
    others = [names[run.run_id] for run in runs if not is_comparable(run, baseline)]
    if others:
        st.warning(
            frame.plain(
                f"{', '.join(others)}: validated on other data than the baseline {names[baseline.run_id]}, or nobody knows on which; "
                "figures of different data do not compare."
            ),
            icon=":material/block:",
        )
    heads = [f"{names[run.run_id]}{' (baseline)' if run.run_id == baseline.run_id else ''}" for run in runs]
    _table(heads, _shown(figures, only), "Figure", "Validation figures of the chosen runs, better or worse than the baseline")
    if not _shown(figures, only):
        st.caption("No figure differs." if figures else "None of these runs has been validated.")
    if _shown(figures, only):
        st.caption("Better and worse are against the baseline. Times were taken on the machine that trained, however busy it was.")
    _table(heads, _shown(parameters, only), "Parameter", "Parameters of the chosen runs")
    if not _shown(parameters, only):
        st.caption("No parameter differs.")


def pin() -> None:
    """Hold the others against the run that was chosen."""
    st.query_params["baseline"] = st.session_state["runs-baseline"]


def curves(details: Sequence[RunDetailOut]) -> None:
    """Figures side by side, error by step, calibration; one line a run."""
    runs = [detail.run for detail in details]
    if len(runs) > 1:
        st.header("Figures side by side")
        frame.chart(
            charts.side_by_side(runs, frame.palette()), key="runs-parallel", alt="Each validation figure as an axis, one line a run"
        )
    grid = st.grid(2, min_column_width=380, gap="medium")
    with grid.cell():
        st.header("Error by step of the horizon")
        known = [detail for detail in details if detail.steps]
        if known:
            frame.chart(charts.error_by_step(known, frame.palette()), key="runs-steps", alt="Mean error by time ahead, one line a run")
        _missing(details, known, "errors by step")
    with grid.cell():
        st.header("Calibration")
        known = [detail for detail in details if detail.calibration]
        if known:
            frame.chart(
                charts.calibration(known, frame.palette()),
                key="runs-calibration",
                alt="Observed share of the truth inside ellipses against the promised one, one line a run",
            )
        _missing(details, known, "a calibration curve")
    with grid.cell():
        st.header("Error by scene")
        by_part(details, "scenes")
    with grid.cell():
        st.header("Error by speed")
        by_part(details, "speeds")


def by_part(details: Sequence[RunDetailOut], kind: parts.Kind) -> None:
    """Where each run is good and where bad."""
    known = [detail for detail in details if parts.parts_of(detail, kind)]
    one, many = parts.KINDS[kind]
    if known:
        pinned = baseline_of([detail.run.run_id for detail in details], st.query_params.get("baseline"))
        baseline = next((detail for detail in known if detail.run.run_id == pinned), known[0])
        found = parts.shown(known, kind, baseline)
        names = found.names
        if len(names) > parts.FEW and not st.toggle(f"All {many}", key=f"all_{kind}", bind="query-params"):
            names = names[: parts.FEW]
        if len(names) < found.total:
            st.caption(frame.plain(f"{len(names)} of {found.total} {many}: those with the largest error of {label(baseline.run)}."))
        figure = charts.error_by_part(known, kind, names, frame.palette())
        frame.chart(figure, key=f"runs-{kind}", alt=f"Mean error in each of the {many}, one mark a run, metres")
        held_against = baseline if baseline.run.run_id == pinned else None
        st.caption("  \n".join(frame.plain(parts.sentence(detail, held_against, kind)) for detail in known))
    _missing(details, known, f"errors by {one}")


def _missing(details: Sequence[RunDetailOut], known: Sequence[RunDetailOut], what: str) -> None:
    without = [label(detail.run) for detail in details if detail not in known]
    if not known:
        frame.empty(f"None of the chosen runs has logged {what}.", "Choose runs of `python -m workers.training`.", icon="show_chart")
    elif without:
        st.caption(frame.plain(f"Without {what}: {', '.join(without)}."))


def _shown(lines: Sequence[Line], only: bool) -> list[Line]:
    return [line for line in lines if line.differs] if only else list(lines)


def _table(heads: Sequence[str], lines: Sequence[Line], first: str, alt: str) -> None:
    if not lines:
        return
    rows = [
        {first: frame.plain(line.title) + (f"  \n:gray[:small[{line.about}]]" if line.about else "")}
        | {head: _cell(cell) for head, cell in zip(map(frame.plain, heads), line.cells, strict=True)}
        for line in lines
    ]
    st.table(pd.DataFrame(rows), border="horizontal", hide_index=True, alt=alt)


def _cell(cell: Cell) -> str:
    text = frame.plain(cell.text)
    if not cell.words:
        return text
    colour = frame.COLOURS[cell.tone]
    return f"{text} :{colour}[:small[{frame.unbroken(cell.words)}]]"
