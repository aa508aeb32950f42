"""One body for checks, calibrations and probes in memory, over SQLite and over PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from data.sql.route_source import SqlRouteSource
from data.stubs import MemoryDatabase, MemoryRouteSource
from tests.record_builders import AT, REF, calibration, drift_check, later
from trajops.contracts.drift import (
    DriftCheckOut,
    DriftColumn,
    DriftMute,
    DriftReportOut,
    DriftScene,
    DriftSettings,
    QualityFinding,
    ReferenceChoice,
)
from trajops.contracts.performance import FigureOut, PerformanceCheckOut
from trajops.deployments.model_ref import ModelRef
from trajops.drift.doubt import on_units_and_quality
from trajops.errors import NotFound, StaleVersion
from trajops.objectives import Minutes, minute_of


def check(check_id: str, at: datetime) -> DriftCheckOut:
    column = DriftColumn(
        column="speed_mps",
        kind="input",
        method="wasserstein",
        score=0.2,
        threshold=0.1,
        is_drifted=True,
        reference_mean=1.0,
        current_mean=2.0,
        bins=[0.0, 1.0, 2.0],
        reference_share=[0.5, 0.5],
        current_share=[0.1, 0.9],
    )
    return DriftCheckOut(
        check_id=check_id,
        at=at,
        verdict="drift",
        sentence="speed_mps has moved.",
        reference_since=None,
        reference_until=None,
        current_since=at,
        current_until=at,
        reference_agents=10,
        current_agents=5,
        columns=[column],
        has_report=False,
        scenes=[
            DriftScene(
                scene=scene,
                agents=5,
                verdict="drift",
                sentence="It has moved.",
                columns=[column, column.model_copy(update={"column": "dt_s", "is_drifted": False})],
            )
            for scene in ("square", "hall")
        ],
        quality=[QualityFinding(kind="frozen", scene=None, verdict="warning", value=0.2, limit=0.1, sentence="Some stand.")],
    )


# Drift checks


def test_what_is_chosen_for_drift_is_kept(database: Any) -> None:
    chosen = DriftSettings(
        reference=ReferenceChoice(kind="range", since=later(-9), until=later(-3)), mutes=[DriftMute(column="dt_s", until=later(60))]
    )
    with database.unit_of_work() as uow:
        assert uow.drift_settings.get() == DriftSettings()
        uow.drift_settings.put(chosen.model_copy(update={"mutes": []}))
        uow.drift_settings.put(chosen)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.drift_settings.get() == chosen


def test_checks_that_said_drift_or_found_bad_data_are_found_again(database: Any) -> None:
    bad = QualityFinding(kind="frozen", scene=None, verdict="bad", value=0.9, limit=0.1, sentence="Most stand.")
    well: dict[str, Any] = {"verdict": "stable", "quality": []}
    with database.unit_of_work() as uow:
        for number, changes in enumerate([{}, well, well | {"quality": [bad]}, well | {"verdict": "warning"}, {}]):
            uow.drift_checks.add(check(f"c{number}", later(number)).model_copy(update=changes))
    with database.unit_of_work(read_only=True) as uow:
        assert [one.check_id for one in uow.drift_checks.suspicious(later(0))] == ["c4", "c2", "c0"]
        assert [one.check_id for one in uow.drift_checks.suspicious(later(2))] == ["c4", "c2"]
        assert uow.drift_checks.suspicious(later(9)) == []
        assert uow.drift_checks.suspicious(later(4)) == [on_units_and_quality(one) for one in uow.drift_checks.history(limit=1)]


def test_checks_of_another_unit_are_found_again_though_the_column_is_muted(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number, changes in enumerate([{}, {"unit": True}, {"unit": True, "muted_until": later(900)}, {"drifted": True}]):
            uow.drift_checks.add(drift_check(later(number), **changes, check_id=f"c{number}", verdict="stable"))
    with database.unit_of_work(read_only=True) as uow:
        assert [one.check_id for one in uow.drift_checks.suspicious(AT)] == ["c2", "c1"]


def test_days_of_drift_checks_come_back_as_the_worst_of_each_part(database: Any) -> None:
    verdicts = ["stable", "drift", "warning", "stable", "stable", "stable", "insufficient_data", "stable", "warning"]
    with database.unit_of_work() as uow:
        for number, verdict in enumerate(verdicts):
            one = check(f"c{number}", later(60 * number)).model_copy(update={"verdict": verdict})
            uow.drift_checks.add(one, "drift/c4.html" if number == 4 else None)
    with database.unit_of_work(read_only=True) as uow:

        def ids(since_s: float, most: int) -> list[str]:
            return [one.check_id for one in uow.drift_checks.spread(later(since_s), most)]

        assert ids(0, 3) == ["c8", "c4", "c1"]
        assert ids(120, 100) == ["c8", "c7", "c6", "c5", "c4", "c3", "c2"]
        assert ids(120, 1) == ["c8"]
        assert ids(9_999, 3) == []
        assert uow.drift_checks.spread(later(0), 9) == uow.drift_checks.history()
        assert uow.drift_checks.spread(later(0), 9, "hall") == uow.drift_checks.history(scene="hall")


def test_drift_checks_come_back_newest_first(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.drift_checks.latest() is None
        assert uow.drift_checks.last_report() is None
        uow.drift_checks.add(check("c0", later(-1)), "drift/c0.html")
        uow.drift_checks.add(check("c1", AT), "drift/c1.html")
        uow.drift_checks.add(check("c2", later(1)))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.drift_checks.latest() == check("c2", later(1))
        assert uow.drift_checks.last_report() == DriftReportOut(check_id="c1", at=AT, verdict="drift")
        history = uow.drift_checks.history()
        assert [(row.check_id, row.has_report, row.columns[0].score, row.columns[0].bins) for row in history] == [
            ("c2", False, 0.2, []),
            ("c1", True, 0.2, []),
            ("c0", True, 0.2, []),
        ]
        assert uow.drift_checks.history(limit=1) == history[:1]
        [named] = uow.drift_checks.history(limit=1, scene="hall")
        assert [[column.column for column in scene.columns] for scene in history[0].scenes] == [["speed_mps"], ["speed_mps"]]
        assert [[column.column for column in scene.columns] for scene in named.scenes] == [["speed_mps"], ["speed_mps", "dt_s"]]
        assert [scene.columns[0].bins for scene in named.scenes] == [[], []]
        assert uow.drift_checks.report_path("c1") == "drift/c1.html"
        for unknown in ("c2", "c3"):
            with pytest.raises(NotFound):
                uow.drift_checks.report_path(unknown)


# Performance


def performance_check(check_id: str, at: datetime, number: int = 1, verdict: Any = "warning") -> PerformanceCheckOut:
    figure = FigureOut(metric="ade_m", mean=0.5, low=0.4, high=None, validation=0.4, champion_validation=None, verdict="unclear")
    return PerformanceCheckOut(
        check_id=check_id,
        at=at,
        model_name="trajectory",
        model_version=number,
        since=AT,
        until=at,
        verdict=verdict,
        sentence="v1 may be as validated.",
        flagged=["ade_m"],
        confirmed=[],
        predictions=100,
        agents=9,
        ade_ratio=1.25,
        ade_ratio_low=1.0,
        ade_ratio_high=None,
        estimated_ade_m=None,
        figures=[figure],
    )


def test_performance_checks_come_back_newest_first_and_the_newest_of_each_version(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.performance_checks.latest() == []
        for check_id, second, number in (("a", 0, 1), ("b", 1, 2), ("c", 2, 1), ("d", -5, 3)):
            uow.performance_checks.add(performance_check(check_id, later(second), number))
    with database.unit_of_work(read_only=True) as uow:
        assert [one.check_id for one in uow.performance_checks.latest()] == ["d", "b", "c"]
        assert uow.performance_checks.latest()[2] == performance_check("c", later(2))
        assert [one.check_id for one in uow.performance_checks.history()] == ["c", "b", "a", "d"]
        assert [one.check_id for one in uow.performance_checks.history(REF)] == ["c", "a"]
        assert [one.check_id for one in uow.performance_checks.history(REF, limit=1)] == ["c"]


# Calibrations


def test_calibrations_are_numbered_in_order(database: Any) -> None:
    with database.unit_of_work() as uow:
        assert uow.calibrations.in_force() == []
        assert [uow.calibrations.add(calibration(version_number=version)).number for version in (1, 2, 1)] == [1, 2, 3]
    with database.unit_of_work(read_only=True) as uow:
        assert uow.calibrations.get(2) == calibration(2, 2)
        assert [one.number for one in uow.calibrations.newest()] == [3, 2, 1]
        assert [one.number for one in uow.calibrations.newest(1, REF)] == [3]
        assert [one.number for one in uow.calibrations.newest(ref=REF)] == [3, 1]
        with pytest.raises(NotFound):
            uow.calibrations.get(4)


def test_a_calibration_is_moved_by_whoever_has_seen_its_state(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.calibrations.add(calibration())
        moved = uow.calibrations.move(1, "proposed", "applied", later(5), "ada")
        assert (moved.state, moved.changed_at, moved.changed_by) == ("applied", later(5), "ada")
    with database.unit_of_work() as uow:
        assert uow.calibrations.in_force() == [moved]
        with pytest.raises(StaleVersion) as caught:
            uow.calibrations.move(1, "proposed", "reverted", later(6), "bob")
        assert caught.value.details == {"present_state": "applied"}
        with pytest.raises(NotFound):
            uow.calibrations.move(9, "proposed", "applied", later(6), "bob")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.calibrations.get(1) == moved


def test_the_source_of_routes_tells_the_calibrations_in_force(database: Any) -> None:
    source = MemoryRouteSource(database) if isinstance(database, MemoryDatabase) else SqlRouteSource(database)
    assert dict(source.in_force()) == {}
    with database.unit_of_work() as uow:
        uow.calibrations.add(calibration())
        uow.calibrations.add(calibration(version_number=2))
        uow.calibrations.move(2, "proposed", "applied", AT, "ada")
    assert dict(source.in_force()) == {ModelRef("trajectory", 2): (2, (1.25,) * 12)}


# Probes


def test_probes_are_counted_in_their_minute(database: Any) -> None:
    probes = [  # (seconds, is it good, latency, failure)
        (0, True, 12.0, None),
        (5, False, 1500.0, "slow"),
        (10, False, None, "does not answer"),
        (15, True, 9.0, None),
        (60, True, 8.0, None),
        (180, False, None, "away"),
    ]
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(0, 10**9) == Minutes()
        assert (uow.probes.first_minute(), uow.probes.last_probe_at(), uow.probes.last_failure()) == (None, None, None)
        assert uow.probes.buckets(0, 60, 5) == {}
    for seconds, is_good, latency_ms, failure in probes:
        with database.unit_of_work() as uow:
            uow.probes.add(later(seconds), is_good=is_good, latency_ms=latency_ms, failure=failure)
    first = minute_of(AT)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(first, first + 1) == Minutes(1, pytest.approx(0.5), 4, 1500.0)
        assert uow.probes.summed(first, first + 10) == Minutes(3, pytest.approx(1.5), 6, 1500.0)
        assert uow.probes.summed(first + 3, first + 4) == Minutes(1, pytest.approx(1.0), 1, None)
        assert uow.probes.summed(first, first + 10, least=4) == Minutes(3, pytest.approx(0.75), 6, 1500.0)
        assert uow.probes.buckets(first + 3, first + 4, 1, least=4) == {first + 3: Minutes(1, pytest.approx(0.25), 1, None)}
        assert uow.probes.summed(first + 1, first + 3).known == 1, "a range holds its begin and not its end"
        assert {begin: m.known for begin, m in uow.probes.buckets(first - 1, first + 10, 2).items()} == {
            first - 1: 1,
            first + 1: 1,
            first + 3: 1,
        }
        assert uow.probes.buckets(first, first + 1, 1) == {first: Minutes(1, pytest.approx(0.5), 4, 1500.0)}
        assert uow.probes.first_minute() == first
        assert uow.probes.last_probe_at() == later(180)
        assert uow.probes.last_failure() == (datetime.fromtimestamp(60 * (first + 3), UTC), "away")


def test_probes_of_two_workers_in_one_minute_all_count(database: Any) -> None:
    def probe(number: int) -> None:
        with database.unit_of_work() as uow:
            uow.probes.add(later(number), is_good=number % 2 == 0, latency_ms=float(number), failure=None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(probe, range(20)))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.probes.summed(minute_of(AT), minute_of(AT) + 1) == Minutes(1, pytest.approx(0.5), 20, 19.0)


def test_what_nothing_has_superseded_comes_in_the_order_of_its_changes(database: Any) -> None:
    with database.unit_of_work() as uow:
        for version in (1, 1, 2, 1):
            uow.calibrations.add(calibration(version_number=version))
        uow.calibrations.move(2, "proposed", "reverted", later(5), "ada")
        uow.calibrations.move(1, "proposed", "applied", later(6), "ada")
        uow.calibrations.move(4, "proposed", "superseded", later(7), "worker")
    with database.unit_of_work(read_only=True) as uow:
        assert [(one.number, one.state) for one in uow.calibrations.standing(REF)] == [(1, "applied"), (2, "reverted")]
