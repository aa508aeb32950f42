"""How values are spread, counted by range: what a latency or a batch size costs to observe is two additions."""

from bisect import bisect_left
from collections.abc import Sequence

# Seconds; fine where an answer is usually given, coarse where something is wrong.
LATENCIES_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Histogram:
    """Counts of values by range, and their sum.

    Threads lose nothing to each other: CPython changes threads at calls and jumps back, never between the reading and the writing
    of one addition.

    Args:
        bounds: upper end of each range, ascending and inclusive; one more range has none.

    Attributes:
        counts: values in each range.
        total: sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCIES_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def numbers(self) -> list[float]:
        """The counts, and after them the sum: what adds up over processes."""
        return [*self.counts, self.total]
