"""Sign-in: guesses are few, a flood of them holds nobody else up, memory is bounded."""

import asyncio
import threading
from typing import Any

import pytest

from api.sign_ins import ADDRESS, AT_ONCE, NAME, WAITING, SignIns
from trajops.errors import Overloaded, RateLimited, Unauthenticated


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wrong() -> Any:
    raise Unauthenticated("no")


def tries(guard: SignIns, *attempts: tuple[str, str, Any]) -> list[str]:
    """What each attempt in turn is told."""

    async def run() -> list[str]:
        found = []
        for address, name, check in attempts:
            try:
                found.append(await guard.check(address, name, check))
            except (Unauthenticated, RateLimited) as error:
                found.append(error.code)
        return found

    return asyncio.run(run())


def test_a_guesser_gets_ten_and_then_one_in_ten_seconds() -> None:
    clock = Clock()
    guard = SignIns(clock=clock)
    found = tries(guard, *[("a", "ada", wrong)] * 12)
    assert found == ["unauthenticated"] * NAME.burst + ["rate_limited"] * 2
    for _ in range(3):
        clock.now_s += 1 / NAME.rate_per_s
        assert tries(guard, *[("a", "ada", wrong)] * 2) == ["unauthenticated", "rate_limited"]


def test_a_success_takes_nothing_and_forgives() -> None:
    guard = SignIns(clock=Clock())
    assert tries(guard, *[("a", "ada", lambda: "in")] * 50) == ["in"] * 50
    almost = [("a", "ada", wrong)] * (NAME.burst - 1)
    assert tries(guard, *almost, ("a", "ada", lambda: "in"), *almost)[-1] == "unauthenticated"


def test_trying_many_names_from_one_address_is_bounded_too_and_another_address_is_free() -> None:
    guard = SignIns(clock=Clock())
    found = tries(guard, *[("a", f"name{n}", wrong) for n in range(ADDRESS.burst + 5)])
    assert found == ["unauthenticated"] * ADDRESS.burst + ["rate_limited"] * 5
    assert tries(guard, ("b", "name1", lambda: "in")) == ["in"]


def test_memory_is_bounded() -> None:
    guard = SignIns(capacity=50, clock=Clock())
    tries(guard, *[(f"a{n}", "ada", wrong) for n in range(200)])
    assert len(guard._failures) == 50


def test_few_are_checked_at_once_few_wait_and_the_rest_is_refused() -> None:
    go_on, all_run, running, most = threading.Event(), threading.Event(), 0, 0
    lock = threading.Lock()

    def slow() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == AT_ONCE:
                all_run.set()
        assert go_on.wait(20)
        with lock:
            running -= 1
        return "in"

    async def run() -> list[Any]:
        guard = SignIns()
        asked = [asyncio.create_task(guard.check("a", f"n{n}", slow)) for n in range(AT_ONCE + WAITING + 3)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert all(isinstance(one.exception(), Overloaded) for one in done)
        await asyncio.to_thread(all_run.wait, 20)
        go_on.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(run())
    assert [type(one) for one in found].count(Overloaded) == 3
    assert found.count("in") == AT_ONCE + WAITING
    assert most == AT_ONCE


@pytest.mark.parametrize("error", [RuntimeError("unforeseen")])
def test_another_error_is_no_failure_of_the_client(error: Exception) -> None:
    def broken() -> Any:
        raise error

    guard = SignIns(clock=Clock())
    with pytest.raises(RuntimeError):
        asyncio.run(guard.check("a", "ada", broken))
    assert not guard._failures
