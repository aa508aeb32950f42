"""Ranges of time, and what is left out of one: in one scene, or in all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajops.trajectories import BoolArray, FloatArray

IntArray = NDArray[np.integer[Any]]


class Span(NamedTuple):
    """A time range: from `since` on, before `until`."""

    since: datetime
    until: datetime


class Gap(NamedTuple):
    """A time range that is left out, of one scene or of all."""

    since: datetime
    until: datetime
    scene: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of a range must not be learnt from.

    Attributes:
        gaps: apart from each other in each scene.
        wrong: share of the rows with another unit, frame or rate, or bad quality, or next to such.
        untold: share of the rows, of the others, that nothing tells anything about yet.
        because: why.
    """

    gaps: tuple[Gap, ...] = ()
    wrong: float = 0.0
    untold: float = 0.0
    because: str = "cannot be judged, or not yet"

    @property
    def sentence(self) -> str:
        """How much of the traffic is left out, and why; empty where nothing is."""
        share = self.wrong + self.untold
        return f"{_percent(share)} of the traffic is left out: {self.reason}" if share else ""

    @property
    def reason(self) -> str:
        """Why so much is left out, in shares of all traffic; empty where nothing is."""
        said = [f"{_percent(self.wrong)} has another unit or bad data, or comes next to such"] if self.wrong else []
        said += [f"{_percent(self.untold)} {self.because}"] if self.untold else []
        return ", ".join(said)


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same spans in order, those that touch as one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.since <= found[-1].until:
            found[-1] = Span(found[-1].since, max(found[-1].until, span.until))
        else:
            found.append(span)
    return found


def outside(spans: Sequence[Span], whole: Span) -> list[Span]:
    """The parts of a whole that lie outside of spans, which are in order and apart."""
    edges = [whole.since, *(edge for span in spans for edge in span), whole.until]
    within = [min(max(edge, whole.since), whole.until) for edge in edges]
    return [Span(since, until) for since, until in zip(within[::2], within[1::2], strict=True) if since < until]


def gaps_of(by_scene: Mapping[str, Iterable[Span]], whole: Span) -> list[Gap]:
    """What is left out of a range, by all of its scenes; what all of them leave out names none."""
    spans = {scene: joined(found) for scene, found in by_scene.items()}
    shared = outside(joined(kept for found in spans.values() for kept in outside(found, whole)), whole) if spans else []
    gaps = [Gap(*span) for span in shared]
    for scene, found in sorted(spans.items()):
        gaps += [Gap(*part, scene) for span in found for part in outside(shared, span)]
    return gaps


def is_left_out(times_s: FloatArray, scenes: IntArray, scene_names: Sequence[str], gaps: Iterable[Gap]) -> BoolArray:
    """(N,) whether rows lie in gaps.

    Args:
        times_s: (N,) when they were received, seconds.
        scenes: (N,) index of each row's scene in `scene_names`.
        scene_names: names of the scenes.
        gaps: in any order.
    """
    found: BoolArray = np.zeros(len(times_s), dtype=bool)
    for scene, spans in _by_scene(gaps).items():
        edges_s = [time.timestamp() for span in joined(spans) for time in span]
        if scene is None:
            found |= np.searchsorted(edges_s, times_s, side="right") % 2 == 1
        elif scene in scene_names:
            rows = np.flatnonzero(scenes == scene_names.index(scene))
            found[rows] |= np.searchsorted(edges_s, times_s[rows], side="right") % 2 == 1
    return found


def shortened(gaps: Sequence[Gap], fits: Callable[[Sequence[Gap]], bool]) -> list[Gap]:
    """As few of the nearest neighbours among gaps as one as make them fit, which leaves out more.

    Where one for each scene is still too much, all of them hold for all scenes.

    Args:
        gaps: in any order; those of one scene are apart.
        fits: whether they are few enough; true for a single one.
    """
    for found in (list(gaps), [Gap(*span) for span in joined(Span(gap.since, gap.until) for gap in gaps)]):
        low, high = 0, len(found) - len(_by_scene(found))
        if not fits(_with_joins(found, high)):
            continue
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(_with_joins(found, middle)) else (middle + 1, high)
        return _with_joins(found, low)
    return [Gap(min(gap.since for gap in gaps), max(gap.until for gap in gaps))]


def _with_joins(gaps: Sequence[Gap], count: int) -> list[Gap]:
    """The gaps, so many of the nearest neighbours joined."""
    if not count:
        return list(gaps)
    order = sorted(gaps, key=lambda gap: (gap.scene is not None, gap.scene or "", gap.since))
    between = [
        (after.since - before.until, number) for number, (before, after) in enumerate(pairwise(order), 1) if before.scene == after.scene
    ]
    is_joined = {number for _, number in sorted(between)[:count]}
    found: list[Gap] = []
    for number, gap in enumerate(order):
        if number in is_joined:
            found[-1] = found[-1]._replace(until=max(found[-1].until, gap.until))
        else:
            found.append(gap)
    return found


def _by_scene(gaps: Iterable[Gap]) -> dict[str | None, list[Span]]:
    found: dict[str | None, list[Span]] = {}
    for gap in gaps:
        found.setdefault(gap.scene, []).append(Span(gap.since, gap.until))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "less than 1 %"
