"""Windows: continuity, interpolation and cutting; training and serving see the same positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import CLOCK_S, a_scene, a_track, a_turning_track, some_windows
from trajops.errors import ShapeError, WindowTooShort
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Scene, Track, WindowSpec
from trajops.windows import Windows, cut, latest_history, resample, resample_scene

SMALL = WindowSpec(t_obs=2, t_pred=1, dt_s=1.0)
intervals_s = st.lists(st.floats(0.02, 0.6), min_size=30, max_size=60)
coordinates = st.floats(-1000, 1000)


def a_zigzag(times_s: FloatArray, agent_id: str = "a1") -> Track:
    """Irregular samples of a path that no straight line fits."""
    return Track(agent_id, times_s, np.stack([np.sin(times_s), np.abs(times_s % 3 - 1.5)], axis=-1))


# --- resample


def test_positions_between_samples_are_interpolated() -> None:
    track = Track("a1", np.array([0.0, 0.5, 2.0]), np.array([[0.0, 0.0], [1.0, 2.0], [4.0, -1.0]]))
    (piece,) = resample(track, SMALL, max_gap_s=2.0)
    assert piece.agent_id == "a1"
    assert piece.times_s.tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_allclose(piece.positions_m, [[0.0, 0.0], [2.0, 1.0], [4.0, -1.0]])


def test_ten_hertz_becomes_two_and_a_half() -> None:
    fine = a_track(steps=77, dt_s=0.1, velocity_mps=(1.0, -0.5))
    (piece,) = resample(fine, max_gap_s=0.1)
    np.testing.assert_allclose(piece.positions_m, fine.positions_m[::4], atol=1e-12)


@pytest.mark.parametrize(
    ("times_s", "lengths"),
    [
        pytest.param([0, 1, 2, 3], [4], id="continuous"),
        pytest.param([0, 1, 3, 4], [2, 2], id="one gap"),
        pytest.param([0, 2, 4], [1, 1, 1], id="nothing but gaps"),
        pytest.param([0, 1.5, 2.5, 3.5], [4], id="exactly the limit is no gap"),
        pytest.param([0], [1], id="one sample"),
        pytest.param([], [], id="no sample"),
    ],
)
def test_a_gap_splits_a_track(times_s: list[float], lengths: list[int]) -> None:
    track = Track("a1", np.array(times_s, dtype=float), np.zeros((len(times_s), 2)))
    pieces = resample(track, SMALL, max_gap_s=1.5)
    assert [len(piece) for piece in pieces] == lengths


def test_a_glitch_splits_a_track_and_pieces_are_numbered() -> None:
    x_m = np.array([0.0, 1.0, 2.0, 14.0, 15.0])
    track = Track("p12", np.arange(5.0), np.stack([x_m, np.zeros(5)], axis=-1))
    pieces = resample(track, SMALL, max_gap_s=1.0, max_speed_mps=11.0)
    assert [(piece.agent_id, len(piece)) for piece in pieces] == [("p12-001", 3), ("p12-002", 2)]
    assert len(resample(track, SMALL, max_gap_s=1.0)) == 1, "without a limit there is no glitch"
    assert len(resample(track, SMALL, max_gap_s=1.0, max_speed_mps=12.0)) == 1, "exactly the limit is no glitch"


def test_short_pieces_are_left_out_and_keep_their_number() -> None:
    track = Track("a1", np.array([0.0, 5.0, 6.0, 7.0]), np.zeros((4, 2)))
    assert [piece.agent_id for piece in resample(track, SMALL, max_gap_s=1.0, min_steps=2)] == ["a1-002"]


def test_a_scene_is_resampled_track_by_track() -> None:
    scene = resample_scene(a_scene(a_track("a", dt_s=0.1), a_track("b", dt_s=0.2)), max_gap_s=0.4)
    assert [(track.agent_id, len(track)) for track in scene.tracks] == [("a", 5), ("b", 10)]


@given(intervals_s, coordinates, coordinates, st.floats(-10, 10), st.floats(-10, 10))
def test_a_straight_line_stays_a_straight_line(steps_s: list[float], x_m: float, y_m: float, vx_mps: float, vy_mps: float) -> None:
    times_s = np.cumsum(steps_s)
    line = np.array([x_m, y_m]) + times_s[:, None] * np.array([vx_mps, vy_mps])
    (piece,) = resample(Track("a1", times_s, line), max_gap_s=0.6)
    expected = np.array([x_m, y_m]) + piece.times_s[:, None] * np.array([vx_mps, vy_mps])
    np.testing.assert_allclose(piece.positions_m, expected, atol=0.011)  # a millisecond at 10 m/s, by which a grid may overhang


@given(intervals_s)
def test_a_grid_stays_within_its_samples(steps_s: list[float]) -> None:
    track = a_zigzag(np.cumsum(steps_s))
    for piece in resample(track, max_gap_s=0.3):
        assert piece.times_s[0] in track.times_s
        assert piece.times_s[-1] <= track.times_s[-1] + 1e-3
        np.testing.assert_allclose(np.diff(piece.times_s), 0.4)


# --- latest_history


@given(intervals_s, coordinates, coordinates, st.floats(-10, 10), st.floats(-10, 10), st.sampled_from([0.0, CLOCK_S]))
def test_the_history_of_a_straight_line_is_the_line(
    steps_s: list[float], x_m: float, y_m: float, vx_mps: float, vy_mps: float, clock_s: float
) -> None:
    elapsed_s = np.cumsum([0.0, *steps_s, *[0.6] * 5])
    times_s = clock_s + elapsed_s
    velocity = np.array([vx_mps, vy_mps])
    history = latest_history(times_s, np.array([x_m, y_m]) + elapsed_s[:, None] * velocity, max_gap_s=0.6)
    grid_s = elapsed_s[-1] - np.arange(7, -1, -1) * 0.4
    np.testing.assert_allclose(history, np.array([x_m, y_m]) + grid_s[:, None] * velocity, atol=1e-5)


@given(intervals_s, st.integers(7, 20))
def test_serving_sees_what_training_saw(steps_s: list[float], last: int) -> None:
    """The history of a cut window equals what the track buffer would have made of the same samples at that moment."""
    raw_s = np.concatenate([[0.0], np.cumsum([*steps_s, *[0.5] * 20])])
    moment_s = last * 0.4
    times_s = np.unique(np.append(raw_s[np.abs(raw_s - moment_s) > 1e-6], moment_s))
    track = a_zigzag(times_s)
    trained = cut(Scene("s1", tuple(resample(track, max_gap_s=0.6))))
    row = int(np.argmin(np.abs(trained.observed_at_s - moment_s)))
    seen = times_s <= moment_s
    served = latest_history(track.times_s[seen], track.positions_m[seen], max_gap_s=0.6)
    np.testing.assert_allclose(served, trained.history_m[row], atol=1e-9)


def test_a_gap_far_back_does_not_matter_and_a_near_one_does() -> None:
    times_s = np.arange(20) * 0.4
    late = np.where(np.arange(20) < 10, times_s - 5.0, times_s)
    assert latest_history(late, np.zeros((20, 2)), max_gap_s=0.5).shape == (8, 2)
    near = np.where(np.arange(20) < 15, times_s - 5.0, times_s)
    with pytest.raises(WindowTooShort, match=r"span 1\.60 s, but 8 positions 0\.4 s apart need 2\.80 s") as caught:
        latest_history(near, np.zeros((20, 2)), max_gap_s=0.5)
    assert caught.value.details["needed_s"] == pytest.approx(2.8)


def test_exactly_eight_rounded_samples_are_enough() -> None:
    times_s = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.7995])
    assert latest_history(times_s, np.zeros((8, 2)), max_gap_s=0.4).shape == (8, 2)
    with pytest.raises(WindowTooShort):
        latest_history(times_s[1:], np.zeros((7, 2)), max_gap_s=0.4)


def test_a_glitch_ends_the_history_that_can_be_used() -> None:
    positions_m = np.zeros((10, 2))
    positions_m[:5, 0] = 30.0
    arguments = (np.arange(10) * 0.4, positions_m)
    assert latest_history(*arguments, max_gap_s=0.5).shape == (8, 2)
    with pytest.raises(WindowTooShort):
        latest_history(*arguments, max_gap_s=0.5, max_speed_mps=11.0)


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_sample_is_too_short(count: int) -> None:
    with pytest.raises(WindowTooShort):
        latest_history(np.arange(float(count)), np.zeros((count, 2)), max_gap_s=1.0)


def test_times_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ShapeError, match="strictly increase"):
        latest_history(np.array([0.0, 1.0, 1.0]), np.zeros((3, 2)), max_gap_s=1.0)


# --- cut


def test_windows_overlap_by_all_but_one_step() -> None:
    windows = cut(a_scene(a_track("a1", steps=22), a_track("a2", steps=19), a_track("a3", steps=20)))
    assert windows.agent_ids == ("a1", "a1", "a1", "a3")
    assert windows.scene_ids == ("s1",) * 4
    np.testing.assert_allclose(windows.starts_s, [0.0, 0.4, 0.8, 0.0])
    np.testing.assert_allclose(windows.observed_at_s, [2.8, 3.2, 3.6, 2.8])
    np.testing.assert_allclose(windows.history_m[1, 0], [0.4, 0.0])
    np.testing.assert_allclose(windows.truth_m[1, -1], [8.0, 0.0])
    assert windows.history_m.shape == (4, 8, 2)
    assert windows.truth_m.shape == (4, 12, 2)


@given(st.integers(0, 60), st.integers(1, 25))
def test_the_number_of_windows_follows_from_length_and_stride(steps: int, stride: int) -> None:
    assert len(cut(a_scene(a_track(steps=steps)), stride=stride)) == len(range(0, max(steps - 19, 0), stride))


def test_each_window_is_a_piece_of_its_track() -> None:
    track = a_turning_track(steps=40)
    windows = cut(a_scene(track), stride=7)
    for start, positions in zip((0, 7, 14), windows.positions_m, strict=True):
        np.testing.assert_array_equal(positions, track.positions_m[start : start + 20])


def test_a_track_off_the_grid_is_refused_by_name() -> None:
    with pytest.raises(ShapeError, match=r"track fast of scene s1 is not sampled every 0\.4 s; resample it first"):
        cut(a_scene(a_track("fast", dt_s=0.1)))


def test_a_stride_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match="stride"):
        cut(a_scene(), stride=0)


def test_a_scene_without_a_long_track_gives_no_window() -> None:
    windows = cut(a_scene(a_track(steps=5)))
    assert len(windows) == 0
    assert windows.history_m.shape == (0, 8, 2)


# --- Windows


def test_select_takes_a_mask_or_indices() -> None:
    windows = some_windows(3, steps=21)
    is_wanted = np.array([name == "a1" for name in windows.agent_ids])
    assert windows.select(is_wanted).agent_ids == ("a1", "a1")
    assert windows.select(np.array([5, 0])).agent_ids == ("a2", "a0")
    np.testing.assert_array_equal(windows.select(np.array([5])).positions_m[0], windows.positions_m[5])
    assert len(windows.select(np.zeros(6, dtype=bool))) == 0
    with pytest.raises(ShapeError, match="a mask over 6 windows"):
        windows.select(np.array([True]))


def test_concatenate_keeps_order_and_refuses_mixtures() -> None:
    first, second = some_windows(1, steps=20, scene_id="one"), some_windows(2, steps=20, scene_id="two")
    joined = Windows.concatenate([first, second])
    assert joined.scene_ids == ("one", "two", "two")
    np.testing.assert_array_equal(joined.positions_m[1:], second.positions_m)
    assert len(Windows.concatenate([])) == 0
    with pytest.raises(ShapeError, match="cannot be joined"):
        Windows.concatenate([first, Windows.empty(SMALL)])


def test_windows_refuse_lengths_that_disagree() -> None:
    with pytest.raises(ShapeError, match="scene_ids"):
        Windows(("a1",), (), np.zeros(1), np.zeros((1, DEFAULT_WINDOW.steps, 2)))
    with pytest.raises(ShapeError, match="positions_m"):
        Windows(("a1",), ("s1",), np.zeros(1), np.zeros((1, 19, 2)))
