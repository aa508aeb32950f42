"""A recorded replay that is assigned anew: its sums are those of its agents, and no look that decides is passed over."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import ab_rerandomised
from benchmarks.ab_replay import a_plan
from benchmarks.ab_rerandomised import CONTROL, TREATMENT, Recorded, rerandomised, true_change
from trajops.experiments.sums import ArmSums
from trajops.trajectories import FloatArray

UNITS, LOOKS = 240, list(range(20, 241, 20))


def some_replay(change: float) -> tuple[Recorded, FloatArray, FloatArray]:
    """Agents with two predictions each, and their mean errors by both models."""
    rng = np.random.default_rng(4)
    hard_m = np.repeat(rng.lognormal(0, 0.5, UNITS), 2)
    control_m, own_m = hard_m * rng.lognormal(0, 0.2, 2 * UNITS), hard_m * (1 + change) * rng.lognormal(0, 0.2, 2 * UNITS)
    ids, rows = np.arange(4 * UNITS, dtype=np.uint64), 4 * UNITS
    error_m = np.concatenate([control_m, own_m])
    outcomes = {
        "prediction_id": ids, "is_complete": np.ones(rows, bool), "steps_scored": np.full(rows, 12), "interpolated_s": np.zeros(rows),
        "scored_ns": np.arange(rows), "ade_m": error_m, "fde_m": error_m, "is_miss": np.zeros(rows, bool), "inside_share": np.ones(rows),
        "cv_ade_m": np.tile(hard_m, 2),
    }  # fmt: skip
    pairs = {"place": np.repeat(np.arange(UNITS), 2), CONTROL: ids[: 2 * UNITS], TREATMENT: ids[2 * UNITS :]}
    recorded = Recorded(tuple(f"pitch/{n}" for n in range(UNITS)), np.arange(UNITS) / 10, pa.table(pairs), pa.table(outcomes))
    return recorded, control_m.reshape(-1, 2).mean(axis=1), own_m.reshape(-1, 2).mean(axis=1)


@pytest.mark.parametrize("change", [0.0, -0.3, 0.6])
def test_no_look_that_decides_is_passed_over(monkeypatch: pytest.MonkeyPatch, change: float) -> None:
    recorded, _, _ = some_replay(change)
    plan = a_plan("again", 1, 2, None, UNITS)
    found = rerandomised(recorded, plan, 30, LOOKS, arms=(CONTROL, TREATMENT))
    monkeypatch.setattr(ab_rerandomised, "_may_decide", lambda _, control, __: np.ones_like(control.units, bool))
    assert found.decided == rerandomised(recorded, plan, 30, LOOKS, arms=(CONTROL, TREATMENT)).decided
    kinds = {decision.kind for decision, _ in found.decided}
    assert {0.0: "inconclusive", -0.3: "better", 0.6: "worse"}[change] in kinds


def test_sums_are_those_of_the_agents_that_had_come() -> None:
    recorded, control_m, own_m = some_replay(-0.2)
    found = rerandomised(recorded, a_plan("again", 1, 2, None, UNITS), 3, LOOKS, arms=(CONTROL, TREATMENT))
    for replication in range(3):
        is_treated = np.array(ab_rerandomised._is_treated(replication, recorded.unit_ids))
        assert 0.3 < is_treated.mean() < 0.7
        for look, units in enumerate(LOOKS):
            of = is_treated[:units]
            for arm, mine, values_m in ((found.control, ~of, control_m), (found.treatment, of, own_m)):
                expected = ArmSums.of(values_m[:units][mine], values_m[:units][mine])
                assert arm.units[replication, look] == expected.units
                assert arm.y[replication, look] == pytest.approx(expected.y)
                assert arm.yy[replication, look] == pytest.approx(expected.yy)
    assert true_change(recorded) == pytest.approx(own_m.mean() / control_m.mean() - 1)


def test_an_arm_that_answers_as_the_control_does_differs_by_chance_only() -> None:
    recorded, control_m, _ = some_replay(-0.5)
    found = rerandomised(recorded, a_plan("again", 1, 2, None, UNITS), 20, LOOKS, arms=(CONTROL, CONTROL))
    assert found.share("better", "worse") <= 2
    assert found.misses(0.0) <= 2
    total = found.control.y[:, -1] + found.treatment.y[:, -1]
    assert total == pytest.approx(np.full(20, control_m.sum()))
