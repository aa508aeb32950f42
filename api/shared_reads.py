"""Reads of a part that may be slow: they have threads of their own, and who asks for the same waits for one read."""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

Result = TypeVar("Result")


@dataclass
class _Read:
    """One read, under way or done, and until when its answer counts."""

    task: "asyncio.Future[Any]"
    until_s: float = float("inf")


class SharedReads:
    """Remembers answers, and refusals for a moment, so that a part that is away is not asked by everybody.

    Routes that use it are coroutines: while they wait they hold no thread of the pool that other routes need.

    Args:
        keep_s: how old an answer may be, seconds.
        keep_refusal_s: the same of an error.
        threads: most reads at once.
        capacity: most answers remembered.
    """

    def __init__(self, keep_s: float = 3.0, *, keep_refusal_s: float = 1.0, threads: int = 4, capacity: int = 128) -> None:
        self._keep_s, self._keep_refusal_s = keep_s, keep_refusal_s
        self._threads, self._capacity = threads, capacity
        self._reads: dict[Hashable, _Read] = {}

    async def get(self, key: Hashable, read: Callable[[], Result]) -> Result:
        """The remembered answer of `key`, or that of a read that is under way, or of a new one.

        Raises:
            Exception: as `read` does.
        """
        found = self._reads.get(key)
        if found is None or time.monotonic() >= found.until_s:
            self._reads.pop(key, None)
            while len(self._reads) >= self._capacity:
                del self._reads[next(iter(self._reads))]
            found = self._reads[key] = _Read(asyncio.ensure_future(self.apart(read)))
            found.task.add_done_callback(lambda task, kept=found: self._note(kept, task))  # type: ignore[misc]
        # Who asked first may leave; the others still wait.
        result: Result = await asyncio.shield(found.task)
        return result

    async def apart(self, call: Callable[[], Result]) -> Result:
        """Call on one of the own threads; nothing is remembered."""
        return await to_thread.run_sync(call, limiter=self._limiter)

    def clear(self) -> None:
        """Forget everything: something was changed."""
        self._reads.clear()

    @cached_property
    def _limiter(self) -> CapacityLimiter:
        return CapacityLimiter(self._threads)

    def _note(self, read: _Read, task: "asyncio.Future[Any]") -> None:
        is_refused = task.cancelled() or task.exception() is not None
        read.until_s = time.monotonic() + (self._keep_refusal_s if is_refused else self._keep_s)
