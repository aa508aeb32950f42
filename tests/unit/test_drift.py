"""Drift: the promise that matters: silent on clean traffic, quick on a real change."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from data.stubs import MemoryDatabase
from tests.drift_windows import (
    DT_S,
    FEET,
    RULES,
    START_S,
    FixedSource,
    SecondsClock,
    empty,
    every_minute,
    match,
    monitor,
    rows_of,
    wandering,
)
from trajops.contracts.drift import (
    column_words,
)
from trajops.drift.columns import Rows
from trajops.errors import Unavailable
from trajops.services.drift import DriftMonitor
from trajops.services.drift_settings import overview
from trajops.trajectories import FloatArray


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
