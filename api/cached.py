"""Answers that many sessions read may be some seconds old: one query serves them all."""

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

Result = TypeVar("Result")
TIMES = 3.0


class Cached:
    """Remembers results for a moment; concurrent callers of one key wait for one computation.

    What takes long is kept three times as long as it took: no key takes more than a quarter of a thread, however many ask for it.

    Args:
        keep_s: how old an answer may be, seconds.
        most_s: how old one may be that took long.
        capacity: most keys remembered.
    """

    def __init__(self, keep_s: float = 1.0, most_s: float = 3.0, capacity: int = 256) -> None:
        self._keep_s = keep_s
        self._most_s = most_s
        self._capacity = capacity
        self._slots: dict[Hashable, _Slot] = {}
        self._lock = Lock()

    def get(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """The remembered result of `key`, or a fresh one. An error is raised and not remembered."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                while len(self._slots) >= self._capacity:
                    del self._slots[next(iter(self._slots))]
                slot = self._slots[key] = _Slot()
        with slot.lock:
            if time.monotonic() >= slot.until_s:
                began_s = time.monotonic()
                slot.value = compute()
                ended_s = time.monotonic()
                slot.until_s = ended_s + max(self._keep_s, min(self._most_s, TIMES * (ended_s - began_s)))
            result: Result = slot.value
            return result

    def clear(self) -> None:
        """Forget everything: something was changed, and whoever changed it wants to see it."""
        with self._lock:
            self._slots.clear()


class _Slot:
    """One key's result and the lock of its computation."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.until_s = 0.0
        self.value: Any = None
