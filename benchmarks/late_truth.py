"""Weeks of an experiment in which nothing is wrong: how many are paused because truth seems to be late.

Agents come as a Poisson stream, and each gets truth by chance: some are gone before any can come. In some weeks both are the same at all
hours; in others fewer come by night, and fewer of these get truth. Beside the rule of the product stand two as negative controls: one that
looks at each run of agents without truth by itself, and one that takes the share with truth to be the same at all hours. And of truth that
stays away it is told how many agents it takes until that is seen, by day, in the first night and in a later one, and how many hours where
the same five go on asking.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

import numpy as np

from benchmarks.record import Measurement
from trajops.contracts.experiments import ArmIn, ExperimentPlan
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.overdue import OVERDUE_ALPHA
from trajops.experiments.sums import ArmSums
from trajops.experiments.verdict import LEAST_OVERDUE, judge

WEEKS, SEED = 60, 7
HOUR_S, DAY_H, DAYS = 3_600.0, 24, 7
# It is day from the one hour to the other.
DAY = (7, 22)
# Truth is known so long after an answer, and an answer is due to have any after so long, seconds.
KNOWN_S, DUE_S = 6.0, 6.8
# So many agents with truth come first: before, an experiment is too small to be paused.
FIRST = 50
# Agents who ask on and on count once in so long.
STAY_S, AWAKE = 1_200, 5
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = ExperimentPlan(
    name="weeks",
    hypothesis="Nothing is wrong with its truth.",
    arms=(ArmIn(variant="control", model_version=1, weight=0.5), ArmIn(variant="treatment", model_version=2, weight=0.5)),
    guardrails=(),
)
_SUMS = ArmSums(600, 300, 200, 300, 200, 190)
_ARMS = tuple(ArmFigures(arm.variant, 600, _SUMS, predictions=6000, due=6000, joined=5400) for arm in PLAN.arms)


class Pace(NamedTuple):
    """Agents an hour by day and by night, and which share of them gets truth."""

    day: float
    day_share: float
    night: float
    night_share: float


SHARES, PER_HOUR = (0.5, 0.7, 0.8, 0.9, 0.96), (15, 30, 60, 120)
STEADY = tuple(Pace(per_hour, share, per_hour, share) for share in SHARES for per_hour in PER_HOUR)
NIGHTS = (Pace(60, 0.96, 15, 0.7), Pace(60, 0.96, 15, 0.5), Pace(60, 0.9, 15, 0.5), Pace(120, 0.96, 30, 0.6))


class Waiting(NamedTuple):
    """What is known of truth.

    Attributes:
        visits: before the newest outcome.
        known: of these, with truth.
        run: agents that asked since, and got none.
        hours: both of the visits hour by hour.
        lasts_s: how long the newest outcome is ago.
    """

    visits: int
    known: int
    run: int
    hours: Sequence[tuple[int, int]]
    lasts_s: float


# Whether truth is taken for late.
Rule = Callable[[Waiting], bool]


def by_verdict(found: Waiting) -> bool:
    """The rule of the product."""
    figures = Figures(
        STARTED + timedelta(seconds=found.lasts_s),
        _ARMS,
        last_outcome_at=STARTED,
        overdue_units=found.run,
        overdue_visits=found.run,
        overdue_stays=found.run,
        visits=found.visits,
        known_visits=found.known,
        hours=tuple(found.hours),
    )
    return not next(one.is_ok for one in judge(PLAN, figures, STARTED).health if one.name == "freshness")


def by_share(found: Waiting) -> bool:
    """As if the share with truth were the same at all hours."""
    return by_verdict(found._replace(hours=()))


def by_run(found: Waiting) -> bool:
    """Each run by itself, by the share of visits with truth."""
    return found.run >= LEAST_OVERDUE and (1 - found.known / found.visits) ** found.run < OVERDUE_ALPHA


def pauses(pace: Pace, rule: Rule, rng: np.random.Generator, days: float = DAYS) -> int:
    """How often one experiment is paused that begins at any hour; what is late and then is not is taken to have stayed so."""
    begin_h, most = rng.uniform(0, DAY_H), max(pace.day, pace.night)
    clock_h = begin_h + np.sort(rng.uniform(0, DAY_H * days, rng.poisson(most * DAY_H * days)))
    is_day = (clock_h % DAY_H >= DAY[0]) & (clock_h % DAY_H < DAY[1])
    comes = rng.random(clock_h.size) < np.where(is_day, pace.day, pace.night) / most
    clock_h, is_day = clock_h[comes], is_day[comes]
    has_truth = rng.random(clock_h.size) < np.where(is_day, pace.day_share, pace.night_share)
    asked_s, hits = clock_h * HOUR_S, np.flatnonzero(has_truth)
    # Gaps that are long enough to be late, of enough agents.
    lasts_s, missed = np.diff(asked_s[hits]), np.diff(hits) - 1
    may_be_late = (lasts_s > PLAN.max_stale_s + PLAN.invalid_for_s) & (missed >= LEAST_OVERDUE)
    may_be_late[:FIRST] = False
    return sum(_is_paused(asked_s, hits, int(number), rule) for number in np.flatnonzero(may_be_late))


def _is_paused(asked_s: np.ndarray, hits: np.ndarray, number: int, rule: Rule) -> bool:
    """Whether that is so after the truth of that number, before that of the next."""
    newest_s, last_s = asked_s[hits[number]] + KNOWN_S, asked_s[hits[number + 1]] + KNOWN_S - PLAN.invalid_for_s
    first_s = newest_s + PLAN.max_stale_s + 1
    before = int(np.searchsorted(asked_s, newest_s, "right"))
    due_s = asked_s[before : hits[number + 1]] + DUE_S
    looks = ((run, max(float(at_s), first_s)) for run, at_s in enumerate(due_s, 1) if at_s <= last_s)
    found = Waiting(before, number + 1, 0, (), 0.0)
    # Wherever the others pause, the one that looks at each run by itself does, and costs least.
    looks = [(run, at_s) for run, at_s in looks if by_run(found._replace(run=run))]
    if not looks:
        return False
    hours = (asked_s[:before] // HOUR_S).astype(int)
    hours -= hours[0]
    counts, known = np.bincount(hours), np.bincount(hours[hits[: number + 1]], minlength=hours[-1] + 1)
    by_hour = [(int(visits), int(hit)) for visits, hit in zip(counts, known, strict=True) if visits]
    return any(rule(found._replace(run=run, hours=by_hour, lasts_s=at_s - newest_s)) for run, at_s in looks)


def hours_of(pace: Pace, hours: int) -> list[tuple[int, int]]:
    """Visits and those with truth of so many hours of a pace, from a morning on."""
    is_day = [DAY[0] <= hour % DAY_H < DAY[1] for hour in range(DAY[0], DAY[0] + hours)]
    by_hour = [(pace.day, pace.day_share) if one else (pace.night, pace.night_share) for one in is_day]
    return [(round(comes), int(share * comes)) for comes, share in by_hour]


def told_after(hours: Sequence[tuple[int, int]], per_hour: float, rule: Rule = by_verdict) -> int:
    """Agents without truth until it is seen that it stays away, who come one after the other, after such hours."""
    return next(run for run in range(1, 10_000) if rule(_after(hours, run, run / per_hour * HOUR_S)))


def told_after_h(hours: Sequence[tuple[int, int]], awake: int = AWAKE) -> float:
    """Hours of truth that stays away until it is seen, where nobody but so many agents asks, on and on."""
    minutes = (minute for minute in count(4) if by_verdict(_after(hours, awake * (1 + int(60 * minute // STAY_S)), 60.0 * minute)))
    return next(minutes) / 60


def _after(hours: Sequence[tuple[int, int]], run: int, lasts_s: float) -> Waiting:
    visits, known = (sum(hour[n] for hour in hours) for n in (0, 1))
    return Waiting(visits, known, run, hours, max(lasts_s, PLAN.max_stale_s + 1))


def _paused(paces: Sequence[Pace], weeks: int, seed: int, rule: Rule) -> float:
    """Share of weeks that are paused at all."""
    kinds = [(number, week) for number in range(len(paces)) for week in range(weeks)]
    return float(np.mean([pauses(paces[number], rule, np.random.default_rng([seed, number, week])) > 0 for number, week in kinds]))


def run(weeks: int = WEEKS, seed: int = SEED) -> Measurement:
    """So many weeks of each pace."""
    found, nights = _paused(STEADY, weeks, seed, by_verdict), _paused(NIGHTS, weeks, seed, by_verdict)
    details = {"weeks": weeks * len(STEADY), "paused": found, "paused_by_run": _paused(STEADY, weeks, seed, by_run)}
    details |= {"night_weeks": weeks * len(NIGHTS), "paused_with_nights": nights}
    details["paused_with_nights_by_share"] = _paused(NIGHTS, weeks, seed, by_share)
    for share in SHARES:
        details[f"told_after_{share:g}"] = max(told_after(hours_of(Pace(50, share, 50, share), hours), 50) for hours in (2, 20, 400))
    evenings = [(pace, hours_of(pace, DAY[1] - DAY[0])) for pace in NIGHTS]
    later = [(pace, hours_of(pace, DAY_H * days)) for pace in NIGHTS for days in (1, 2, 7)]
    details |= {
        "told_after_by_day": max(told_after(hours, pace.day) for pace, hours in later),
        "told_after_first_night": max(told_after(hours, pace.night) for pace, hours in evenings),
        "told_after_by_night": max(told_after(hours, pace.night) for pace, hours in later),
        "five_awake_told_h": round(max(told_after_h(hours) for _, hours in evenings + later), 2),
    }
    return Measurement(found, details)
