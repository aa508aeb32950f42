"""Scores of drift by hand, and the thresholds that a reference gives them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.drift_windows import RULES, START_S, WITHOUT_DOMAIN, wandering
from trajops.drift.assessment import Assessment
from trajops.drift.columns import Rows, bin_indices, decile_edges, psi, shares
from trajops.drift.thresholds import clean_windows
from trajops.errors import ShapeError


@pytest.mark.parametrize(
    ("reference", "current", "expected"),
    [
        pytest.param([0.5, 0.5], [0.5, 0.5], 0.0, id="equal"),
        pytest.param([0.5, 0.5], [0.75, 0.25], 0.25 * np.log(1.5) + 0.25 * np.log(2), id="half-of-one-bin-moved"),
        pytest.param([0.5, 0.5], [1.0, 0.0], 0.5 * np.log(2) + 0.495 * np.log(100), id="an-empty-bin-counts-as-the-floor"),
    ],
)
def test_psi_by_hand(reference: list[float], current: list[float], expected: float) -> None:
    assert psi(np.array(reference), np.array(current)) == pytest.approx(expected)


@given(arrays(float, (2, 6), elements=st.floats(0.01, 1.0)))
def test_psi_is_symmetric_and_never_negative(counts: np.ndarray) -> None:
    one, other = shares(counts)
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, other) >= 0
    assert psi(one, one) == 0


def test_deciles_of_a_hundred_numbers() -> None:
    edges = decile_edges(np.arange(101.0))
    assert edges == pytest.approx(np.arange(10, 91, 10))
    assert bin_indices(np.array([-5.0, 9.9, 10.1, 1000.0]), edges).tolist() == [0, 0, 1, 9]


@pytest.mark.parametrize("changed", [0.1, 0.39, 0.41, 1.0])
def test_leaving_a_constant_is_seen_in_either_direction(changed: float) -> None:
    edges = decile_edges(np.full(500, 0.4))
    assert bin_indices(np.full(1, changed), edges) != bin_indices(np.full(1, 0.4), edges)
    assert bin_indices(np.full(1, 0.4 + 1e-9), edges) == bin_indices(np.full(1, 0.4), edges)


def test_agents_that_stand_have_a_bin_of_their_own() -> None:
    edges = decile_edges(np.concatenate([np.zeros(300), np.linspace(0.5, 2, 700)]))
    standing, walking = bin_indices(np.array([0.0, 0.3]), edges)
    assert standing != walking


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="speed_mps"):
        Rows(np.zeros(3), np.zeros(3, dtype=int), np.zeros(3, dtype=int), {"speed_mps": np.zeros(2)})


def test_one_row_of_each_agent() -> None:
    rows = wandering(40, span_s=300, seed=1)
    single = rows.one_per_agent(np.random.default_rng(0), 30)
    assert len(single) == single.agent_count == 30


def thresholds(agents: int) -> dict[str, float]:
    """PSI thresholds of a window with so many agents."""
    assessment = Assessment.of(RULES, wandering(1500, span_s=3600, seed=0), 1)
    rows = wandering(agents, span_s=300, seed=1)
    found = assessment.scores(assessment.binned(rows), START_S + 300)[None]
    return {name: scores[0].threshold for name, scores in found.items()}


def test_fewer_agents_need_a_higher_threshold() -> None:
    assert thresholds(60)["speed_mps"] > 2 * thresholds(240)["speed_mps"]


def test_a_reference_of_few_agents_does_not_cry_wolf() -> None:
    """120 agents of an hour against 110 of five minutes that walk as they do: 2 of 24 windows flagged.

    With agents on both sides of the calibration, whom a sparse window has borrowed, it were 13.
    """
    flagged = 0
    for seed in range(24):
        assessment = Assessment.of(WITHOUT_DOMAIN, wandering(120, span_s=3600, seed=1000 + seed, start_s=START_S - 100_000), 1)
        found = assessment.scores(assessment.binned(wandering(110, span_s=300, seed=seed)), START_S + 300)[None]
        flagged += any(score.is_drifted for scores in found.values() for score in scores)
    assert flagged <= 4


def test_no_more_than_half_of_a_reference_makes_a_clean_window() -> None:
    """Asked for more agents than it has, a reference says what half of them score against the others, and not nothing."""
    assessment = Assessment.of(WITHOUT_DOMAIN, wandering(120, span_s=3600, seed=1), 1)
    profile = assessment.profiles[300.0]
    for taken, _, drawn in clean_windows(profile, RULES.calibration, 500, None):
        assert set(drawn.sum(axis=1)) <= {60.0, 61.0}, "somebody who is there in two windows is counted in both"
        rest = profile.without(taken)
        assert rest
        assert not {stretch.at_s for stretch in rest} & {stretch.at_s for stretch in taken}
    assert assessment._bounds(300.0, None, 500) is not None


def test_thresholds_are_reproducible() -> None:
    assert thresholds(60) == thresholds(60)
