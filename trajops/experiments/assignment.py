"""Stable assignment by hash, equal to GrowthBook's, so that any of its SDKs assigns alike.

Version 2 of its hash splits the units of an experiment. Version 1, whose thousandths are not uniform over ids that resemble one another,
only says where in a namespace a unit belongs, as GrowthBook has it.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

_OFFSET, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF


def fnv1a32(text: str) -> int:
    """FNV-1a, 32 bits, over the UTF-16 code units of `text` (as JavaScript sees them)."""
    value = _OFFSET
    if text.isascii():
        for byte in text.encode("ascii"):
            value = ((value ^ byte) * _PRIME) & _MASK
        return value
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        value = ((value ^ (low | high << 8)) * _PRIME) & _MASK
    return value


@lru_cache(maxsize=65_536)  # an agent asks several times a second, and the hash costs as much as a small forecast
def unit_interval(seed: str, unit_id: str) -> float:
    """Where a unit falls in [0, 1), in steps of 0.0001 (GrowthBook hash version 2)."""
    return (fnv1a32(str(fnv1a32(seed + unit_id))) % 10_000) / 10_000


@lru_cache(maxsize=65_536)
def namespace_point(namespace: str, unit_id: str) -> float:
    """Where a unit falls in a namespace, in [0, 1), in steps of 0.001 (GrowthBook hash version 1)."""
    return (fnv1a32(f"{unit_id}__{namespace}") % 1_000) / 1_000


class Range(NamedTuple):
    """Numbers from `begin` on, below `end`."""

    begin: float
    end: float

    def holds(self, n: float) -> bool:
        """Whether a number is one of them."""
        return self.begin <= n < self.end


def arm_ranges(weights: Sequence[float], coverage: float) -> list[Range]:
    """What each arm owns of [0, 1): the first part of its share, as long as the coverage says.

    So a coverage that grows or shrinks moves nobody from one arm to another; other weights do.
    """
    begins = [0.0, *accumulate(weights)]
    return [Range(begin, begin + coverage * weight) for begin, weight in zip(begins, weights, strict=False)]
