"""What readers of the lake are told: performance, traffic, single predictions, rows for drift."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from data.lake.drift_rows import COLUMNS
from data.lake.queries import Lake
from tests.builders import CLOCK_NS, a_prediction_event, an_observation_event, an_outcome_event
from tests.lake_house import HOUR_NS, START, House, a_house, some
from trajops.clock import utc
from trajops.errors import InvalidInput, NotFound, Unavailable


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def outcome(prediction_id: str, **changes: Any) -> Any:
    return an_outcome_event(prediction_id, **changes)


@pytest.mark.parametrize("is_compacted", [False, True], ids=["live", "compacted"])
def test_performance_by_hand(house: House, is_compacted: bool) -> None:
    control = {"variant": "control", "agent_id": "a1", "latency_ms": 1.0}
    treatment = {"variant": "treatment", "model_version": 2, "agent_id": "a2"}
    house.write(
        a_prediction_event("c1", **control),
        a_prediction_event("c2", **{**control, "latency_ms": 3.0, "received_ns": CLOCK_NS + 30 * 10**9}),
        a_prediction_event("c3", **control, received_ns=CLOCK_NS + 119 * 10**9),
        a_prediction_event("t1", **treatment),
        a_prediction_event("x1", source="backfill"),
        a_prediction_event("x2", received_ns=CLOCK_NS - 1),
        a_prediction_event("x3", received_ns=CLOCK_NS + 120 * 10**9),
    )
    house.write(
        outcome("c1", steps_scored=3, is_complete=False, ade_m=9.0, fde_m=None, is_miss=None, variant="control"),
        outcome("c1", ade_m=0.5, fde_m=1.0, nll=1.0, inside_share=0.5, cv_ade_m=0.6, variant="control", scored_ns=CLOCK_NS + 7),
        outcome(
            "c2",
            steps_scored=4,
            is_complete=False,
            ade_m=0.1,
            fde_m=None,
            is_miss=None,
            nll=3.0,
            inside_share=1.0,
            cv_ade_m=0.2,
            variant="control",
            received_ns=CLOCK_NS + 30 * 10**9,
            step_error_m=[0.1] * 4 + [None] * 8,
        ),
        outcome("t1", model_version=2, ade_m=2.5, fde_m=5.0, is_miss=True, step_error_m=[2.5] * 12),
        table="outcomes",
    )
    if is_compacted:
        house.compact()
    figures = house.lake.performance(START, START + timedelta(seconds=120), 0.9, buckets=4)
    first, second = figures.rows
    assert (first.model_version, first.variant, first.predictions, first.scored, first.agents) == (1, "control", 3, 2, 1)
    assert first.complete == 1
    assert first.join_rate == 1.0, "the third is too young to count"
    assert first.ade_m == pytest.approx(0.5), "the second is known for its easy steps only"
    assert first.fde_m == pytest.approx(1.0)
    assert first.miss_rate == pytest.approx(0.0)
    assert first.nll == pytest.approx(1.0)
    assert first.coverage == pytest.approx(0.5)
    assert first.cv_ade_m == pytest.approx(0.6)
    assert first.latency_p50_ms == pytest.approx(1.0, rel=0.04)
    assert (second.model_version, second.variant, second.miss_rate, second.ade_m) == (2, "treatment", 1.0, 2.5)
    assert [(point.at, point.model_version, point.predictions, point.scored) for point in figures.series] == [
        (START, 1, 1, 1),
        (START, 2, 1, 1),
        (START + timedelta(seconds=30), 1, 1, 1),
        (START + timedelta(seconds=90), 1, 1, 0),
    ]
    assert figures.series[3].ade_m is None
    assert figures.step_error_m["1"] == pytest.approx([0.3] * 4 + [0.5] * 8)
    assert figures.step_error_m["2"] == pytest.approx([2.5] * 12)
    assert figures.last_outcome_at == utc(an_outcome_event().scored_ns)
    assert figures.nominal_coverage == 0.9
    with_backfill = house.lake.performance(START, START + timedelta(seconds=120), sources=("backfill",))
    assert [row.predictions for row in with_backfill.rows] == [1]


def test_the_join_rate_counts_what_has_no_outcome(house: House) -> None:
    house.write(*(a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * 10**9) for n in range(10)))
    house.write(outcome("p0"), outcome("p1", received_ns=CLOCK_NS + 10**9), table="outcomes")
    (row,) = house.lake.performance(START, START + timedelta(seconds=10)).rows
    assert row.join_rate == pytest.approx(2 / 4), "four are older than 6.8 s"


def test_the_last_outcome_is_found_outside_the_range(house: House) -> None:
    house.write(outcome("p1"), table="outcomes")
    house.compact()
    far = house.lake.performance(START + timedelta(days=3), START + timedelta(days=4))
    assert (far.rows, far.last_outcome_at) == ([], utc(an_outcome_event().scored_ns))


def test_traffic_has_a_point_for_every_bucket(house: House) -> None:
    house.write(*(a_prediction_event(f"p{n}", received_ns=CLOCK_NS + n * 10**9, latency_ms=float(n)) for n in (0, 1, 2, 25)))
    points = house.lake.traffic(START, START + timedelta(seconds=30), buckets=3)
    assert [(point.at, point.predictions) for point in points] == [
        (START, 3),
        (START + timedelta(seconds=10), 0),
        (START + timedelta(seconds=20), 1),
    ]
    assert [point.latency_p50_ms for point in points] == [pytest.approx(1.0, rel=0.04), None, pytest.approx(25.0, rel=0.04)]


@pytest.mark.parametrize(
    ("since", "until", "buckets", "words"),
    [
        (START, START, 1, "begin before it ends"),
        (START, START + timedelta(1), 0, "at least one bucket"),
        (datetime(2023, 1, 1), datetime(2023, 1, 2, tzinfo=UTC), 1, "without a zone"),  # noqa: DTZ001
    ],
)
def test_ranges_that_mean_nothing_are_refused(house: House, since: datetime, until: datetime, buckets: int, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        house.lake.traffic(since, until, buckets)


def test_recent_predictions_are_the_newest_first_and_can_be_narrowed(house: House) -> None:
    house.write(*some(20), *some(1, 20, scene_id="s2"))
    house.compact()
    house.write(*some(5, 21), close=False)
    found = [entry.prediction.prediction_id for entry in house.lake.recent_predictions(8)]
    assert found == [f"p{n:04d}" for n in range(25, 17, -1)]
    assert [entry.prediction.prediction_id for entry in house.lake.recent_predictions(3, agent_id="a2")] == ["p0022", "p0017", "p0012"]
    assert [entry.prediction.prediction_id for entry in house.lake.recent_predictions(scene_id="s2")] == ["p0020"]
    assert house.lake.recent_predictions(scene_id="nowhere") == []


def test_an_old_prediction_is_found_too(house: House) -> None:
    house.write(a_prediction_event("old", received_ns=CLOCK_NS - 40 * 24 * HOUR_NS), *some(3))
    house.compact()
    assert house.lake.prediction("old").prediction.prediction_id == "old"
    with pytest.raises(NotFound, match="no prediction nothing"):
        house.lake.prediction("nothing")


def test_a_prediction_is_shown_with_what_happened(house: House) -> None:
    house.write(a_prediction_event("p1"))
    house.write(an_observation_event(1), an_observation_event(3), an_observation_event(6, x_m=99.0, agent_id="a2"), table="observations")
    shown = house.lake.prediction("p1")
    assert shown.received_at == START
    assert shown.history[-1] == pytest.approx((2.8, 0.0))
    assert shown.truth[:3] == [pytest.approx((2.8 + 0.4 * step, 0.0)) for step in (1, 2, 3)], "the second is interpolated"
    assert shown.truth[3:] == [None] * 9
    assert shown.outcome is None
    assert shown.prediction.modes[0].covariance[0] == pytest.approx((0.01, 0.0, 0.01))
    house.write(outcome("p1", ade_m=1.0, steps_scored=3, is_complete=False, fde_m=None, is_miss=None), outcome("p1"), table="outcomes")
    house.compact()
    shown = house.lake.prediction("p1")
    assert shown.outcome is not None
    assert (shown.outcome.ade_m, shown.outcome.steps_scored, len(shown.outcome.step_error_m)) == (0.5, 12, 12)


def test_drift_rows_by_hand(house: House) -> None:
    corner_m = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (6, 2)]
    ahead_m = [(6, 2 + 3 * step) for step in range(1, 13)]
    house.write(
        a_prediction_event(
            "p1",
            dt_s=0.5,
            history_m=np.ravel(np.array(corner_m, float)).tolist(),
            weights=[0.6, 0.4],
            mean_m=np.ravel(np.array([ahead_m, [(0, 0)] * 12], float)).tolist(),
            cov_m2=[1.0, 0.0, 1.0] * 11 + [3.0, 0.0, 5.0] + [7.0, 0.0, 7.0] * 12,
        ),
        a_prediction_event("p2", received_ns=CLOCK_NS + 1, source="backfill"),
        a_prediction_event("p3", received_ns=CLOCK_NS + 2, history_m=[1.0, 2.0]),
    )
    house.write(outcome("p1"), table="outcomes")
    rows = house.lake.drift_rows(START, START + timedelta(seconds=1))
    assert rows.column_names == list(COLUMNS)
    first, second = rows.to_pylist()
    assert first == {
        "received_ns": CLOCK_NS, "agent_id": "a1", "scene_id": "s1", "model_version": 1, "variant": "champion", "dt_s": 0.5,
        "speed_mps": pytest.approx(8 / 7 / 0.5), "speed_last_mps": 4.0, "acceleration_mps2": pytest.approx((4 - 2) / 3),
        "turn_rad": pytest.approx(np.pi / 2), "heading_rad": pytest.approx(np.pi / 2), "path_m": 8.0,
        # One bend of (−1, 2) among six second differences.
        "jitter_m": pytest.approx(np.sqrt(5 / 6 / 12)), "max_speed_mps": 4.0, "max_acceleration_mps2": pytest.approx(np.sqrt(5) / 0.25),
        "x_m": 6.0, "y_m": 2.0, "observed_at_s": ANY,
        "predicted_speed_mps": pytest.approx(6.0), "predicted_spread_m": pytest.approx(2.0), "latency_ms": pytest.approx(0.2),
        "ade_m": 0.5, "fde_m": 0.5, "inside_share": 1.0,
    }  # fmt: skip
    assert (second["ade_m"], second["fde_m"], second["inside_share"]) == (None, None, None)
    assert second["speed_mps"] == pytest.approx(1.0)
    assert len(house.lake.drift_rows(START, START + timedelta(seconds=1), sources=("live",))) == 1
    empty = house.lake.drift_rows(START + timedelta(days=1), START + timedelta(days=2))
    assert (len(empty), empty.schema) == (0, rows.schema)


def test_more_questions_than_cursors_wait_and_are_answered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(*some(50))
    lake = Lake(house.folder / "lake", house.folder / "spool", house.database.engine, cursors=2)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(lake.count("predictions"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [50] * 8
    monkeypatch.setattr("data.lake.reader.WAIT_S", 0.01)

    def nested(_cursor: Any, _prefix: str) -> None:
        lake.read(("predictions",), lambda *_: lake.count("predictions"))

    with pytest.raises(Unavailable, match="2 questions"):
        lake.read(("predictions",), nested)
    lake.close()


def test_nothing_is_fetched_from_outside(house: House) -> None:
    query = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions'"
    settings = house.lake.read(("predictions",), lambda cursor, _prefix: cursor.execute(query).fetchall())
    assert dict(settings) == {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
