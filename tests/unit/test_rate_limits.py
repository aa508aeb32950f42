"""The bucket against exact arithmetic, and what a client reads about it."""

import asyncio
import time
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.quota_sync import QuotaSync
from api.rate_limits import ClientBucket, Limiter
from api.wiring import Parts
from data.stubs import MemoryQuota
from trajops.clients import Client
from trajops.errors import BatchOverLimit, RateLimited
from trajops.rate_limits import Bucket, Limit, Report, Settled
from trajops.settings import Settings

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


def test_an_older_reading_of_the_clock_costs_nobody_anything() -> None:
    bucket = Bucket("c", Limit(100.0, 5), 0.0)
    assert [bucket.take(1, at_s) for at_s in (10.0, 9.9, 9.8, 10.0, 10.0)] == [True] * 5


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


def test_what_clients_were_refused_is_counted_over_all_of_them() -> None:
    limiter = Limiter(Limit(1.0, 5))
    for client_id, count in (("ada", 6), ("ben", 4)):
        bucket = limiter.admitted(Client(client_id, "viewer")).bucket
        assert bucket is not None
        bucket.refusal(count)
    assert (limiter.refused.requests, limiter.refused.predictions) == (2, 10)


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


# Several processes that share


class Processes:
    """Buckets of one client in several processes over one shared quota, on one clock."""

    def __init__(self, limit: Limit, count: int) -> None:
        self.now_s = 0.0
        self.quota = MemoryQuota(lambda: self.now_s)
        self.buckets = [Bucket("c", limit, 0.0, processes=count, is_shared=True) for _ in range(count)]

    def sync(self, number: int) -> None:
        bucket = self.buckets[number]
        report = bucket.report(self.now_s)
        if report is not None:
            bucket.settle(self.quota.settle([report])[0], self.now_s)

    def ask(self, number: int, count: int = 1) -> bool:
        bucket = self.buckets[number]
        is_given = bucket.take(count, self.now_s)
        if not is_given:
            bucket.refusal(count)
        return is_given


STEPS = st.lists(st.tuples(st.floats(0.001, 0.1), st.integers(0, 2), st.integers(1, 15)), min_size=20, max_size=150)


@given(st.sampled_from([5.0, 20.0, 200.0]), st.integers(1, 60), STEPS)
def test_processes_that_share_give_no_more_than_twice_the_burst_and_the_rate(
    rate_per_s: float, burst: int, steps: list[tuple[float, int, int]]
) -> None:
    processes, given_total = Processes(Limit(rate_per_s, burst), 3), 0
    next_sync_s = [0.03, 0.06, 0.1]
    for pause_s, number, count in steps:
        processes.now_s += pause_s
        for one in range(3):
            if processes.now_s >= next_sync_s[one]:
                processes.sync(one)
                next_sync_s[one] = processes.now_s + 0.1
        for _ in range(count):
            given_total += processes.ask(number)
        # The part beyond the burst is what others gave out before they heard of it; at least one token a process.
        assert given_total <= burst + max(burst, 3) + rate_per_s * (processes.now_s + 0.2)


def rate_of(processes: Processes, askers: list[int], seconds: float, asked_per_s: float = 1_000.0) -> float:
    """Tokens a second that processes give out under a steady load, one report every 0.1 s each."""
    given_total, steps = 0, round(seconds * asked_per_s)
    for step in range(steps):
        processes.now_s += 1 / asked_per_s
        if step % round(asked_per_s / 10) == 0:
            for number in range(len(processes.buckets)):
                processes.sync(number)
        given_total += processes.ask(askers[step % len(askers)])
    return given_total / seconds


@pytest.mark.parametrize("askers", [[0], [0, 1], [0, 1, 2, 3], [0, 0, 0, 1]], ids=str)
def test_a_client_gets_its_whole_rate_whatever_processes_it_talks_to(askers: list[int]) -> None:
    processes = Processes(Limit(100.0, 40), 4)
    rate_of(processes, askers, 5.0)
    assert rate_of(processes, askers, 20.0) == pytest.approx(100.0, rel=0.03)


def test_who_stays_below_the_rate_is_not_refused_although_it_talks_to_one_process_only() -> None:
    processes = Processes(Limit(100.0, 40), 4)
    assert rate_of(processes, [0], 20.0, asked_per_s=95.0) == pytest.approx(95.0)


def test_without_a_shared_quota_one_process_gives_its_share() -> None:
    processes = Processes(Limit(100.0, 40), 4)
    processes.sync = lambda number: processes.buckets[number].go_on_alone()  # type: ignore[method-assign]
    rate_of(processes, [0], 5.0)
    assert rate_of(processes, [0], 20.0) == pytest.approx(25.0, rel=0.03)


def test_a_batch_beyond_the_share_gets_its_tokens_when_it_comes_again() -> None:
    processes = Processes(Limit(10.0, 100), 4)
    assert not processes.ask(0, 80)
    processes.sync(0)
    processes.now_s = 1.0
    processes.sync(0)
    assert processes.ask(0, 80)
    processes.sync(0)
    assert not processes.ask(0, 40)
    processes.now_s = 1.5
    processes.sync(1)
    assert not processes.ask(1, 40), "the others know of it"


def test_tokens_that_were_kept_in_vain_go_back() -> None:
    processes = Processes(Limit(1.0, 100), 4)
    assert not processes.ask(0, 100)
    processes.sync(0)
    for _ in range(30):
        processes.now_s += 0.1
        processes.sync(0)
    assert not processes.ask(1, 90)
    processes.sync(1)
    assert processes.ask(1, 90)


def test_a_batch_that_never_fits_where_quotas_are_shared() -> None:
    bucket = Bucket("c", Limit(10.0, 100), 0.0, processes=4, is_shared=True)
    assert not isinstance(bucket.refusal(100), BatchOverLimit)
    assert isinstance(bucket.refusal(101), BatchOverLimit)
    assert bucket.refusal(100).details == {"retry_after_s": 8}, "75 tokens are missing here, and come at the rate of all"


def test_a_client_that_does_nothing_is_not_reported() -> None:
    bucket = Bucket("c", Limit(10.0, 100), 0.0, processes=4, is_shared=True)
    assert bucket.report(0.0) is None
    bucket.take(1, 0.0)
    assert bucket.report(0.1) == Report("c", Limit(10.0, 100), 1, 1)
    bucket.settle(Settled(98.0, 1), 0.1)
    assert bucket.report(0.2) == Report("c", Limit(10.0, 100), -1, 0)
    bucket.settle(Settled(100.0, 0), 0.2)
    assert bucket.report(0.3) is None


def test_what_is_given_out_while_the_report_is_on_its_way_comes_off() -> None:
    bucket = Bucket("c", Limit(0.001, 100), 0.0, processes=2, is_shared=True)
    bucket.take(10, 0.0)
    assert bucket.report(0.0) is not None
    bucket.take(5, 0.0)
    bucket.settle(Settled(80.0, 10), 0.0)
    assert bucket.tokens == 80.0 / 2 + 10 - 5


def test_alone_a_process_keeps_nothing_beyond_its_share() -> None:
    bucket = Bucket("c", Limit(1.0, 100), 0.0, processes=4, is_shared=True)
    bucket.settle(Settled(40.0, 60), 0.0)
    assert bucket.tokens == 70.0
    bucket.go_on_alone()
    assert not bucket.take(26, 1.0)
    assert bucket.take(25, 1.0)


# Keeping in step


def test_an_outage_is_told_once_and_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    limiter, quota = Limiter(Limit(10.0, 100), processes=2, is_shared=True), MemoryQuota(lambda: 0.0)
    sync = QuotaSync(limiter, quota)
    bucket = limiter.admitted(Client("ada", "viewer")).bucket
    assert bucket is not None

    def turn(count: int) -> float:
        for _ in range(count):
            bucket.take(1, time.perf_counter())
            asyncio.run(sync.turn())
        return bucket.tokens

    caplog.set_level("INFO", "api.quota_sync")
    assert turn(10) == pytest.approx(45.0, abs=2.0), "half of the 90 that are left"
    quota.is_away = True
    assert turn(10) == pytest.approx(35.0, abs=2.0), "goes on from what it has"
    assert not sync.is_up
    quota.is_away = False
    asyncio.run(sync.turn())
    assert sync.is_up
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_fault_does_not_end_the_task(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Limiter(Limit(10.0, 100), processes=2, is_shared=True)
    quota = MemoryQuota(lambda: 0.0)
    client = limiter.admitted(Client("ada", "viewer"))
    assert client.bucket is not None
    broken = [ZeroDivisionError("planted")]

    def settle(reports: Any) -> Any:
        if broken:
            raise broken.pop()
        return MemoryQuota.settle(quota, reports)

    quota.settle = settle  # type: ignore[method-assign]

    async def run() -> None:
        async with QuotaSync(limiter, quota, every_s=0.001):
            for _ in range(1_000):
                assert client.bucket is not None
                client.bucket.take(1, time.perf_counter())
                await asyncio.sleep(0.002)
                if client.bucket.tokens < 48.0 and not broken:
                    return

    asyncio.run(run())
    assert "could not be settled" in caplog.text
    assert client.bucket.tokens < 49.0


@pytest.mark.parametrize(("given", "processes"), [({}, 1), ({"api_workers": 4}, 4), ({"api_workers": 4, "api_processes": 12}, 12)], ids=str)
def test_a_limit_is_shared_out_among_all_processes_that_there_are(tmp_path: Path, given: dict[str, int], processes: int) -> None:
    parts = Parts(Settings(var_dir=tmp_path, rate_limit_per_s=60, rate_limit_burst=600, **given))
    bucket = parts.limiter.admitted(Client("ada", "viewer")).bucket
    assert bucket is not None
    assert bucket.share == Limit(60 / processes, 600 // processes)
