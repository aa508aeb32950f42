"""Another unit or another clock: told scene by scene, and by no more than the reference itself varies."""

import numpy as np
import pytest

from tests.drift_windows import FEET, START_S, match, wandering
from trajops.drift.columns import Rows
from trajops.drift.rules import UnitRule
from trajops.drift.units import unit_bounds, unit_column


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


def test_a_scene_of_two_agents_can_be_held_against_as_few() -> None:
    """`min_agents` may be as low as that."""
    bounds = unit_bounds(UnitRule(min_agents=2), "speed_mps", in_scenes({"pitch": 200, "street": 2}, seed=0))
    assert set(bounds) == {"pitch", "street"}
