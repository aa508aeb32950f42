"""Eight positions of what somebody drew: by the speed of drawing, or at one speed; and what is no line."""

import math

import numpy as np
import pytest

from console.predicting.strokes import as_drawn, evenly, stroke_of


def line(seconds: float, metres: float, points: int = 50) -> np.ndarray:
    """A straight line to the right, drawn at one speed."""
    s = np.linspace(0, 1, points)
    found = stroke_of(np.stack([metres * s, 0 * s, 1000 * seconds * s], axis=-1).tolist())
    assert found is not None
    return found


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="nothing"),
        pytest.param("text", id="a text"),
        pytest.param([[0, 0, 0]], id="a point"),
        pytest.param([[0, 0], [1, 1]], id="without times"),
        pytest.param([[0, 0, 0], [0, 0, 9]], id="a point that was held"),
        pytest.param([[0, 0, 0], [1, math.nan, 9]], id="not a number"),
        pytest.param([[0, 0, 0], [1, 1e9, 9]], id="far away"),
        pytest.param([[0, 0, 5], [1, 1, 5]], id="all at once"),
        pytest.param([[0, 0, 0], [1, {}, 5]], id="an object"),
    ],
)
def test_what_is_no_line_is_refused(value: object) -> None:
    assert stroke_of(value) is None


def test_times_that_do_not_go_on_are_left_out() -> None:
    found = stroke_of([[0, 0, 0], [1, 0, 10], [9, 9, 5], [2, 0, 20]])
    assert found is not None
    assert found[:, 2].tolist() == [0, 10, 20]


def test_a_slow_stroke_keeps_its_speed() -> None:
    """Ten metres in five seconds: the last 2.8 s, 0.8 m every 0.4 s."""
    points, said = as_drawn(line(5.0, 10.0))
    assert [p[0] for p in points] == pytest.approx([4.4 + 0.8 * k for k in range(8)], abs=0.011)
    assert said == "The last 2.8 s as drawn: 2.0 m/s on average."


def test_a_quick_stroke_is_slowed_down() -> None:
    points, said = as_drawn(line(0.5, 7.0))
    assert [p[0] for p in points] == pytest.approx([float(k) for k in range(8)])
    assert said == "Drawn in 0.5 s and slowed down to 2.8 s: 2.5 m/s on average."


def test_evenly_takes_the_end_of_the_line() -> None:
    points, said = evenly(line(1.0, 10.0), 2.5)
    assert [p[0] for p in points] == pytest.approx([3.0 + k for k in range(8)])
    assert said == "The last 7.0 m of the line: 2.5 m/s on average."


def test_evenly_along_a_short_line_is_slower() -> None:
    points, said = evenly(line(1.0, 1.4), 2.5)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == pytest.approx((1.4, 0.0))
    assert said == "The line is shorter than 7.0 m, so it is walked more slowly: 0.5 m/s on average."
