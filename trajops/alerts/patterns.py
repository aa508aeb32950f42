"""Regular expressions of matchers, and how long they can take: one that could hold up the alerts is refused."""

import re
from functools import lru_cache

# What `re` reads an expression with; nothing else tells how one is built.
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from trajops.errors import InvalidInput

# A pattern is good for every value of such a length; whether for longer ones depends on the pattern.
ANY_VALUE = 128
# More ways than this to read a value are too many: trying them takes about a quarter of a second.
MOST_WAYS = 3_000_000


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """The expression.

    Raises:
        InvalidInput: if it is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInput(f"{pattern!r} is no regular expression: {error}") from error


@lru_cache(maxsize=4096)
def is_bounded(pattern: str, length: int) -> bool:
    """Whether matching a value of that many characters is over in time, whatever they are."""
    return _of_all(_parser.parse(pattern), length) <= MOST_WAYS


def _of_all(parts: Any, length: int) -> int:
    """At most how many ways there are to read a value by these parts, one after another; counted to just above the most."""
    ways = 1
    for kind, given in parts:
        ways = min(ways * max(1, _of_one(str(kind), given, length)), MOST_WAYS + 1)
    return ways


def _of_one(kind: str, given: Any, length: int) -> int:
    match kind:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, body = given
            return _of_repeats(int(least), int(most), _of_all(body, length), length)
        case "SUBPATTERN":
            return _of_all(given[-1], length)
        case "BRANCH":
            return sum(_of_all(one, length) for one in given[1])
        case "ASSERT" | "ASSERT_NOT":
            return _of_all(given[1], length)
        case "ATOMIC_GROUP":
            return _of_all(given, length)
        case "GROUPREF_EXISTS":
            return sum(_of_all(one, length) for one in given[1:] if one is not None)
    return 1


def _of_repeats(least: int, most: int, ways: int, length: int) -> int:
    """Of a part that stands `least` to `most` times, and itself can be read in so many ways."""
    most = max(least, min(most, length))
    if ways == 1:
        return most - least + 1
    total = 0
    for times in range(least, most + 1):
        total += ways ** min(times, MOST_WAYS.bit_length())
        if total > MOST_WAYS:
            break
    return total
