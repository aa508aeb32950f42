"""`/batch_predict`: many agents at once, in the form of items, of columns, or of Arrow; order kept, a bad row spoils only itself.

Rows that name an agent are answered and recorded (`api.named_rows`). Rows without one take the bulk path, and are counted. Items and
Arrow leave as they are made. A column of JSON has the last row's entry before the next column begins: all rows are answered before
columns leave, and until then are kept as numbers, not as text.
"""

import asyncio
import functools
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import msgspec
import numpy as np
import orjson

from api import batch_pieces
from api.batch_bodies import Batch, read
from api.batch_pieces import NAMES, Columns, joined, newest, row_errors
from api.bulk import BulkDoors
from api.bulk_endpoint import Asked, Reply
from api.json_tasks import unpacked
from api.json_workers import INLINE_BYTES
from api.named_rows import SLICE, NamedRows, beyond
from api.request_body import Departure
from trajops.errors import InvalidInput, TrajOpsError
from trajops.services.bulk import Asked as Version
from trajops.services.bulk import BulkForecast, Choice, bad_rows
from trajops.services.predict import BASELINE
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

DOOR = "batch"
JSON, ARROW = b"application/json", b"application/vnd.apache.arrow.stream"
# Rows that name no agent, in one record batch of an answer.
ARROW_ROWS = 2_048


class Batches:
    """The use of `/batch_predict`.

    Args:
        doors: the bulk path, for rows without an agent; its workers read and write.
        named: answers rows with an agent.
        max_body_bytes: the compressed columns of an Arrow stream may not unpack to more.
    """

    def __init__(self, doors: BulkDoors, named: NamedRows, max_body_bytes: int) -> None:
        self._doors = doors
        self._named = named
        self._max_body_bytes = max_body_bytes

    async def __call__(self, asked: Asked) -> Reply:
        """Answer one batch in the form in which it is asked; a large one streams."""
        media_type = asked.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type == ARROW:
            return await self._arrow(asked)
        batch, history_m = await self._read(asked.body)
        self._admit(batch, asked)
        if batch.agent_id is None:
            choice, forecast, errors = await self._forecast(batch, history_m, asked.departure)
            return await _reply(batch, self._anonymous_columns(choice, forecast, errors))
        if batch.is_columns:
            await self._await_version(batch)
            parts = [joined(part) async for part in self._named.answered(batch, history_m, asked, batch_pieces.columns)]
            return await _reply(batch, self._named_columns(parts))
        items = self._named.answered(batch, history_m, asked, batch_pieces.items)
        return await _reply(batch, _items(await anext(items), items))

    def _admit(self, batch: Batch, asked: Asked) -> None:
        """Let the rows in; who sends more than a few may hang up before all of them are answered."""
        self._doors.admit(asked.call, batch.rows)
        if batch.rows > SLICE:
            asked.departure.watch()

    async def _await_version(self, batch: Batch) -> None:
        """Columns ask for one version: it is loaded while the client waits, and where there is none, that is said once."""
        if batch.model_version is not None:
            await self._doors.choose(cast("Version", batch.model_version))

    async def _read(self, body: bytes) -> tuple[Batch, FloatArray]:
        if len(body) <= INLINE_BYTES:
            return read(body, self._doors.max_rows)
        meta, [history] = await self._doors.workers.run("read_batch", {"most_rows": self._doors.max_rows}, [body])
        return msgspec.convert(meta["batch"], Batch), unpacked(meta["history"], history)

    async def _arrow(self, asked: Asked) -> Reply:
        """An Arrow stream in and out, read and written on a thread; its library is imported there too, when it is first needed."""
        arrow_batch: Any = await asyncio.to_thread(importlib.import_module, "api.arrow_batch")
        doors = self._doors
        batch, history_m = await asyncio.to_thread(arrow_batch.read_stream, asked.body, self._max_body_bytes, doors.refuse_rows)
        self._admit(batch, asked)
        version = cast("Version | None", batch.model_version)
        if batch.agent_id is None:
            choice = await doors.choose(version)
            modes = await asyncio.to_thread(doors.bulk.modes, choice.forecaster)
            stream = self._anonymous_arrow(batch, history_m, choice, arrow_batch.Writer(modes, choice.epoch))
            return await _reply(batch, stream, ARROW)
        await self._await_version(batch)
        modes = await asyncio.to_thread(doors.bulk.most_modes, version)
        parts = self._named.answered(batch, history_m, asked, batch_pieces.columns, modes)
        first = await anext(parts)
        return await _reply(batch, _named_arrow(first, parts, arrow_batch.Writer(modes, newest(first))), ARROW)

    async def _anonymous_arrow(self, batch: Batch, history_m: FloatArray, choice: Choice, writer: Any) -> AsyncGenerator[bytes, None]:
        errors = _errors(batch, history_m)

        def part(first: int) -> bytes:
            rows = slice(first, first + ARROW_ROWS)
            here = {row - first: error for row, error in errors.items() if first <= row < first + ARROW_ROWS}
            forecast = self._doors.bulk.forecast(choice, _blanked(history_m[rows], here), np.float32, most_modes=writer.modes)
            self._doors.count(choice, np.delete(forecast.is_baseline, list(here)), DOOR)
            content: bytes = writer.anonymous(choice, forecast, here)
            return content

        for first in range(0, batch.rows, ARROW_ROWS):
            yield await asyncio.to_thread(part, first)
        yield writer.end()

    async def _forecast(
        self, batch: Batch, history_m: FloatArray, departure: Departure
    ) -> tuple[Choice, BulkForecast, dict[int, TrajOpsError]]:
        """Forecast rows that name no agent, and count them; rows that cannot be used are forecast as zeros, and have an error."""
        choice = await self._doors.choose(cast("Version | None", batch.model_version))
        errors = _errors(batch, history_m)
        forecast = await self._doors.forecast(choice, _blanked(history_m, errors), departure, np.float64)
        self._doors.count(choice, np.delete(forecast.is_baseline, list(errors)), DOOR)
        return choice, forecast, errors

    async def _named_columns(self, parts: list[Columns]) -> AsyncGenerator[bytes, None]:
        yield b'{"dt_s":%g,"epoch":%s' % (DEFAULT_WINDOW.dt_s, orjson.dumps(newest(parts)))
        for name in NAMES:
            yield b',"%s":[' % name.encode() + b",".join([orjson.dumps(part.named[name])[1:-1] for part in parts]) + b"]"
        for name in parts[0].arrays:
            opening = b',"%s":[' % name.encode()
            for part in parts:
                yield opening + await self._doors.written_rows(part.arrays[name], part.modes)
                opening = b","
            yield b"]"
        yield b',"errors":' + orjson.dumps([error for part in parts for error in row_errors(part.errors)]) + b"}"

    async def _anonymous_columns(
        self, choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]
    ) -> AsyncGenerator[bytes, None]:
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


def _errors(batch: Batch, history_m: FloatArray) -> dict[int, TrajOpsError]:
    """Why rows cannot be used."""
    errors: dict[int, TrajOpsError] = {row: InvalidInput(beyond(history_m[row])) for row in bad_rows(history_m).tolist()}
    return errors | {row: InvalidInput(why) for row, why in batch.errors.items()}


def _blanked(history_m: FloatArray, errors: Mapping[int, TrajOpsError]) -> FloatArray:
    """Positions with zeros in the place of rows that cannot be used."""
    if errors:
        history_m = history_m.copy()
        history_m[list(errors)] = 0.0
    return history_m


async def _reply(batch: Batch, stream: AsyncGenerator[bytes, None], media_type: bytes = JSON) -> Reply:
    """A small answer whole, a large one as it is made."""
    return Reply([b"".join([part async for part in stream])] if batch.rows <= SLICE else stream, media_type)


async def _items(part: list[bytes], further: AsyncIterator[list[bytes]]) -> AsyncGenerator[bytes, None]:
    """The answer as items, a part at a time."""
    opening = b'{"items":['
    while part:
        for piece in part:
            yield opening + piece
            opening = b","
        part = await anext(further, [])
    yield b"]}"


async def _named_arrow(part: list[Columns], further: AsyncIterator[list[Columns]], writer: Any) -> AsyncGenerator[bytes, None]:
    """The answer as Arrow, a record batch for each part."""
    while part:
        rows = joined(part)
        yield writer.named(rows) if len(rows.modes) <= SLICE else await asyncio.to_thread(writer.named, rows)
        part = await anext(further, [])
    yield writer.end()
