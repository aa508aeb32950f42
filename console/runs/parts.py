"""Errors of training runs by a part of what they were validated on: by scene, by speed. No Streamlit here."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from console.runs.words import is_comparable, label
from console.wording import count, metres
from trajops.contracts.runs import RunDetailOut, RunPartOut

Kind = Literal["scenes", "speeds"]
KINDS: dict[Kind, tuple[str, str]] = {"scenes": ("scene", "scenes"), "speeds": ("speed band", "speed bands")}
FEW, MOST = 12, 100
# Less is within what the figures are rounded to.
SAME_M = 0.0005


class Shown(NamedTuple):
    """Which parts are drawn, the first on top, and how many there are."""

    names: Sequence[str]
    total: int


def parts_of(detail: RunDetailOut, kind: Kind) -> dict[str, RunPartOut]:
    """Parts with an error, by name."""
    found = detail.scenes if kind == "scenes" else detail.speeds
    return {part.name: part for part in found if part.ade_m is not None}


def shown(details: Sequence[RunDetailOut], kind: Kind, baseline: RunDetailOut) -> Shown:
    """Scenes by the baseline's error, the largest first, and after them those that it was not validated on; speeds as they come."""
    every = [parts_of(detail, kind) for detail in details]
    names = list(dict.fromkeys(name for known in every for name in known))
    if kind == "scenes":
        own = parts_of(baseline, kind)
        largest_m = {name: max(_ade_m(known[name]) for known in every if name in known) for name in names}
        names.sort(key=lambda name: (name not in own, -(_ade_m(own[name]) if name in own else largest_m[name])))
    return Shown(names[:MOST], len(names))


def sentence(detail: RunDetailOut, baseline: RunDetailOut | None, kind: Kind) -> str:
    """Where a run with parts is good and where bad, and in how many of them it is better than the baseline; None: there is none."""
    mine, (one, many) = parts_of(detail, kind), KINDS[kind]
    best, *others = sorted(mine.values(), key=_ade_m)
    said = f"best in {_with_error(best)}; worst in {_with_error(others[-1])}" if others else f"one {one}, {_with_error(best)}"
    if baseline is not None and detail.run.run_id != baseline.run.run_id and is_comparable(detail.run, baseline.run):
        theirs = parts_of(baseline, kind)
        gains = [_ade_m(theirs[name]) - _ade_m(mine[name]) for name in mine.keys() & theirs.keys()]
        better, worse = sum(gain > SAME_M for gain in gains), sum(gain < -SAME_M for gain in gains)
        if gains and not others:
            said += f", {'better than' if better else 'worse than' if worse else 'like'} the baseline"
        elif gains:
            said += f"; better than the baseline in {better} and worse in {worse} of {len(gains)} {one if len(gains) == 1 else many}"
        else:
            said += f"; no {one} in common with the baseline"
    return f"{label(detail.run)}: {said}."


def about(part: RunPartOut) -> str:
    """One part of one run in a few words."""
    of = "" if part.windows is None else f" · {count(part.windows)} window{'' if part.windows == 1 else 's'}"
    last = "" if part.fde_m is None else f" · FDE {metres(part.fde_m, 3)}"
    return f"ADE {metres(part.ade_m, 3)}{last}{of}"


def _with_error(part: RunPartOut) -> str:
    return f"{part.name} ({metres(part.ade_m, 3)})"


def _ade_m(part: RunPartOut) -> float:
    return part.ade_m or 0.0
