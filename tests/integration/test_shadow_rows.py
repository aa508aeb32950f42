"""What a shadow predicts is recorded and scored, and it is in no figure of the pages, as a probe is in none."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from data.lake.drift_source import LakeDriftSource
from data.lake.experiment_source import LakeExperiments
from data.lake.performance_source import LakePerformanceSource
from data.lake.queries import SERVED
from data.lake.tracks import recorded_scenes
from tests.builders import CLOCK_S, a_prediction_event, an_outcome_event
from tests.experiment_builders import a_plan
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.contracts.performance import SliceBy
from trajops.drift.rules import CurrentRule
from trajops.performance.rules import PerformanceRules
from trajops.telemetry import Recorded
from workers.answering import SOURCES

S = 10**9
HOUR_NS = 3_600 * S
BEGIN_NS = 1_700_006_400 * S  # 2023-11-15 00:00 UTC
RULES = PerformanceRules()
# Whatever the order in which these are added up, the sum is the same.
EXACT = {"nll": 0.75, "cv_ade_m": 0.5, "radius_m": 1.5, "expected_ade_m": 0.75, "step_nll": [0.75] * 12}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        made.clock.ns = BEGIN_NS + 4 * HOUR_NS
        yield made


def plain(value: Any) -> Any:
    """A value that can be compared, whatever the order in which rows were read."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return np.sort(value, axis=None).tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def write(house: House, source: str, since_ns: int, count: int, **changes: Any) -> None:
    """Predictions twenty seconds apart of agents of their own, all but every fourth of them scored."""
    for number in range(count):
        at_ns = since_ns + number * 20 * S
        identity: dict[str, Any] = {
            "received_ns": at_ns,
            "observed_at_s": CLOCK_S + (at_ns - BEGIN_NS) / S,
            "scene_id": f"{source}-scene",
            "agent_id": f"{source}-{number % 9}",
            "source": source,
            "variant": "control",
            "experiment_id": "e1",
            **changes,
        }
        house.write(a_prediction_event(f"{source}-{at_ns}", latency_ms=4.0, **identity), close=False)
        if number % 4:
            outcome = an_outcome_event(f"{source}-{at_ns}", scored_ns=at_ns + 6 * S, ade_m=0.25 * (1 + number % 3), **EXACT, **identity)
            house.write(outcome, table="outcomes", close=False)
    house.spool.close()


def every_figure(house: House) -> dict[str, Any]:
    """What the pages, the checks, the answers to alerts and experiments ask the lake."""
    lake, since, until = house.lake, utc(BEGIN_NS), utc(BEGIN_NS + 3 * HOUR_NS)
    performance, drift, experiments = LakePerformanceSource(lake), LakeDriftSource(lake), LakeExperiments(lake)
    checked = RULES.check.sources
    short = until - timedelta(minutes=10)
    return {
        "performance": lake.performance(since, until).model_dump(),
        "performance of minutes": lake.performance(short, until).model_dump(),
        "traffic": lake.traffic(since, until),
        "traffic of minutes": lake.traffic(short, until),
        "newest outcome": lake.last_outcome_at(),
        "recent": lake.recent_predictions(1000),
        "drift rows": lake.drift_rows(since, until).to_pylist(),
        "current window": plain(drift.rows(since, until, CurrentRule().sources)),
        "reference": plain(drift.rows(since, until, get_args(Recorded))),
        "counts": plain(drift.counts(since, until, CurrentRule().sources)),
        "oldest": drift.oldest(CurrentRule().sources),
        "slices": {
            by: plain(
                sorted(performance.agent_sums(since, until, by, RULES.speed_bands, checked, 0.9, 10**6)[1], key=lambda one: one.value)
            )
            for by in get_args(SliceBy)
        },
        "errors": plain(performance.errors(since, until, since, checked, 10**6)),
        "calibration": plain(performance.distances("trajectory", 1, since, until, RULES.recalibration.sources, 10**6)),
        "tracks": [(one.scene_id, len(one.tracks)) for one in recorded_scenes(lake, since, until, SOURCES)],
        "experiment": plain(experiments.figures("e1", a_plan(), since, until, 1.0)),
        "experiment's traffic": plain(experiments.traffic(since, until, "agent", "ade_m")),
    }


@pytest.mark.parametrize("where", ["spool", "parquet", "rollups"])
@pytest.mark.parametrize("source", ["shadow", "probe"])
def test_it_is_in_no_figure(house: House, source: str, where: str) -> None:
    def settle() -> None:
        if where != "spool":
            house.compact()
        if where == "rollups":
            house.rollups.run()

    write(house, "live", BEGIN_NS, 540)
    settle()
    before = every_figure(house)
    # Before, within and after what was answered.
    write(house, source, BEGIN_NS - 600 * S, 600, shadow_of="live-1" if source == "shadow" else None)
    settle()
    after = every_figure(house)
    for name, figure in before.items():
        assert repr(after[name]) == repr(figure), name  # as text, in which NaN equals NaN
    since, until = utc(BEGIN_NS), utc(BEGIN_NS + 3 * HOUR_NS)
    assert house.lake.performance(since, until, sources=(source,)).rows[0].predictions > 500, "it is recorded, and rolled up by its source"


def test_a_control_that_counts_every_source_sees_it(house: House) -> None:
    """So the test above would notice: the same rows under a source that is served change every figure."""
    write(house, "live", BEGIN_NS, 540)
    before = every_figure(house)
    write(house, "replay", BEGIN_NS - 600 * S, 600)
    after = every_figure(house)
    assert [name for name in before if repr(before[name]) == repr(after[name])] == []
    assert "shadow" not in SERVED
