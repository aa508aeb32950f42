"""The bucket against exact arithmetic, and what a client reads about it."""

from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rate_limits import ClientBucket, Limiter
from trajops.clients import Client
from trajops.errors import BatchOverLimit, RateLimited
from trajops.rate_limits import Bucket, Limit

RATES = st.sampled_from([0.1, 0.5, 1.0, 3.0, 7.0, 100.0, 1e4])
ASKED = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 12)), min_size=1, max_size=60)
SLACK = 1e-3  # tokens; what floating point may be off by over such a sequence


@given(RATES, st.integers(1, 20), ASKED, st.floats(0, 1e6))
def test_no_interval_gives_more_than_burst_and_rate_allow(
    rate_per_s: float, burst: int, asked: list[tuple[float, int]], start_s: float
) -> None:
    bucket, now_s = Bucket("c", Limit(rate_per_s, burst), start_s), start_s
    given_at: list[tuple[float, int]] = []
    for pause_s, count in asked:
        now_s += pause_s
        if bucket.take(count, now_s):
            given_at.append((now_s, count))
    for first, (begin_s, _) in enumerate(given_at):
        for (end_s, _), total in zip(given_at[first:], accumulate(count for _, count in given_at[first:]), strict=True):
            assert total <= burst + rate_per_s * (end_s - begin_s) + SLACK


@given(RATES, st.integers(1, 20), ASKED)
def test_who_stays_below_the_limit_is_never_refused(rate_per_s: float, burst: int, asked: list[tuple[float, int]]) -> None:
    bucket, now_s = Bucket("c", Limit(rate_per_s, burst), 0.0), 0.0
    rate, exact, before = Fraction(rate_per_s), Fraction(burst), Fraction(0)
    for pause_s, count in asked:
        now_s += pause_s
        exact = min(Fraction(burst), exact + (Fraction(now_s) - before) * rate)
        before = Fraction(now_s)
        if count <= exact:
            exact -= count
            assert bucket.take(count, now_s)


@pytest.mark.parametrize("rate_per_s", [3.0, 7.0, 10.0, 1e3])
def test_who_asks_exactly_at_the_rate_is_never_refused(rate_per_s: float) -> None:
    bucket, now_s = Bucket("c", Limit(rate_per_s, 1), 0.0), 0.0
    for _ in range(10_000):
        assert bucket.take(1, now_s)
        now_s += 1 / rate_per_s


def test_a_refused_request_takes_nothing_and_says_when() -> None:
    bucket = Bucket("c", Limit(2.0, 10), 0.0)
    assert bucket.take(7, 0.0)
    assert not bucket.take(4, 0.0)
    assert bucket.take(3, 0.0)
    refusal = bucket.refusal(7)
    assert (refusal.code, refusal.details) == ("rate_limited", {"retry_after_s": 4})
    assert "2 predictions a second and 10 at once; try again in 4 s" in refusal.message
    assert not bucket.take(7, 3.4)
    assert bucket.take(7, 3.5)


def test_what_can_never_fit_is_told_so_without_a_time() -> None:
    refusal = Bucket("c", Limit(2.0, 10), 0.0).refusal(11)
    assert isinstance(refusal, BatchOverLimit)
    assert (refusal.code, refusal.details) == ("batch_over_limit", {})


def test_a_clock_that_stands_or_an_older_reading_gives_nothing() -> None:
    bucket = Bucket("c", Limit(1.0, 1), 100.0)
    assert bucket.take(1, 100.0)
    assert [bucket.take(1, at_s) for at_s in (100.0, 99.0, 100.9, 99.5, 101.0)] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("limit", "processes", "share"),
    [
        pytest.param(Limit(100.0, 200), 1, Limit(100.0, 200), id="alone"),
        pytest.param(Limit(100.0, 200), 4, Limit(25.0, 50), id="four"),
        pytest.param(Limit(1.0, 2), 4, Limit(0.25, 1), id="never none"),
    ],
)
def test_processes_that_do_not_talk_share_the_quota(limit: Limit, processes: int, share: Limit) -> None:
    bucket = Bucket("c", limit, 0.0, processes=processes)
    assert bucket.share == share
    assert bucket.take(share.burst, 0.0)
    assert not bucket.take(1, 0.0)


# What a client reads


@pytest.mark.parametrize(
    ("limit", "policy"),
    [
        pytest.param(Limit(10.0, 50), b'"client";q=50;w=5', id="whole window"),
        pytest.param(Limit(3.0, 10), b'"client";q=10;w=4', id="rounded up, so that it never promises more"),
        pytest.param(Limit(1_000.0, 10), b'"client";q=10;w=1', id="no window below a second"),
    ],
)
def test_the_policy_promises_no_more_than_the_bucket_gives(limit: Limit, policy: bytes) -> None:
    assert ClientBucket("c", limit, 0.0).policy == (b"ratelimit-policy", policy)


def test_what_remains_is_rendered_anew_when_it_changes() -> None:
    bucket = ClientBucket("c", Limit(10.0, 50), 0.0)
    assert bucket.remaining() == (b"ratelimit", b'"client";r=50;t=0')
    bucket.take(45, 0.0)
    assert bucket.remaining() == (b"ratelimit", b'"client";r=5;t=5')
    assert bucket.remaining() is bucket.remaining()
    bucket.take(1, 0.15)
    assert bucket.remaining() == (b"ratelimit", b'"client";r=5;t=5')
    bucket.tokens = -3.0
    assert bucket.remaining() == (b"ratelimit", b'"client";r=0;t=6')


def test_after_a_refusal_the_field_says_what_retry_after_says() -> None:
    bucket = ClientBucket("c", Limit(1.0, 50), 0.0)
    bucket.take(50, 0.0)
    assert bucket.remaining_after_refusal(RateLimited("no", retry_after_s=7))[1] == b'"client";r=0;t=7'
    assert bucket.remaining_after_refusal(ValueError())[1] == b'"client";r=0;t=51'


# Whose bucket


def test_all_credentials_of_a_client_share_a_bucket_and_no_others() -> None:
    limiter = Limiter(Limit(1.0, 5))
    ada = limiter.admitted(Client("ada", "viewer"))
    again = limiter.admitted(Client("ada", "viewer"))
    assert ada.bucket is again.bucket is not None
    assert limiter.admitted(Client("ben", "viewer")).bucket is not ada.bucket
    one, other = (limiter.admitted(Client("key:robot", "viewer", limited_as=key)) for key in ("key:1", "key:2"))
    assert one.bucket is not other.bucket


def test_a_limit_of_its_own_goes_before_the_default() -> None:
    limiter = Limiter(Limit(1.0, 5), processes=2)
    robot = limiter.admitted(Client("key:robot", "viewer", limit=Limit(100.0, 1_000))).bucket
    assert robot is not None
    assert (robot.limit, robot.share) == (Limit(100.0, 1_000), Limit(50.0, 500))
    changed = limiter.admitted(Client("key:robot", "viewer", limit=Limit(7.0, 8))).bucket
    assert changed is not None
    assert changed.limit == Limit(7.0, 8)
    assert limiter.admitted(Client("key:robot", "viewer", limit=Limit(0.0, 1))).bucket is None


def test_buckets_of_forgotten_clients_are_forgotten() -> None:
    limiter = Limiter(Limit(1.0, 5))
    kept = [limiter.admitted(Client(f"c{number}", "viewer")) for number in range(3)]
    for number in range(100):
        limiter.admitted(Client(f"d{number}", "viewer"))
    assert len(limiter.buckets) == len(kept) == 3


def test_no_limit_no_bucket() -> None:
    assert Limiter(Limit(0.0, 1)).admitted(Client("ada", "viewer")).bucket is None
