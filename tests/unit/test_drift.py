"""Drift: scores by hand, verdicts by table, and the promise that matters: silent on clean traffic, quick on a real change."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from data.stubs import MemoryDatabase
from tests.drift_windows import DT_S, START_S, FixedSource, SecondsClock, empty, match, rows_of, wandering
from trajops.contracts.drift import (
    UNIT_RULE,
    DriftCheckOut,
    DriftColumn,
    DriftMute,
    DriftScore,
    DriftSettings,
    ReferenceChoice,
    column_words,
)
from trajops.drift.assessment import Assessment
from trajops.drift.columns import Earlier, Rows, bin_indices, decile_edges, judge, psi, shares
from trajops.drift.rules import ConfirmRule, DriftRules, UnitRule
from trajops.drift.thresholds import clean_windows
from trajops.drift.units import unit_bounds, unit_column
from trajops.drift.watch import Watch
from trajops.errors import ShapeError, Unavailable
from trajops.services import drift as drift_service
from trajops.services.drift import DriftMonitor
from trajops.services.drift_settings import overview
from trajops.trajectories import FloatArray

COLUMNS = [
    {"column": name, "kind": kind}
    for names, kind in (
        (("speed_mps", "speed_last_mps", "acceleration_mps2", "turn_rad", "path_m", "dt_s"), "input"),
        (("predicted_speed_mps",), "prediction"),
        (("ade_m", "fde_m"), "performance"),
    )
    for name in names
]
RULES = DriftRules.model_validate({"columns": COLUMNS})
WITHOUT_DOMAIN = DriftRules.model_validate({"columns": COLUMNS, "domain": {"is_on": False}})
FEET = 3.28084


# --- scores -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "current", "expected"),
    [
        pytest.param([0.5, 0.5], [0.5, 0.5], 0.0, id="equal"),
        pytest.param([0.5, 0.5], [0.75, 0.25], 0.25 * np.log(1.5) + 0.25 * np.log(2), id="half-of-one-bin-moved"),
        pytest.param([0.5, 0.5], [1.0, 0.0], 0.5 * np.log(2) + 0.495 * np.log(100), id="an-empty-bin-counts-as-the-floor"),
    ],
)
def test_psi_by_hand(reference: list[float], current: list[float], expected: float) -> None:
    assert psi(np.array(reference), np.array(current)) == pytest.approx(expected)


@given(arrays(float, (2, 6), elements=st.floats(0.01, 1.0)))
def test_psi_is_symmetric_and_never_negative(counts: np.ndarray) -> None:
    one, other = shares(counts)
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, other) >= 0
    assert psi(one, one) == 0


def test_deciles_of_a_hundred_numbers() -> None:
    edges = decile_edges(np.arange(101.0))
    assert edges == pytest.approx(np.arange(10, 91, 10))
    assert bin_indices(np.array([-5.0, 9.9, 10.1, 1000.0]), edges).tolist() == [0, 0, 1, 9]


@pytest.mark.parametrize("changed", [0.1, 0.39, 0.41, 1.0])
def test_leaving_a_constant_is_seen_in_either_direction(changed: float) -> None:
    edges = decile_edges(np.full(500, 0.4))
    assert bin_indices(np.full(1, changed), edges) != bin_indices(np.full(1, 0.4), edges)
    assert bin_indices(np.full(1, 0.4 + 1e-9), edges) == bin_indices(np.full(1, 0.4), edges)


def test_agents_that_stand_have_a_bin_of_their_own() -> None:
    edges = decile_edges(np.concatenate([np.zeros(300), np.linspace(0.5, 2, 700)]))
    standing, walking = bin_indices(np.array([0.0, 0.3]), edges)
    assert standing != walking


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="speed_mps"):
        Rows(np.zeros(3), np.zeros(3, dtype=int), np.zeros(3, dtype=int), {"speed_mps": np.zeros(2)})


def test_one_row_of_each_agent() -> None:
    rows = wandering(40, span_s=300, seed=1)
    single = rows.one_per_agent(np.random.default_rng(0), 30)
    assert len(single) == single.agent_count == 30


# --- verdicts -----------------------------------------------------------------------------------------------------------------------


def column(name: str, *, is_drifted: bool, method: str = "psi") -> DriftColumn:
    return DriftColumn(
        column=name,
        kind="input",
        method=method,
        score=1.0,
        threshold=0.5,
        is_drifted=is_drifted,
        reference_mean=0.0,
        current_mean=0.0,
    )


def checks(*flagged: str) -> list[list[DriftColumn]]:
    """One check a word: the letters are the columns that were flagged."""
    return [[column(name, is_drifted=name in word) for name in "ab"] for word in flagged]


@pytest.mark.parametrize(
    ("now_first", "expected", "names"),
    [
        pytest.param(["", "", ""], "stable", [], id="nothing"),
        pytest.param(["a", "", ""], "warning", ["a"], id="one-check-alone-warns"),
        pytest.param(["a", "a", ""], "drift", ["a"], id="two-in-a-row"),
        pytest.param(["a", "", "a"], "drift", ["a"], id="two-of-three"),
        pytest.param(["", "a", "a"], "drift", ["a"], id="stays-until-two-of-three-are-clean"),
        pytest.param(["", "", "a"], "stable", [], id="one-of-three-is-over"),
        pytest.param(["a", "b", ""], "warning", ["a"], id="different-columns-do-not-confirm-each-other"),
        pytest.param(["a", "", "", "a"], "warning", ["a"], id="the-fourth-last-is-forgotten"),
        pytest.param(["a"], "warning", ["a"], id="no-history"),
    ],
)
def test_two_of_three_checks_must_agree_on_a_column(now_first: list[str], expected: str, names: list[str]) -> None:
    columns, *past = checks(*now_first)
    earlier = [Earlier(30.0 * age, found) for age, found in enumerate(past, 1)]
    assert judge(columns, earlier, ConfirmRule()) == (expected, names)


def test_drift_does_not_begin_with_a_check_in_which_nothing_is_flagged() -> None:
    """A minute's checks, newest first, over a window of 300 s: the flags of one event, which every other check would take up again."""
    flagged = [False, False, True, True, True, True, False, False, False]
    looks = [scored(300.0) if flag else scored() for flag in flagged]

    def verdict(newest: int) -> str:
        earlier = [Earlier(60.0 * age, look) for age, look in enumerate(looks[newest + 1 :], 1)]
        return judge(looks[newest], earlier, ConfirmRule())[0]

    assert [verdict(newest) for newest in reversed(range(6))] == ["warning", "warning", "warning", "drift", "stable", "stable"]


def scored(*flagged_s: float) -> list[DriftColumn]:
    """A column with a score in windows of 60 and 300 s, beyond the threshold in those named."""
    scores = [
        DriftScore(method="psi", window_s=window_s, score=1.0, threshold=0.5, is_drifted=window_s in flagged_s)
        for window_s in (60.0, 300.0)
    ]
    return [column("a", is_drifted=bool(flagged_s)).model_copy(update={"scores": scores})]


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        pytest.param([(30.0, (60.0,))], "drift", id="a-short-window-is-soon-another-one"),
        pytest.param([(30.0, (300.0,)), (60.0, (300.0,))], "warning", id="a-long-one-is-not"),
        pytest.param([(30.0, ()), (120.0, (300.0,))], "warning", id="after-two-fifths-it-is-not"),
        pytest.param([(30.0, ()), (150.0, (300.0,))], "drift", id="after-half-of-it-it-is"),
        pytest.param([(150.0, ()), (300.0, (300.0,))], "drift", id="two-of-three"),
        pytest.param([(120.0, (60.0,)), (240.0, ())], "warning", id="the-windows-do-not-confirm-each-other"),
    ],
)
def test_confirmation_takes_other_rows(past: list[tuple[float, tuple[float, ...]]], expected: str) -> None:
    """A window of 300 s is flagged now; what has it been before?"""
    is_short = past[0] == (30.0, (60.0,))
    earlier = [Earlier(age_s, scored(*flagged_s)) for age_s, flagged_s in past]
    assert judge(scored(60.0 if is_short else 300.0), earlier, ConfirmRule())[0] == expected


def test_a_muted_column_raises_no_alarm() -> None:
    muted = [one.model_copy(update={"muted_until": datetime.now(UTC)}) for one in scored(60.0, 300.0)]
    assert judge(muted, [Earlier(200.0, scored(60.0, 300.0))], ConfirmRule()) == ("stable", [])


def test_a_unit_error_needs_no_confirmation() -> None:
    assert judge([column("dt_s_ratio", is_drifted=True, method="unit_rule")], [], ConfirmRule()) == ("drift", ["dt_s_ratio"])


@pytest.mark.parametrize(
    ("gain", "dt_s", "flagged"),
    [
        pytest.param(1.0, 0.4, set(), id="clean"),
        pytest.param(FEET, 0.4, {"speed_mps_ratio"}, id="feet-for-metres"),
        pytest.param(0.01, 0.4, {"speed_mps_ratio"}, id="kilometres-by-a-slip"),
        pytest.param(1.0, 0.1, {"speed_mps_ratio", "dt_s_ratio"}, id="ten-hertz"),
        pytest.param(1.0, 1.0, {"speed_mps_ratio", "dt_s_ratio"}, id="one-hertz"),
    ],
)
def test_unit_errors(gain: float, dt_s: float, flagged: set[str]) -> None:
    reference, current = match("first_half"), match("second_half", gain=gain, dt_s=dt_s)
    current = current.select((current.times_s > START_S + 1500) & (current.times_s <= START_S + 1800))
    rule = UnitRule()
    bounds = {name: unit_bounds(rule, name, reference) for name in ("speed_mps", "dt_s")}
    found = [unit_column(rule, name, one, current) for name, one in bounds.items()]
    assert {column.column for column in found if column is not None and column.is_drifted} == flagged


def test_a_few_agents_are_too_little_for_a_unit_error() -> None:
    bounds = unit_bounds(UnitRule(), "speed_mps", wandering(200, span_s=600, seed=0))
    assert unit_column(UnitRule(min_agents=20), "speed_mps", bounds, wandering(10, span_s=60, seed=1)) is None


def test_minutes_of_the_reference_widen_the_unit_bounds() -> None:
    calm, wild = wandering(300, span_s=300, seed=0), wandering(100, span_s=60, seed=1, gain=3.0, start_s=START_S + 300)
    both = Rows(
        np.concatenate([calm.times_s, wild.times_s]),
        np.concatenate([calm.agents, wild.agents + 1000]),
        np.concatenate([calm.versions, wild.versions]),
        {"speed_mps": np.concatenate([calm.values["speed_mps"], wild.values["speed_mps"]])},
    )
    bounds = unit_bounds(UnitRule(), "speed_mps", both)
    assert bounds[""].low == 0.5
    assert bounds[""].high > 2.5


def in_scenes(counts: dict[str, int], *, gain: float = 1.0, seed: int) -> Rows:
    """A minute of agents in two scenes: in one they run, in the other they walk a third as fast. In a third they stand."""
    speeds = {"pitch": 3.0, "street": 1.0, "park": 0.0, "new": 9.0}
    parts = [wandering(count, span_s=60, seed=seed + 7 * number) for number, count in enumerate(counts.values())]
    return Rows(
        np.concatenate([part.times_s for part in parts]),
        np.concatenate([part.agents + 10_000 * number for number, part in enumerate(parts)]),
        np.concatenate([part.versions for part in parts]),
        {"speed_mps": np.concatenate([part.values["speed_mps"] * speeds[name] * gain for name, part in zip(counts, parts, strict=True)])},
        np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)]),
        tuple(counts),
    )


@pytest.mark.parametrize(
    ("counts", "gain", "expected"),
    [
        pytest.param({"pitch": 45, "street": 3}, 1.0, False, id="night: those who run are awake"),
        pytest.param({"pitch": 3, "street": 45}, 1.0, False, id="those who walk are awake"),
        pytest.param({"pitch": 45, "street": 3}, FEET, True, id="feet at night"),
        pytest.param({"pitch": 3, "street": 45}, 1 / FEET, True, id="metres for feet"),
        pytest.param({"pitch": 40, "street": 40}, FEET, True, id="feet by day"),
        pytest.param({"park": 200, "pitch": 40}, 1.0, False, id="most stand, as they do in the park"),
        pytest.param({"park": 200, "pitch": 40}, FEET, True, id="feet, and most stand"),
        pytest.param({"new": 200, "pitch": 40}, 1.0, False, id="a new scene is another finding"),
    ],
)
def test_a_unit_is_told_scene_by_scene(counts: dict[str, int], gain: float, expected: bool) -> None:
    reference = in_scenes({"pitch": 60, "street": 240, "park": 40}, seed=0)
    bounds = unit_bounds(UnitRule(), "speed_mps", reference)
    found = unit_column(UnitRule(), "speed_mps", bounds, in_scenes(counts, gain=gain, seed=100))
    assert found is not None
    assert found.is_drifted is expected
    if not expected:
        assert found.score == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [pytest.param(1.0, False, id="as ever"), pytest.param(0.2, True, id="a fifth"), pytest.param(FEET**2, True, id="ten times")],
)
def test_a_scene_of_which_the_reference_has_few_agents_is_no_other_unit(gain: float, expected: bool) -> None:
    """Its bounds reach from the level of all agents to its own."""
    bounds = unit_bounds(UnitRule(), "speed_mps", in_scenes({"pitch": 200, "street": 14}, seed=0))
    assert (bounds["pitch"].low, bounds["pitch"].high) == (0.5, 2.0)
    found = unit_column(UnitRule(), "speed_mps", bounds, in_scenes({"street": 45}, gain=gain, seed=100))
    assert found is not None
    assert found.is_drifted is expected


def test_a_scene_that_varies_has_wider_bounds_and_the_others_keep_theirs() -> None:
    """A minute of the pitch in which all walk at a third of their speed is no other unit; on the street it would be."""
    usual, calm = in_scenes({"pitch": 60, "street": 240}, seed=0), in_scenes({"pitch": 40}, gain=1 / 3, seed=50)
    reference = Rows(
        np.concatenate([usual.times_s, calm.times_s + 60]),
        np.concatenate([usual.agents, calm.agents + 50_000]),
        np.concatenate([usual.versions, calm.versions]),
        {"speed_mps": np.concatenate([usual.values["speed_mps"], calm.values["speed_mps"]])},
        np.concatenate([usual.scenes, calm.scenes]),
        usual.scene_names,
    )
    bounds = unit_bounds(UnitRule(), "speed_mps", reference)
    for counts, expected in (({"pitch": 40, "street": 10}, False), ({"pitch": 10, "street": 40}, True)):
        found = unit_column(UnitRule(), "speed_mps", bounds, in_scenes(counts, gain=1 / 3, seed=100))
        assert found is not None
        assert (found.is_drifted, found.score < (found.threshold or 0)) == (expected, expected)


def test_without_its_scenes_a_night_would_be_another_unit() -> None:
    """The control of the test above."""
    one = dict.fromkeys(("pitch", "street", "park"), "")
    reference, night = (
        in_scenes(counts, seed=0).regrouped(one) for counts in ({"pitch": 60, "street": 240, "park": 40}, {"pitch": 45, "street": 3})
    )
    bounds = unit_bounds(UnitRule(), "speed_mps", reference)
    found = unit_column(UnitRule(), "speed_mps", bounds, night)
    assert found is not None
    assert found.is_drifted


# --- thresholds ---------------------------------------------------------------------------------------------------------------------


def thresholds(agents: int) -> dict[str, float]:
    """PSI thresholds of a window with so many agents."""
    assessment = Assessment.of(RULES, wandering(1500, span_s=3600, seed=0), 1)
    rows = wandering(agents, span_s=300, seed=1)
    found = assessment.scores(assessment.binned(rows), START_S + 300)[None]
    return {name: scores[0].threshold for name, scores in found.items()}


def test_fewer_agents_need_a_higher_threshold() -> None:
    assert thresholds(60)["speed_mps"] > 2 * thresholds(240)["speed_mps"]


def test_a_reference_of_few_agents_does_not_cry_wolf() -> None:
    """120 agents of an hour against 110 of five minutes that walk as they do: 2 of 24 windows flagged.

    With agents on both sides of the calibration, whom a sparse window has borrowed, it were 13.
    """
    flagged = 0
    for seed in range(24):
        assessment = Assessment.of(WITHOUT_DOMAIN, wandering(120, span_s=3600, seed=1000 + seed, start_s=START_S - 100_000), 1)
        found = assessment.scores(assessment.binned(wandering(110, span_s=300, seed=seed)), START_S + 300)[None]
        flagged += any(score.is_drifted for scores in found.values() for score in scores)
    assert flagged <= 4


def test_no_more_than_half_of_a_reference_makes_a_clean_window() -> None:
    """Asked for more agents than it has, a reference says what half of them score against the others, and not nothing."""
    assessment = Assessment.of(WITHOUT_DOMAIN, wandering(120, span_s=3600, seed=1), 1)
    profile = assessment.profiles[300.0]
    for taken, _, drawn in clean_windows(profile, RULES.calibration, 500, None):
        assert set(drawn.sum(axis=1)) <= {60.0, 61.0}, "somebody who is there in two windows is counted in both"
        rest = profile.without(taken)
        assert rest
        assert not {stretch.at_s for stretch in rest} & {stretch.at_s for stretch in taken}
    assert assessment._bounds(300.0, None, 500) is not None


def test_thresholds_are_reproducible() -> None:
    assert thresholds(60) == thresholds(60)


# --- the whole check, on many windows -----------------------------------------------------------------------------------------------


def monitor(
    tmp_path: Path, reference: Rows | None, current: Rows, rules: DriftRules = RULES, **options: object
) -> tuple[DriftMonitor, SecondsClock]:
    sources = {"replay": current} if reference is None else {"backfill": reference, "replay": current}
    clock = SecondsClock()
    return DriftMonitor(FixedSource(sources), MemoryDatabase().unit_of_work, RULES, tmp_path, clock, **options), clock  # type: ignore[arg-type]


def every_minute(watch: DriftMonitor, clock: SecondsClock, current: Rows, *, first_s: float = 300.0) -> Iterator[DriftCheckOut]:
    for clock.at_s in np.arange(current.times_s.min() + first_s, current.times_s.max(), 60):
        yield watch.check()


def test_a_clean_half_of_the_match_raises_no_alarm(tmp_path: Path) -> None:
    """The second half against the first: 42 checks of 64 to 153 tracks, all judged, no drift and at most two warnings."""
    current = match("second_half")
    watch, clock = monitor(tmp_path, match("first_half", start_s=START_S - 100_000), current)
    verdicts = [check.verdict for check in every_minute(watch, clock, current)]
    assert len(verdicts) == 42
    assert "drift" not in verdicts
    assert "insufficient_data" not in verdicts
    assert verdicts.count("warning") <= 2


@pytest.mark.slow
def test_clean_windows_of_agents_never_seen_raise_no_alarm(tmp_path: Path) -> None:
    """300 disjoint clean windows of 110 fresh tracks: no drift, at most 1 % warnings."""
    reference = wandering(1500, span_s=3600, seed=0, start_s=START_S - 100_000)
    flagged = 0
    clock = SecondsClock()
    source = FixedSource({"backfill": reference})
    watch = DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, tmp_path, clock)
    for number in range(300):
        start_s = START_S + 300 * number
        source.by_source["live"] = wandering(110, span_s=300, seed=1000 + number, start_s=start_s)
        clock.at_s = start_s + 300
        check = watch.check()
        assert check.verdict in {"stable", "warning"}, check.sentence
        flagged += check.verdict == "warning"
    assert flagged <= 3


def test_negative_control_tests_on_overlapping_rows_cry_wolf() -> None:
    """The usual test on all rows, as if they were independent, flags clean windows nearly always: this is what calibration is for."""
    reference = wandering(1500, span_s=3600, seed=0)
    flags = [
        ks_2samp(wandering(110, span_s=300, seed=seed).values["speed_mps"], reference.values["speed_mps"]).pvalue < 0.05
        for seed in range(1000, 1040)
    ]
    assert np.mean(flags) > 0.8


@pytest.mark.parametrize(
    ("gain", "dt_s", "checks_needed", "column"),
    [
        pytest.param(FEET, 0.4, 3, "speed_mps", id="feet-for-metres"),
        pytest.param(2.0, 0.4, 3, "speed_mps", id="doubled-speed"),
        pytest.param(1.0, 0.2, 3, "dt_s", id="sampling-rate"),
    ],
)
def test_a_real_change_is_caught(tmp_path: Path, gain: float, dt_s: float, checks_needed: int, column: str) -> None:
    current = match("second_half", gain=gain, dt_s=dt_s)
    watch, clock = monitor(tmp_path, match("first_half", start_s=START_S - 100_000), current)
    found = [check for _, check in zip(range(checks_needed), every_minute(watch, clock, current, first_s=900), strict=False)]
    assert found[-1].verdict == "drift"
    assert column in {one.column for one in found[-1].columns if one.is_drifted}
    assert column_words(column.removesuffix("_ratio")) in found[-1].sentence


def test_too_few_agents_is_a_verdict_of_its_own(tmp_path: Path) -> None:
    current = wandering(59, span_s=300, seed=1)
    watch, clock = monitor(tmp_path, wandering(300, span_s=3600, seed=0, start_s=START_S - 100_000), current)
    clock.at_s = START_S + 300
    check = watch.check()
    assert check.verdict == "insufficient_data"
    assert check.current_agents == 59
    assert "59 agents" in check.sentence


def test_feet_are_caught_before_there_is_enough_for_a_full_check(tmp_path: Path) -> None:
    current = wandering(30, span_s=60, seed=1, gain=FEET)
    watch, clock = monitor(tmp_path, wandering(300, span_s=3600, seed=0, start_s=START_S - 100_000), current)
    clock.at_s = START_S + 60
    assert watch.check().verdict == "drift"


def test_without_any_rows_there_is_no_reference(tmp_path: Path) -> None:
    watch, _ = monitor(tmp_path, None, empty())
    check = watch.check()
    assert (check.verdict, check.reference_since, check.columns) == ("insufficient_data", None, [])


def test_without_a_backfill_the_oldest_traffic_is_the_reference(tmp_path: Path) -> None:
    current = wandering(1500, span_s=4800, seed=3)
    watch, clock = monitor(tmp_path, None, current)
    clock.at_s = START_S + 4800
    check = watch.check()
    assert check.verdict == "stable"
    assert check.reference_until is not None
    assert check.reference_until.timestamp() < START_S + 3601


def test_a_promotion_is_no_drift(tmp_path: Path) -> None:
    """A new version that predicts quite differently is not compared with the old one's predictions; its inputs still are."""
    reference = wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)
    plain = wandering(110, span_s=300, seed=1)
    promoted = Rows(plain.times_s, plain.agents, plain.versions + 1, {**plain.values, "predicted_speed_mps": plain.values["speed_mps"] * 9})
    watch, clock = monitor(tmp_path, reference, promoted)
    clock.at_s = START_S + 300
    check = watch.check()
    assert check.verdict == "stable"
    assert {one.column for one in check.columns if one.score is None} == {"predicted_speed_mps", "ade_m", "fde_m"}


def test_a_version_that_answers_no_more_is_not_judged_again(tmp_path: Path) -> None:
    """Right after a promotion most rows of the window are the old version's: always the same ones, check after check."""
    reference = wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)
    plain = wandering(220, span_s=300, seed=1)
    is_old = plain.times_s < START_S + 260
    predicted = np.where(is_old, plain.values["speed_mps"] * 9, plain.values["speed_mps"])
    switched = Rows(plain.times_s, plain.agents, np.where(is_old, 1, 2), {**plain.values, "predicted_speed_mps": predicted})
    watch, clock = monitor(tmp_path, reference, switched)
    clock.at_s = START_S + 300
    assert next(one.score for one in watch.check().columns if one.column == "predicted_speed_mps") is None
    watch, clock = monitor(tmp_path, reference, Rows(plain.times_s, plain.agents, plain.versions, switched.values))
    clock.at_s = START_S + 300
    assert next(one.is_drifted for one in watch.check().columns if one.column == "predicted_speed_mps")


def test_two_checks_on_the_same_rows_do_not_confirm_each_other(tmp_path: Path) -> None:
    current = match("second_half", gain=2.0)
    watch, clock = monitor(tmp_path, match("first_half", start_s=START_S - 100_000), current)
    verdicts = []
    for clock.at_s in (START_S + 900, START_S + 901, START_S + 960, START_S + 1020):
        verdicts.append(watch.check().verdict)
    assert verdicts == ["warning", "warning", "warning", "drift"]


def test_checks_are_stored_with_histograms_and_drift_is_audited_once(tmp_path: Path) -> None:
    database = MemoryDatabase()
    source = FixedSource({"backfill": wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)})
    clock = SecondsClock()
    watch = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock)
    for number, gain in enumerate((1.0, 1.7, 1.7, 1.0, 1.0, 1.0)):
        source.by_source["live"] = wandering(110, span_s=300, seed=number, gain=gain, start_s=START_S + 300 * number)
        clock.at_s = START_S + 300 * (number + 1)
        watch.check()
    seen = overview(database.unit_of_work)
    assert [check.verdict for check in seen.history] == ["stable", "stable", "drift", "drift", "warning", "stable"]
    assert seen.latest is not None
    speed = next(one for one in seen.latest.columns if one.column == "speed_mps")
    assert len(speed.bins) == len(speed.reference_share) + 1 == len(speed.current_share) + 1
    assert sum(speed.current_share) == pytest.approx(1, abs=1e-3)
    with database.unit_of_work(read_only=True) as work:
        assert [entry.action for entry in work.audit.newest()] == ["drift.ended", "drift.began"]


class FailingDetector:
    """A detector that is broken."""

    def warm_up(self) -> None:
        return None

    def compare(self, *_: object) -> dict[str, list[object]]:
        raise Unavailable("broken")


def test_a_broken_detector_costs_the_report_and_not_the_verdict(tmp_path: Path) -> None:
    current = wandering(110, span_s=300, seed=1)
    watch, clock = monitor(tmp_path, wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000), current, detector=FailingDetector())
    clock.at_s = START_S + 300
    check = watch.check()
    assert (check.verdict, check.has_report) == ("stable", False)


class WritingDetector:
    """A detector that writes a report when it is asked for one, except where it is told not to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    def warm_up(self) -> None:
        return None

    def compare(self, _reference: object, _current: object, report: Path | None, _timeout_s: float) -> dict[str, list[object]]:
        self.failures -= 1
        if self.failures >= 0:
            raise Unavailable("still being imported")
        if report is not None:
            report.write_text("<p>report</p>")
        return {}


@pytest.mark.parametrize(
    ("agents", "gains", "failures", "reported"),
    [
        pytest.param([40, 110, 110], [1, 1, 1], 0, [False, True, False], id="too-little-data-uses-up-none"),
        pytest.param([110, 110, 110], [1, 1, 1], 1, [False, True, False], id="due-until-it-is-written"),
        pytest.param([110, 110, 110, 110, 110], [1, 1.7, 1.7, 1.7, 1], 0, [True, True, True, False, False], id="one-for-each-new-alarm"),
        pytest.param([110, 110, 110, 110], [1.7, 1.7, 1.7, 1.7], 2, [False, False, True, False], id="an-alarm-goes-on-until-it-has-one"),
        pytest.param([110] * 14, [1] * 14, 0, [True, *[False] * 11, True, False], id="once-an-hour"),
    ],
)
def test_a_report_is_written_when_it_is_due(
    tmp_path: Path, agents: list[int], gains: list[float], failures: int, reported: list[bool]
) -> None:
    database = MemoryDatabase()
    source = FixedSource({"backfill": wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)})
    clock = SecondsClock()
    watch = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock, detector=WritingDetector(failures))
    checks = []
    for number, (count, gain) in enumerate(zip(agents, gains, strict=True)):
        source.by_source["live"] = wandering(count, span_s=300, seed=number, gain=gain, start_s=START_S + 300 * number)
        clock.at_s = START_S + 300 * (number + 1)
        checks.append(watch.check())
    assert [check.has_report for check in checks] == reported
    newest = next(check for check in reversed(checks) if check.has_report)
    last_report = overview(database.unit_of_work).last_report
    assert last_report is not None
    assert (last_report.check_id, (tmp_path / f"{newest.check_id}.html").is_file()) == (newest.check_id, True)


class RecordingDetector:
    """A detector that keeps what it is shown."""

    def __init__(self) -> None:
        self.sides: list[dict[str, FloatArray]] = []

    def warm_up(self) -> None:
        return None

    def compare(self, reference: dict[str, FloatArray], current: dict[str, FloatArray], *_: object) -> dict[str, list[object]]:
        self.sides = [reference, current]
        return {}


def test_the_detector_is_shown_what_the_scores_compare(tmp_path: Path) -> None:
    """Two of three reference agents were answered by the baseline: their inputs count, what it said and how wrong it was does not."""
    rows = wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)
    reference = Rows(rows.times_s, rows.agents, np.where(rows.agents % 3 == 0, 1, 0), rows.values)
    detector = RecordingDetector()
    watch, clock = monitor(tmp_path, reference, wandering(110, span_s=300, seed=1), detector=detector)
    clock.at_s = START_S + 300
    assert watch.check().verdict == "stable"
    shown = {
        name: [int(np.isfinite(side[name]).sum()) for side in detector.sides] for name in ("speed_mps", "predicted_speed_mps", "ade_m")
    }
    assert shown == {"speed_mps": [600, 110], "predicted_speed_mps": [200, 110], "ade_m": [200, 110]}


def test_columns_stand_for_the_rules(tmp_path: Path) -> None:
    current = wandering(110, span_s=300, seed=1)
    watch, clock = monitor(tmp_path, wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000), current)
    clock.at_s = START_S + 300
    kinds = {one.column: one.kind for one in watch.check().columns if one.method not in {"unit_rule", "auc"}}
    assert kinds == {rule.column: rule.kind for rule in RULES.columns}


def test_rows_builder_reads_a_straight_walk() -> None:
    """1 m/s along x: the builder itself, so that the simulations above mean what they say."""
    positions_m = np.stack([np.arange(20) * DT_S, np.zeros(20)], axis=-1)[None]
    rows = rows_of(positions_m[:, :8], positions_m[:, 8:], np.zeros(1), ["a"])
    assert {name: round(float(values[0]), 6) for name, values in rows.values.items()} == {
        "speed_mps": 1.0,
        "speed_last_mps": 1.0,
        "acceleration_mps2": 0.0,
        "turn_rad": 0.0,
        "path_m": 2.8,
        "dt_s": 0.4,
        "predicted_speed_mps": 1.0,
        "ade_m": 0.0,
        "fde_m": 0.0,
    }


# --- scenes, mutes, references ------------------------------------------------------------------------------------------------------


def two_scenes(
    *, span_s: float, seed: int, agents: int, gain: float = 1.0, start_s: float = START_S, names: tuple[str, str] = ("a", "b")
) -> Rows:
    """Traffic of two scenes; `gain` is that of the second."""
    one = wandering(agents, span_s=span_s, seed=seed, start_s=start_s)
    other = wandering(agents, span_s=span_s, seed=seed + 500, start_s=start_s, gain=gain)
    order = np.argsort(np.concatenate([one.times_s, other.times_s]), kind="stable")
    values = {name: np.concatenate([one.values[name], other.values[name]])[order] for name in one.values}
    scenes = np.repeat([0, 1], [len(one), len(other)])[order]
    agent = np.concatenate([one.agents, other.agents + 100_000])[order]
    times_s = np.concatenate([one.times_s, other.times_s])[order]
    return Rows(times_s, agent, np.ones(len(order), dtype=int), values, scenes, names)


def checked(tmp_path: Path, database: MemoryDatabase, current: Rows, checks: int = 3) -> DriftCheckOut:
    """The last of some checks, far enough apart to confirm each other."""
    reference = two_scenes(span_s=3600, seed=0, agents=900, start_s=START_S - 100_000)
    clock = SecondsClock()
    watch = DriftMonitor(FixedSource({"backfill": reference, "live": current}), database.unit_of_work, RULES, tmp_path, clock)
    for number in range(checks):
        clock.at_s = START_S + 420 + 130 * number
        check = watch.check()
    return check


def test_a_scene_drifts_alone(tmp_path: Path) -> None:
    check = checked(tmp_path, MemoryDatabase(), two_scenes(span_s=900, seed=7, agents=330, gain=1.6))
    assert check.verdict == "drift"
    assert [(scene.scene, scene.verdict) for scene in check.scenes] == [("b", "drift"), ("a", "stable")]
    flagged = next(column for column in check.scenes[0].columns if column.column == "speed_mps")
    assert sum(flagged.current_share) == pytest.approx(1, abs=1e-3)
    assert all(not column.bins for column in check.scenes[1].columns)


def test_a_new_scene_is_drift_at_once(tmp_path: Path) -> None:
    check = checked(tmp_path, MemoryDatabase(), two_scenes(span_s=900, seed=7, agents=330, names=("a", "hall")), checks=1)
    assert check.verdict == "drift"
    assert "hall" in check.sentence
    assert (check.quality[0].kind, check.quality[0].scene, check.quality[0].verdict) == ("new_scene", "hall", "bad")


def test_muted_columns_raise_no_alarm_and_are_shown(tmp_path: Path) -> None:
    """A time step of half the length is drift by its ratio and its distribution; muted, neither says so."""
    clean = two_scenes(span_s=900, seed=7, agents=330)
    halved = Rows(
        clean.times_s,
        clean.agents,
        clean.versions,
        {**clean.values, "dt_s": clean.values["dt_s"] / 2},
        clean.scenes,
        clean.scene_names,
    )
    assert checked(tmp_path, MemoryDatabase(), halved).verdict == "drift"
    database, until = MemoryDatabase(), datetime(2100, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(mutes=[DriftMute(column="dt_s", until=until)]))
    check = checked(tmp_path, database, halved)
    assert check.verdict == "stable"
    assert {column.column for column in check.columns if column.muted_until == until and column.is_drifted} == {"dt_s", "dt_s_ratio"}


def test_a_reference_that_has_settled_is_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again every ten minutes, it must be the same to the row: what is learnt from it takes seconds."""
    learnt = []
    of = Watch.of
    monkeypatch.setattr(Watch, "of", lambda rules, rows: learnt.append(len(rows)) or of(rules, rows))
    reference = wandering(600, span_s=3600, seed=0, start_s=START_S - 100_000)
    watch, clock = monitor(tmp_path, reference, wandering(600, span_s=2400, seed=1))
    seen = set()
    for clock.at_s in np.arange(START_S + 300, START_S + 2400, 610):
        seen.add(watch.check().reference_since)
    assert learnt == [len(reference)]
    assert len(seen) == 1


def test_what_a_former_reference_flagged_confirms_nothing(tmp_path: Path) -> None:
    """A known change is drift until an operator chooses a range since then: the very next check has nothing to say against it."""
    database, clock = MemoryDatabase(), SecondsClock()
    reference = wandering(1500, span_s=3600, seed=0, start_s=START_S - 100_000)
    source = FixedSource({"backfill": reference, "live": wandering(1700, span_s=5400, seed=3, gain=1.6)})
    watch = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock)
    for clock.at_s in (START_S + 4800, START_S + 4930, START_S + 5060):
        check = watch.check()
    assert check.verdict == "drift"
    since, until = (datetime.fromtimestamp(START_S + second, UTC) for second in (0, 3600))
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    source.by_source = {"live": source.by_source["live"]}
    clock.at_s = START_S + 5090
    assert watch.check().verdict == "stable"


def test_a_range_without_agents_says_what_is_wrong(tmp_path: Path) -> None:
    database, clock = MemoryDatabase(), SecondsClock()
    since, until = datetime(1, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    clock.at_s = START_S + 600
    check = DriftMonitor(FixedSource({"live": wandering(300, span_s=600, seed=1)}), database.unit_of_work, RULES, tmp_path, clock).check()
    assert check.verdict == "insufficient_data"
    assert "to 2020-01-01 00:00 UTC, has fewer than 120 agents" in check.sentence


def test_an_operator_s_range_is_the_reference(tmp_path: Path) -> None:
    """The range lies in live traffic of twice the speed; traffic of that speed is then no drift, and the recorded history is not asked."""
    database, clock = MemoryDatabase(), SecondsClock()
    fast = wandering(1500, span_s=4800, seed=3, gain=2.0)
    source = FixedSource({"live": fast})
    since, until = (datetime.fromtimestamp(START_S + second, UTC) for second in (0, 3600))
    with database.unit_of_work() as work:
        work.drift_settings.put(DriftSettings(reference=ReferenceChoice(kind="range", since=since, until=until)))
    clock.at_s = START_S + 4800
    check = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock).check()
    assert check.verdict == "stable"
    assert check.reference_since is not None
    assert since <= check.reference_since < check.reference_until <= until  # type: ignore[operator]


def test_a_ratio_within_its_bounds_points_to_nothing() -> None:
    figures = {"kind": "input", "method": UNIT_RULE, "threshold": 2.0, "reference_mean": 1.0, "current_mean": None}
    wrong, right = (DriftColumn(column="speed_mps_ratio", score=ratio, is_drifted=ratio > 2, **figures) for ratio in (3.28, 1.6))
    assert "mean speed is 3.3 × the reference, which points to a unit or a clock" in drift_service._said_of("drift", [wrong], 1, 60)
    assert drift_service._said_of("drift", [right], 1, 60).endswith(": mean speed, unit check (until just now).")
