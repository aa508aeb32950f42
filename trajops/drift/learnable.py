"""Which traffic may be learnt from: it is judged anew when it is, by the rules on units and quality and against the same reference.

The range is cut into slices, from the newest backwards, each as long as the rules' window, or longer where that holds too few agents. Each
scene that has agents enough is judged by itself, so that one in feet is found among nine in metres. The rest are judged together: those
that the reference knows, each agent against its own scene, apart from those that it does not know, which have no unit, frame or rate to
be held against and are judged by the rest of quality alone.

The rules tell by what most agents do. What is wrong may have begun in the slice before the one that tells, and still come in in the one
after, so both are left out with it; and the newest slice may be the beginning of something that nothing tells yet. A second cut, half a
slice before, finds what is shorter than two slices and lies half in one and half in the next.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import reduce
from math import ceil
from typing import NamedTuple, TypeVar

import numpy as np

from trajops.drift.columns import IntArray, Rows
from trajops.drift.gaps import Gap, LeftOut, Span, gaps_of, is_left_out, joined
from trajops.drift.paces import is_moving
from trajops.drift.quality import Counts, Usual, agent_share, findings
from trajops.drift.rules import DriftRules
from trajops.drift.units import UnitBounds, unit_bounds, unit_column
from trajops.drift.watch import ONE

# What the rules on units and quality take, beside the columns of units.
_COLUMNS = ("observed_at_s", "path_m", "max_speed_mps", "max_acceleration_mps2", "x_m", "y_m", "heading_rad")
# In what share of a window counts and cuts are made.
STEPS = 2

Scene = TypeVar("Scene", bound=Hashable)

# By scene, what the lake counts in each step of a range; steps are numbered from its end backwards.
Tally = Mapping[str, Mapping[int, Counts]]


class Slices(NamedTuple):
    """One cut of a group's range: from which step on, before which one, newest first; a step counts from the end of the range."""

    ends: list[tuple[int, int]]

    def around(self, number: int, last: int) -> tuple[int, int]:
        """The steps of a slice with its neighbours, in a range of `last` steps."""
        newer = self.ends[number - 1][0] if number else 0
        older = self.ends[number + 1][1] if number + 1 < len(self.ends) else last
        return newer, older

    def holding(self, newer: int, older: int) -> tuple[int, int]:
        """The steps of the slices that some steps lie in."""
        return max(begin for begin, _ in self.ends if begin <= newer), min(end for _, end in self.ends if end >= older)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Traffic that is judged together.

    Attributes:
        scenes: all scenes in it.
        rows: theirs, in order of time.
        steps: (N,) the step of each row.
        is_known: whether the reference knows these scenes.
        counts: by step.
    """

    scenes: tuple[str, ...]
    rows: Rows
    steps: IntArray
    is_known: bool
    counts: Mapping[int, Counts]


@dataclass(slots=True, eq=False)
class Judge:
    """What rows are held against: learnt from one reference, part by part when it is asked for.

    Attributes:
        rules: on units and quality.
        reference: its rows, with the scenes as they were sent.
    """

    rules: DriftRules
    reference: Rows
    _places: Mapping[str, slice] = field(default_factory=dict)
    _usual: dict[str | None, tuple[Usual, float]] = field(default_factory=dict)
    _bounds: dict[tuple[str | None, str, float], Mapping[str, UnitBounds]] = field(default_factory=dict)
    _parts: dict[str, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reference = self._prepared(self.reference)
        self._places = _places(self.reference)

    @property
    def step_s(self) -> float:
        """Of which length ranges are counted and cut, seconds."""
        return max(self.rules.units.window_s, self.rules.quality.window_s) / STEPS

    def left_out(self, rows: Rows, whole: Span, tally: Tally, before_s: float = 0.0) -> LeftOut:
        """What of a range must not be learnt from: what is wrong, with what lies next to it, and what cannot be judged.

        Args:
            rows: of the range, with the scenes as they were sent; of each agent's in a step some will do, and of many agents some.
            whole: the range; its newest slice is left out.
            tally: of all its rows; what is sent in a scene that only observations come from, and no predictions, cannot be judged.
            before_s: for how long before the range rows and tally tell as well, seconds: what is wrong may just end in it.
        """
        return self._judged(rows, whole, tally, before_s, with_untold=True)

    def wrong(self, rows: Rows, whole: Span, tally: Tally, before_s: float = 0.0) -> LeftOut:
        """What of a range is wrong, with what lies next to it: all the rest may do where time matters more than certainty."""
        return self._judged(rows, whole, tally, before_s, with_untold=False)

    def _judged(self, rows: Rows, whole: Span, tally: Tally, before_s: float, *, with_untold: bool) -> LeftOut:
        tally = tally if self.rules.scenes.is_split else _as_one(tally)
        last = max(1, ceil(((whole.until - whole.since).total_seconds() + before_s) / self.step_s))
        rows, wrong, untold = self._prepared(rows), dict[str, list[Span]](), dict[str, list[Span]]()
        for group in self._groups(rows, whole, last, tally):
            wrong_steps, untold_steps = self._steps(group, last)
            for scene in group.scenes:
                wrong[scene] = list(self._spans(whole, wrong_steps))
                untold[scene] = list(self._spans(whole, untold_steps))
        for scene, counts in tally.items():
            if not any(one.predictions for one in counts.values()):
                wrong[scene], untold[scene] = [], [whole]
        found = {scene: joined([*spans, *(untold[scene] if with_untold else ())]) for scene, spans in wrong.items()}
        gaps = tuple(gaps_of(found, whole))
        if not any(one.predictions for counts in tally.values() for one in counts.values()):  # nothing but observations
            return LeftOut(gaps, untold=float(with_untold and bool(gaps)))
        of_wrong, of_all = (self._share(part, whole, tally) for part in (gaps_of(wrong, whole), gaps))
        return LeftOut(gaps, of_wrong, of_all - of_wrong)

    def _share(self, gaps: Sequence[Gap], whole: Span, tally: Tally) -> float:
        """What share of the predictions in a range was sent in gaps, which begin and end with steps."""
        names = tuple(tally)
        found = [(code, step, one.predictions) for code, name in enumerate(names) for step, one in tally[name].items()]
        scenes, steps, predictions = np.array(found, dtype=np.int64).reshape(-1, 3).T
        end_s = whole.until.timestamp() - steps * self.step_s
        begin_s = np.maximum(end_s - self.step_s, whole.since.timestamp())  # the oldest may have begun before the range
        sent = predictions * np.maximum(0.0, end_s - begin_s)
        return float(sent @ is_left_out((begin_s + end_s) / 2, scenes, names, gaps) / max(1.0, sent.sum()))

    def _spans(self, whole: Span, found: Iterable[tuple[int, int]]) -> Iterator[Span]:
        """The times of some steps, as far as they lie in the range."""
        for newer, older in found:
            begin, end = (whole.until - timedelta(seconds=self.step_s * steps) for steps in (older, newer))
            if end > whole.since:
                yield Span(max(begin, whole.since), end)

    def _prepared(self, rows: Rows) -> Rows:
        """The columns that count, scene by scene in order of time; where scenes are not told apart, all of them are one."""
        rows = rows if self.rules.scenes.is_split else rows.regrouped(dict.fromkeys(rows.scene_names, ONE))
        wanted = {*self.rules.units.columns, *_COLUMNS}
        values = {name: column for name, column in rows.values.items() if name in wanted}
        slim = Rows(rows.times_s, rows.agents, rows.versions, values, rows.scenes, rows.scene_names)
        return slim.select(np.lexsort((rows.times_s, rows.scenes)))

    def _groups(self, rows: Rows, whole: Span, last: int, tally: Tally) -> Iterator[Group]:
        steps = np.ceil((whole.until.timestamp() - rows.times_s) / self.step_s).astype(np.int64) - 1
        steps = np.clip(steps, 0, last - 1)
        places = _places(rows)
        agents = {name: len(np.unique(rows.agents[place])) for name, place in places.items()}
        names = sorted({*agents, *(name for name, counts in tally.items() if any(one.predictions for one in counts.values()))})
        for is_known in (True, False):
            mine = [name for name in names if (name in self._places) is is_known]
            enough = self._enough(is_known=is_known)
            alone = [(name,) for name in mine if agents.get(name, 0) >= enough]
            few = tuple(name for name in mine if agents.get(name, 0) < enough)
            for scenes in [*alone, *([few] if few else [])]:
                chosen = np.concatenate([np.empty(0, dtype=np.int64), *(np.r_[places[name]] for name in scenes if name in places)])
                chosen = chosen[np.argsort(rows.times_s[chosen], kind="stable")]
                yield Group(scenes, rows.select(chosen).without_empty_scenes(), steps[chosen], is_known, _counts(tally, scenes))

    def _enough(self, *, is_known: bool) -> int:
        return max(self.rules.units.min_agents if is_known else 0, self.rules.quality.min_agents)

    def _steps(self, group: Group, last: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The steps of a group that are wrong, with their neighbours, and those that nothing tells anything about."""
        enough = self._enough(is_known=group.is_known)
        steps, agents = self._telling(group, enough)
        slices = cut_into_slices(steps, agents, 0, last, enough)
        if not slices.ends:
            return [], [(0, last)]
        wrong, untold = [], [slices.ends[0]]
        half = (slices.ends[0][1] + 1) // 2
        for number, (newer, older) in enumerate(slices.ends):
            is_wrong = self._is_wrong(group, newer, older)
            if is_wrong:
                wrong.append(slices.around(number, last))
            elif is_wrong is None:
                untold.append((newer, older))
        for newer, older in cut_into_slices(steps, agents, half, last, enough).ends:
            if self._is_wrong(group, newer, older):
                wrong.append(slices.holding(newer, older))
        return wrong, untold

    def _telling(self, group: Group, enough: int) -> tuple[IntArray, IntArray]:
        """Steps and agents of what slices must hold enough of: where a unit is told by those who move, of these, if there are so many."""
        if group.is_known and self._usual_of(group.scenes[0] if len(group.scenes) == 1 else None)[0].paces:
            moves = is_moving(group.rows, self.rules.quality.window_s)
            if len(np.unique(group.rows.agents[moves])) >= enough:
                return group.steps[moves], group.rows.agents[moves]
        return group.steps, group.rows.agents

    def _is_wrong(self, group: Group, newer: int, older: int) -> bool | None:
        """Whether a slice has another unit, or bad data; None where a unit cannot be told."""
        begin, end = np.searchsorted(-group.steps, [1 - older, 1 - newer])
        rows, length_s = group.rows.select(slice(int(begin), int(end))), (older - newer) * self.step_s
        scene = group.scenes[0] if len(group.scenes) == 1 and group.is_known else None
        untold = False
        for column in self._units_of(group):
            bounds = self._bounds_of(scene, column, length_s)
            if any(name in bounds for name in group.scenes):
                rule = self.rules.units.model_copy(update={"window_s": length_s + self.step_s})
                unit = unit_column(rule, column, bounds, rows)
                if unit is not None and unit.is_drifted:
                    return True
                untold |= unit is None
        usual, impossible_share = self._usual_of(scene)
        counts = _sum([group.counts[step] for step in range(newer, older) if step in group.counts])
        share = max(self.rules.quality.impossible_share, impossible_share)
        limits = self.rules.quality.model_copy(update={"window_s": length_s + self.step_s, "impossible_share": share})
        found = findings(rows, counts, usual, limits, new_min_agents=1, is_split=False)
        return True if any(one.verdict == "bad" for one in found) else None if untold else False

    def _units_of(self, group: Group) -> list[str]:
        """The columns that tell a unit: none of a scene that the reference does not know, and only those that histories say."""
        return [column for column in self.rules.units.columns if group.is_known and column in group.rows.values]

    def _bounds_of(self, scene: str | None, column: str, length_s: float) -> Mapping[str, UnitBounds]:
        """Bounds of one scene, or of all where it is none or has few agents in the reference; by windows about as long as a slice."""
        window_s = self.rules.units.window_s
        while window_s < length_s:
            window_s *= 2
        part = self._part(scene)
        key = (scene if part is not self.reference else None, column, window_s)
        if key not in self._bounds:
            self._bounds[key] = unit_bounds(self.rules.units, column, part, window_s)
        return self._bounds[key]

    def _usual_of(self, scene: str | None) -> tuple[Usual, float]:
        """What quality is held against, and the share of the reference's own agents that do what is called impossible."""
        part = self._part(scene)
        key = scene if part is not self.reference else None
        if key not in self._usual:
            rule = self.rules.quality
            limits = (("max_speed_mps", rule.max_speed_mps), ("max_acceleration_mps2", rule.max_acceleration_mps2))
            shares = [agent_share(part, part.values[name] > limit) for name, limit in limits if name in part.values]
            self._usual[key] = Usual.of(part, rule), max(shares, default=0.0)
        return self._usual[key]

    def _part(self, scene: str | None) -> Rows:
        """The reference's rows of a scene; all of them where those are of too few agents."""
        if scene is None or scene not in self._places:
            return self.reference
        if scene not in self._parts:
            rows = self.reference.select(self._places[scene]).without_empty_scenes()
            self._parts[scene] = rows if rows.agent_count >= self._enough(is_known=True) else self.reference
        return self._parts[scene]


def cut_into_slices(steps: IntArray, agents: IntArray, begin: int, last: int, enough: int) -> Slices:
    """Cut a range into slices of `STEPS` steps, or of more, until each holds enough agents.

    What is left over at its old end with too few of them makes a slice with as much of the newer one as it takes.

    Args:
        steps: (N,) of each row, counted from the end of the range.
        agents: (N,) a number for each track.
        begin: first step of the newest slice.
        last: number of steps of the range.
        enough: agents of each slice.

    Returns:
        Slices, newest first; none where all of the range holds too few agents.
    """
    pairs = np.unique(np.stack([steps, agents], axis=-1), axis=0) if len(steps) else np.empty((0, 2), dtype=np.int64)
    starts = np.searchsorted(pairs[:, 0], np.arange(last + 1)).tolist()
    by_step = [pairs[starts[step] : starts[step + 1], 1].tolist() for step in range(last)]
    ends: list[tuple[int, int]] = []
    seen, newer = set[int](), begin
    for step in range(begin, last):
        seen.update(by_step[step])
        if step + 1 - newer >= STEPS and len(seen) >= enough:
            ends.append((newer, step + 1))
            seen, newer = set(), step + 1
    if newer == last:
        return Slices(ends)
    oldest = newer
    while (len(seen) < enough or last - oldest < STEPS) and oldest > begin:
        oldest -= 1
        seen.update(by_step[oldest])
    if len(seen) < enough:
        return Slices([])
    return Slices([*ends, (oldest, last)])


def fair_shares(counts: Mapping[Scene, int], most: int) -> dict[Scene, float]:
    """What share of each scene makes so many rows of all: as many of each, where it has them, so that a quiet scene stays whole.

    Args:
        counts: rows by scene, or by a number for it.
        most: rows in all.
    """
    shares, left = {}, float(most)
    for number, (scene, count) in enumerate(sorted(counts.items(), key=lambda one: one[1])):
        allowed = left / (len(counts) - number)
        shares[scene] = min(1.0, allowed / max(1, count))
        left -= min(count, allowed)
    return shares


def _places(rows: Rows) -> dict[str, slice]:
    """Where the rows of each scene lie, that come scene by scene."""
    codes, starts = np.unique(rows.scenes, return_index=True)
    stops = np.append(starts, len(rows))[1:]
    return {rows.scene_names[code]: slice(*place) for code, *place in np.stack([codes, starts, stops], axis=-1).tolist()}


def _counts(tally: Tally, scenes: Iterable[str]) -> dict[int, Counts]:
    """By step, of some scenes together."""
    found: dict[int, list[Counts]] = {}
    for name in scenes:
        for step, one in tally.get(name, {}).items():
            found.setdefault(step, []).append(one)
    return {step: _sum(several) for step, several in found.items()}


def _as_one(tally: Tally) -> Tally:
    """The same where scenes are not told apart."""
    return {ONE: _counts(tally, tally)} if tally else {}


def _sum(counts: Iterable[Counts]) -> Counts:
    return reduce(
        lambda one, other: Counts(
            one.predictions + other.predictions,
            one.unusable + other.unusable,
            one.positions + other.positions,
            one.repeated + other.repeated,
        ),
        counts,
        Counts(),
    )
