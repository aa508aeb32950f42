"""One body for the shared quota in memory and in Redis."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from data.limits.redis_quota import AT_ONCE, RedisQuota
from data.stubs import MemoryQuota
from tests.conftest import free_port
from trajops.errors import EnvironmentProblem, Unavailable
from trajops.rate_limits import Limit, Report

SLOW = Limit(0.001, 100)  # gains nothing during a test


@pytest.fixture(params=["memory", "redis"])
def quota(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryQuota(time.monotonic)
        return
    real = RedisQuota(request.getfixturevalue("redis_server").url)
    yield real
    real.close()


def settle(quota: Any, charge: int, wanted: int = 0, limit: Limit = SLOW, limit_id: str = "c") -> tuple[float, int]:
    [(level, reserved)] = quota.settle([Report(limit_id, limit, charge, wanted)])
    return (round(level, 1), reserved)


def test_what_was_given_out_is_gone_for_all(quota: Any) -> None:
    assert settle(quota, 30) == (70.0, 0)
    assert settle(quota, 50) == (20.0, 0)
    assert settle(quota, 5, limit_id="other") == (95.0, 0)


def test_what_is_reserved_is_gone_too_and_can_be_given_back(quota: Any) -> None:
    assert settle(quota, 10, wanted=60) == (30.0, 60)
    assert settle(quota, 0, wanted=60) == (0.0, 30), "as far as it is there"
    assert settle(quota, 0, wanted=1) == (0.0, 0)
    assert settle(quota, -60) == (60.0, 0)
    assert settle(quota, -60) == (100.0, 0), "never more than the burst"


def test_a_debt_is_remembered_up_to_the_burst(quota: Any) -> None:
    assert settle(quota, 130, wanted=5) == (-30.0, 0)
    assert settle(quota, 500, wanted=5) == (-100.0, 0)
    assert settle(quota, -120, wanted=5) == (15.0, 5)


def test_tokens_come_back_with_time(quota: Any) -> None:
    limit = Limit(100.0, 100)
    began_s = time.monotonic()
    assert settle(quota, 100, limit=limit)[0] == 0.0
    time.sleep(0.2)
    level, _ = settle(quota, 0, limit=limit)
    assert 19.0 <= level <= 100 * (time.monotonic() - began_s) + 1


def test_whole_tokens_are_reserved_and_the_fraction_stays(quota: Any) -> None:
    limit = Limit(7.0, 100)
    quota.settle([Report("c", limit, 100, 0)])
    time.sleep(0.2)
    [(level, reserved)] = quota.settle([Report("c", limit, 0, 50)])
    assert reserved >= 1
    assert 0 < level < 1


def test_many_clients_are_answered_in_order(quota: Any) -> None:
    reports = [Report(f"c{number}", Limit(0.001, 10_000), number, 0) for number in range(2 * AT_ONCE + 1)]
    assert [round(level) for level, _ in quota.settle(reports)] == [10_000 - number for number in range(len(reports))]
    assert quota.settle([]) == []


@pytest.mark.parametrize("limit", [Limit(0.001, 10**12), Limit(1e9, 1), Limit(1e9, 10**12), Limit(0.1, 1)], ids=str)
def test_odd_limits_are_kept_exactly(quota: Any, limit: Limit) -> None:
    [(level, reserved)] = quota.settle([Report("c", limit, 0, limit.burst)])
    assert (level, reserved) == (0.0, limit.burst)
    [(level, _)] = quota.settle([Report("c", limit, -limit.burst, 0)])
    assert level == pytest.approx(limit.burst)


# Redis alone


def test_processes_that_report_at_once_are_all_booked(redis_server: Any) -> None:
    quotas = [RedisQuota(redis_server.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(lambda one=one: [settle(one, 1, limit=Limit(0.001, 1_000)) for _ in range(50)]) for one in quotas]:
            done.result()
    assert settle(quotas[0], 0, limit=Limit(0.001, 1_000)) == (800.0, 0)
    for one in quotas:
        one.close()


def test_a_client_that_is_whole_again_is_forgotten(redis_server: Any) -> None:
    import redis

    quota = RedisQuota(redis_server.url)
    settle(quota, 10, limit=Limit(100.0, 1))
    with redis.Redis.from_url(redis_server.url) as client:
        assert 0 < client.pttl("trajops:quota:c") <= 1_020
    quota.close()


def test_redis_that_goes_and_comes_back_is_used_again(redis_server: Any) -> None:
    quota = RedisQuota(redis_server.url)
    assert settle(quota, 30) == (70.0, 0)
    redis_server.kill()
    for _ in range(2):
        with pytest.raises(Unavailable, match="Redis cannot be reached"):
            settle(quota, 1)
        with pytest.raises(Unavailable):
            quota.settle([])
    redis_server.start()
    assert quota.settle([]) == []
    assert settle(quota, 30) == (70.0, 0), "it has forgotten everything, and is asked all the same"
    quota.close()


def test_redis_that_is_away_is_no_reason_not_to_start() -> None:
    quota = RedisQuota(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Unavailable):
        quota.settle([])
    quota.close()


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://127.0.0.1:6379", "redis://127.0.0.1:port"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_REDIS_URL"):
        RedisQuota(url)
