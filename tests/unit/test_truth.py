"""Truth by time, and the scores: cases computed by hand, and properties."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from trajops.errors import ShapeError
from trajops.truth import Samples, Scores, history_samples, positions_at, score

A, B = 7, 2**64 - 3
NS = 10**9


def samples(*rows: tuple[int, float, float, float, int]) -> Samples:
    """Samples from (agent, time, x, y, received)."""
    return Samples(
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1] for row in rows], float),
        np.array([row[2:4] for row in rows], float).reshape(-1, 2),
        np.array([row[4] for row in rows], np.int64),
    )


def look_up(known: Samples, agent: int, *times_s: float, gap_s: float = 1.0) -> list[Any]:
    """x of the agent at some times, None where not known."""
    found = positions_at(known, np.array([agent], np.uint64), np.array([times_s]), max_gap_s=gap_s).positions_m
    return [None if math.isnan(x) else pytest.approx(x, abs=1e-9) for x in found[0, :, 0]]


WALK = samples((A, 0.0, 0, 0, 1), (A, 0.4, 4, 0, 2), (A, 1.2, 12, 0, 3), (A, 3.0, 30, 0, 4))


@pytest.mark.parametrize(
    ("time_s", "x_m"),
    [
        pytest.param(0.4, 4.0, id="a sample at the very time"),
        pytest.param(0.4009, 4.0, id="within the tolerance it is used as it is, late"),
        pytest.param(0.3991, 4.0, id="and early"),
        pytest.param(0.8, 8.0, id="between two samples"),
        pytest.param(0.402, 4.02, id="outside the tolerance it is interpolated"),
        pytest.param(2.0, None, id="the gap is too wide"),
        pytest.param(3.0, 30.0, id="a sample beside a wide gap still counts"),
        pytest.param(3.2, None, id="nothing after the last"),
        pytest.param(-0.2, None, id="nothing before the first"),
        pytest.param(9e9, None, id="far away"),
        pytest.param(-9e9, None, id="far before"),
    ],
)
def test_position_at_one_time(time_s: float, x_m: float | None) -> None:
    assert look_up(WALK, A, time_s) == [x_m]


def test_a_gap_of_exactly_the_limit_is_interpolated_over() -> None:
    known = samples((A, 10.0, 0, 0, 1), (A, 11.0, 10, 0, 2))
    assert look_up(known, A, 10.5, gap_s=1.0) == [5.0]
    assert look_up(known, A, 10.5, gap_s=0.9) == [None]


def test_truth_goes_by_time_where_frames_drop() -> None:
    """Counting rows would give 4, 12 and 30 m; at the third time nothing is known."""
    assert look_up(WALK, A, 0.4, 0.8, 2.0) == [4.0, 8.0, None]


def test_agents_do_not_borrow_from_each_other() -> None:
    known = samples((A, 0.0, 1, 0, 1), (B, 0.4, 9, 0, 1), (A, 100.0, 2, 0, 1), (B, 1e9, 5, 0, 1), (B, 1e9 + 0.4, 7, 0, 1))
    assert look_up(known, A, 0.0, 0.2, 100.0) == [1.0, None, 2.0]
    assert look_up(known, B, 0.0, 0.4, 1e9 + 0.2) == [None, 9.0, 6.0]
    assert look_up(known, 5, 0.0) == [None]
    assert look_up(Samples.empty(), A, 0.0) == [None]


def test_of_two_positions_for_one_time_the_first_received_counts() -> None:
    known = samples((A, 5.0, 1.0, 0, 30), (A, 5.0, 2.0, 0, 10), (A, 5.00001, 3.0, 0, 20), (A, 5.4, 9.0, 0, 5))
    assert look_up(known, A, 5.0) == [2.0]
    assert len(known.settled()) == 2


def test_it_is_told_when_truth_was_received() -> None:
    received_ns = positions_at(WALK, np.array([A], np.uint64), np.array([[0.4, 0.8, 2.0]]), max_gap_s=1.0).received_ns
    assert received_ns.tolist() == [[2, 3, 0]]


def test_it_is_told_how_far_apart_the_positions_behind_truth_are() -> None:
    gap_s = positions_at(WALK, np.array([A], np.uint64), np.array([[0.4, 0.8, 2.0]]), max_gap_s=1.0).gap_s
    assert gap_s.tolist() == [[0.0, 0.8, 0.0]]
    assert positions_at(Samples.empty(), np.array([A], np.uint64), np.array([[0.4]]), max_gap_s=1.0).gap_s.tolist() == [[0.0]]


@given(st.lists(st.integers(0, 400), min_size=2, max_size=40, unique=True), st.randoms(use_true_random=False), st.floats(0.05, 2.0))
@settings(max_examples=60, deadline=None)
def test_positions_equal_an_independent_interpolation(ticks: list[int], random: Any, gap_s: float) -> None:
    times_s = 1.7e9 + np.array(sorted(ticks)) / 20
    positions_m = np.random.default_rng(len(ticks)).normal(size=(len(ticks), 2))
    order = list(range(len(ticks)))
    random.shuffle(order)
    known = Samples(np.full(len(ticks), A, np.uint64), times_s[order], positions_m[order], np.arange(len(ticks), dtype=np.int64))
    queries_s = 1.7e9 + np.arange(-1, 21, 0.13)
    found = positions_at(known, np.array([A], np.uint64), queries_s[None], max_gap_s=gap_s).positions_m
    for query_s, position_m in zip(queries_s, found[0], strict=True):
        near = np.flatnonzero(np.abs(times_s - query_s) <= 1e-3)
        after = int(np.searchsorted(times_s, query_s))
        if len(near):
            expected = positions_m[near[0]]
        elif 0 < after < len(times_s) and times_s[after] - times_s[after - 1] <= gap_s + 1e-3:
            expected = [np.interp(query_s - 1.7e9, times_s - 1.7e9, positions_m[:, axis]) for axis in (0, 1)]
        else:
            expected = [np.nan, np.nan]
        assert position_m == pytest.approx(expected, abs=1e-5, nan_ok=True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B]), st.integers(0, 30), st.sampled_from([0.0, 0.05]), st.sampled_from([0.4, 0.2]), st.integers(0, 9)
        ),
        max_size=25,
    )
)
@settings(max_examples=80, deadline=None)
def test_leaving_out_what_was_said_before_changes_no_truth(rows: list[tuple[int, int, float, float, int]]) -> None:
    """Histories that overlap, contradict each other, or arrive out of order: all samples give the same truth as the fresh ones."""
    count, steps = len(rows), 8
    agents = np.array([row[0] for row in rows], np.uint64)
    observed_at_s = np.array([1000 + row[1] * 0.4 + row[2] for row in rows], float)
    dt_s = np.array([row[3] for row in rows], float)
    # Distinct arrival times, so that "the first received" names one; history values name their prediction.
    received_ns = np.array([row[4] * 1000 + number for number, row in enumerate(rows)], np.int64)
    history_m = np.arange(count, dtype=float)[:, None, None] + np.zeros((count, steps, 2))
    every = Samples(
        np.repeat(agents, steps),
        (observed_at_s[:, None] - dt_s[:, None] * np.arange(steps - 1, -1, -1)).ravel(),
        history_m.reshape(-1, 2),
        np.repeat(received_ns, steps),
    ).settled()
    fresh = history_samples(agents, observed_at_s, dt_s, history_m, received_ns).settled()
    assert fresh.agents.tolist() == every.agents.tolist()
    np.testing.assert_allclose(fresh.times_s, every.times_s, atol=1e-6)
    np.testing.assert_array_equal(fresh.positions_m, every.positions_m)


def test_consecutive_histories_give_one_sample_each() -> None:
    count = 50
    at_s = 1.7e9 + np.arange(count) * 0.4
    found = history_samples(
        np.full(count, A, np.uint64), at_s, np.full(count, 0.4), np.zeros((count, 8, 2)), np.arange(count, dtype=np.int64)
    )
    assert len(found) == 8 + count - 1


def one(truth_m: object, *, mean_m: object = None, cov: object = (1.0, 0.0, 1.0), weights: object = (1.0,), **options: Any) -> Scores:
    """Score one prediction of three steps; the agent came along x at 1 m a step and the mean continues that."""
    history_m = np.array([[[-1.0, 0.0], [0.0, 0.0]]])
    means = np.array([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]] if mean_m is None else mean_m, dtype=float)[None]
    covariance = np.broadcast_to(np.array(cov, dtype=float), (*means.shape[:3], 3))
    return score(history_m, means, covariance, np.array([weights], dtype=float), np.array([truth_m], dtype=float), **options)


NAN = [math.nan, math.nan]


def test_complete_truth_by_hand() -> None:
    scores = one([[1, 0], [2, 1], [3, 2]])
    assert scores.step_error_m.tolist() == [[0, 1, 2]]
    assert scores.ade_m == pytest.approx([1.0])
    assert scores.fde_m == pytest.approx([2.0])
    assert not scores.is_miss[0], "exactly the threshold is no miss"
    assert scores.cv_ade_m == pytest.approx([1.0])
    assert scores.steps_scored.tolist() == [3]
    # −ln N = ln 2π + d²/2
    assert scores.step_nll[0] == pytest.approx(math.log(2 * math.pi) + np.array([0, 0.5, 2.0]))
    assert scores.nll[0] == pytest.approx(math.log(2 * math.pi) + 2.5 / 3)
    # d² ≤ 4.605 at 90 %
    assert scores.step_inside.tolist() == [[True, True, True]]
    assert one([[1, 0], [2, 1], [3, 2.2]]).step_inside.tolist() == [[True, True, False]]
    assert one([[1, 0], [2, 1], [3, 2]], level=0.3).inside_share == pytest.approx([1 / 3])


def test_partial_truth_counts_its_own_steps_only() -> None:
    scores = one([[1, 1], NAN, NAN])
    assert (scores.ade_m[0], scores.cv_ade_m[0], scores.inside_share[0]) == pytest.approx((1.0, 1.0, 1.0))
    assert scores.steps_scored.tolist() == [1]
    assert math.isnan(scores.fde_m[0])
    assert not scores.is_miss[0]
    assert np.isnan(scores.step_error_m[0, 1:]).all()
    assert scores.known.tolist() == [[True, False, False]]


def test_the_last_step_alone_gives_the_final_error() -> None:
    scores = one([NAN, NAN, [3, 4]])
    assert scores.fde_m == pytest.approx([4.0])
    assert scores.is_miss.tolist() == [True]


def test_a_miss_is_judged_by_the_best_mode_and_the_error_by_the_likeliest() -> None:
    modes = [[[1, 0], [2, 0], [3, 0]], [[1, 1], [2, 3], [3, 5]]]
    scores = one([[1, 1], [2, 3], [3, 5]], mean_m=modes, weights=(0.6, 0.4))
    assert scores.ade_m == pytest.approx([3.0])
    assert scores.fde_m == pytest.approx([5.0])
    assert scores.min_fde_m == pytest.approx([0.0])
    assert not scores.is_miss[0]
    assert one([[1, 1], [2, 3], [3, 5]]).is_miss[0]


def test_likelihood_of_a_mixture_equals_scipy() -> None:
    modes = np.array([[[1, 0], [2, 0], [3, 0]], [[1, 1], [2, 3], [3, 5]]], dtype=float)
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    truth_m = np.array([[1.5, 0.5], [2.0, 2.0], [2.0, 4.0]])
    scores = one(truth_m, mean_m=modes, weights=(0.7, 0.3), cov=(2.0, 0.5, 1.0))
    for step, point_m in enumerate(truth_m):
        density = sum(w * multivariate_normal(modes[k, step], covariance).pdf(point_m) for k, w in enumerate((0.7, 0.3)))
        assert scores.step_nll[0, step] == pytest.approx(-math.log(density))


def test_one_bad_prediction_leaves_the_others_alone() -> None:
    count = 5
    history_m = np.tile(np.array([[-1.0, 0.0], [0.0, 0.0]]), (count, 1, 1))
    mean_m = np.tile(np.array([[[1.0, 0.0], [2.0, 0.0]]]), (count, 1, 1, 1))
    cov_m2 = np.tile(np.array([1.0, 0.0, 1.0]), (count, 1, 2, 1))
    truth_m = np.tile(np.array([[1.0, 1.0], [2.0, 1.0]]), (count, 1, 1))
    weights = np.ones((count, 1))
    cov_m2[0, 0, 1] = [1.0, 1.0, 1.0]  # singular
    mean_m[1, 0, 0, 0] = np.nan
    weights[2, 0] = 0.0
    truth_m[3] = np.nan
    scores = score(history_m, mean_m, cov_m2, weights, truth_m)
    assert scores.is_usable.tolist() == [False, False, False, False, True]
    assert scores.ade_m[4] == pytest.approx(1.0)
    assert np.isnan(scores.ade_m[:4]).all()
    assert scores.steps_scored.tolist() == [0, 0, 0, 0, 2]


def test_nothing_to_score_is_no_error() -> None:
    scores = score(np.empty((0, 8, 2)), np.empty((0, 2, 12, 2)), np.empty((0, 2, 12, 3)), np.empty((0, 2)), np.empty((0, 12, 2)))
    assert scores.ade_m.shape == (0,)
    assert scores.step_inside.shape == (0, 12)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="do not fit"):
        score(np.zeros((1, 8, 2)), np.zeros((1, 1, 12, 2)), np.zeros((1, 1, 12, 3)), np.ones((1, 1)), np.zeros((1, 11, 2)))


@given(st.integers(0, 10_000), st.floats(-500, 500), st.floats(-math.pi, math.pi))
@settings(max_examples=40, deadline=None)
def test_scores_do_not_depend_on_the_frame(seed: int, shift_m: float, angle_rad: float) -> None:
    rng = np.random.default_rng(seed)
    turn = np.array([[math.cos(angle_rad), -math.sin(angle_rad)], [math.sin(angle_rad), math.cos(angle_rad)]])
    history_m, mean_m, truth_m = rng.normal(size=(4, 8, 2)), rng.normal(size=(4, 2, 12, 2)), rng.normal(size=(4, 12, 2))
    truth_m[0, 5:] = np.nan
    root = rng.normal(size=(4, 2, 12, 2, 2))
    matrices = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(2)
    turned = turn @ matrices @ turn.T
    weights = np.tile([0.7, 0.3], (4, 1))

    def flat(m: Any) -> Any:
        return np.stack([m[..., 0, 0], m[..., 0, 1], m[..., 1, 1]], axis=-1)

    before = score(history_m, mean_m, flat(matrices), weights, truth_m)
    after = score(history_m @ turn.T + shift_m, mean_m @ turn.T + shift_m, flat(turned), weights, truth_m @ turn.T + shift_m)
    for name in ("ade_m", "fde_m", "min_fde_m", "nll", "cv_ade_m", "inside_share", "step_error_m"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-6, atol=1e-7, err_msg=name)
