"""What a check tells of units and scenes at once, and when a later one says that it is over. Pure functions of checks.

A figure near its limit is beyond it in one check and not in the next, and where a minute holds agents enough only now and then, looks of a
minute and of twenty take turns, of which the longer ones see mostly what was before. Neither ends anything.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from datetime import datetime, timedelta
from math import log

from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding, QualityKind
from trajops.drift.quality import AT_ONCE

# What another unit of all traffic looks like in each of its scenes, and another clock.
OF_POSITIONS: frozenset[QualityKind] = frozenset({"unit", "frame"})
OF_CLOCKS: frozenset[QualityKind] = frozenset({"sampling_rate"})
CLOCK = "dt_s_ratio"
# After the last check that saw another unit, its rows stay in the window that is compared, and then for so long in the looks that confirm.
LINGERS = timedelta(minutes=2)

# Checks from a time on that found something.
Earlier = Callable[[datetime], Iterable[DriftCheckOut]]


def wrong_units(check: DriftCheckOut) -> list[DriftColumn]:
    """Medians of all traffic that are beyond their bounds."""
    return [column for column in check.columns if column.method == UNIT_RULE and column.is_drifted and column.muted_until is None]


def asked_units(check: DriftCheckOut) -> list[DriftColumn]:
    """Medians of all traffic that could be compared."""
    return [column for column in check.columns if column.method == UNIT_RULE and column.score is not None]


def found(check: DriftCheckOut, kinds: Container[QualityKind]) -> list[QualityFinding]:
    """What a check has found of some kinds."""
    return [one for one in check.quality if one.kind in kinds and one.verdict == "bad" and one.muted_until is None]


def scenes_of(finding: QualityFinding) -> set[str]:
    """The scene that a finding is about, or those that were judged together."""
    return {*finding.scenes} if finding.scene is None else {finding.scene}


def to_tell(check: DriftCheckOut, earlier: Earlier) -> list[QualityFinding]:
    """What is drift at once, by kind and scene.

    Nothing of a scene that the median of all has said of what is still in the look, and no frame where positions are in another unit.

    Args:
        check: the newest one.
        earlier: reads those from a time on that found something.
    """
    mine = found(check, AT_ONCE)
    in_units = {one.scene for one in mine if one.kind == "unit"}
    return [one for one in mine if not _is_said(check, one, earlier) and not (one.kind == "frame" and one.scene in in_units)]


def _is_said(check: DriftCheckOut, one: QualityFinding, earlier: Earlier) -> bool:
    if one.kind not in OF_CLOCKS | OF_POSITIONS:
        return False
    since = min(check.current_since, check.at - timedelta(seconds=one.window_s or 0.0)) - LINGERS
    columns = [column for past in (check, *earlier(since)) for column in wrong_units(past)]
    return any((column.column == CLOCK) is (one.kind in OF_CLOCKS) for column in columns)


def are_units_well(check: DriftCheckOut, earlier: Earlier) -> bool:
    """Whether medians of all traffic are well within their bounds, by as short a look as had found them wrong."""
    asked = asked_units(check)
    if not asked:
        return check.verdict == "stable"
    longest_s = max(column.window_s or 0.0 for column in asked)
    was_wrong = (column for one in _before(check, longest_s, earlier) for column in wrong_units(one))
    is_outvoted = any((column.window_s or longest_s) < longest_s for column in was_wrong)
    return not is_outvoted and all(_is_clear(column.score, column.threshold) for column in asked if column.muted_until is None)


def found_well(check: DriftCheckOut, kind: QualityKind, scene: str | None, held: Sequence[DriftCheckOut], earlier: Earlier) -> str | None:
    """What a check says of a scene, or of those that are judged together, in which it does not find that; None: it does not tell.

    It does not where a figure is hardly below its limit, nor where it looks further back, or at more scenes, than an earlier check that has
    found it. A scene is new until no check of the window has seen agents enough in it.

    Args:
        check: the newest one.
        kind: of finding.
        scene: None for those that are judged together.
        held: the newest check, with those that called drift what is still in its window.
        earlier: reads those from a time on that found something.
    """
    if kind == "new_scene":  # which is not looked for in scenes that are gone, or are known by now
        is_lately = any(one.scene == scene for past in held if _is_alike(past, check) for one in found(past, {kind}))
        return None if is_lately else f"The scene {scene} is known, or hardly anybody is in it any more."
    mine = [one for one in check.quality if one.kind == kind and (scene is None or scene in scenes_of(one))]
    asked = [one for one in mine if one.muted_until is None]
    is_well = bool(mine) and all(one.verdict == "ok" and _is_clear(one.value, one.limit, kind) for one in asked)
    return mine[0].sentence if is_well and not any(_is_outvoted(check, one, scene, earlier) for one in asked) else None


def _is_outvoted(check: DriftCheckOut, well: QualityFinding, scene: str | None, earlier: Earlier) -> bool:
    if well.window_s is None:
        return False
    past = _before(check, well.window_s, earlier)
    bad = [one for before in past for one in found(before, {well.kind}) if one.scene == scene]
    return any((one.window_s or well.window_s) < well.window_s or (one.scene is not None and well.scene is None) for one in bad)


def _before(check: DriftCheckOut, window_s: float, earlier: Earlier) -> list[DriftCheckOut]:
    """Those that saw some of the same traffic, against the same reference."""
    return [one for one in earlier(check.at - timedelta(seconds=window_s)) if _is_alike(one, check)]


def _is_alike(past: DriftCheckOut, check: DriftCheckOut) -> bool:
    return past.reference_since == check.reference_since


def _is_clear(value: float | None, limit: float | None, kind: QualityKind | None = None) -> bool:
    """Whether a figure is less than half of the way to its limit; a ratio, in logarithms."""
    if value is None or limit is None:
        return True
    if kind in OF_POSITIONS:
        return value < limit / 2
    return value <= 0 or limit <= 0 or 2 * abs(log(value)) < abs(log(limit))
