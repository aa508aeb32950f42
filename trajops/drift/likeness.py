"""What traffic is like in a scene, and whether something that may have been done to it explains it better: by likelihood.

What the reference saw is a histogram. Rows that it explains far better after undoing a change than as they are were sent with that change.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from trajops.drift.columns import IntArray, Rows
from trajops.drift.rules import QualityRule
from trajops.trajectories import FloatArray

# A likeness is tried on so many runs of agents; where there are many scenes on fewer of each, but not on less than some.
MOST_RUNS, FEWEST_RUNS = 300, 60
# A scene has so many times the agents that a rule needs, or no likeness.
LEAST_TIMES = 3
# Standard deviations of clean runs that a change must explain rows better by.
BEYOND_CHANCE = 5.0
# Who comes together moves alike: two teams that walk onto a pitch are not thirty people, but about two. A window has so many moments, and
# whoever is there in the same one counts for a fifth of them, or of what the rule needs where that is more.
MOMENTS, ALIKE = 12, 5


class Likeness(Protocol):
    """What a scene is like."""

    @property
    def limit(self) -> float:
        """Rows that a change explains better than this have it, nats an agent."""

    def gains(self, rows: Rows) -> dict[str, float]:
        """How much better each change explains rows than none, nats an agent."""


def parts_of(reference: Rows, rule: QualityRule) -> tuple[dict[str, Rows], int]:
    """The rows of each scene that has agents enough, and on how many runs of them a likeness is to be tried."""
    parts = {name: reference.of_scene(name) for name in reference.scene_names}
    parts = {name: rows for name, rows in parts.items() if rows.agent_count >= LEAST_TIMES * rule.min_agents}
    return parts, max(FEWEST_RUNS, 8 * MOST_RUNS // max(8, len(parts)))


def clean_limit(draw: Callable[[Rows], Likeness], rows: Rows, rule: QualityRule, most_runs: int) -> float:
    """How much better a change explains clean runs of a scene's own agents that its likeness was not drawn from.

    Args:
        draw: makes a likeness of rows.
        rows: of the scene.
        rule: how many agents a run has.
        most_runs: that are tried.
    """
    run, found = _runs(rows, rule), list[float]()
    for fold in (0, 1):  # what a likeness was drawn from fits it better than what comes later
        drawn = run % 2 == fold
        if not drawn.any() or drawn.all():
            continue
        likeness, tried = draw(rows.select(drawn)), np.unique(run[~drawn])
        tried = tried[:: -(-2 * len(tried) // most_runs)]
        found += [max(likeness.gains(rows.select(run == one)).values()) for one in tried.tolist()]
    clean = np.array(found or [0.0])
    # Few runs may hold no rare one: a pitch on which everybody has moved to one end fits its mirror for a while.
    return max(1.5 * float(clean.max()), float(clean.mean() + BEYOND_CHANCE * clean.std()))


class Fit(NamedTuple):
    """What some rows say of a change.

    Attributes:
        scenes: that they are in; they are judged together.
        change: that explains them best.
        gain: how much better than none, nats an agent.
        limit: of that.
        window_s: of how much of the newest traffic they are.
    """

    scenes: tuple[str, ...]
    change: str
    gain: float
    limit: float
    window_s: float


def fits(known: Mapping[str, Likeness], looks: Sequence[tuple[Rows, float]], rule: QualityRule) -> list[Fit]:
    """How well the newest rows fit as they are: of each scene by the first look that holds agents enough, of the rest by all together.

    Args:
        known: what scenes are like.
        looks: rows and how many seconds of traffic they are, the shortest first.
        rule: limits.
    """
    found, few = list[Fit](), dict[str, float]()
    counts = [counts_of(rows, window_s, rule) for rows, window_s in looks]
    for name in known:
        for (rows, window_s), count in zip(looks, counts, strict=True):
            if count.get(name, 0.0) >= rule.min_agents:
                found.append(_fit({name: 1.0}, rows, known, window_s))
                break
        else:
            few |= {name: counts[-1][name]} if looks and name in counts[-1] else {}
    if sum(few.values()) >= rule.min_agents:
        found.append(_fit(few, looks[-1][0], known, looks[-1][1]))
    return found


def counts_of(rows: Rows, window_s: float, rule: QualityRule) -> dict[str, float]:
    """For how many agents those of each scene count in a window of so many seconds: for all of them where they come one by one."""
    moments = np.floor((rows.times_s - rows.times_s.min(initial=np.inf)) * (MOMENTS / window_s)).astype(np.int64)
    counts = _counts(rows.scenes, moments, rows.agents, rule)
    return {rows.scene_names[code]: count for code, count in enumerate(counts.tolist()) if count}


def _counts(groups: IntArray, moments: IntArray, agents: IntArray, rule: QualityRule) -> FloatArray:
    """For how many agents those of each group count, by the moments in which they are there."""
    many, names = int(groups.max(initial=-1)) + 1, int(moments.max(initial=0)) + 1
    cells, of_row = np.unique(groups * names + moments, return_inverse=True)
    together = _distinct(of_row, agents, len(cells))
    apart = np.minimum(together, np.maximum(rule.min_agents, together) / ALIKE)
    return np.minimum(np.bincount(cells // names, apart, minlength=many), _distinct(groups, agents, many))


def _distinct(groups: IntArray, agents: IntArray, many: int) -> IntArray:
    """(many,) how many different agents each group has."""
    names, agents = np.unique(agents, return_inverse=True)
    pairs = np.unique(groups * max(1, len(names)) + agents)
    counts: IntArray = np.bincount(pairs // max(1, len(names)), minlength=many)
    return counts


def _fit(counts: Mapping[str, float], rows: Rows, known: Mapping[str, Likeness], window_s: float) -> Fit:
    """The change that explains the agents of some scenes best; scenes weigh as their agents count."""
    parts = [(name, rows.of_scene(name)) for name in counts]
    weights = np.array(list(counts.values())) / sum(counts.values())
    gains = [known[name].gains(part) for name, part in parts]
    found = {change: float(weights @ [one[change] for one in gains]) for change in gains[0]}
    best = max(found, key=lambda change: found[change])
    limit = float(weights @ [known[name].limit for name, _ in parts])
    return Fit(tuple(name for name, _ in parts), best, found[best], limit, window_s)


def _runs(rows: Rows, rule: QualityRule) -> IntArray:
    """(N,) which run of whole windows each row lies in: of so many that they hold agents enough."""
    windows, of_row = np.unique(np.floor(rows.times_s / rule.window_s).astype(np.int64), return_inverse=True)
    moments = np.floor(rows.times_s % rule.window_s * (MOMENTS / rule.window_s)).astype(np.int64)
    counts = _counts(of_row, moments, rows.agents, rule).tolist()
    pairs = np.unique(np.stack([of_row, rows.agents]), axis=1)
    starts = np.searchsorted(pairs[0], np.arange(len(windows) + 1)).tolist()
    run, number, count, seen = np.zeros(len(windows), dtype=np.int64), 0, 0.0, set[int]()
    for window in range(len(windows)):
        run[window] = number
        count += counts[window]
        seen.update(pairs[1, starts[window] : starts[window + 1]].tolist())
        if min(count, len(seen)) >= rule.min_agents:
            number, count, seen = number + 1, 0.0, set[int]()
    found: IntArray = np.minimum(run, max(0, number - 1))[of_row]  # what is left over with too few belongs to the last
    return found
