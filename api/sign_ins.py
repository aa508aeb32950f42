"""Guards sign-in: guessing passwords is slow, and checking them takes neither the processor nor the threads that others need.

A password check is meant to be expensive. So few run at once, few wait, and who has failed too often is told to come back later
before anything is checked. Failures are counted in this process, for each address with each name, and for each address.
"""

import time
from collections.abc import Callable
from math import ceil
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from trajops.errors import Overloaded, RateLimited, Unauthenticated
from trajops.rate_limits import Bucket, Limit

# Failures with one name from one address: ten, then one in ten seconds. With all names from one address, which may be a console
# that many use: a hundred, then one a second.
NAME, ADDRESS = Limit(0.1, 10), Limit(1.0, 100)
AT_ONCE, WAITING = 2, 32

Answer = TypeVar("Answer")


class SignIns:
    """Runs password checks. Use from one event loop.

    Args:
        capacity: most addresses and names remembered; the one that failed least recently goes first.
        clock: monotonic, seconds.
    """

    def __init__(self, *, capacity: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._failures: dict[tuple[str, ...], Bucket] = {}
        self._threads: CapacityLimiter | None = None
        self._waiting = 0

    async def check(self, address: str, username: str, sign_in: Callable[[], Answer]) -> Answer:
        """Run a check on a thread.

        Args:
            address: where the request comes from.
            username: whose password is given.
            sign_in: raises Unauthenticated where they do not fit together.

        Raises:
            RateLimited: if there were too many failures; nothing is checked.
            Overloaded: if too many are waiting already.
        """
        counted = {(address, username): NAME, (address,): ADDRESS}
        self._require_tokens(counted)
        if self._waiting >= AT_ONCE + WAITING:
            raise Overloaded(f"{self._waiting} sign-ins are being checked already; try again in a second")
        if self._threads is None:
            self._threads = CapacityLimiter(AT_ONCE)
        self._waiting += 1
        try:
            answer = await run_sync(sign_in, limiter=self._threads)
        except Unauthenticated:
            self._count(counted)
            raise
        finally:
            self._waiting -= 1
        self._failures.pop((address, username), None)
        return answer

    def _require_tokens(self, counted: dict[tuple[str, ...], Limit]) -> None:
        now_s = self._clock()
        for key, limit in counted.items():
            bucket = self._failures.get(key)
            if bucket is None:
                continue
            bucket.take(0, now_s)  # only a failure takes one
            if bucket.tokens < 1.0:
                wait_s = ceil((1.0 - bucket.tokens) / limit.rate_per_s)
                raise RateLimited(
                    f"too many sign-ins have failed; try again in {wait_s} s, or ask an admin for a new password", retry_after_s=wait_s
                )

    def _count(self, counted: dict[tuple[str, ...], Limit]) -> None:
        now_s = self._clock()
        for key, limit in counted.items():
            bucket = self._failures.pop(key, None) or Bucket("/".join(key), limit, now_s)
            bucket.take(1, now_s)
            self._failures[key] = bucket
        while len(self._failures) > self._capacity:
            del self._failures[next(iter(self._failures))]
