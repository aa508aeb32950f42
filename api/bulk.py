"""What the bulk doors share: one model chosen, all rows judged and forecast off the event loop, counted by door."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

import numpy as np

from api.bulk_endpoint import Asked
from api.fast_route import Call, take
from api.json_tasks import packed
from api.json_workers import JsonWorkers
from api.metrics import Meters
from api.request_body import Departure, too_many
from api.warm_up import WarmUp
from trajops.errors import InvalidInput, NoModelReady
from trajops.services.bulk import Asked as Version
from trajops.services.bulk import Bulk, BulkForecast, Choice, bad_rows
from trajops.services.predict import BASELINE
from trajops.trajectories import BoolArray, FloatArray

# Up to here a forecast costs less than handing it to a thread and back would disturb others.
INLINE_ROWS = 64
# Numbers written to JSON at once: a part of an answer of some hundred kilobytes.
NUMBERS_A_PART = 32_000
# Bytes that a number of an answer takes in JSON, about.
JSON_BYTES = 10
# And a row, with 73 numbers for each mode.
JSON_BYTES_A_ROW = 1_000
_NAMED_ROWS = 5


class BulkDoors:
    """The one use case behind every bulk door.

    Args:
        bulk: chooses and forecasts.
        warm_up: waits a moment for a version that is asked for.
        workers: read and write JSON.
        meters: count the answers.
        max_rows: larger bulks are refused.
    """

    def __init__(self, bulk: Bulk, warm_up: WarmUp, workers: JsonWorkers, meters: Meters, max_rows: int) -> None:
        self.bulk = bulk
        self.workers = workers
        self.max_rows = max_rows
        self._warm_up = warm_up
        self._meters = meters

    async def answer(self, asked: Asked, version: Version | None, history_m: FloatArray, door: str) -> tuple[Choice, BulkForecast]:
        """Let rows in, forecast them with the model that was asked for, and count them: all that a translating door needs.

        Raises:
            TooLarge, RateLimited: as `admit` raises.
            NotFound, NoModelReady: as `choose` raises.
            InvalidInput: naming the rows that cannot be used.
            ClientGone: if the client has hung up.
        """
        self.admit(asked.call, len(history_m))
        choice = await self.choose(version)
        forecast = await self.forecast(choice, history_m, asked.departure)
        self.count(choice, forecast.is_baseline, door)
        return choice, forecast

    async def choose(self, version: Version | None) -> Choice:
        """The champion, or the version asked for, loaded while the client waits.

        Raises:
            NotFound: if there is no such version.
            NoModelReady: if it is not warm in time.
        """
        try:
            return self.bulk.choose(version)
        except NoModelReady as error:
            await self._warm_up(error)
        return self.bulk.choose(version)

    async def forecast(self, choice: Choice, history_m: FloatArray, departure: Departure, dtype: type = np.float32) -> BulkForecast:
        """Forecast (N, t_obs, 2) metres, all of whose rows must be good, into arrays of `dtype`.

        Raises:
            InvalidInput: naming the rows that cannot be used.
            ClientGone: if the client has hung up.
        """
        if len(history_m) <= INLINE_ROWS:
            return self._forecast(choice, history_m, departure, dtype)
        departure.watch()
        return await asyncio.to_thread(self._forecast, choice, history_m, departure, dtype)

    def count(self, choice: Choice, is_baseline: BoolArray, door: str) -> None:
        """Count answered rows: those of the model, and those that the baseline answered for it."""
        of_baseline = int(is_baseline.sum())
        self._meters.count_bulk(choice.model, len(is_baseline) - of_baseline, door)
        self._meters.count_bulk(BASELINE, of_baseline, door)

    async def written(
        self, task: str, array: FloatArray, *, decimals: int | None = None, without: Collection[int] = ()
    ) -> AsyncGenerator[bytes, None]:
        """The rows of an array as JSON, some at a time, with commas between them.

        Args:
            task: `numbers` or `nested`.
            array: (N, …).
            decimals: `nested` rounds to these.
            without: rows that `nested` writes as null.
        """
        step = max(1, NUMBERS_A_PART * len(array) // array.size)
        for first in range(0, len(array), step):
            rows = array[first : first + step]
            meta, buffer = packed(rows)
            if decimals is not None:
                meta["decimals"] = decimals
            if without:
                meta["without"] = [row - first for row in without if first <= row < first + len(rows)]
            _, [part] = await self.workers.run(task, meta, [buffer], size=array.size * JSON_BYTES)
            yield b"," + part if first else bytes(part)

    async def written_rows(self, array: FloatArray, modes: Any) -> bytes:
        """A few rows as JSON, with commas between them.

        Args:
            array: (N, K, …).
            modes: (N,) of the K, so many of each row; it is null where there are none.
        """
        meta, buffer = packed(array)
        if (modes != array.shape[1]).any():
            meta["modes"] = modes.tolist()
        _, [part] = await self.workers.run("nested", meta, [buffer], size=array.size * JSON_BYTES)
        return bytes(part)

    def refuse_rows(self, rows: int) -> None:
        """Refuse more rows than one request may carry.

        Raises:
            TooLarge: saying how many that is.
        """
        if rows > self.max_rows:
            raise too_many(rows, self.max_rows)

    def admit(self, call: Call, rows: int) -> None:
        """Let so many rows in: no more than one request may carry, and no more than the client has predictions left.

        Raises:
            TooLarge: saying how much one request may carry.
            RateLimited: saying when to try again, or that it can never be.
        """
        self.refuse_rows(rows)
        if call.client.bucket is not None:
            take(call.client.bucket, rows)

    def _forecast(self, choice: Choice, history_m: FloatArray, departure: Departure, dtype: type) -> BulkForecast:
        bad = bad_rows(history_m)
        if len(bad):
            named = ", ".join(map(str, bad[:_NAMED_ROWS].tolist()))
            more = f" and {len(bad) - _NAMED_ROWS} more" if len(bad) > _NAMED_ROWS else ""
            raise InvalidInput(
                f"history holds numbers that are not finite, or beyond ±1e7 m, in row {named}{more} (counted from 0); leave such rows out. "
                "A tensor has no place for an error of one row: /batch_predict answers the others"
            )
        return self.bulk.forecast(choice, history_m, dtype, check=departure.check)


def version_asked(text: str) -> Any:
    """A version as a path names it: a number, or an alias.

    Raises:
        InvalidInput: if it is neither.
    """
    if text in {"champion", "challenger", "previous_champion"}:
        return text
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise InvalidInput(f"a version is a number from 1 on, or champion, challenger or previous_champion, not {text!r}")
    return int(text)
