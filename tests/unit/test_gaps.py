"""What is left out of a range: of one scene or of all, and as few parts as can be told of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.record_builders import later
from trajops.drift.gaps import Gap, Span, gaps_of, is_left_out, joined, outside, shortened

SCENES = ("north", "south", "west")
parts = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=8)


def span(since_s: float, until_s: float) -> Span:
    return Span(later(since_s), later(until_s))


def gap(since_s: float, until_s: float, scene: str | None = None) -> Gap:
    return Gap(later(since_s), later(until_s), scene)


def seconds(gaps: list[Gap], scene: str, until_s: int = 200) -> set[int]:
    """The seconds of a scene that are left out."""
    times_s = np.array([later(second + 0.5).timestamp() for second in range(until_s)])
    mask = is_left_out(times_s, np.full(until_s, SCENES.index(scene)), SCENES, gaps)
    return set(np.flatnonzero(mask).tolist())


@given(parts, st.integers(-20, 120), st.integers(1, 90))
def test_what_lies_outside_of_spans_is_the_rest_of_the_whole(found: list[tuple[int, int]], begin: int, length: int) -> None:
    spans, whole = joined(span(since, since + lasts) for since, lasts in found), span(begin, begin + length)
    rest = outside(spans, whole)
    for second in range(begin, begin + length):
        at = later(second + 0.5)
        assert any(one.since <= at < one.until for one in rest) is not any(one.since <= at < one.until for one in spans)
    assert all(whole.since <= one.since < one.until <= whole.until for one in rest)


@given(st.fixed_dictionaries(dict.fromkeys(SCENES, parts)))
def test_gaps_hold_what_each_scene_leaves_out_and_nothing_else(by_scene: dict[str, list[tuple[int, int]]]) -> None:
    gaps = gaps_of({scene: [span(since, since + lasts) for since, lasts in found] for scene, found in by_scene.items()}, span(0, 200))
    for scene, found in by_scene.items():
        assert seconds(gaps, scene) == {second for since, lasts in found for second in range(since, since + lasts)}


def test_what_all_scenes_leave_out_names_none() -> None:
    assert gaps_of({"north": [span(0, 60), span(90, 95)], "south": [span(30, 60), span(60, 95)]}, span(0, 100)) == [
        gap(30, 60), gap(90, 95), gap(0, 30, "north"), gap(60, 90, "south")
    ]  # fmt: skip
    assert gaps_of({"north": [span(0, 60)], "south": []}, span(0, 100)) == [gap(0, 60, "north")]
    assert gaps_of({}, span(0, 100)) == []


def test_a_scene_without_rows_may_be_named() -> None:
    assert seconds([gap(0, 5, "nowhere"), gap(7, 9)], "north") == {7, 8}


@given(st.fixed_dictionaries(dict.fromkeys((*SCENES, None), parts)), st.integers(1, 12))
def test_fewer_gaps_leave_out_no_less_and_are_as_few_as_asked(by_scene: dict[str | None, list[tuple[int, int]]], most: int) -> None:
    gaps = [Gap(*one, scene) for scene, found in by_scene.items() for one in joined(span(since, since + lasts) for since, lasts in found)]
    fewer = shortened(gaps, lambda some: len(some) <= most)
    assert len(fewer) <= most
    assert all(seconds(gaps, scene) <= seconds(fewer, scene) for scene in SCENES)
    assert len(gaps) > most or fewer == gaps, "nothing more is left out where all of them fit"


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (5, [gap(0, 10, "north"), gap(12, 20, "north"), gap(40, 50, "north"), gap(0, 5, "south"), gap(90, 95)]),
        (4, [gap(90, 95), gap(0, 20, "north"), gap(40, 50, "north"), gap(0, 5, "south")]),
        (3, [gap(90, 95), gap(0, 50, "north"), gap(0, 5, "south")]),
        (2, [gap(0, 50), gap(90, 95)]),
        (1, [gap(0, 95)]),
    ],
)
def test_the_nearest_neighbours_of_a_scene_are_joined_first(most: int, expected: list[Gap]) -> None:
    gaps = [gap(0, 10, "north"), gap(12, 20, "north"), gap(40, 50, "north"), gap(0, 5, "south"), gap(90, 95)]
    assert shortened(gaps, lambda some: len(some) <= most) == expected
