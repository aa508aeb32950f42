"""What a model is asked about in production is what it was fitted on: late, doubled and uneven positions through the real serving path
give the history that training cuts from the same clean track at the same time."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trajops.track_buffer
from data.stubs import SetClock
from data.tracks.redis_tracks import RedisTracks
from tests.builders import CLOCK_NS, CLOCK_S
from tests.conftest import a_redis
from trajops.errors import WindowTooShort
from trajops.shared_tracks import News
from trajops.track_buffer import TrackBuffer
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Scene, Track, WindowSpec
from trajops.windows import cut, latest_history, resample

MAX_GAP_S = 1.0
TICK_S = 0.02  # further apart than what counts as the same time
MAX_SPEED_MPS = 10.0
STEP_TICKS, WIDEST_TICKS = round(DEFAULT_WINDOW.dt_s / TICK_S), round(MAX_GAP_S / TICK_S)

# Reports in the order in which they arrive → the history at that time, as serving cuts it.
Serve = Callable[[list[tuple[float, tuple[float, float]]], float], FloatArray]


class Case(NamedTuple):
    """A clean track, the order in which its samples arrive, and when it is asked about.

    It is asked about at a sample that lies on the grid which training lays from the first sample after the last gap, so that both
    cut at the same time. What comes later only training sees.
    """

    track: Track
    arrivals: list[int]
    asked_s: float
    is_long_enough: bool


@st.composite
def cases(draw: st.DrawFn, starts_s: st.SearchStrategy[float]) -> Case:
    """Samples 20 ms to 1 s apart, perhaps after a gap and what was there before it."""
    before = draw(st.lists(st.integers(1, 120), max_size=20))
    begin = sum(before) + draw(st.integers(WIDEST_TICKS + 1, 200)) if before else 0
    steps = draw(st.integers(4, 30))
    end = begin + steps * STEP_TICKS
    piece = begin + np.cumsum([0, *draw(st.lists(st.integers(1, WIDEST_TICKS), max_size=120)), *[WIDEST_TICKS] * 20])
    later = range(end, end + (DEFAULT_WINDOW.t_pred + 1) * STEP_TICKS, 5)
    ticks = np.unique([*np.cumsum([0, *before] if before else []), *piece[piece < end], *later]).astype(int)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    velocity_mps = rng.uniform(-MAX_SPEED_MPS / 2, MAX_SPEED_MPS / 2, (len(ticks), 2))
    positions_m = rng.uniform(-500, 500, 2) + np.cumsum(velocity_mps * np.diff(ticks, prepend=0)[:, None] * TICK_S, axis=0)
    track = Track("a", draw(starts_s) + ticks * TICK_S, positions_m)
    heard = np.flatnonzero(ticks <= end)
    doubled = rng.choice(heard, size=draw(st.integers(0, 10)))
    return Case(track, rng.permutation([*heard, *doubled]).tolist(), float(track.times_s[heard[-1]]), steps >= DEFAULT_WINDOW.t_obs - 1)


def check_no_skew(case: Case, serve: Serve) -> None:
    """The body of all tests here."""
    windows = cut(Scene("s", tuple(resample(case.track, max_gap_s=MAX_GAP_S))))
    [found] = np.nonzero(np.abs(windows.observed_at_s - case.asked_s) < TICK_S / 2)
    assert len(found) == case.is_long_enough
    reports = [(float(case.track.times_s[index]), tuple(case.track.positions_m[index].tolist())) for index in case.arrivals]
    if not case.is_long_enough:
        with pytest.raises(WindowTooShort):
            serve(reports, case.asked_s)
        return
    # Training counts the grid forwards and serving backwards, so that their times differ by the rounding of the clock: 1e-14 s for
    # clocks that begin at 0, 5e-7 s for epoch seconds. An agent moves by so much meanwhile.
    rounding_s = 4 * np.spacing(case.track.times_s[-1])
    np.testing.assert_allclose(serve(reports, case.asked_s), windows.history_m[found[0]], rtol=0, atol=1e-9 + rounding_s * MAX_SPEED_MPS)


def through_a_buffer(reports: list[tuple[float, tuple[float, float]]], asked_s: float) -> FloatArray:
    buffer = TrackBuffer(SetClock(CLOCK_NS), max_gap_s=MAX_GAP_S)
    for at_s, position_m in reports:
        buffer.observe("s", "a", at_s, position_m)
    observed_at_s, history_m = buffer.history("s", "a")
    assert observed_at_s == asked_s
    return history_m


@pytest.fixture(scope="module")
def through_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Told to three processes, of which the last took over now and then, and asked of a fourth that was told nothing."""
    with a_redis(tmp_path_factory.mktemp("redis")) as server, closing(RedisTracks(server.url, a_process().rules)) as tracks:

        def serve(reports: list[tuple[float, tuple[float, float]]], asked_s: float) -> FloatArray:
            agent_id = uuid4().hex
            told = [a_process() for _ in range(3)]
            for number, (at_s, position_m) in enumerate(reports):
                process = told[number % 3]
                process.observe("s", agent_id, at_s, position_m)
                if number % 5 == 4:
                    exchange(tracks, process, agent_id)
            for process in told:
                exchange(tracks, process, agent_id)
            asked = a_process()
            for process in (asked, told[0]):
                exchange(tracks, process, agent_id)
            observed_at_s, history_m = asked.history("s", agent_id)
            assert observed_at_s == asked_s
            np.testing.assert_array_equal(told[0].history("s", agent_id)[1], history_m)
            return history_m

        yield serve


def a_process() -> TrackBuffer:
    buffer = TrackBuffer(SetClock(CLOCK_NS), max_gap_s=MAX_GAP_S)
    buffer.outbox = deque()
    return buffer


def exchange(tracks: RedisTracks, process: TrackBuffer, agent_id: str) -> None:
    assert process.outbox is not None
    news: list[News] = list(process.outbox)
    process.outbox.clear()
    [shared] = tracks.exchange(news, [("s", agent_id)])
    assert shared is not None
    process.take_over("s", agent_id, shared)


scene_clock, epoch_clock = st.just(0.0), st.floats(CLOCK_S, CLOCK_S + 1e6)
many = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@many
@given(cases(scene_clock))
def test_the_track_buffer_gives_what_training_cuts(case: Case) -> None:
    check_no_skew(case, through_a_buffer)


@many
@given(cases(epoch_clock))
def test_so_it_does_by_the_clock_of_production(case: Case) -> None:
    check_no_skew(case, through_a_buffer)


@settings(many, max_examples=60)
@given(case=cases(epoch_clock))
def test_so_do_processes_that_share_redis(through_redis: Serve, case: Case) -> None:
    check_no_skew(case, through_redis)


def nearest(times_s: FloatArray, positions_m: FloatArray, window: WindowSpec, **rules: Any) -> FloatArray:
    """Another resampler: the nearest sample instead of the interpolation."""
    latest_history(times_s, positions_m, window, **rules)  # refuses what the real one refuses
    grid_s = times_s[-1] - np.arange(window.t_obs - 1, -1, -1) * window.dt_s
    return positions_m[np.abs(times_s[None] - grid_s[:, None]).argmin(axis=1)]


def newest_samples(times_s: FloatArray, positions_m: FloatArray, window: WindowSpec, **rules: Any) -> FloatArray:
    """No resampler: the newest samples, as if they were regular."""
    latest_history(times_s, positions_m, window, **rules)
    return positions_m[-window.t_obs :]


def careless(times_s: FloatArray, positions_m: FloatArray, window: WindowSpec, **rules: Any) -> FloatArray:
    """The right interpolation under another rule of continuity: over every gap."""
    return latest_history(times_s, positions_m, window, max_gap_s=1e9)


@pytest.mark.parametrize("other", [nearest, newest_samples, careless])
def test_another_resampler_would_be_noticed(other: Callable[..., FloatArray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajops.track_buffer, "latest_history", other)

    @settings(many, database=None, report_multiple_bugs=False)
    @given(cases(scene_clock))
    def body(case: Case) -> None:
        check_no_skew(case, through_a_buffer)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        body()
