"""Intervals over agents hold what they say where intervals over predictions do not, and verdicts follow from them."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from trajops.contracts.performance import FigureVerdict, Metric
from trajops.performance.intervals import Interval, Reference, gravest, interval, judge, validated
from trajops.performance.rules import PerformanceRules, ToleranceRule

ROUNDS = 600


def tracks(rng: np.random.Generator, agents: int, correlation: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Errors of tracks: log-normal, of 5 to 60 predictions each, alike within a track. Returns agent and error of each prediction."""
    lengths = rng.integers(5, 61, agents)
    agent = np.repeat(np.arange(agents), lengths)
    z = math.sqrt(correlation) * rng.normal(size=agents)[agent] + math.sqrt(1 - correlation) * rng.normal(size=len(agent))
    return agent, np.exp(0.5 * z - 0.125)  # with a mean of one


def added(agent: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(agent).astype(float), np.bincount(agent, weights=values).astype(float)


@pytest.mark.parametrize("agents", [20, 80])
def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(agents: int) -> None:
    """95 % of 600 rounds ± 2.7 %; over predictions, as if they were independent, far fewer: the negative control."""
    rng = np.random.default_rng(agents)
    by_agent = by_prediction = 0
    for _ in range(ROUNDS):
        agent, errors = tracks(rng, agents)
        found = interval(*added(agent, errors))
        by_agent += found.low <= 1.0 <= found.high
        margin = norm.ppf(0.975) * errors.std(ddof=1) / math.sqrt(len(errors))
        by_prediction += abs(errors.mean() - 1.0) <= margin
    assert 0.92 <= by_agent / ROUNDS <= 0.985
    assert by_prediction / ROUNDS < 0.6


@pytest.mark.parametrize(
    ("share", "agents", "least"),
    [pytest.param(0.9, 40, 0.925, id="coverage"), pytest.param(0.03, 60, 0.88, id="a rare event of few agents")],
)
def test_the_interval_of_a_share_covers_it_about_as_often_as_it_says(share: float, agents: int, least: float) -> None:
    rng = np.random.default_rng(7)
    limit = norm.ppf(share)
    covered = naive = 0
    for _ in range(ROUNDS):
        lengths = rng.integers(5, 61, agents)
        agent = np.repeat(np.arange(agents), lengths)
        z = math.sqrt(0.4) * rng.normal(size=agents)[agent] + math.sqrt(0.6) * rng.normal(size=len(agent))
        count, total = added(agent, (z < limit).astype(float))
        found = interval(count, total, is_share=True)
        covered += found.low <= share <= found.high
        naive += abs(found.mean - share) <= 1.96 * math.sqrt(max(1e-9, found.mean * (1 - found.mean) / len(agent)))
        assert 0 <= found.low <= found.mean <= found.high <= 1
    assert least <= covered / ROUNDS <= 0.99
    assert naive / ROUNDS < 0.75


def test_a_mean_by_hand() -> None:
    """Two agents, 1 and 3 predictions: leaving one out gives 2 and 1, their mean is 1.25; t with (4²/10 − 1) at least one degree."""
    found = interval(np.array([1.0, 3.0]), np.array([2.0, 3.0]))
    assert found.mean == pytest.approx(1.25)
    spread = math.sqrt(0.5 * ((1.0 - 1.25) ** 2 + (2.0 - 1.25) ** 2))
    assert found.high - found.mean == pytest.approx(12.706204736 * spread)
    assert found.agents == 2


def test_agents_without_a_prediction_do_not_count() -> None:
    assert interval(np.array([2.0, 2.0, 0.0]), np.array([1.0, 2.0, 0.0])) == interval(np.array([2.0, 2.0]), np.array([1.0, 2.0]))


def test_one_agent_says_nothing_about_others() -> None:
    assert interval(np.array([9.0]), np.array([4.5])) == Interval(0.5, -math.inf, math.inf, 1)
    assert interval(np.array([9.0]), np.array([9.0]), is_share=True) == Interval(1.0, 0.0, 1.0, 1)
    empty = interval(np.array([]), np.array([]))
    assert math.isnan(empty.mean)
    assert empty.agents == 0


def test_a_share_that_every_agent_agrees_on_is_not_certain() -> None:
    """The rule of three, about: 30 agents that never missed leave a miss rate of a tenth possible."""
    found = interval(np.full(30, 10.0), np.zeros(30), is_share=True)
    assert (found.mean, found.low) == (0.0, 0.0)
    assert 0.05 < found.high < 0.15


RULE = ToleranceRule()


@pytest.mark.parametrize(
    ("metric", "mean", "margin", "validation", "verdict"),
    [
        pytest.param("ade_m", 1.4, 0.1, 1.0, "degraded", id="all of it beyond the tolerance"),
        pytest.param("ade_m", 1.3, 0.1, 1.0, "unclear", id="reaches over the bound"),
        pytest.param("ade_m", 1.1, 0.1, 1.0, "as_validated", id="worse, and within the tolerance"),
        pytest.param("ade_m", 0.8, 0.1, 1.0, "better", id="all of it below"),
        pytest.param("ade_m", 0.8, 0.1, None, "no_figure", id="never validated"),
        pytest.param("fde_m", 2.6, 0.05, 2.0, "degraded", id="final error"),
        pytest.param("miss_rate", 0.12, 0.01, 0.05, "degraded", id="misses, in share points"),
        pytest.param("miss_rate", 0.09, 0.005, 0.05, "as_validated", id="a few more misses"),
        pytest.param("nll", -0.2, 0.1, -1.0, "degraded", id="likelihood below nought"),
        pytest.param("coverage", 0.82, 0.02, 0.9, "degraded", id="too narrow"),
        pytest.param("coverage", 0.98, 0.02, 0.9, "degraded", id="too wide"),
        pytest.param("coverage", 0.88, 0.02, 0.7, "as_validated", id="held against what it promises"),
        pytest.param("coverage", 0.86, 0.02, 0.9, "unclear", id="coverage at the bound"),
        pytest.param("radius_m", 3.0, 0.1, 1.0, None, id="sharpness is not judged"),
    ],
)
def test_verdicts(metric: Metric, mean: float, margin: float, validation: float | None, verdict: FigureVerdict | None) -> None:
    found = Interval(mean, mean - margin, mean + margin, 50)
    assert judge(metric, found, Reference(validation, 0.9), RULE, 20) == verdict


def test_few_agents_are_too_little_data_however_bad_they_look() -> None:
    assert judge("ade_m", Interval(9.0, 8.9, 9.1, 19), Reference(1.0, 0.9), RULE, 20) == "too_little_data"
    assert judge("coverage", Interval(0.1, 0.0, 0.2, 19), Reference(None, 0.9), RULE, 20) == "too_little_data"


def test_the_gravest_verdict_decides() -> None:
    assert gravest(["better", "as_validated", None]) == "as_validated"
    assert gravest(["better", "degraded", "unclear"]) == "degraded"
    assert gravest(["no_figure", "as_validated"]) == "as_validated"
    assert gravest([]) == "too_little_data"


def test_a_slice_is_held_against_the_figure_of_its_own() -> None:
    metrics = {"val_ade_m": 0.5, "speed.walking.ade_m": 0.3, "step.02.ade_m": 0.1, "val_coverage_90": 0.9}
    assert validated(metrics, "ade_m") == 0.5
    assert validated(metrics, "ade_m", "scene", "elsewhere") == 0.5
    assert validated(metrics, "ade_m", "speed_band", "walking") == 0.3
    assert validated(metrics, "ade_m", "speed_band", "running") is None
    assert validated(metrics, "ade_m", "step", "2") == 0.1
    assert validated(metrics, "coverage", "variant", "champion") == 0.9


def test_bands_must_follow_each_other() -> None:

    def bands(*ends: float | None) -> list[dict[str, Any]]:
        return [{"band": "abcdef"[n], "below_mps": end} for n, end in enumerate(ends)]

    assert PerformanceRules(speed_bands=bands(1.0, 2.0, None)).speed_bands[1].below_mps == 2.0  # type: ignore[arg-type]
    for wrong in (bands(), bands(2.0, 1.0, None), bands(1.0, None, None), bands(1.0, 2.0), bands(1.0, 1.0, None)):
        with pytest.raises(ValidationError):
            PerformanceRules(speed_bands=wrong)  # type: ignore[arg-type]
