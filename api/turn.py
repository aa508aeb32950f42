"""Answers together what came in together: the predictions of one turn of the event loop are one batch.

Nobody waits for a batch to fill. Under load many requests are read in one turn, and then each model forecasts once for all of
them and one write records all their events; a request that comes alone is answered alone. A request that would have to wait
for too long is refused at once, so that overload costs some an answer and nobody their time.
"""

import asyncio
import time
from typing import NamedTuple, Protocol

import orjson

from api.metrics import Meters
from trajops.errors import Overloaded, Unavailable
from trajops.services.predict import Answer, Ask, PredictService

# So many are always let in: the cost of one turn says little about the next.
ALWAYS_ADMITTED = 16
# How fast the remembered cost follows: one turn counts a fifth, and never for more than double or less than half.
_FOLLOW, _AT_MOST = 0.2, 2.0


class LineSink(Protocol):
    """Where events are written."""

    def write_lines(self, table: str, lines: bytes) -> None:
        """Append whole JSON lines in one write, or raise Unavailable and keep none."""
        ...


class Receiver(Protocol):
    """Who waits for an answer."""

    def give(self, content: bytes) -> None:
        """Take the answer as JSON; it is recorded."""
        ...

    def refuse(self, error: Exception) -> None:
        """Take the reason why there is none."""
        ...


class _Future:
    """Waits as a coroutine does; one that was cancelled meanwhile is left alone."""

    __slots__ = ("answered",)

    def __init__(self, answered: "asyncio.Future[bytes]") -> None:
        self.answered = answered

    def give(self, content: bytes) -> None:
        if not self.answered.done():
            self.answered.set_result(content)

    def refuse(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


class _Waiting(NamedTuple):
    ask: Ask
    receiver: Receiver


class Turn:
    """Collects the asks of one turn of the event loop. Use from one event loop.

    Args:
        service: forecasts.
        spool: gets the events before any of their answers leaves.
        meters: count the answers.
        largest: most asks forecast at once; 1 switches batching off.
        max_wait_s: an ask that would wait longer for its turn is refused.
    """

    def __init__(self, service: PredictService, spool: LineSink, meters: Meters, *, largest: int, max_wait_s: float = 0.05) -> None:
        self._service, self._spool, self._meters = service, spool, meters
        self._largest = largest
        self._max_wait_s = max_wait_s
        # What one more ask adds to a turn's end, seconds.
        self._cost_s = 5e-5
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Asks that wait for their turn."""
        return len(self._waiting)

    def answer(self, ask: Ask) -> "asyncio.Future[bytes]":
        """The answer as JSON bytes, once it is recorded. Each caller has its own future: one that is cancelled takes nobody with it.

        Raises:
            Overloaded: if it would wait too long.

        Raises (by the future):
            TrajOpsError: as `PredictService.predict` raises, or Unavailable if the answer cannot be recorded.
        """
        answered: asyncio.Future[bytes] = self._running_loop().create_future()
        self.put(ask, _Future(answered))
        return answered

    def put(self, ask: Ask, receiver: Receiver) -> None:
        """The same for a receiver, which has the answer or the error at the end of this turn.

        Raises:
            Overloaded: if it would wait too long.
        """
        before = len(self._waiting)
        if before >= ALWAYS_ADMITTED:
            wait_s = (ask.started_ns - self._waiting[0].ask.started_ns) / 1e9 + before * self._cost_s
            if wait_s > self._max_wait_s:
                self._meters.overloads += 1
                raise Overloaded(
                    f"{before} predictions wait already, and one more would wait for about {wait_s * 1e3:.0f} ms; try again in a second"
                )
        if not before:
            self._running_loop().call_soon(self._flush)
        self._waiting.append(_Waiting(ask, receiver))

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:  # looked up once: with Python 3.11 each look-up is a system call
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        started_s = time.perf_counter()
        for first in range(0, len(waiting), self._largest):
            batch = waiting[first : first + self._largest]
            try:
                self._answer(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                for one in batch:
                    one.receiver.refuse(error)
        self._learn((time.perf_counter() - started_s) / len(waiting))

    def _learn(self, cost_s: float) -> None:
        known_s = self._cost_s
        self._cost_s = known_s + _FOLLOW * (min(max(cost_s, known_s / _AT_MOST), known_s * _AT_MOST) - known_s)

    def _answer(self, batch: list[_Waiting]) -> None:
        results = self._service.answer([one.ask for one in batch])
        dumps, newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        self._meters.batches.observe(len(batch))
        lines = b"".join([dumps(result.event, option=newline) for result in results if type(result) is Answer])
        refusal: Unavailable | None = None
        if lines:
            try:
                self._spool.write_lines("predictions", lines)
            except Unavailable as error:
                refusal = error
        for one, result in zip(batch, results, strict=True):
            if not isinstance(result, Answer):
                one.receiver.refuse(result)
            elif refusal is not None:
                self._meters.spool_errors += 1
                one.receiver.refuse(refusal)
            else:
                self._meters.count_prediction(result.event)
                one.receiver.give(dumps(result.body))
