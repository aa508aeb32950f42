"""Answers that many sessions share: how long they are kept."""

import pytest

from api.cached import Cached


class Time:
    """A clock that moves when something is computed, and by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.computed = 0

    def taking(self, seconds: float) -> int:
        self.now_s += seconds
        self.computed += 1
        return self.computed


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    held = Time()
    monkeypatch.setattr("api.cached.time.monotonic", lambda: held.now_s)
    return held


@pytest.mark.parametrize(("took_s", "kept_s"), [(0.01, 1.0), (0.5, 1.5), (20.0, 3.0)])
def test_what_takes_long_is_kept_longer_and_nothing_for_ever(time: Time, took_s: float, kept_s: float) -> None:
    cached = Cached()
    assert cached.get("key", lambda: time.taking(took_s)) == 1
    time.now_s += kept_s - 0.01
    assert cached.get("key", lambda: time.taking(took_s)) == 1
    time.now_s += 0.02
    assert cached.get("key", lambda: time.taking(took_s)) == 2


def test_what_may_be_older_is(time: Time) -> None:
    cached = Cached(keep_s=5.0)
    cached.get("key", lambda: time.taking(0.01))
    time.now_s += 4.9
    assert cached.get("key", lambda: time.taking(0.01)) == 1


def test_an_error_is_not_remembered(time: Time) -> None:
    cached = Cached()
    with pytest.raises(ZeroDivisionError):
        cached.get("key", lambda: 1 // 0)
    assert cached.get("key", lambda: time.taking(0.0)) == 1


def test_a_change_makes_all_forgotten(time: Time) -> None:
    cached = Cached()
    cached.get("key", lambda: time.taking(0.5))
    cached.clear()
    assert cached.get("key", lambda: time.taking(0.5)) == 2
