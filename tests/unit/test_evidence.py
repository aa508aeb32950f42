"""E-processes: exactly one on average where nothing is wrong, never more, and large soon where something is."""

from itertools import pairwise
from math import comb, factorial

import numpy as np
import pytest

from trajops.experiments.evidence import is_proved, log_harm, log_mismatch


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.9, 0.1), (1.0, 3.0)])
@pytest.mark.parametrize("tolerance", [1.0, 1.5])
@pytest.mark.parametrize("units", [1, 2, 7, 40])
def test_harm_is_one_on_average_under_the_null_hypothesis(weights: tuple[float, float], tolerance: float, units: int) -> None:
    null = weights[1] * tolerance / (weights[0] + weights[1] * tolerance)
    treated = np.arange(units + 1)
    evidence = np.exp(log_harm(units - treated, treated, weights, tolerance))

    def average(share: float) -> float:
        chances = np.array([comb(units, int(k)) * share**k * (1 - share) ** (units - k) for k in treated])
        return float(chances @ evidence)

    assert average(null) == pytest.approx(1.0, rel=1e-9)
    assert average(0.7 * null) < 1
    assert average(min(0.99, 1.5 * null)) > 1


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 0.3, 0.5), (1.0, 9.0)])
@pytest.mark.parametrize("units", [1, 5, 12])
def test_a_mismatch_is_one_on_average_where_units_fall_as_they_should(weights: tuple[float, ...], units: int) -> None:
    shares = np.array(weights) / sum(weights)
    counts = [c for c in np.ndindex(*(units + 1,) * len(weights)) if sum(c) == units]
    chances = [factorial(units) / np.prod([factorial(k) for k in c]) * np.prod(shares ** np.array(c)) for c in counts]
    evidence = [np.exp(log_mismatch(c, weights)) for c in counts]
    assert np.dot(chances, evidence) == pytest.approx(1.0, rel=1e-9)


def test_looking_at_every_unit_raises_no_false_alarm() -> None:
    rng = np.random.default_rng(4)
    is_treated = rng.random((2000, 2000)) < 0.5
    treated = np.cumsum(is_treated, axis=1)
    seen = np.arange(1, 2001)
    assert is_proved(log_mismatch((seen - treated, treated), (0.5, 0.5)), 0.01).any(axis=1).mean() <= 0.01
    assert is_proved(log_harm(seen - treated, treated, (0.5, 0.5)), 0.05).any(axis=1).mean() <= 0.05


def test_a_lost_twentieth_of_an_arm_is_seen_in_some_thousand_units() -> None:
    rng = np.random.default_rng(4)
    treated = np.cumsum(rng.random((200, 40_000)) < 0.95 / 1.95, axis=1)
    seen = np.arange(1, 40_001)
    is_seen = is_proved(log_mismatch((seen - treated, treated), (0.5, 0.5)), 0.01)
    assert is_seen.any(axis=1).mean() >= 0.95


def test_harm_three_times_as_often_is_seen_in_some_dozen_failures() -> None:
    treated = np.cumsum(np.random.default_rng(4).random((500, 300)) < 0.75, axis=1)
    seen = np.arange(1, 301)
    is_seen = is_proved(log_harm(seen - treated, treated, (0.5, 0.5)), 0.025)
    assert np.median(is_seen.argmax(axis=1)) <= 60
    assert is_seen.any(axis=1).all()


def test_evidence_grows_with_harm() -> None:
    evidence = [float(log_harm(10, treated, (0.5, 0.5))) for treated in range(0, 200, 10)]
    assert all(one < other for one, other in pairwise(evidence))
    assert np.isfinite(log_harm(0, 1_000_000, (0.5, 0.5)))
    assert float(log_harm(0, 0, (0.5, 0.5))) == pytest.approx(0)
    assert float(log_mismatch((0, 0), (0.5, 0.5))) == pytest.approx(0)
