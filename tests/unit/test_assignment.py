"""The hash that assigns units, against published values, values made by hand and GrowthBook's own package.

The package hashes UTF-16 code units since version 4; the values made by hand hold whatever it does.
"""

import random
import string

import pytest
from growthbook.core import gbhash
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from trajops.experiments.assignment import fnv1a32, unit_interval


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # http://www.isthe.com/chongo/src/fnv/test_fnv.c
        pytest.param("", 0x811C9DC5, id="empty"),
        pytest.param("a", 0xE40C292C, id="a"),
        pytest.param("foobar", 0xBF9CF968, id="foobar"),
    ],
)
def test_published_values(text: str, value: int) -> None:
    assert fnv1a32(text) == value


def by_hand(*units: int) -> int:
    """FNV-1a written out over UTF-16 code units, as JavaScript's charCodeAt gives them."""
    value = 0x811C9DC5
    for unit in units:
        value ^= unit
        value = value * 0x01000193 % 2**32
    return value


@pytest.mark.parametrize(
    ("text", "units"),
    [
        pytest.param("é", (0x00E9,), id="Latin"),
        pytest.param("日本", (0x65E5, 0x672C), id="one unit each"),
        pytest.param("😀", (0xD83D, 0xDE00), id="a surrogate pair"),
        pytest.param("a😀b", (0x61, 0xD83D, 0xDE00, 0x62), id="mixed"),
        pytest.param("👩‍🚀", (0xD83D, 0xDC69, 0x200D, 0xD83D, 0xDE80), id="joined emoji"),
        pytest.param("\ud83d", (0xD83D,), id="half a pair"),
    ],
)
def test_text_is_read_as_utf_16(text: str, units: tuple[int, ...]) -> None:
    assert fnv1a32(text) == by_hand(*units)


def test_one_emoji_step_by_step() -> None:
    after_high = (0x811C9DC5 ^ 0xD83D) * 0x01000193 % 2**32
    assert after_high == 0x37822568
    assert (after_high ^ 0xDE00) * 0x01000193 % 2**32 == 0xCB31C4B8
    assert fnv1a32("😀") == 0xCB31C4B8


def test_thousands_of_ids_fall_where_growthbook_puts_them() -> None:
    draw = random.Random(20260101)
    ascii_ids = ["".join(draw.choices(string.printable, k=draw.randint(0, 24))) for _ in range(5000)]
    seeds = ["", "s", "checkout-2026", "0123456789abcdef0123456789abcdef"]
    assert [unit_interval(seed, unit) for unit in ascii_ids for seed in seeds] == [
        gbhash(seed, unit, 2) for unit in ascii_ids for seed in seeds
    ]


@given(st.text(), st.text())
def test_any_id_falls_where_growthbook_puts_it(seed: str, unit: str) -> None:
    assert unit_interval(seed, unit) == gbhash(seed, unit, 2)


@given(st.text(), st.text())
def test_every_unit_falls_into_the_unit_interval(seed: str, unit: str) -> None:
    n = unit_interval(seed, unit)
    assert 0 <= n < 1
    assert round(n * 10_000) == pytest.approx(n * 10_000)


@pytest.mark.parametrize("seed", ["s", "0123456789abcdef", "comparison-7"])
def test_sequential_ids_spread_evenly(seed: str) -> None:
    counts = [0] * 20
    for number in range(20_000):
        counts[int(unit_interval(seed, f"agent-{number}") * 20)] += 1
    assert chisquare(counts).pvalue > 1e-4


def test_two_seeds_split_independently() -> None:
    both = sum(unit_interval("one", f"u{number}") < 0.5 and unit_interval("two", f"u{number}") < 0.5 for number in range(8000))
    # p = 1/4: five standard deviations are 194.
    assert abs(both - 2000) < 194
