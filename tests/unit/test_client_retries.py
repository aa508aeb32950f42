"""When a client tries again: the pauses stay within jitter, patience and deadline, and each kind of call within what is safe."""

import itertools
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajops.client.call import Call
from trajops.client.errors import ApiProblem, ApiUnavailable
from trajops.client.exchange import Broken, Exchange, Options, Reply
from trajops.client.retries import Failure, Kind, Policy, Retry, RetryPredictions, retry_after_s

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
SECONDS = st.floats(0, 1e6)
POLICIES = st.builds(Policy, st.integers(1, 2_000), st.floats(0, 100), st.floats(0, 1_000))
UNSENT, LOST = Failure(Kind.UNSENT), Failure(Kind.LOST)
REFUSED = Failure(Kind.ANSWERED, 503, "overloaded", 0.0)


@given(POLICIES, st.integers(1, 2_000), SECONDS, st.none() | SECONDS, st.floats(0, 1, exclude_max=True))
def test_a_pause_is_within_jitter_patience_and_deadline(
    policy: Policy, tries: int, left_s: float, after_s: float | None, chance: float
) -> None:
    failure = Failure(Kind.ANSWERED, 503, "overloaded", after_s)
    pause_s = policy.pause_s(Retry.READ, failure, tries=tries, left_s=left_s, chance=chance)
    if pause_s is None:
        return
    asked_s = after_s or 0.0
    assert tries < policy.attempts
    assert asked_s <= policy.longest_wait_s
    assert pause_s < left_s
    ceiling_s = min(policy.longest_wait_s, policy.base_s * 2.0 ** min(tries - 1, 32))
    assert asked_s <= pause_s <= asked_s + ceiling_s


@given(st.integers(1, 30))
def test_the_jitter_is_full(tries: int) -> None:
    """Uniform from nothing to a ceiling that doubles: half of the chance is half of the pause."""
    policy = Policy(100, base_s=0.1, longest_wait_s=60.0)
    pauses = [policy.pause_s(Retry.READ, LOST, tries=tries, left_s=1e9, chance=chance) for chance in (0.0, 0.5, 1.0)]
    ceiling_s = min(60.0, 0.1 * 2 ** (tries - 1))
    assert pauses == pytest.approx([0.0, ceiling_s / 2, ceiling_s])


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=30),
    st.lists(st.none() | st.floats(0, 5), min_size=1, max_size=30),
    st.floats(0.1, 20),
    st.floats(0, 1, exclude_max=True),
)
def test_all_tries_and_pauses_of_a_call_end_before_its_deadline(
    tries_s: list[float], after_s: list[float | None], deadline_s: float, chance: float
) -> None:
    """A call of tries that each take some time, but no longer than the exchange allows, and fail."""
    now_s = [1_000.0]
    options = Options("http://a", None, 100.0, 100.0, deadline_s, Policy(200), 1, None)
    exchange = Exchange(a_read(), options, clock=lambda: now_s[0], chance=lambda: chance)

    def fail(takes_s: float, asks_s: float | None) -> None:
        waits = exchange.waits()
        assert max(waits.connect_s, waits.read_s) <= waits.left_s
        now_s[0] += min(takes_s, waits.left_s)
        pause_s = exchange.pause_after(Reply(503, "", {} if asks_s is None else {"retry-after": str(int(asks_s))}, b""))
        assert pause_s is not None
        now_s[0] += pause_s

    with suppress(ApiProblem):
        for takes_s, asks_s in zip(itertools.cycle(tries_s), itertools.cycle(after_s), strict=False):
            fail(takes_s, asks_s)
    assert now_s[0] - 1_000.0 <= deadline_s + 0.001


def a_read() -> Call[bytes]:
    return Call("GET", "/x", bytes, "bytes", Retry.READ)


SAFE: dict[tuple[Retry, RetryPredictions], set[str]] = {
    (Retry.READ, "never"): {"unsent", "lost", "refused", "away"},
    (Retry.KEYED, "never"): {"unsent", "lost", "refused", "away"},
    (Retry.RECORDED, "never"): set(),
    (Retry.RECORDED, "refused"): {"unsent", "refused"},
    (Retry.RECORDED, "lost"): {"unsent", "lost", "refused", "away"},
    (Retry.ONCE, "lost"): {"unsent"},
}
FAILURES = {
    "unsent": UNSENT,
    "lost": LOST,
    "refused": REFUSED,
    "away": Failure(Kind.ANSWERED, 503),  # a proxy's
    "gone": Failure(Kind.ANSWERED, 404, "not_found"),
    "too large for ever": Failure(Kind.ANSWERED, 429, "batch_over_limit", 0.0),
}


@pytest.mark.parametrize("allowed", SAFE, ids=str)
@pytest.mark.parametrize("failure", FAILURES)
def test_each_kind_of_call_is_repeated_where_that_is_safe(allowed: tuple[Retry, RetryPredictions], failure: str) -> None:
    retry, predictions = allowed
    pause_s = Policy(predictions=predictions).pause_s(retry, FAILURES[failure], tries=1, left_s=10.0, chance=0.5)
    assert (pause_s is not None) == (failure in SAFE[allowed])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Tue, 24 Nov 2026 03:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 02:59:00 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1" * 400, None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_client(value: str) -> None:
    found = retry_after_s(value, NOW)
    assert found is None or found >= 0


def test_a_first_try_is_made_however_short_the_deadline_is() -> None:
    exchange = Exchange(a_read(), Options("http://a", None, 1.0, 1.0, 1e-9, Policy(), 1, None))
    assert min(exchange.waits()) > 0
    with pytest.raises(ApiUnavailable) as caught:
        exchange.pause_after(Broken(TimeoutError(), is_unsent=False, words="timed out"))
    assert caught.value.request_id == exchange.request_id
    assert caught.value.tries == 1
