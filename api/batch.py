"""`/batch_predict`: many agents at once, in the form of items, of columns, or of Arrow; order kept, a bad row spoils only itself.

Rows that name an agent are answered and recorded (`api.named_rows`). Rows without one take the bulk path, and are counted.
"""

import asyncio
import functools
import importlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec
import numpy as np
import orjson

from api import batch_pieces
from api.batch_bodies import Batch, read
from api.batch_pieces import COLUMNS, ColumnPieces, row_errors
from api.bulk import BulkDoors
from api.bulk_endpoint import Asked, Reply
from api.json_tasks import unpacked
from api.json_workers import INLINE_BYTES
from api.named_rows import BEYOND, SLICE, NamedRows
from trajops.errors import InvalidInput, TrajOpsError
from trajops.services.bulk import Asked as Version
from trajops.services.bulk import BulkForecast, Choice, bad_rows
from trajops.services.predict import BASELINE
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

DOOR = "batch"
ARROW = b"application/vnd.apache.arrow.stream"


class Batches:
    """The use of `/batch_predict`.

    Args:
        doors: the bulk path, for rows without an agent; its workers read and write.
        named: answers rows with an agent.
    """

    def __init__(self, doors: BulkDoors, named: NamedRows) -> None:
        self._doors = doors
        self._named = named

    async def __call__(self, asked: Asked) -> Reply:
        """Answer one batch in the form in which it is asked; a large one streams."""
        media_type = asked.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type == ARROW:
            return await self._arrow(asked)
        batch, history_m = await self._read(asked.body)
        self._doors.admit(asked.call, batch.rows)
        if batch.agent_id is None:
            choice, forecast, errors = await self._forecast(batch, history_m, np.float64)
            return await _reply(batch, self._anonymous_columns(choice, forecast, errors))
        if batch.is_columns:
            parts = self._named.answered(batch, history_m, asked.call, batch_pieces.columns)
            pieces = [piece async for part in parts for piece in part]
            return Reply(_joined(pieces) if batch.rows <= SLICE else await asyncio.to_thread(_joined, pieces))
        items = self._named.answered(batch, history_m, asked.call, batch_pieces.items)
        return await _reply(batch, _items(await anext(items), items))

    async def _read(self, body: bytes) -> tuple[Batch, FloatArray]:
        if len(body) <= INLINE_BYTES:
            return read(body)
        meta, [history] = await self._doors.workers.run("read_batch", None, [body])
        return msgspec.convert(meta["batch"], Batch), unpacked(meta["history"], history)

    async def _arrow(self, asked: Asked) -> Reply:
        """An Arrow stream in and out, read and written on a thread; its library is imported there too, when it is first needed."""
        arrow_batch: Any = await asyncio.to_thread(importlib.import_module, "api.arrow_batch")
        batch, history_m = await asyncio.to_thread(arrow_batch.read_stream, asked.body)
        self._doors.admit(asked.call, batch.rows)
        if batch.agent_id is None:
            choice, forecast, errors = await self._forecast(batch, history_m, np.float32)
            return Reply([await asyncio.to_thread(arrow_batch.written, choice, forecast, errors)], ARROW)
        parts = self._named.answered(batch, history_m, asked.call, arrow_batch.piece)
        pieces = [piece async for part in parts for piece in part]
        return Reply([await asyncio.to_thread(arrow_batch.written_pieces, pieces)], ARROW)

    async def _forecast(self, batch: Batch, history_m: FloatArray, dtype: type) -> tuple[Choice, BulkForecast, dict[int, TrajOpsError]]:
        """Forecast rows that name no agent, and count them; rows that cannot be used are forecast as zeros, and have an error."""
        choice = await self._doors.choose(cast("Version | None", batch.model_version))
        bad = set(bad_rows(history_m).tolist())
        errors: dict[int, TrajOpsError] = {row: InvalidInput(BEYOND) for row in bad}
        errors |= {row: InvalidInput(why) for row, why in batch.errors.items()}
        if errors:
            history_m = history_m.copy()
            history_m[list(errors)] = 0.0
        forecast = await self._doors.forecast(choice, history_m, dtype)
        self._doors.count(choice, np.delete(forecast.is_baseline, list(errors)), DOOR)
        return choice, forecast, errors

    async def _anonymous_columns(self, choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]) -> AsyncIterator[bytes]:
        rows = len(forecast.weights)
        make = functools.partial(_made, choice, forecast, errors)
        names, covariance_m2 = make() if rows <= SLICE else await asyncio.to_thread(make)
        yield b'{"dt_s":%g,"epoch":%d' % (DEFAULT_WINDOW.dt_s, choice.epoch) + names
        yield b',"prediction_id":null'
        for name, array, decimals in (
            ("weights", forecast.weights, 8),
            ("positions", forecast.mean_m, 4),
            ("covariance", covariance_m2, 8),
        ):
            opening = b',"%s":[' % name.encode()
            async for part in self._doors.written("nested", array, decimals=decimals, without=errors):
                yield opening + part
                opening = b""
            yield b"]"
        yield b',"errors":' + orjson.dumps(row_errors(errors)) + b"}"


def _made(choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]) -> tuple[bytes, FloatArray]:
    """The columns that say which model answered a row, and in which role (null where none did); xx, xy and yy of the covariances."""
    by_index: dict[str, list[str | int | None]] = {
        "model_name": [choice.model.name, BASELINE.name, None],
        "model_version": [choice.model.version, BASELINE.version, None],
        "variant": [choice.assignment.variant, choice.assignment.variant, None],
    }
    index = forecast.is_baseline.astype(np.intp)
    index[list(errors)] = 2
    rows = index.tolist()
    columns = []
    for name, values in by_index.items():
        texts = [orjson.dumps(value) for value in values]
        columns.append(b',"%s":[' % name.encode() + b",".join([texts[row] for row in rows]) + b"]")
    return b"".join(columns), forecast.covariance_m2.reshape(*forecast.mean_m.shape[:3], 4)[..., [0, 1, 3]]


async def _reply(batch: Batch, stream: AsyncIterator[bytes]) -> Reply:
    """A small answer whole, a large one as it is made."""
    return Reply([b"".join([part async for part in stream])]) if batch.rows <= SLICE else Reply(stream)


async def _items(part: list[bytes], further: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    """The answer as items, a part at a time."""
    opening = b'{"items":['
    while part:
        for piece in part:
            yield opening + piece
            opening = b","
        part = await anext(further, [])
    yield b"]}"


def _joined(pieces: list[ColumnPieces]) -> "list[bytes]":
    """The answer as columns."""
    epoch = max((piece.epoch for piece in pieces if piece.epoch is not None), default=None)
    columns = [b',"%s":[' % name.encode() + b",".join([piece.columns[name] for piece in pieces]) + b"]" for name in COLUMNS]
    errors = orjson.dumps([error for piece in pieces for error in piece.errors])
    return [b'{"dt_s":%g,"epoch":%s' % (DEFAULT_WINDOW.dt_s, orjson.dumps(epoch)), *columns, b',"errors":' + errors + b"}"]
