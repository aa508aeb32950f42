"""The benchmark of whole experiments, a small one: what it reports, and that its negative control fails."""

import pytest

from benchmarks.ab_end_to_end import Size, run

pytestmark = pytest.mark.slow

# The covariate of constant velocity's own errors is these errors: an A/A experiment of it is certain to find nothing.
SMALL = Size(
    champion="constant_velocity",
    better_one="kalman",
    same=2,
    better=2,
    worse=0,
    units=300,
    agents_s=20.0,
    seconds=40.0,
    shadowed=1.0,
    paired=400,
    replications=150,
    looks=20,
)


def test_a_better_model_is_found_end_to_end_and_an_equal_one_is_not() -> None:
    found = run(SMALL)
    details = found.details
    assert (details["false_positives_of"], details["better_found_of"]) == ([0, 2], [2, 2])
    assert details["invalid"] == 0
    assert details["shadow_decided"] == "better"
    assert details["better_change_said"] == pytest.approx(details["better_change_offline"], abs=0.08)
    assert 100 <= details["better_median_agents"] <= 350
    # The same agents, assigned anew.
    assert found.value == details["again_false_positives"] == 0
    assert details["again_peeking_t_test"] > 0.05
    assert details["again_better_found"] == 1.0
    assert details["again_better_misses_truth"] < 0.05
    assert details["again_false_positives_95"][1] < 0.05
