"""Conformal factors over agents: they hold what is guaranteed, give back what was served, and stay within their bounds."""

import math

import numpy as np
import pytest

from trajops.metrics import chi_square_quantile
from trajops.performance.recalibration import Distances, agent_weighted_factors, as_trained, coverage, recalibrate
from trajops.performance.rules import RecalibrationRule

LEVEL = 0.9
FOREVER = 1e12
RULE = RecalibrationRule(min_agents=30, min_holdout_agents=10)


def walked(
    rng: np.random.Generator, agents: int, gain: float = 1.0, *, are_hard_ones_short: bool = False, since_s: float = 0.0
) -> Distances:
    """Tracks of 5 to 40 rows in an hour; each errs by its own measure, so that its rows are alike. As trained for a gain of one, about."""
    own = np.exp(0.5 * rng.normal(size=agents))
    lengths = np.clip(12 / own**2, 3, 90).astype(int) if are_hard_ones_short else rng.integers(5, 41, agents)
    agent = np.repeat(np.arange(agents), lengths)
    begin_s = since_s + rng.uniform(0, 3600.0, agents)
    times_s = begin_s[agent] + 0.4 * (np.arange(len(agent)) - np.repeat(np.cumsum(lengths) - lengths, lengths))
    distance2 = gain * own[agent, None] * rng.chisquare(2, (len(agent), 3))
    return Distances(times_s, agent + int(1e6 * since_s), np.zeros(len(agent), int), distance2)


def one_row_each(rows: Distances, rng: np.random.Generator) -> np.ndarray:
    """A random row of each agent: what the guarantee is about."""
    shuffled = rng.permutation(len(rows))
    _, first = np.unique(rows.agents[shuffled], return_index=True)
    return rows.distance2[shuffled[first]]


def pooled_factors(rows: Distances) -> np.ndarray:
    """Negative control: split conformal that takes rows for independent."""
    rank = math.ceil((len(rows) + 1) * LEVEL)
    return np.sort(rows.distance2, axis=0)[rank - 1] / chi_square_quantile(LEVEL)


def test_a_new_agent_s_row_is_covered_as_promised_with_few_agents_too() -> None:
    """Over 400 windows of 15 agents: at least 90 % within what chance leaves (0.8 %); taking rows for independent, less."""
    rng = np.random.default_rng(0)
    by_agent, pooled = [], []
    for _ in range(400):
        rows = walked(rng, 15, are_hard_ones_short=True)
        factors = agent_weighted_factors(rows.distance2, rows.agents, np.zeros(len(rows)), FOREVER, LEVEL)
        new = one_row_each(walked(rng, 60, are_hard_ones_short=True), rng)
        by_agent.append(coverage(new, np.arange(len(new)), factors, LEVEL))
        pooled.append(coverage(new, np.arange(len(new)), pooled_factors(rows), LEVEL))
    assert np.mean(by_agent) > 0.895
    assert np.mean(by_agent) < 0.97
    assert np.mean(pooled) < 0.885


def test_one_row_an_agent_is_split_conformal() -> None:
    """With one row each the weighted quantile is the ⌈(n + 1) · 0.9⌉-th smallest: of 19, the 18th."""
    distance2 = np.arange(1.0, 20.0)[:, None]
    factors = agent_weighted_factors(distance2, np.arange(19), np.zeros(19), FOREVER, LEVEL)
    assert factors * chi_square_quantile(LEVEL) == pytest.approx([18.0])


def test_too_few_agents_have_no_factor() -> None:
    distance2 = np.arange(1.0, 9.0)[:, None]
    assert math.isinf(agent_weighted_factors(distance2, np.arange(8), np.zeros(8), FOREVER, LEVEL)[0])


def test_newer_truth_counts_more() -> None:
    rng = np.random.default_rng(1)
    old, new = walked(rng, 200), walked(rng, 200, gain=2.0, since_s=3600.0)
    distance2 = np.concatenate([old.distance2, new.distance2])
    agents, age_s = np.concatenate([old.agents, new.agents]), 7200 - np.concatenate([old.received_s, new.received_s])
    short = agent_weighted_factors(distance2, agents, age_s, 600.0, LEVEL)
    long = agent_weighted_factors(distance2, agents, age_s, FOREVER, LEVEL)
    own = agent_weighted_factors(new.distance2, new.agents, np.zeros(len(new)), FOREVER, LEVEL)
    assert (np.abs(np.log(short / own)) < np.abs(np.log(long / own))).all()


def test_what_a_calibration_took_is_given_back() -> None:
    rows = Distances(np.arange(3.0), np.arange(3), np.array([0, 4, 5]), np.ones((3, 2)))
    raw = as_trained(rows, {4: np.array([2.0, 3.0])})
    assert raw[:2].tolist() == [[1.0, 1.0], [2.0, 3.0]]
    assert np.isnan(raw[2]).all(), "a calibration that nobody knows any more"


def test_narrow_ellipses_are_put_right_on_truth_that_was_not_fitted_on() -> None:
    found = recalibrate(walked(np.random.default_rng(2), 300, gain=1.5), {}, None, LEVEL, RULE)
    assert found.conclusion == "apply"
    assert found.coverage_before < 0.86
    assert found.coverage_after == pytest.approx(0.9, abs=0.03)
    assert found.factors is not None
    assert (found.factors > 1.2).all()


def test_a_second_run_on_what_was_served_with_the_factors_changes_nothing() -> None:
    """The rows carry the calibration: their distances were taken under its wider ellipses, and lead to the same factors again."""
    rng = np.random.default_rng(3)
    before = walked(rng, 600, gain=1.5)
    first = recalibrate(before, {}, None, LEVEL, RULE).factors
    assert first is not None
    later = walked(rng, 600, gain=1.5)
    served = Distances(later.received_s, later.agents, np.full(len(later), 7), later.distance2 / first)
    again = recalibrate(served, {7: first}, first, LEVEL, RULE)
    assert again.factors is not None
    assert again.factors == pytest.approx(first, rel=0.15)
    assert again.conclusion == "unchanged" or abs(again.coverage_before - LEVEL) < 0.03


@pytest.mark.parametrize(
    ("gain", "rule", "conclusion"),
    [
        pytest.param(8.0, RULE, "propose", id="beyond the bounds"),
        pytest.param(1.5, RULE.model_copy(update={"auto_apply": False}), "propose", id="everything is to be asked for"),
        pytest.param(1.5, RULE.model_copy(update={"least_change": 0.2}), "unchanged", id="near enough"),
        pytest.param(1.5, RULE.model_copy(update={"min_agents": 5000}), "too_little_data", id="too few agents"),
    ],
)
def test_what_is_done_with_the_factors(gain: float, rule: RecalibrationRule, conclusion: str) -> None:
    assert recalibrate(walked(np.random.default_rng(4), 300, gain=gain), {}, None, LEVEL, rule).conclusion == conclusion


@pytest.mark.parametrize("own", [0.01, 50.0], ids=["stands-still", "runs-wild"])
@pytest.mark.parametrize("since_s", [0.0, 3000.0], ids=["all-the-time", "lately"])
def test_one_agent_that_is_always_there_decides_nothing(own: float, since_s: float) -> None:
    """As many rows as all others together, always inside or never: the others' ellipses are put right all the same."""
    others = walked(np.random.default_rng(2), 300, gain=1.5)
    count = len(others)
    times_s = np.sort(np.random.default_rng(3).uniform(since_s, 3700.0, count))
    rows = Distances(
        np.concatenate([others.received_s, times_s]),
        np.concatenate([others.agents, np.full(count, 10**6)]),
        np.zeros(2 * count, int),
        np.concatenate([others.distance2, np.full((count, 3), own)]),
    )
    found, without = (recalibrate(one, {}, None, LEVEL, RULE) for one in (rows, others))
    assert (found.conclusion, without.conclusion) == ("apply", "apply")
    assert found.factors == pytest.approx(without.factors, rel=0.1)
    assert found.coverage_after == pytest.approx(without.coverage_after, abs=0.02)


@pytest.mark.parametrize(("agents", "conclusion"), [(119, "too_little_data"), (120, "apply"), (121, "apply")])
def test_so_many_agents_and_no_fewer(agents: int, conclusion: str) -> None:
    """Each agent has one row; 50 more come after those that are fitted on."""
    rng = np.random.default_rng(5)
    count = agents + 52
    rows = Distances(np.arange(count, dtype=float), np.arange(count), np.zeros(count, int), 2.0 * rng.chisquare(2, (count, 1)))
    rule = RecalibrationRule(holdout=52 / count)
    found = recalibrate(rows, {}, None, LEVEL, rule)
    assert (found.conclusion, found.fitted_agents) == (conclusion, agents)


def test_nothing_to_calibrate_on() -> None:
    empty = Distances(np.empty(0), np.empty(0, int), np.empty(0, int), np.empty((0, 12)))
    assert recalibrate(empty, {}, None, LEVEL, RULE).conclusion == "too_little_data"


def test_rows_of_a_few_agents_are_too_few_however_many_they_are() -> None:
    rng = np.random.default_rng(5)
    rows = walked(rng, 40, gain=1.5)
    many = Distances(rows.received_s, rows.agents % 12, rows.calibrations, rows.distance2)
    assert recalibrate(many, {}, None, LEVEL, RULE).conclusion == "too_little_data"
