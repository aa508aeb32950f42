"""What the pages say: sentences, rows, what may be done, and what a confirmation must hold."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import changes, viewmodels, wording
from trajops.contracts.deployments import ModelRefOut, RouteOut
from trajops.contracts.drift import UNIT_RULE, DriftColumn
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.contracts.models import ModelVersionOut
from trajops.contracts.performance import PerformanceOut, PerformanceRow
from trajops.contracts.predictions import Mode, OutcomeOut, PredictIn, PredictionOut, PredictOut
from trajops.deployments.lifecycle import TRANSITIONS, State

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def ref(version: int | None) -> ModelRefOut | None:
    return None if version is None else ModelRefOut(model_name="trajectory", model_version=version)


def route(epoch: int = 1, champion: int | None = 2, challenger: int | None = None, previous: int | None = None, **given: Any) -> RouteOut:
    values = {"coverage": 0.0, "changed_at": NOW, "actor": "ada", "reason": "because it is better", **given}
    return RouteOut(epoch=epoch, champion=ref(champion), challenger=ref(challenger), previous=ref(previous), **values)


def row(version: int = 2, variant: str = "champion", **given: Any) -> PerformanceRow:
    values = {
        "predictions": 100,
        "scored": 80,
        "complete": 80,
        "agents": 5,
        "join_rate": 0.9,
        "ade_m": 0.5,
        "fde_m": 1.0,
        "miss_rate": 0.1,
        "nll": 1.0,
        "coverage": 0.88,
        "cv_ade_m": 0.625,
        "latency_p50_ms": 1.0,
        "latency_p95_ms": 3.0,
        **given,
    }
    return PerformanceRow(model_version=version, variant=variant, **values)


def performance(rows: list[PerformanceRow], last: datetime | None = NOW) -> PerformanceOut:
    return PerformanceOut(
        since=NOW - timedelta(hours=1), until=NOW, nominal_coverage=0.9, rows=rows, series=[], step_error_m={}, last_outcome_at=last
    )


def version(state: str, number: int = 3) -> ModelVersionOut:
    is_new = state == "registered"
    return ModelVersionOut(
        model_name="trajectory",
        model_version=number,
        family="kalman",
        run_id=None,
        run_url=None,
        created_at=NOW,
        aliases=[],
        metrics={},
        params={},
        deployment_id=None if is_new else "dep",
        state=State(state),
        version=None if is_new else 4,
        is_warm=False,
    )


# Figures as text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wording.metres(0.534), "0.53 m"),
        (wording.metres(None), "–"),
        (wording.share(0.884), "88.4 %"),
        (wording.share(0.1, 0), "10 %"),
        (wording.milliseconds(3.9), "3.90 ms"),
        (wording.milliseconds(123.4), "123 ms"),
        (wording.count(48211), "48\u202f211"),
        (wording.seconds(0.31), "310 ms"),
        (wording.seconds(9.94), "9.9 s"),
        (wording.seconds(119), "119 s"),
        (wording.seconds(300), "5 min"),
        (wording.seconds(7200), "2 h"),
        (wording.seconds(86_400 * 3), "3 d"),
        (wording.ago(NOW - timedelta(seconds=3.7), NOW), "3 s ago"),
        (wording.ago(NOW + timedelta(seconds=2), NOW), "just now"),
        (wording.ago(None, NOW), "never"),
        (wording.clock(NOW.astimezone()), "03:00:00"),
        (wording.moment(NOW), "2026-11-24 03:00 UTC"),
    ],
)
def test_figures_carry_their_unit(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_word_an_icon_and_a_tone(state: State) -> None:
    mark = wording.state_mark(state)
    assert mark.word.lower().replace(" ", "_") == state
    assert mark.icon


def test_too_little_data_and_no_check_are_never_called_stable() -> None:
    assert wording.drift_mark("insufficient_data").tone == "unknown"
    assert wording.drift_mark(None).word == "Not checked yet"
    assert wording.drift_mark("stable").tone == "ok"


# Versions


def test_figures_compare_only_on_the_same_windows() -> None:
    match = {"dataset": "match", "data_fingerprint": "sha256:9f"}
    given = [match, {"data_fingerprint": "9f"}, {"dataset": "mine.csv", "data_fingerprint": "77"}, {"data_fingerprint": "5" * 64}, {}]
    versions = [version("staged", 1 + n).model_copy(update={"params": params}) for n, params in enumerate(given)]
    rows = viewmodels.version_rows(versions, versions[0])
    assert [row["Measured on"] for row in rows] == ["match", "match", "mine.csv", "tracks 55555555", "unknown tracks"]
    assert [row["Comparable"] for row in rows] == [True, True, False, False, False]
    assert {row["Comparable"] for row in viewmodels.version_rows(versions, None)} == {None}


# Performance


@pytest.mark.parametrize(
    ("ade", "cv", "text", "tone"),
    [
        (0.5, 0.625, "20 % better than constant velocity", "ok"),
        (0.75, 0.625, "20 % worse than constant velocity", "bad"),
        (0.625, 0.625, "same as constant velocity", "unknown"),
        (None, 0.6, "no truth yet", "unknown"),
        (0.5, None, "no truth yet", "unknown"),
    ],
)
def test_gain_over_constant_velocity(ade: float | None, cv: float | None, text: str, tone: str) -> None:
    gain = viewmodels.gain_over_constant_velocity(row(ade_m=ade, cv_ade_m=cv))
    assert (gain.text, gain.tone) == (text, tone)


def test_variants_of_a_version_are_merged_by_what_was_scored() -> None:
    merged = viewmodels.merged_row(
        [row(scored=30, complete=30, ade_m=0.4), row(variant="control", scored=10, complete=10, ade_m=0.8, latency_p95_ms=9.0), row(3)], 2
    )
    assert merged is not None
    assert merged.ade_m == pytest.approx(0.5)
    assert (merged.predictions, merged.scored, merged.latency_p95_ms) == (200, 40, 9.0)


def test_merging_what_was_never_scored_leaves_no_figure() -> None:
    merged = viewmodels.merged_row([row(scored=0, complete=0, ade_m=None)], 2)
    assert merged is not None
    assert merged.ade_m is None
    assert viewmodels.merged_row([], 2) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((performance([row()]), route(champion=None)), "No champion yet"),
        (
            (performance([row()]), route()),
            "Champion v2: ADE 0.50 m, 20 % better than constant velocity; 88 % of steps inside the 90 % ellipse, 80",
        ),
        ((performance([]), route()), "truth arrives about 5 s after"),
        ((performance([], NOW - timedelta(hours=3)), route()), "the newest arrived 2026-11-24 00:00 UTC"),
    ],
    ids=["no-champion", "scored", "nothing-yet", "empty-window"],
)
def test_accuracy_in_one_sentence(given: tuple[PerformanceOut, RouteOut], expected: str) -> None:
    assert expected in viewmodels.accuracy_sentence(*given)


# Differences


def by_metric(candidate: dict[str, float], baseline: dict[str, float]) -> dict[str, changes.Difference]:
    return {d.metric: d for d in changes.differences(candidate, baseline)}


def test_differences_say_better_or_worse_in_the_sense_of_each_metric() -> None:
    found = by_metric(
        {"ade_m": 0.45, "nll": 1.2, "coverage": 0.93, "miss_rate": 0.3},
        {"ade_m": 0.5, "nll": 1.0, "coverage": 0.85, "miss_rate": 0.3},
    )
    assert (found["ADE (m)"].words, found["ADE (m)"].tone) == ("0.050 better (10 %)", "ok")
    assert (found["NLL (nats)"].words, found["NLL (nats)"].tone) == ("0.200 worse (20 %)", "bad")
    assert (found["Coverage"].words, found["Coverage"].tone) == ("0.020 nearer to nominal", "ok")
    assert (found["Miss rate"].words, found["Miss rate"].tone) == ("same", "unknown")
    assert "FDE (m)" not in found
    assert changes.differences_sentence(list(found.values()), "Validation") == "Validation: 2 better, 1 worse."


def test_latency_is_compared_between_the_arms_of_one_canary_and_never_between_trainings() -> None:
    """Each version's forecast was timed when it was trained, wherever that was; only traffic drawn by lot is like and like."""
    trained = version("canary").model_copy(update={"metrics": {"val_ade_m": 0.4, "val_coverage_90": 0.9, "val_latency_ms": 0.03}})
    assert changes.validation_figures(trained) == {"ade_m": 0.4, "coverage": 0.9}
    assert changes.validation_figures(None) == {}
    rows = [row(2), row(2, "control", latency_p95_ms=2.0), row(3, "treatment", latency_p95_ms=3.0), row(3, "direct", latency_p95_ms=90.0)]
    found = by_metric(changes.live_figures(rows, 3, "treatment"), changes.live_figures(rows, 2, "control"))
    assert found["Time to answer in the API, p95 (ms)"].words == "1.00 worse (50 %)"
    assert changes.live_figures(rows, 4, "treatment") == {}


def test_a_difference_below_one_per_cent_is_not_called_nothing() -> None:
    assert by_metric({"fde_m": 9.174}, {"fde_m": 9.208})["FDE (m)"].words == "0.034 better (0.4 %)"


def test_metric_that_only_one_version_has_is_not_compared() -> None:
    found = by_metric({"ade_m": 0.45}, {})
    assert (found["ADE (m)"].baseline, found["ADE (m)"].words) == ("–", "not comparable")


@given(a=st.floats(0.01, 10), b=st.floats(0.01, 10))
def test_swapping_the_versions_swaps_better_and_worse(a: float, b: float) -> None:
    forth, back = by_metric({"ade_m": a}, {"ade_m": b})["ADE (m)"], by_metric({"ade_m": b}, {"ade_m": a})["ADE (m)"]
    assert {forth.tone, back.tone} in ({"ok", "bad"}, {"unknown"})


# Actions


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("registered", ["stage", "delete"]),
        ("staged", ["canary", "promote", "delete"]),
        ("canary", ["pause", "stop", "promote"]),
        ("shadow", ["promote"]),
        ("live", []),
        ("promoting", []),
        ("retired", ["stage", "delete"]),
        ("rolled_back", ["stage", "delete"]),
        ("inconclusive", ["stage", "delete"]),
        ("paused", ["resume", "stop"]),
    ],
)
def test_actions_of_each_state(state: str, expected: list[str]) -> None:
    assert [a.name for a in changes.actions(version(state), route(), "operator")] == expected


@pytest.mark.parametrize("state", list(State))
def test_nothing_is_offered_that_the_transition_table_forbids(state: State) -> None:
    target = {
        "stage": State.STAGED,
        "canary": State.CANARY,
        "pause": State.PAUSED,
        "resume": State.CANARY,
        "stop": State.STAGED,
        "promote": State.LIVE,
        "delete": State.RETIRED,
    }
    for action in changes.actions(version(state), route(), "admin"):
        assert target[action.name] in TRANSITIONS[state] | {state}


def test_viewer_is_refused_with_a_reason_and_others_are_not() -> None:
    assert all("viewer" in (a.refusal or "") for a in changes.actions(version("staged"), route(), "viewer"))
    assert all(a.refusal is None for a in changes.actions(version("staged"), route(), "operator"))


def test_what_is_kept_for_a_rollback_is_not_deleted() -> None:
    refusals = [changes.actions(version("retired"), route(previous=number), "admin")[1].refusal for number in (3, 9)]
    assert ["kept for a rollback" in (one or "") for one in refusals] == [True, False]


def test_second_canary_waits_for_the_first() -> None:
    canary, promote, _ = changes.actions(version("staged"), route(challenger=7), "admin")
    assert "Version 7 is being compared" in (canary.refusal or "")
    assert promote.refusal is None


def test_canary_needs_a_champion() -> None:
    canary, promote, _ = changes.actions(version("staged"), route(champion=None), "admin")
    assert "no champion" in (canary.refusal or "")
    assert promote.refusal is None


def test_rollback_needs_a_previous_champion_and_is_urged_for_half_an_hour() -> None:
    assert "no previous champion" in (changes.rollback_action(route(), "admin").refusal or "")
    assert changes.rollback_action(route(previous=1), "admin").refusal is None
    assert changes.is_rollback_urged(route(previous=1), NOW + timedelta(minutes=29))
    assert not changes.is_rollback_urged(route(previous=1), NOW + timedelta(minutes=30))
    assert not changes.is_rollback_urged(route(), NOW)


@pytest.mark.parametrize(
    ("reason", "is_good"), [("", False), ("nine char", False), ("   spaces   ", False), ("ten chars.", True), ("x" * 501, False)]
)
def test_reason(reason: str, is_good: bool) -> None:
    assert (changes.reason_problem(reason) is None) == is_good


@pytest.mark.parametrize(("typed", "is_good"), [("3", True), ("v3", True), (" V3 ", True), ("30", False), ("", False), ("three", False)])
def test_typed_version(typed: str, is_good: bool) -> None:
    assert (changes.confirmation_problem(typed, 3) is None) == is_good


# Rows


def job(state: str | None, *, is_late: bool = False, error: str | None = None) -> JobOut:
    run = (
        None
        if state is None
        else JobRunOut(
            run_id="r",
            job="join_truth",
            state=state,
            holder="w",
            started_at=NOW - timedelta(seconds=4),
            finished_at=NOW,
            duration_s=0.31,
            result={"candidates": 1100, "scored": 4, "completed": 0, "nested": {"a": 1}, "none": None},
            error=error,
        )
    )
    return JobOut(job="join_truth", description="Scores predictions", every_s=5, last_run=run, last_success_at=None, is_late=is_late)


@pytest.mark.parametrize(
    ("given", "state", "result"),
    [
        (job("succeeded"), "● Succeeded", "predictions scored: 4, waited for truth: 1\u202f100"),
        (job("failed", is_late=True, error="no space left"), "✕ Failed", "no space left"),
        (job("succeeded", is_late=True), "▲ Late", "predictions scored: 4, waited for truth: 1\u202f100"),
        (job("running"), "◌ Running", "predictions scored: 4, waited for truth: 1\u202f100"),
        (job(None), "○ Not run yet", "Scores predictions"),
    ],
    ids=["succeeded", "failed", "late", "running", "never"],
)
def test_job_row_has_state_in_words_and_result_without_json(given: JobOut, state: str, result: str) -> None:
    shown = viewmodels.job_rows([given], NOW)[0]
    assert (shown["Job"], shown["State"], shown["Result"], shown["Raw name"]) == ("Score predictions", state, result, "join_truth")
    assert "{" not in str(shown["Result"])


def column(score: float | None, threshold: float | None = 0.1, method: str = "wasserstein", name: str = "speed_mps") -> DriftColumn:
    return DriftColumn(
        column=name, kind="input", method=method, score=score, threshold=threshold, is_drifted=False, reference_mean=None, current_mean=None
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (column(0.2), 2.0),
        (column(None), None),
        (column(0.2, None), None),
        (column(0.2, 0.0), None),
        (column(0.01, 0.05, "ks p_value"), 5.0),
        (column(1.0, 2.0, UNIT_RULE), 0.0),
        (column(4.0, 2.0, UNIT_RULE), 2.0),
        (column(0.25, 0.5, UNIT_RULE), 2.0),
        (column(0.5, 0.25, UNIT_RULE), 0.5),
    ],
    ids=["distance", "no-score", "no-threshold", "zero-threshold", "p-value", "unit", "unit-above", "unit-below", "unit-wider-below"],
)
def test_drift_share_is_above_one_exactly_when_drifted(given: DriftColumn, expected: float | None) -> None:
    assert viewmodels.drift_share(given) == (None if expected is None else pytest.approx(expected))


def test_drift_rows_are_worst_first() -> None:
    rows = viewmodels.drift_rows([column(0.05, name="a"), column(None, name="b"), column(0.3, name="c")])
    assert [r["Column"] for r in rows] == ["c", "a", "b"]


def test_what_tells_windows_apart_is_said_in_words() -> None:
    together = column(0.6, name="all_columns").model_copy(update={"carriers": ["path_m", "speed_mps × turn_rad", "dt_s²"]})
    assert viewmodels.carriers_sentence([column(0.3), together]) == (
        "All columns together, told apart by, strongest first: path length, mean speed × turn, time step squared."
    )
    assert viewmodels.carriers_sentence([column(0.3)]) is None


def test_the_window_of_a_unit_rule_is_the_one_that_it_looked_at() -> None:
    unit = column(1.2, name="speed_mps_ratio").model_copy(update={"method": UNIT_RULE, "scores": [], "window_s": 300.0})
    assert [row["Window"] for row in viewmodels.drift_rows([unit])] == ["5 min"]


def test_drift_rows_put_a_ratio_far_below_one_first() -> None:
    low = column(0.1, 0.5, UNIT_RULE, name="dt_s_ratio")
    rows = viewmodels.drift_rows([column(0.12, name="ade_m"), low])
    assert [(r["Column"], r["Raw name"]) for r in rows] == [
        ("time step, unit check (×)", "dt_s_ratio"),
        ("ADE (m)", "ade_m"),
    ]


# What was live when


def test_spans_join_epochs_in_which_a_version_stayed() -> None:
    at = [NOW + timedelta(minutes=10 * i) for i in range(5)]
    history = [
        route(4, 3, None, 2, changed_at=at[3], reason="promoted after the canary"),
        route(3, 2, 3, 1, changed_at=at[2], coverage=0.4),
        route(2, 2, 3, 1, changed_at=at[1], coverage=0.2),
        route(1, 2, None, 1, changed_at=at[0]),
    ]
    spans = viewmodels.live_spans(history, at[4])
    assert [(s.role, s.model_version, s.since, s.until) for s in spans] == [
        ("Champion", 2, at[0], at[3]),
        ("Champion", 3, at[3], at[4]),
        ("Challenger", 3, at[1], at[3]),
    ]
    assert spans[2].coverage == 0.4
    assert spans[1].reason == "promoted after the canary"


def test_no_span_without_a_champion() -> None:
    assert viewmodels.live_spans([route(1, None, changed_at=None)], NOW) == []


# Predictions


def remembered(agent: str, scene: str = "second_half", outcome: OutcomeOut | None = None) -> PredictionOut:
    made = PredictOut(
        prediction_id="p",
        agent_id=agent,
        scene_id=scene,
        observed_at_s=0.0,
        dt_s=0.4,
        model_name="trajectory",
        model_version=2,
        variant="champion",
        epoch=1,
        modes=[Mode(weight=1.0, positions=[], covariance=[])],
        model_ms=0.1,
    )
    return PredictionOut(prediction=made, received_at=NOW, history=[], truth=[], outcome=outcome)


def test_live_agents_are_listed_once_without_the_consoles_own_tries() -> None:
    found = viewmodels.live_agents([remembered("b"), remembered("a"), remembered("b"), remembered("console-1", "console")])
    assert found == ["second_half / b", "second_half / a"]


def test_prediction_label_says_what_is_known() -> None:
    outcome = OutcomeOut(
        steps_scored=5,
        is_complete=False,
        ade_m=0.41,
        fde_m=None,
        is_miss=None,
        nll=1.0,
        inside_share=1.0,
        truth_delay_s=0.1,
        step_error_m=[],
    )
    assert viewmodels.prediction_label(remembered("a")) == "03:00:00 · a · v2 · no truth yet"
    assert viewmodels.prediction_label(remembered("a", outcome=outcome)).endswith("ADE 0.41 m, 5/12 steps")


def test_curl_is_a_shell_command_that_sends_the_same_body_without_a_token() -> None:
    body = PredictIn(agent_id="o'brien $HOME", history=[(float(i), 0.5) for i in range(8)], model_version=3)
    words = shlex.split(viewmodels.curl(body, "http://127.0.0.1:8000"))
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:8000/predict"]
    assert PredictIn.model_validate(json.loads(words[-1])) == body.model_copy(update={})
    assert "Authorization: Bearer $TRAJOPS_TOKEN" in words


@pytest.mark.parametrize(
    ("challenger", "coverage", "verdict", "said"),
    [
        (None, 0.0, "stable", ""),
        (3, 0.5, "drift", ""),
        # The champion beside itself answers everybody, however long that comparison is paused.
        (2, 0.0, "drift", ""),
        (3, 0.0, "drift", "Wait until the drift is over"),
        (3, 0.0, "stable", "drift does not speak against it"),
        (3, 0.0, None, "it answers nobody until it is resumed or stopped on the Models page."),
    ],
)
def test_a_paused_canary_says_how_to_go_on(challenger: int | None, coverage: float, verdict: str | None, said: str) -> None:
    words = viewmodels.paused_words(route(challenger=challenger, coverage=coverage), verdict)
    assert said in words
    assert bool(words) == bool(said)


def test_ranges_of_a_while_are_the_same_and_end_just_before_now() -> None:
    grid, span = timedelta(seconds=2), timedelta(hours=1)
    now = datetime(2026, 3, 1, 12, 0, 1, 999_999, tzinfo=UTC)
    since, until = viewmodels.ending_at(now, span, grid)
    assert (until, until - since) == (datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC), span)
    assert viewmodels.ending_at(until, span, grid) == (since, until)
    assert viewmodels.ending_at(until + grid, span, grid)[1] == until + grid
