"""The real Evidently: its verdict on independent rows, its report, and a child process that comes and goes."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures.process import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.drift_windows import wandering
from trajops.errors import Unavailable
from trajops.trajectories import FloatArray
from workers.evidently_detector import EvidentlyDetector, run_report

pytestmark = pytest.mark.slow
WAIT_S = 120.0


def single(agents: int, seed: int, *, gain: float = 1.0) -> dict[str, FloatArray]:
    """Columns of one row of each agent."""
    rows = wandering(agents, span_s=600, seed=seed, gain=gain, rows=2).one_per_agent(np.random.default_rng(seed), agents)
    return {name: rows.values[name] for name in ("speed_mps", "turn_rad", "dt_s")}


@pytest.fixture(scope="module")
def detector() -> Iterator[EvidentlyDetector]:
    detector = EvidentlyDetector()
    detector.warm_up()
    yield detector
    detector.close()


def child_of(detector: EvidentlyDetector) -> int:
    assert isinstance(detector._pool, ProcessPoolExecutor)
    return next(iter(detector._pool._processes))


def test_clean_rows_are_not_flagged_and_no_report_is_written(detector: EvidentlyDetector, tmp_path: Path) -> None:
    opinions = detector.compare(single(1000, 1), single(110, 2), None, WAIT_S)
    assert {name: [opinion.method for opinion in found] for name, found in opinions.items()} == {
        name: ["ks", "wasserstein"] for name in ("speed_mps", "turn_rad", "dt_s")
    }
    assert not any(all(opinion.is_drifted for opinion in found) for found in opinions.values())
    assert list(tmp_path.iterdir()) == []


def test_a_doubled_speed_is_flagged_and_the_report_can_be_read(detector: EvidentlyDetector, tmp_path: Path) -> None:
    report = tmp_path / "drift" / "c1.html"
    opinions = detector.compare(single(1000, 1), single(110, 2, gain=2.0), report, WAIT_S)
    assert all(opinion.is_drifted for opinion in opinions["speed_mps"])
    assert [opinion.score > opinion.threshold for opinion in opinions["speed_mps"]] == [False, True], "a p-value is small, a distance large"
    assert not all(opinion.is_drifted for opinion in opinions["turn_rad"])
    html = report.read_text(encoding="utf-8")
    assert "<html" in html.lower()
    assert "speed_mps" in html
    assert [file.name for file in report.parent.iterdir()] == ["c1.html"]


def test_columns_with_little_or_nothing_are_left_out(detector: EvidentlyDetector) -> None:
    reference = {**single(300, 1), "ade_m": np.full(300, np.nan), "fde_m": np.r_[np.ones(29), np.full(271, np.nan)]}
    current = {**single(100, 2), "ade_m": np.ones(100), "fde_m": np.ones(100)}
    assert set(detector.compare(reference, current, None, WAIT_S)) == {"speed_mps", "turn_rad", "dt_s"}


def test_values_missing_in_part_are_no_obstacle(detector: EvidentlyDetector) -> None:
    reference, current = single(300, 1), single(100, 2)
    current["speed_mps"] = np.where(np.arange(100) % 3 == 0, np.nan, current["speed_mps"])
    assert len(detector.compare(reference, current, None, WAIT_S)["speed_mps"]) == 2


def test_nothing_to_compare_is_said(detector: EvidentlyDetector) -> None:
    with pytest.raises(Unavailable, match="nothing"):
        detector.compare({"speed_mps": np.empty(0)}, {"speed_mps": np.empty(0)}, None, WAIT_S)


def test_the_child_makes_way_for_serving(detector: EvidentlyDetector) -> None:
    detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
    assert os.getpriority(os.PRIO_PROCESS, child_of(detector)) >= 10


def test_a_killed_child_costs_one_comparison() -> None:
    detector = EvidentlyDetector()
    try:
        detector.warm_up()
        os.kill(child_of(detector), signal.SIGKILL)
        with pytest.raises(Unavailable, match="ended"):
            detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
        assert detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
    finally:
        detector.close()


def test_a_verdict_does_not_wait_for_the_import_and_the_next_one_has_it() -> None:
    detector = EvidentlyDetector()
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="still being imported"):
            detector.compare(single(100, 1), single(100, 2), None, 0.2)
        assert time.monotonic() - began < 5
        child = child_of(detector)
        assert detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
        assert child_of(detector) == child
    finally:
        detector.close()


def test_a_child_that_hangs_is_ended_and_started_again() -> None:
    detector = EvidentlyDetector()
    try:
        assert detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
        child = child_of(detector)
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="did not answer"):
            detector.compare(single(100, 1), single(100, 2), None, 0.5)
        assert not Path(f"/proc/{child}").exists()
        assert detector.compare(single(100, 1), single(100, 2), None, WAIT_S)
    finally:
        detector.close()


def test_evidently_s_own_base_exception_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import Report
        from evidently.core.report import ReferenceMetricNotFound

    def fail(*_: object, **__: object) -> None:
        raise ReferenceMetricNotFound("m1")

    monkeypatch.setattr(Report, "run", fail)
    with pytest.raises(Unavailable, match="ReferenceMetricNotFound"):
        run_report(single(100, 1), single(100, 2), None)
