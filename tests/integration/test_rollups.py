"""Rollups: whatever a range is answered from, its figures are those of its rows."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.lake import compactor, rollups, sums
from data.lake.manifest import Manifest
from data.lake.rollups import BUCKET_NS, SETTLED_NS, Covered
from tests.builders import a_prediction_event, an_outcome_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.contracts.performance import PerformanceOut

MIDNIGHT_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        house.clock.ns = MIDNIGHT_NS
        yield house


def write(house: House, count: int, begin_ns: int, end_ns: int, *, seed: int = 0, share_scored: float = 0.8) -> list[Any]:
    """Predictions of three versions at random times, most of them scored; the outcomes that are still missing."""
    drawn = random.Random(seed)
    predictions, outcomes = [], []
    for number in range(count):
        identity = {
            "received_ns": drawn.randrange(begin_ns, end_ns),
            "agent_id": f"a{drawn.randrange(60)}",
            "model_version": drawn.choice([1, 2, 3]),
            "variant": drawn.choice(["champion", "challenger"]),
            "source": drawn.choice(["live", "live", "replay", "backfill"]),
        }
        name = f"p{seed}-{number}"
        predictions.append(a_prediction_event(name, latency_ms=drawn.lognormvariate(0, 1), **identity))
        steps = drawn.choice([5, 12, 12])
        errors_m = [drawn.lognormvariate(0, 0.5) for _ in range(steps)] + [None] * (12 - steps)
        known = {
            "steps_scored": steps,
            "is_complete": steps == 12,
            "ade_m": drawn.lognormvariate(0, 0.5),
            "fde_m": errors_m[-1],
            "is_miss": drawn.random() < 0.2 if steps == 12 else None,
            "nll": drawn.gauss(1, 1),
            "inside_share": drawn.random(),
            "cv_ade_m": drawn.lognormvariate(0.2, 0.5),
            "step_error_m": errors_m,
        }
        outcomes.append(an_outcome_event(name, **identity, **known))
    house.write(*predictions)
    first = round(count * share_scored)
    if first:
        house.write(*outcomes[:first], table="outcomes")
    house.compact()
    return outcomes[first:]


def asked(house: House, begin_ns: int, end_ns: int, **options: Any) -> tuple[PerformanceOut, Any]:
    since, until = utc(begin_ns), utc(end_ns)
    return house.lake.performance(since, until, **options), house.lake.traffic(since, until)


def of_rows(house: House, begin_ns: int, end_ns: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[PerformanceOut, Any]:
    with monkeypatch.context() as patch:
        patch.setattr("data.lake.rollups.covered", lambda *_, **__: Covered())
        return asked(house, begin_ns, end_ns, **options)


def same(left: tuple[PerformanceOut, Any], right: tuple[PerformanceOut, Any]) -> None:
    """Equal, but for the order of additions."""
    for one, other in ((left[0].rows, right[0].rows), (left[0].series, right[0].series), (left[1], right[1])):
        assert len(one) == len(other) > 0
        for a, b in zip(one, other, strict=True):
            assert a.model_dump() == {
                name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for name, value in b.model_dump().items()
            }
    assert left[0].step_error_m.keys() == right[0].step_error_m.keys()
    for version, errors_m in left[0].step_error_m.items():
        assert errors_m == pytest.approx(right[0].step_error_m[version])


RANGES = {
    "whole": (0, 30 * HOUR_NS),
    "odd": (2 * HOUR_NS + 17 * 10**9 + 3, 27 * HOUR_NS + 123_456_789_123),
    "inside one bucket at each end": (HOUR_NS - 1, 26 * HOUR_NS + 1),
    "on buckets": (HOUR_NS + BUCKET_NS, 11 * HOUR_NS + 3 * BUCKET_NS),
    "weeks": (-400 * HOUR_NS - 7, 28 * HOUR_NS + 17 * MINUTE_NS + 1),
    "before and after": (-48 * HOUR_NS, 72 * HOUR_NS),
}


def test_figures_are_those_of_the_rows_with_a_manifest_in_postgresql(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_house(tmp_path, postgres_url) as house:
        house.clock.ns = MIDNIGHT_NS + 40 * HOUR_NS
        write(house, 300, MIDNIGHT_NS, MIDNIGHT_NS + 30 * HOUR_NS)
        assert house.rollups.run() == {"rolled": 30, "days": 2}
        range_ns = MIDNIGHT_NS + 7 * MINUTE_NS, MIDNIGHT_NS + 29 * HOUR_NS
        same(asked(house, *range_ns), of_rows(house, *range_ns, monkeypatch))
        write(house, 50, MIDNIGHT_NS, MIDNIGHT_NS + HOUR_NS, seed=1)
        assert house.rollups.run() == {"rolled": 1, "days": 1}
        same(asked(house, *range_ns), of_rows(house, *range_ns, monkeypatch))


@pytest.mark.parametrize("name", RANGES)
def test_figures_are_those_of_the_rows(house: House, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    late = write(house, 1_500, MIDNIGHT_NS, MIDNIGHT_NS + 30 * HOUR_NS)
    house.clock.ns = MIDNIGHT_NS + 29 * HOUR_NS + SETTLED_NS
    report = house.rollups.run()
    assert report["days"] == 2
    assert report["rolled"] == 29, "the last hour is not over"
    begin_ns, end_ns = (MIDNIGHT_NS + offset_ns for offset_ns in RANGES[name])
    options: dict[str, Any] = {"sources": ("live", "replay")}
    same(asked(house, begin_ns, end_ns, **options), of_rows(house, begin_ns, end_ns, monkeypatch, **options))
    # Late truth makes its hours stale: readers see it at once, and the next run sums those hours up anew.
    house.write(*late, table="outcomes")
    house.compact()
    after = of_rows(house, begin_ns, end_ns, monkeypatch, **options)
    assert sum(row.scored for row in after[0].rows) > 0
    same(asked(house, begin_ns, end_ns, **options), after)
    assert house.rollups.run()["rolled"] > 0
    same(asked(house, begin_ns, end_ns, **options), after)
    assert house.rollups.run() == {"rolled": 0, "days": 0}


def test_figures_outlive_their_rows(house: House) -> None:
    write(house, 300, MIDNIGHT_NS, MIDNIGHT_NS + 3 * HOUR_NS)
    house.clock.ns += 4 * HOUR_NS
    house.rollups.run()
    before = asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS)
    house.clock.ns = MIDNIGHT_NS + 10 * 24 * HOUR_NS
    house.keep_days = 9.5
    assert house.compactor.run()["retired"] == 6, "predictions and outcomes of three hours"
    assert house.compactor.run()["retired"] == 0
    house.clock.ns += 2 * HOUR_NS
    house.compactor.run()
    assert not list((house.folder / "lake").glob("*/day=*/*.parquet"))
    same(asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS), before)
    assert house.rollups.run() == {"rolled": 0, "days": 0}


def test_truth_that_comes_after_its_rows_were_deleted_leaves_their_sums(house: House) -> None:
    """Predictions may be deleted while somebody scores them, so that their outcomes are the only rows of an hour."""
    write(house, 300, MIDNIGHT_NS, MIDNIGHT_NS + HOUR_NS)
    house.clock.ns += 2 * HOUR_NS
    house.rollups.run()
    before = asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS)
    house.clock.ns = MIDNIGHT_NS + 10 * 24 * HOUR_NS
    house.keep_days = 9.5
    assert house.compactor.run()["retired"] == 2
    house.write(an_outcome_event(received_ns=MIDNIGHT_NS + MINUTE_NS), table="outcomes")
    house.keep_days = None
    house.compact()
    assert house.rollups.run() == {"rolled": 0, "days": 0}
    same(asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS), before)
    house.keep_days = 9.5
    assert house.compactor.run()["retired"] == 1


def test_an_hour_is_retired_as_a_whole(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy hour has several files; one that is older than the rest must not take its part of the sums with it."""
    monkeypatch.setattr(compactor, "MERGE_ROWS", 10)
    for half in range(2):
        write(house, 100, MIDNIGHT_NS + half * HOUR_NS // 2, MIDNIGHT_NS + (half + 1) * HOUR_NS // 2, seed=half)
    house.clock.ns += 4 * HOUR_NS
    house.rollups.run()
    before = asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS)
    house.keep_days = 9.0
    for minutes in range(10, 80, 10):
        house.clock.ns = MIDNIGHT_NS + 9 * 24 * HOUR_NS + minutes * MINUTE_NS
        house.compactor.run()
        house.rollups.run()
        same(asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS), before)
    assert not house.files()


def test_merged_files_leave_a_rollup_as_it_is(house: House) -> None:
    for seed in range(3):
        write(house, 100, MIDNIGHT_NS, MIDNIGHT_NS + HOUR_NS, seed=seed)
    house.clock.ns += HOUR_NS + SETTLED_NS
    assert house.rollups.run()["rolled"] == 1
    assert house.compactor.run()["merged"] > 0
    assert house.rollups.run()["rolled"] == 0


def test_two_at_once_sum_up_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house, 100, MIDNIGHT_NS, MIDNIGHT_NS + HOUR_NS)
    house.clock.ns += 2 * HOUR_NS
    first, second = house.rollups, house.rollups
    real = first._write

    def write_late(*args: Any) -> None:
        real(*args)
        assert second.run() == {"rolled": 1, "days": 1}

    monkeypatch.setattr(first, "_write", write_late)
    assert first.run() == {"rolled": 0, "days": 0}
    assert len(list((house.folder / "lake" / "rollups").glob("*.parquet"))) == 2, "of one run"
    assert house.rollups.run() == {"rolled": 0, "days": 0}


def test_a_file_that_nobody_names_is_swept(house: House) -> None:
    write(house, 100, MIDNIGHT_NS, MIDNIGHT_NS + 2 * HOUR_NS, share_scored=0.0)
    house.clock.ns += HOUR_NS + SETTLED_NS
    house.rollups.run()
    house.clock.ns += HOUR_NS
    house.rollups.run()
    files = list((house.folder / "lake" / "rollups").glob("*.parquet"))
    assert len(files) == 4, "the former ones of the day are still being read"
    house.clock.ns = files[0].stat().st_mtime_ns + round(compactor._UNPUBLISHED_AFTER.total_seconds() * 2e9)
    house.compactor.run()
    left = {str(path.relative_to(house.folder / "lake")) for path in (house.folder / "lake" / "rollups").glob("*.parquet")}
    [path] = {rollup.path for rollup in Manifest(house.database.engine).contents(rollups.TABLES).rollups}
    assert left == {path, rollups.hours_path(path)}


def test_other_sums_are_made_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house, 100, MIDNIGHT_NS, MIDNIGHT_NS + 2 * HOUR_NS)
    house.clock.ns += 3 * HOUR_NS
    house.rollups.run()
    before = asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS)
    monkeypatch.setattr(rollups, "DEFINITION", rollups.DEFINITION + 1)
    same(asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS), before)
    assert house.rollups.run() == {"rolled": 2, "days": 1}
    same(asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 6 * HOUR_NS), before)


def test_many_agents_are_counted_within_the_error_of_a_sketch(house: House) -> None:
    agents = 3_000
    house.write(*(a_prediction_event(f"p{n}", received_ns=MIDNIGHT_NS + n, agent_id=f"a{n % agents}") for n in range(2 * agents)))
    house.compact()
    house.clock.ns += 2 * HOUR_NS
    house.rollups.run()
    since, until = utc(MIDNIGHT_NS), utc(MIDNIGHT_NS + 24 * HOUR_NS)
    [row] = house.lake.performance(since, until).rows
    assert row.predictions == 2 * agents
    assert row.agents == pytest.approx(agents, rel=0.3)
    [exact] = house.lake.performance(since, since + timedelta(minutes=2)).rows
    assert exact.agents == agents


def test_quantiles_of_bins_are_near_those_of_the_values(house: House) -> None:
    drawn = random.Random(3)
    values_ms = sorted(drawn.lognormvariate(1, 1) for _ in range(2_001))
    house.write(*(a_prediction_event(f"p{n}", received_ns=MIDNIGHT_NS + n, latency_ms=value) for n, value in enumerate(values_ms)))
    [row] = house.lake.performance(utc(MIDNIGHT_NS), utc(MIDNIGHT_NS + MINUTE_NS)).rows
    assert row.latency_p50_ms == pytest.approx(values_ms[1_000], rel=0.01)
    assert row.latency_p95_ms == pytest.approx(values_ms[1_900], rel=0.01)


def test_no_values_have_no_quantile() -> None:
    assert sums.quantile({}, 0.5) is None


def test_a_range_without_any_row_is_empty(house: House) -> None:
    found, traffic = asked(house, MIDNIGHT_NS, MIDNIGHT_NS + 30 * 24 * HOUR_NS)
    assert (found.rows, found.series) == ([], [])
    assert {point.predictions for point in traffic} == {0}
    assert isinstance(found.since, datetime)
