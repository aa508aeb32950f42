"""What the Drift page says about the reference."""

import pytest

from console.drift_choices import reference_words
from tests.record_builders import later
from trajops.contracts.drift import ReferenceChoice, TimeRange


@pytest.mark.parametrize(
    ("scenes", "said"),
    [
        ([], "the champion's training data"),
        ([None], "the champion's training data, without 1 part of it"),
        (["plaza", "plaza"], "the champion's training data, without 2 parts of it (plaza)"),
        ([None, "plaza", "north"], "the champion's training data, without 3 parts of it (all scenes, north, plaza)"),
        (list("abcde"), "the champion's training data, without 5 parts of it (a, b, c and 2 more scenes)"),
    ],
)
def test_the_reference_names_what_is_left_out_of_it(scenes: list[str | None], said: str) -> None:
    without = [TimeRange(since=later(number), until=later(number + 1), scene=scene) for number, scene in enumerate(scenes)]
    assert reference_words(ReferenceChoice(kind="training", without=without)) == said
