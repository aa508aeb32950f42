"""What is counted and named by scene in the lake, for what may be learnt from."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data.lake.drift_source import LakeDriftSource
from data.lake.performance_source import LakePerformanceSource
from tests.builders import CLOCK_NS, a_prediction_event, an_observation_event, an_outcome_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.drift.quality import Counts

S = 10**9
UNTIL_NS = CLOCK_NS + 60 * S
SINCE, UNTIL = utc(CLOCK_NS), utc(UNTIL_NS)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as house:
        yield house


def test_counts_by_scene_and_by_steps_back_from_the_end(house: House) -> None:
    """Steps of ten seconds: what lies on a border belongs to the newer one, as a range holds its begin and not its end."""
    at = [UNTIL_NS - 1, UNTIL_NS - 10 * S, UNTIL_NS - 10 * S - 1, UNTIL_NS - 25 * S]
    house.write(*(a_prediction_event(f"p{row}", received_ns=ns, observed_at_s=7.0) for row, ns in enumerate(at)))
    house.write(a_prediction_event("bad", received_ns=at[0], observed_at_s=8.0, history_m=[1.0, 2.0]))
    house.write(a_prediction_event("other", received_ns=at[0], source="backfill"), a_prediction_event("late", received_ns=UNTIL_NS))
    posted = (an_observation_event(received_ns=at[3], scene_id="posted", observed_at_s=float(row // 2)) for row in range(4))
    house.write(*posted, table="observations")
    found = LakeDriftSource(house.lake).tally(SINCE, UNTIL, ("live",), 10.0)
    assert found == {
        "s1": {0: Counts(3, 1, 3, 1), 1: Counts(1, 0, 1, 0), 2: Counts(1, 0, 1, 0)},
        "posted": {2: Counts(0, 0, 4, 2)},
    }


def test_distances_name_the_scenes_of_their_rows(house: House) -> None:
    scenes = ["north", "south", "north"]
    house.write(
        *(
            an_outcome_event(f"p{row}", received_ns=CLOCK_NS + row * S, scene_id=scene, agent_id=f"a{row}", step_distance2=[1.0] * 12)
            for row, scene in enumerate(scenes)
        ),
        table="outcomes",
    )
    source = LakePerformanceSource(house.lake)
    rows = source.distances("trajectory", 1, SINCE - timedelta(seconds=1), UNTIL, ("live",), 100)
    order = np.argsort(rows.received_s)
    assert [rows.scene_names[code] for code in rows.scenes[order]] == scenes
    assert len(source.distances("trajectory", 9, SINCE, UNTIL, ("live",), 100).scenes) == 0


def test_of_a_scene_some_agents_are_read_and_each_of_them_whole(house: House) -> None:
    events = [
        a_prediction_event(f"{scene}{row}", received_ns=CLOCK_NS + row * S // 10, scene_id=scene, agent_id=f"{scene}{row % 100}")
        for scene in ("busy", "quiet", "new")
        for row in range(300)
    ]
    house.write(*events)
    rows = LakeDriftSource(house.lake).some(SINCE, UNTIL, ("live",), {"busy": 0.25, "quiet": 1.0})
    agents, counts = np.unique(rows.agents, return_counts=True)
    of = {name: len(np.unique(rows.agents[rows.scenes == code])) for code, name in enumerate(rows.scene_names)}
    assert of == {"busy": pytest.approx(25, abs=12), "quiet": 100, "new": 100}
    assert counts.tolist() == [3] * len(agents)
