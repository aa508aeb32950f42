"""Answers together what came in together: the predictions of one turn of the event loop are one batch.

Nobody waits for a batch to fill. Under load many requests are read in one turn, and then each model forecasts once for all of
them and one write records all their events; a request that comes alone is answered alone.
"""

import asyncio
from typing import NamedTuple, Protocol

import orjson

from api.metrics import Meters
from trajops.errors import TrajOpsError, Unavailable
from trajops.services.predict import Answer, Ask, PredictService


class LineSink(Protocol):
    """Where events are written."""

    def write_lines(self, table: str, lines: bytes) -> None:
        """Append whole JSON lines in one write, or raise Unavailable and keep none."""
        ...


class _Waiting(NamedTuple):
    ask: Ask
    answered: "asyncio.Future[bytes]"


class Turn:
    """Collects the asks of one turn of the event loop. Use from one event loop.

    Args:
        service: forecasts.
        spool: gets the events before any of their answers leaves.
        meters: count the answers.
        largest: most asks forecast at once; 1 switches batching off.
    """

    def __init__(self, service: PredictService, spool: LineSink, meters: Meters, *, largest: int) -> None:
        self._service, self._spool, self._meters = service, spool, meters
        self._largest = largest
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def answer(self, ask: Ask) -> "asyncio.Future[bytes]":
        """The answer as JSON bytes, once it is recorded. Each caller has its own future: one that is cancelled takes nobody with it.

        Raises (by the future):
            TrajOpsError: as `PredictService.predict` raises, or Unavailable if the answer cannot be recorded.
        """
        loop = self._loop
        if loop is None:  # looked up once: with Python 3.11 each look-up is a system call
            loop = self._loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(_Waiting(ask, answered))
        return answered

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), self._largest):
            batch = waiting[first : first + self._largest]
            try:
                self._answer(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                for one in batch:
                    _refuse(one.answered, error)

    def _answer(self, batch: list[_Waiting]) -> None:
        results = self._service.answer([one.ask for one in batch])
        dumps, newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        lines = b"".join([dumps(result.event, option=newline) for result in results if type(result) is Answer])
        refusal: Unavailable | None = None
        if lines:
            try:
                self._spool.write_lines("predictions", lines)
            except Unavailable as error:
                refusal = error
        for one, result in zip(batch, results, strict=True):
            if not isinstance(result, Answer):
                _refuse(one.answered, result)
            elif refusal is not None:
                self._meters.spool_errors += 1
                _refuse(one.answered, refusal)
            else:
                self._meters.count_prediction(result.event)
                if not one.answered.done():
                    one.answered.set_result(dumps(result.body))


def _refuse(answered: "asyncio.Future[bytes]", error: Exception | TrajOpsError) -> None:
    if not answered.done():
        answered.set_exception(error)
