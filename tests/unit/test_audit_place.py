"""Where a page of the audit ends, as text and back."""

from datetime import UTC, datetime

import pytest

from trajops.audit import Place
from trajops.errors import InvalidInput


def test_a_place_comes_back_to_the_microsecond() -> None:
    place = Place(datetime(2026, 11, 30, 13, 0, 0, 7, tzinfo=UTC), "0af3")
    assert Place.of(place.cursor()) == place


@pytest.mark.parametrize("cursor", ["", "x", "17", "-17-a", "17-", "17-a b", "17-é", "١٧-a", "1" * 18 + "-a"])
def test_what_is_no_place_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        Place.of(cursor)
