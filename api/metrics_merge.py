"""Adding up what several processes counted: pure functions over plain numbers.

Counts are rows of numbers by family and label values. A counter's row is one number; a histogram's its ranges and its sum. What
adds up row by row is associative and commutative, so that it does not matter in which order processes came, went and were read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
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
    total: Counts = {}
    for part in parts:
        for family, rows in part.items():
            into = total.setdefault(family, {})
            for labels, numbers in rows.items():
                known = into.get(labels)
                if known is None:
                    into[labels] = list(numbers)
                elif len(known) != len(numbers):
                    raise ValueError(f"{family} has rows of {len(known)} and {len(numbers)} numbers")
                else:
                    into[labels] = list(map(add, known, numbers))
    return total


def combined(parts: Sequence[Counts], how: Mapping[str, Combine]) -> Counts:
    """Gauges over processes, each family as `how` says; a family that it does not name is left out."""
    found: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for part in parts:
        for family in part.keys() & how.keys():
            rows = found.setdefault(family, {})
            for labels, [value] in part[family].items():
                rows.setdefault(labels, []).append(value)
    return {family: {labels: [_COMBINE[how[family]](values)] for labels, values in rows.items()} for family, rows in found.items()}
