"""Group commit: what one turn of the event loop records is one write, and every answer waits for it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from data.lake.spool import Spool, lines_of
from trajops.errors import InvalidInput
from trajops.telemetry import Event


@dataclass(slots=True)
class _Pending:
    """What one turn of the event loop is about to write to one table, and who waits for it."""

    lines: list[bytes] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class GroupCommit:
    """Share one write per table between all events of one turn of the event loop.

    Each caller has its own future, so that a caller that is cancelled takes nobody with it. Use from one event loop.

    Args:
        spool: where the lines go.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._pending: dict[str, _Pending] = {}

    async def commit(self, table: str, events: Iterable[Event]) -> None:
        """Return once the events are written.

        Raises:
            InvalidInput: if there is no such table.
            Unavailable: if the spool cannot be written.
        """
        lines = lines_of(events)
        if lines:
            await self.commit_line(table, lines)

    def commit_line(self, table: str, line: bytes) -> asyncio.Future[None]:
        """The same for bytes that are one or several whole JSON lines, each ended by a newline; await the result.

        Raises:
            InvalidInput: if the last line is not ended.
        """
        if not line.endswith(b"\n"):
            raise InvalidInput("a line for the spool must end with a newline; serialise with orjson.OPT_APPEND_NEWLINE")
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        if not self._pending:
            loop.call_soon(self._flush)
        pending = self._pending.get(table)
        if pending is None:
            pending = self._pending[table] = _Pending()
        pending.lines.append(line)
        pending.waiters.append(waiter)
        return waiter

    def _flush(self) -> None:
        batch, self._pending = self._pending, {}
        for table, pending in batch.items():
            try:
                self._spool.write_lines(table, b"".join(pending.lines))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                for waiter in pending.waiters:
                    if not waiter.done():
                        waiter.set_exception(error)
            else:
                for waiter in pending.waiters:
                    if not waiter.done():
                        waiter.set_result(None)
