"""Stable assignment by hash, equal to GrowthBook's version 2, so that any of its SDKs assigns alike."""

from functools import lru_cache

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
