"""Adding up what several processes counted: pure functions over plain numbers.

Counts are rows of numbers by family and label values. A counter's row is one number; a histogram's its ranges and its sum. Sums are
rounded once, so that they do not depend on the order of their terms and never fall while no term does: one that fell by the last
digit would be taken for a counter that began anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from typing import Literal, NamedTuple

Rows = dict[tuple[str, ...], list[float]]
Counts = dict[str, Rows]
Combine = Literal["sum", "min", "max"]

_COMBINE: Mapping[Combine, Callable[[Iterable[float]], float]] = {"sum": sum, "min": min, "max": max}


class Snapshot(NamedTuple):
    """What one process counted, and how things stand in it.

    Attributes:
        counts: only ever grow; those of a process that has ended still count.
        gauges: one number a row; those of a process that has ended do not.
    """

    counts: Counts
    gauges: Counts


def alone(number: float) -> Rows:
    """The row of a family without labels."""
    return {(): [number]}


def added(parts: Iterable[Counts]) -> Counts:
    """The sums, row by row. The parts stay as they are.

    Raises:
        ValueError: if rows of one family differ in length.
    """
    found: dict[str, dict[tuple[str, ...], list[list[float]]]] = {}
    for part in parts:
        for family, rows in part.items():
            into = found.setdefault(family, {})
            for labels, numbers in rows.items():
                into.setdefault(labels, []).append(numbers)
    return {family: {labels: _sum(same) for labels, same in rows.items()} for family, rows in found.items()}


def _sum(rows: Sequence[list[float]]) -> list[float]:
    return list(rows[0]) if len(rows) == 1 else list(map(fsum, zip(*rows, strict=True)))


def combined(parts: Sequence[Counts], how: Mapping[str, Combine]) -> Counts:
    """Gauges over processes, each family as `how` says; a family that it does not name is left out."""
    found: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for part in parts:
        for family in part.keys() & how.keys():
            rows = found.setdefault(family, {})
            for labels, [value] in part[family].items():
                rows.setdefault(labels, []).append(value)
    return {family: {labels: [_COMBINE[how[family]](values)] for labels, values in rows.items()} for family, rows in found.items()}
