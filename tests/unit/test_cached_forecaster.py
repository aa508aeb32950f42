"""A model that remembers: equal numbers, each history asked about once, bounded, and only where it pays."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.builders import a_history
from trajops.errors import ShapeError
from trajops.forecasters.cached import LARGEST, CachedForecaster, where_it_pays
from trajops.forecasters.checks import check_forecaster, probe_histories
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.kalman import Kalman, KalmanNoise
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast


class Asked:
    """Two modes around constant velocity; keeps what it was asked about, and may take its time."""

    family = "asked"
    window = DEFAULT_WINDOW

    def __init__(self, pause_s: float = 0.0) -> None:
        self.questions: list[FloatArray] = []
        self.pause_s = pause_s

    def forecast(self, history_m: FloatArray) -> Forecast:
        self.questions.append(np.array(history_m))
        time.sleep(self.pause_s)
        one = ConstantVelocity().forecast(history_m)
        weights = np.tile([0.75, 0.25], (len(history_m), 1))
        twice = [np.concatenate([array, 1.5 * array], axis=1) for array in (one.mean_m, one.covariance_m2)]
        return Forecast(twice[0], twice[1], weights)


def assert_equal(one: Forecast, other: Forecast) -> None:
    for name in ("mean_m", "covariance_m2", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_what_is_remembered_equals_what_was_answered() -> None:
    model = Asked()
    cache = CachedForecaster(model, 100)
    histories = probe_histories(DEFAULT_WINDOW)
    assert_equal(cache.forecast(histories), Asked().forecast(histories))
    for rows in (slice(None), slice(3, 4), slice(None, None, -1), slice(0, 0), slice(1, 7, 2)):
        assert_equal(cache.forecast(histories[rows]), Asked().forecast(histories[rows]))
    assert (cache.meter.hits, cache.meter.misses, len(cache)) == (12 + 1 + 12 + 3, 12, 12)
    assert len(model.questions) == 2, "the first one, and the empty one, which is nothing to remember"


def test_only_what_is_new_is_asked() -> None:
    model = Asked()
    cache = CachedForecaster(model, 100)
    histories = probe_histories(DEFAULT_WINDOW)
    cache.forecast(histories[[2, 5]])
    assert_equal(cache.forecast(histories), Asked().forecast(histories))
    np.testing.assert_array_equal(model.questions[1], histories[[0, 1, 3, 4, *range(6, 12)]])
    assert (cache.meter.hits, cache.meter.misses) == (2, 12)


def test_one_bit_makes_another_history() -> None:
    model = Asked()
    cache = CachedForecaster(model, 100)
    history = a_history()
    cache.forecast(history)
    moved = history.copy()
    moved[0, 0, 0] = np.nextafter(moved[0, 0, 0], 1.0)
    assert_equal(cache.forecast(moved), Asked().forecast(moved))
    assert cache.meter.hits == 0


def test_any_layout_and_type_of_the_same_numbers_is_the_same_history() -> None:
    cache = CachedForecaster(Asked(), 100)
    history = a_history(3)
    cache.forecast(history)
    assert_equal(cache.forecast(np.asfortranarray(history)), Asked().forecast(history))
    assert_equal(cache.forecast(history[::-1]), Asked().forecast(history[::-1]))
    assert cache.meter.misses == 3


def test_the_one_asked_about_least_recently_goes_first() -> None:
    cache = CachedForecaster(Asked(), 3)
    histories = probe_histories(DEFAULT_WINDOW)
    for row in (0, 1, 2, 0, 3):
        cache.forecast(histories[row : row + 1])
    assert (cache.meter.hits, len(cache)) == (1, 3)
    cache.forecast(histories[[0]])
    assert cache.meter.hits == 2
    cache.forecast(histories[[1]])
    assert cache.meter.hits == 2


def test_bulk_passes_by() -> None:
    cache = CachedForecaster(Asked(), 1_000)
    many = np.tile(a_history(), (LARGEST + 1, 1, 1))
    cache.forecast(many)
    assert (cache.meter.hits, cache.meter.misses, len(cache)) == (0, 0, 0)
    cache.forecast(many[:LARGEST])
    assert cache.meter.misses == LARGEST


def test_an_answer_cannot_be_spoilt_by_who_gets_it() -> None:
    cache = CachedForecaster(Asked(), 10)
    first = cache.forecast(a_history())
    first.mean_m[:] = 0.0
    second = cache.forecast(a_history())
    assert_equal(second, Asked().forecast(a_history()))
    with pytest.raises(ValueError, match="read-only"):
        second.mean_m[:] = 0.0


def test_a_failure_is_not_remembered() -> None:
    class Broken(Asked):
        def forecast(self, history_m: FloatArray) -> Forecast:
            if not self.questions:
                self.questions.append(history_m)
                raise RuntimeError("broken")
            return super().forecast(history_m)

    cache = CachedForecaster(Broken(), 10)
    with pytest.raises(RuntimeError):
        cache.forecast(a_history())
    assert_equal(cache.forecast(a_history()), Asked().forecast(a_history()))
    with pytest.raises(ShapeError):
        cache.forecast(np.zeros((1, 7, 2)))


def test_what_nobody_can_be_answered_with_is_not_remembered() -> None:
    class Stumbles(Asked):
        def forecast(self, history_m: FloatArray) -> Forecast:
            found = super().forecast(history_m)
            return found if len(self.questions) > 1 else Forecast(found.mean_m * np.nan, found.covariance_m2, found.weights)

    cache = CachedForecaster(Stumbles(), 10)
    assert np.isnan(cache.forecast(a_history()).mean_m).all()
    assert_equal(cache.forecast(a_history()), Asked().forecast(a_history()))


def test_threads_may_ask_at_once() -> None:
    cache = CachedForecaster(Asked(), 5)
    histories = probe_histories(DEFAULT_WINDOW)
    wanted = Asked().forecast(histories)

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            rows = rng.integers(12, size=rng.integers(1, 6))
            np.testing.assert_array_equal(cache.forecast(histories[rows]).mean_m, wanted.mean_m[rows])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask, seed) for seed in range(4)]:
            done.result()
    assert len(cache) == 5
    assert cache.meter.hits > 0


def test_it_passes_the_conformance_suite() -> None:
    check_forecaster(CachedForecaster(Kalman(KalmanNoise(0.5, 0.01, 4.0)), 1_000))


def test_it_is_applied_where_it_pays() -> None:
    slow, fast = Asked(pause_s=0.01), ConstantVelocity()
    cached = where_it_pays(slow, 7)
    assert isinstance(cached, CachedForecaster)
    assert (cached.inner, cached.family, len(cached), cached.meter.hits, cached.meter.misses) == (slow, "asked", 0, 0, 0)
    assert where_it_pays(fast, 7) is fast
    assert where_it_pays(slow, 0) is slow
