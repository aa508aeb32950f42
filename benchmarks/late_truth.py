"""Weeks of an experiment in which nothing is wrong: how many are paused because truth seems to be late.

Agents come as a Poisson stream, and each gets truth by chance: some are gone before any can come. Beside the rule of the product stands
the one that looks at each run of agents without truth by itself, as negative control. And of truth that stays away it is told how many
agents it takes until that is seen.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.record import Measurement
from trajops.contracts.experiments import ArmIn, ExperimentPlan
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.sums import ArmSums
from trajops.experiments.verdict import LEAST_OVERDUE, OVERDUE_ALPHA, judge

SHARES, PER_HOUR = (0.5, 0.7, 0.8, 0.9, 0.96), (15, 30, 60, 120)
WEEKS, SEED = 60, 7
DAY_S = 86_400.0
# Truth is known so long after an answer, and an answer is due to have any after so long, seconds.
KNOWN_S, DUE_S = 6.0, 6.8
# So many agents with truth come first: before, an experiment is too small to be paused.
FIRST = 50
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = ExperimentPlan(
    name="weeks",
    hypothesis="Nothing is wrong with its truth.",
    arms=(ArmIn(variant="control", model_version=1, weight=0.5), ArmIn(variant="treatment", model_version=2, weight=0.5)),
)
_SUMS = ArmSums(600, 300, 200, 300, 200, 190)
_ARMS = tuple(ArmFigures(arm.variant, 600, _SUMS, predictions=6000, due=6000, joined=5400) for arm in PLAN.arms)
_QUIET = Figures(STARTED + timedelta(seconds=PLAN.max_stale_s + 1), _ARMS, last_outcome_at=STARTED)
# Whether truth is taken for late: visits before the newest outcome, how many of them got any, and agents that got none since.
Rule = Callable[[int, int, int], bool]


def by_verdict(visits: int, known: int, run: int) -> bool:
    """The rule of the product."""
    found = replace(_QUIET, overdue_units=run, overdue_visits=run, visits=visits, known_visits=known)
    return not next(one.is_ok for one in judge(PLAN, found, STARTED).health if one.name == "freshness")


def by_run(visits: int, known: int, run: int) -> bool:
    """Each run by itself, by the share of visits with truth."""
    return run >= LEAST_OVERDUE and (1 - known / visits) ** run < OVERDUE_ALPHA


def pauses(share: float, per_hour: float, rule: Rule, rng: np.random.Generator, days: float = 7.0) -> int:
    """How often one experiment is paused, of whose agents so large a share gets truth."""
    asked_s = np.sort(rng.uniform(0, days * DAY_S, rng.poisson(per_hour * 24 * days)))
    known_s = asked_s[rng.random(asked_s.size) < share] + KNOWN_S
    newest_s, following_s = known_s[:-1], known_s[1:]
    before = np.searchsorted(asked_s, newest_s, "right")
    runs = np.searchsorted(asked_s, following_s - DUE_S - PLAN.invalid_for_s, "right") - before
    lasts = following_s - newest_s > PLAN.max_stale_s + PLAN.invalid_for_s
    may_be_late = (np.arange(newest_s.size) >= FIRST) & (runs >= LEAST_OVERDUE) & lasts
    return sum(rule(int(before[n]), int(n) + 1, int(runs[n])) for n in np.flatnonzero(may_be_late))


def told_after(share: float, visits: int) -> int:
    """Agents without truth until it is seen that it stays away, where so large a share of the visits before got any."""
    return next(run for run in range(1, 10_000) if by_verdict(visits, round(share * visits), run))


def run(weeks: int = WEEKS, seed: int = SEED) -> Measurement:
    """So many weeks of each share and pace."""
    kinds = [(share, per_hour, week) for share in SHARES for per_hour in PER_HOUR for week in range(weeks)]

    def paused(rule: Rule) -> float:
        rngs = (np.random.default_rng([seed, round(100 * share), per_hour, week]) for share, per_hour, week in kinds)
        return float(np.mean([pauses(share, per_hour, rule, rng) > 0 for (share, per_hour, _), rng in zip(kinds, rngs, strict=True)]))

    told = {f"told_after_{share:g}": max(told_after(share, visits) for visits in (100, 1_000, 20_000)) for share in SHARES}
    found = paused(by_verdict)
    return Measurement(found, {"weeks": len(kinds), "paused": found, "paused_by_run": paused(by_run), **told})
