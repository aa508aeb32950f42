"""An error estimated before its truth follows the traffic, and says how sure it is."""

import math

import numpy as np
import pytest

from trajops.performance.estimation import Errors, bands_of, estimate, retrace
from trajops.performance.rules import BANDS


def walkers(
    rng: np.random.Generator, agents: int, fast: float, *, gain: float = 1.0, begin_s: float = 0.0, span_s: float = 600.0
) -> Errors:
    """Tracks of 20 predictions: a share `fast` runs. The model expects half the error it makes of runners, and is right about walkers."""
    is_fast = rng.random(agents) < fast
    own = np.exp(0.3 * rng.normal(size=agents))
    agent = np.repeat(np.arange(agents), 20)
    speed_mps = np.where(is_fast, 4.0, 1.2)[agent] * rng.uniform(0.8, 1.2, len(agent))
    expected_m = 0.2 * speed_mps
    truth = np.where(is_fast, 2.0, 1.0)[agent] * own[agent] * expected_m * rng.exponential(1.0, len(agent)) / math.exp(0.045)
    received_s = begin_s + rng.uniform(0, span_s, agents)[agent]
    return Errors(received_s, agent + int(1e7 * rng.random()), np.full(len(agent), 1), speed_mps, expected_m, gain * truth)


def without_truth(rows: Errors) -> Errors:
    return Errors(rows.received_s, rows.agents, rows.versions, rows.speed_mps, rows.expected_ade_m, np.full(len(rows), np.nan))


def test_bands_are_named_by_their_ends() -> None:
    assert [BANDS[n].band for n in bands_of(np.array([0.0, 0.5, 1.9, 2.0, 7.0]), BANDS)] == [
        "standing",
        "walking",
        "walking",
        "running",
        "fast",
    ]


def test_the_estimate_follows_a_change_of_speeds_and_the_last_known_mean_does_not() -> None:
    """Two tenths run while there is truth, eight tenths afterwards. The intervals hold what comes out."""
    rng = np.random.default_rng(0)
    held, misses_m, naive_m = 0, [], []
    for _ in range(100):
        known, wanted = walkers(rng, 150, 0.2), walkers(rng, 60, 0.8)
        found = estimate(known, without_truth(wanted), BANDS, 10)
        observed_m = wanted.ade_m.mean()
        held += found.low <= observed_m <= found.high
        misses_m.append(abs(found.mean - observed_m))
        naive_m.append(abs(known.ade_m.mean() - observed_m))
    assert held >= 88
    assert np.mean(misses_m) < 0.25
    assert np.mean(naive_m) > 3 * np.mean(misses_m)


def test_its_own_truth_is_not_looked_at() -> None:
    rng = np.random.default_rng(1)
    known, wanted = walkers(rng, 100, 0.3), walkers(rng, 40, 0.3)
    assert estimate(known, wanted, BANDS, 10) == estimate(known, without_truth(wanted), BANDS, 10)


def test_what_neither_speed_nor_spread_shows_is_not_seen() -> None:
    """The limit that the page states: a model that errs twice as much, and knows nothing of it, is found by truth alone."""
    rng = np.random.default_rng(2)
    known, wanted = walkers(rng, 200, 0.3), walkers(rng, 200, 0.3, gain=2.0)
    assert estimate(known, wanted, BANDS, 10).mean == pytest.approx(known.ade_m.mean(), rel=0.2)


def test_a_band_with_few_agents_is_put_right_by_all_of_them() -> None:
    rng = np.random.default_rng(3)
    known, wanted = walkers(rng, 100, 0.0), walkers(rng, 40, 1.0)
    found = estimate(known, wanted, BANDS, 10)
    assert found.mean == pytest.approx(wanted.expected_ade_m.mean() * known.ade_m.sum() / known.expected_ade_m.sum())


def test_without_truth_or_without_a_question_there_is_no_estimate() -> None:
    rng = np.random.default_rng(4)
    rows = walkers(rng, 30, 0.3)
    nothing = rows.select(np.zeros(len(rows), bool))
    for known, wanted in ((without_truth(rows), rows), (rows, nothing), (nothing, rows), (walkers(rng, 5, 0.3), rows)):
        assert math.isnan(estimate(known, wanted, BANDS, 10).mean)


def test_parts_of_a_range_use_only_what_was_known_when_they_began() -> None:
    rng = np.random.default_rng(5)
    calm, wild = walkers(rng, 200, 0.1, span_s=3600.0), walkers(rng, 200, 0.1, gain=5.0, begin_s=3600.0, span_s=3600.0)
    rows = Errors(*(np.concatenate([getattr(calm, name), getattr(wild, name)]) for name in Errors.__slots__))
    parts = retrace(rows, 3600.0, 7200.0, 4, BANDS, 10, reference_s=3600.0, horizon_s=6.8)
    assert [part.begin_s for part in parts] == [3600.0, 4500.0, 5400.0, 6300.0]
    assert parts[0].estimated.mean < 0.5 * parts[0].observed_m, "nothing had been seen of it"
    assert parts[3].estimated.mean > 2 * parts[0].estimated.mean
    assert sum(part.scored for part in parts) == len(wild)
