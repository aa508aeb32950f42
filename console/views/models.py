"""Models: what is live, what could be, how they compare; stage, canary, promote and roll back."""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from console import charts, confirmation, frame, session
from console.ab.reads import read_experiments
from console.ab.words import of_challenger
from console.adoptions import adoption_help, adoption_mark
from console.change_dialog import Pending, show_pending
from console.changes import (
    actions,
    is_rollback_urged,
    role_refusal,
    rollback_action,
)
from console.conflicts import Standing
from console.lineage.section import take_link
from console.lineage.words import clipped
from console.measured import dataset_words, is_comparable
from console.reads import read_performance
from console.rollouts.dialogs import PendingRollout, change_button
from console.rollouts.dialogs import show_pending as show_pending_rollout
from console.rollouts.reads import known_rollouts
from console.rollouts.section import rollout_part
from console.rollouts.words import behind_gates, start_action
from console.validation.dialog import show_pending as show_pending_validation
from console.validation.sections import section
from console.validation.words import gate_mark
from console.viewmodels import RANGES, live_spans, merged_row, version_rows
from console.wording import Mark, ago, count, metres, milliseconds, number, share, state_mark
from trajops.contracts.deployments import ModelRefOut, RouteHistoryOut, RouteOut
from trajops.contracts.models import AdoptionOut, ModelsOut, ModelVersionOut, family_words
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.rollouts import RolloutOut

PER_PAGE = 10
WIDTHS = [2.7, 2.0, 0.95, 0.95, 1.3, 2.6]
OTHER_TRACKS = "not the champion's data, so not comparable"
ROLES = (("champion", "Champion"), ("challenger", "Challenger"), ("previous", "Previous champion"))


def strip() -> None:
    """Champion, challenger and previous champion with live beside validation figures; refreshes by itself."""
    chosen = frame.time_range()
    with frame.first_load(240):
        models = session.fetch("models", lambda c: c.models())
        routes = session.fetch("routes", lambda c: c.routes())
        performance = read_performance(chosen)
        experiments = read_experiments()
    frame.freshness(models, routes, performance, key="models")
    if models.value is None or routes.value is None:
        return
    route = routes.value.current
    present = listed(models.value, route)
    if st.session_state.get("drawn", present) != present and not confirmation.is_open():
        st.rerun()
    by_version = {v.model_version: v for v in models.value.versions}
    champion = champion_of(models.value, route)
    rows = performance.value.rows if performance.value is not None else []
    known = experiments.value.experiments if experiments.value is not None else []
    compared = None if route.challenger is None else of_challenger(known, route.challenger.model_version)
    with st.grid(3, min_column_width=260, border=True) as grid:
        for name, title in ROLES:
            ref: ModelRefOut | None = getattr(route, name)
            with grid.cell(), st.container(key=f"{name}-card", gap="xsmall"):
                if ref is None:
                    st.markdown(f"**{title}**")
                    st.markdown("None")
                    st.caption(_absent(name))
                else:
                    version = by_version.get(ref.model_version)
                    answers = card_badge(name, route, is_beside=compared is not None and compared.plan.is_beside)
                    card(title, version, ref, answers, merged_row(rows, ref.model_version))
                    if version is not None and not (version is champion or is_comparable(version, champion)):
                        st.caption(f"Validation: on {frame.plain(dataset_words(version, models.value.versions))}, {OTHER_TRACKS}.")
                    if name == "challenger" and compared is not None:
                        about = {"experiment": compared.experiment_id}
                        link = {"label": "Its A/B test", "icon": ":material/arrow_forward:", "help": ""}
                        st.page_link("views/ab_tests.py", query_params=about, **link)


def champion_of(models: ModelsOut, route: RouteOut) -> ModelVersionOut | None:
    """The version that is champion now."""
    return next((v for v in models.versions if route.champion is not None and v.model_version == route.champion.model_version), None)


def listed(models: ModelsOut, route: RouteOut) -> tuple[object, ...]:
    """What the parts of the page that do not refresh by themselves show; when it changes, the page is drawn anew."""
    versions = ((v.model_version, v.state, v.version, v.is_validation_asked, v.validation and v.validation.at) for v in models.versions)
    return route.epoch, *versions, *((a.model_version, a.state, a.reason) for a in models.adoptions)


def error_part() -> None:
    """Live error by time ahead, one line a version; refreshes by itself."""
    chosen = frame.time_range()
    performance = read_performance(chosen)
    st.header("Live error by time ahead")
    if performance.value is not None and performance.value.step_error_m:
        figure = charts.error_by_step(performance.value.step_error_m, frame.palette())
        frame.chart(figure, key="step-chart", alt="Mean error by time ahead, one line a version")
    else:
        newest = None if performance.value is None else performance.value.last_outcome_at
        frame.empty_range("No prediction has been scored in this range.", newest, key="step-error")


def _absent(name: str) -> str:
    return {
        "champion": "Stage a version below, then promote it.",
        "challenger": "Start a canary on a staged version to compare it with the champion.",
        "previous": "After the next promotion, the champion of today is kept here, warm.",
    }[name]


def card_badge(name: str, route: RouteOut, *, is_beside: bool) -> Mark | None:
    """Whom a version answers by its role; what predicts beside the champion, and what is paused, answers nobody."""
    if name == "champion":
        is_alone = route.challenger is None or not route.coverage or is_beside or route.is_stopped
        return Mark("answers everybody" if is_alone else "answers everybody else", "ok", "check_circle")
    if name != "challenger":
        return None
    if not route.coverage:
        return Mark("paused, answers nobody", "warn", "pause_circle")
    if route.is_stopped:
        return Mark("stopped, answers nobody", "warn", "block")
    if is_beside:
        return Mark("in shadow, answers nobody", "info", "science")
    return Mark(f"{share(route.coverage, 0)} of agents enrolled", "info", "science")


def card(title: str, version: ModelVersionOut | None, ref: ModelRefOut, answers: Mark | None, live: PerformanceRow | None) -> None:
    """One of the three versions that are kept warm."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{title}**", width="content")
        if answers is not None:
            st.markdown(frame.badge(answers), width="content")
    st.header(f"v{ref.model_version}" + (f" · {frame.plain(family_words(version.family))}" if version else ""), anchor=False)
    validation = version.metrics if version else {}
    figures = [
        ("ADE", metres(live.ade_m if live else None), metres(validation.get("val_ade_m"))),
        ("FDE", metres(live.fde_m if live else None), metres(validation.get("val_fde_m"))),
        ("Miss rate", share(live.miss_rate if live else None), share(validation.get("val_miss_rate"))),
        ("Coverage", share(live.coverage if live else None), share(validation.get("val_coverage_90"))),
        ("NLL", number(live.nll if live else None), number(validation.get("val_nll"))),
    ]
    lines = [
        "| Metric | Live | Validation |",
        "|:--|--:|--:|",
        *(frame.unbroken(f"|{label}|{now}|{then}|") for label, now, then in figures),
    ]
    st.markdown("\n".join(lines))
    if live is not None:
        st.caption(
            f"In this time range {count(live.scored)} of {count(live.predictions)} predictions were scored; "
            f"95 % were answered within {frame.unbroken(milliseconds(live.latency_p95_ms))} in the API."
        )
    else:
        st.caption("No prediction in this time range.")


def rollback_bar(models: ModelsOut | None, route: RouteOut) -> None:
    """The way back: always there, and shown first for half an hour after a change."""
    action = rollback_action(route, session.role())
    now = datetime.now(UTC)
    urged = is_rollback_urged(route, now)
    with st.container(horizontal=True, vertical_alignment="center"):
        confirmation.button(
            action.label,
            Pending(
                dialog_id="",
                action="rollback",
                model_version=route.previous.model_version if route.previous else 0,
                expected_epoch=route.epoch,
                seen=Standing.of(models, route, route.previous.model_version) if route.previous else None,
            ),
            key="rollback",
            refusal=action.refusal,
            icon=":material/undo:",
            is_first=urged,
        )
        if route.previous is None:
            st.caption("There is no previous champion to go back to.")
        else:
            told = f"last change {ago(route.changed_at, now)}" + (f" by {frame.plain(route.actor)}" if route.actor else "")
            st.caption(f"Puts v{route.previous.model_version} back as champion · epoch {route.epoch} · {told}")


def versions_table(models: ModelsOut, route: RouteOut, rollouts: Sequence[RolloutOut]) -> None:
    """All versions, newest first, each with what can be done with it."""
    st.header("Versions")
    refusal = role_refusal(session.role())
    if refusal is not None:
        st.caption(f":material/lock: {refusal}")
    if not models.versions:
        frame.empty(
            "No version is registered.", "Train one with `python -m workers.training`; it appears here by itself.", icon="model_training"
        )
        return
    pages = -(-len(models.versions) // PER_PAGE)
    page = st.pagination(pages, key="versions-page") if pages > 1 else 1
    with st.container(border=True, gap="xsmall"):
        heads = st.columns(WIDTHS, vertical_alignment="bottom", gap="xsmall")
        for column, text in zip(heads, ("Version", "State", "ADE (m)", "FDE (m)", "Coverage", "Actions"), strict=True):
            column.caption(f"**{text}**")
        for version in models.versions[(page - 1) * PER_PAGE : page * PER_PAGE]:
            version_line(version, models, route, rollouts)
    details = st.expander("All figures, to sort and download", on_change="rerun", key="all-figures")
    if details.open:
        with details:
            frame.table(
                version_rows(models.versions, champion_of(models, route)),
                alt="All versions with validation metrics",
                column_config={
                    "Run": st.column_config.LinkColumn(display_text="open run"),
                    "Created (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
                    "Comparable": st.column_config.CheckboxColumn(
                        help="Measured on the same windows of the same tracks as the champion; figures of other tracks compare with nothing"
                    ),
                    "Time of one forecast (ms)": st.column_config.NumberColumn(
                        format="%.3f", help="Median, without the API around it, on the machine that trained or adopted the version"
                    ),
                },
            )


def adoptions(found: list[AdoptionOut]) -> None:
    """Versions that somebody brought and that cannot be staged: why, and what to do about it."""
    if not found:
        return
    st.header("Not adopted yet")
    st.caption("Registered in MLflow under this name, but not ready to be staged; as the workers last saw it.")
    for one in found:
        with st.container(border=True, gap="xsmall", key=f"adoption-{one.model_version}"):
            run = f" [:material/open_in_new:]({one.run_url} 'Training run')" if one.run_url else ""
            st.markdown(
                f"**v{one.model_version}**{run} &nbsp;{frame.badge(adoption_mark(one))} "
                f"&nbsp;:gray[:small[registered {ago(one.registered_at, datetime.now(UTC))}]]"
            )
            st.markdown(frame.plain(one.reason))
            st.caption(adoption_help(one))


def version_line(version: ModelVersionOut, models: ModelsOut, route: RouteOut, rollouts: Sequence[RolloutOut]) -> None:
    """One version as a row; figures that do not compare with the champion's are muted, and the row says why."""
    champion = champion_of(models, route)
    is_apart = champion is not None and version is not champion and not is_comparable(version, champion)
    with st.container(key=f"version-{version.model_version}"):
        cells = st.columns(WIDTHS, vertical_alignment="center", gap="xsmall")
        run = f" [:material/open_in_new:]({version.run_url} 'Training run')" if version.run_url else ""
        created = frame.unbroken(version.created_at.astimezone(UTC).strftime("%d %b %H:%M UTC"))
        measured = f"on {frame.plain(dataset_words(version, models.versions))}" + (f", {OTHER_TRACKS}" if is_apart else "")
        cells[0].markdown(
            f"**v{version.model_version}** {frame.plain(family_words(version.family))}{run}  \n"
            f":gray[:small[{frame.plain(created)}]]  \n:gray[:small[{measured}]]"
        )
        warm = "  \n:gray[:small[:material/local_fire_department:\u00a0warm]]" if version.is_warm else ""
        gate = gate_mark(version)
        gates = f"  \n:gray[:small[:material/{gate.icon}:\u00a0{frame.unbroken(gate.word)}]]"
        cells[1].markdown(f"{frame.badge(state_mark(version.state))}{warm}{gates}")
        for cell, text in zip(
            cells[2:5],
            (
                number(version.metrics.get("val_ade_m"), 3),
                number(version.metrics.get("val_fde_m"), 3),
                share(version.metrics.get("val_coverage_90")),
            ),
            strict=True,
        ):
            cell.markdown(f":gray[{frame.unbroken(text)}]" if is_apart else frame.unbroken(text))
        with cells[5], st.container(horizontal=True, gap="xsmall"):
            offered = behind_gates(actions(version, route, session.role()), rollouts, model_version=version.model_version)
            begin = start_action(version, route, rollouts, session.role())
            if begin is not None:
                about = PendingRollout("", "start", version.model_version, None, version.deployment_id or "", version.version or 1)
                change_button(begin, about, key=f"rollout-start-{version.model_version}")
            for action in offered:
                confirmation.button(
                    action.label,
                    Pending(
                        dialog_id="",
                        action=action.name,
                        model_version=version.model_version,
                        deployment_id=version.deployment_id,
                        expected_version=version.version,
                        seen=Standing(route, version.state, version.version),
                    ),
                    key=f"{action.name}-{version.model_version}",
                    refusal=action.refusal,
                )
            if not offered:
                st.caption("live" if version.state == "live" else "in progress")


def timeline(history: RouteHistoryOut) -> None:
    """What was live when, within the chosen time range."""
    st.header("What was live when")
    now = datetime.now(UTC)
    since = now - RANGES[frame.time_range()]
    spans = clipped(live_spans(history.history or [history.current], now), since, now)
    if not spans and len(history.history) > 1:
        frame.empty("No version was live in this time range.", "Choose a wider time range above.", icon="history")
        return
    if not spans:
        frame.empty("No version has been live yet.", "Promote a staged version above.", icon="history")
        return
    frame.chart(charts.live_timeline(spans, frame.palette()), key="timeline-chart", alt="Champion and challenger versions over time")
    rows = [
        {
            "Epoch": r.epoch,
            "Since (UTC)": r.changed_at.astimezone(UTC).replace(tzinfo=None) if r.changed_at else None,
            "Champion": f"v{r.champion.model_version}" if r.champion else "–",
            "Challenger": f"v{r.challenger.model_version}" if r.challenger else "–",
            "Enrolled": share(r.coverage, 0) if r.challenger else "–",
            "By": r.actor or "–",
            "Reason": r.reason or "–",
        }
        for r in history.history[:100]
        if r.changed_at is not None and r.changed_at > since
    ]
    before = sum(r.changed_at is not None and r.changed_at <= since for r in history.history)
    if before:
        times = "change" if before == 1 else "changes"
        st.caption(f"{count(before)} {times} of routes before this time range; choose a wider one above to see them.")
    if rows:
        frame.table(
            rows,
            alt="Routing epochs, newest first",
            column_config={
                "Since (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss"),
                "Reason": st.column_config.TextColumn(width="large"),
            },
        )


def render() -> None:
    """Draw the page."""
    st.title("Models")
    confirmation.show_notice()
    with frame.first_load(240):
        models = session.fetch("models", lambda c: c.models())
        routes = session.fetch("routes", lambda c: c.routes())
    if models.value is not None and routes.value is not None:
        # First, so that the dialog appears before the rest of the page has been drawn behind it.
        show_pending(models.value, routes.value.current)
        show_pending_rollout()
        show_pending_validation()
        st.session_state["drawn"] = listed(models.value, routes.value.current)
    if routes.value is not None:
        rollback_bar(models.value, routes.value.current)
    is_linked = models.value is not None and take_link(models.value)
    if models.value is not None and is_linked:
        section(models.value)
    frame.live(strip)
    frame.live(rollout_part)
    if models.value is not None and routes.value is not None:
        versions_table(models.value, routes.value.current, known_rollouts())
        adoptions(models.value.adoptions)
        if not is_linked:
            section(models.value)
        frame.live(error_part)
        timeline(routes.value)


if __name__ == "__main__":
    render()
