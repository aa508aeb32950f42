"""`/batch_predict`: many agents at once, in the form of items, of columns, or of Arrow; order kept, a bad row spoils only itself.

Rows that name an agent are answered exactly as `/predict` does it, a slice at a time on a thread: assigned, forecast, recorded,
and only then written into the answer. Rows without one take the bulk path.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
import orjson

from api.batch_bodies import Batch, at, read
from api.bulk import BulkDoors
from api.bulk_endpoint import Asked, Reply
from api.fast_route import Call
from api.json_tasks import unpacked
from api.json_workers import INLINE_BYTES
from api.metrics import Meters
from api.model_host import ModelHost
from data.lake.spool import Spool
from trajops.deployments.routing import ModelRef
from trajops.errors import InvalidInput, NoModelReady, TrajOpsError, Unavailable
from trajops.services.bulk import Asked as Version
from trajops.services.bulk import BulkForecast, Choice, bad_rows
from trajops.services.predict import BASELINE, Answer, PredictService
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

DOOR = "batch"
ARROW = b"application/vnd.apache.arrow.stream"
# Bytes of one part of an answer that is not made in parts.
PART_BYTES = 256 * 1024
# Rows that are answered in one go: up to here it costs less than handing it to a thread would disturb others.
SLICE = 64
# Slices between two returns to the event loop.
SLICES_A_PART = 8

Found = Answer | TrajOpsError


class Query(NamedTuple):
    """One row as the predict service asks for it."""

    agent_id: str
    scene_id: str
    history: Any
    observed_at_s: float | None
    model_version: Any
    source: Literal["live", "replay"]


class Batches:
    """The use of `/batch_predict` for JSON.

    Args:
        doors: the bulk path, for rows without an agent; its workers read and write.
        service: answers rows with an agent.
        spool: gets the events before any of their answers leaves.
        meters: count the answers.
        host: gives what begins to load versions that were asked for and are not warm.
    """

    def __init__(self, doors: BulkDoors, service: PredictService, spool: Spool, meters: Meters, host: Callable[[], ModelHost]) -> None:
        self._doors = doors
        self._service, self._spool, self._meters, self._host = service, spool, meters, host

    async def __call__(self, asked: Asked) -> Reply:
        """Answer one batch in the form in which it is asked; a large one streams."""
        media_type = asked.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type == ARROW:
            return await self._arrow(asked)
        batch, history_m = await self._read(asked.body)
        self._doors.admit(asked.call, batch.rows)
        if batch.agent_id is None:
            return await self._anonymous(batch, history_m)
        parts = self.answered(batch, history_m, asked.call)
        if batch.is_columns:
            return Reply(self._columns([found async for part in parts for found in part]))
        stream = self._items(await anext(parts), parts)
        if batch.rows <= SLICE:
            return Reply([b"".join([piece async for piece in stream])])
        return Reply(stream)

    async def answered(self, batch: Batch, history_m: FloatArray, call: Call) -> AsyncIterator[list[Found]]:
        """The answers of rows that name an agent, some at a time, each recorded."""
        bad = set(bad_rows(history_m).tolist())
        for row in bad - batch.errors.keys():
            batch.errors[row] = "history holds a number that is not finite, or beyond ±1e7 m"
        step = SLICE * SLICES_A_PART
        for first in range(0, batch.rows, step):
            rows = range(first, min(first + step, batch.rows))
            if batch.rows <= SLICE:
                yield self._answer(batch, history_m, rows, call)
            else:
                yield await asyncio.to_thread(self._answer, batch, history_m, rows, call)

    async def _read(self, body: bytes) -> tuple[Batch, FloatArray]:
        if len(body) <= INLINE_BYTES:
            return read(body)
        meta, [history] = await self._doors.workers.run("read_batch", None, [body])
        return msgspec.convert(meta["batch"], Batch), unpacked(meta["history"], history)

    def _answer(self, batch: Batch, history_m: FloatArray, rows: range, call: Call) -> list[Found]:
        found: list[Found] = []
        for first in range(rows.start, rows.stop, SLICE):
            found += self._slice(batch, history_m, range(first, min(first + SLICE, rows.stop)), call)
        return found

    def _slice(self, batch: Batch, history_m: FloatArray, rows: range, call: Call) -> list[Found]:
        """Answer and record a few rows. Where the spool cannot be written, none is answered: each says so, or the whole batch."""
        unseen = set(batch.unseen)
        usable = [row for row in rows if row not in batch.errors]
        queries = [self._query(batch, history_m, row, row in unseen) for row in usable]
        results = dict(zip(usable, self._service.predict_many(queries, call.client, call.request_id), strict=True))
        found: list[Found] = [results[row] if row in results else InvalidInput(batch.errors[row]) for row in rows]
        self._ask_for_cold(found)
        answers = [result for result in found if isinstance(result, Answer)]
        try:
            self._spool.write("predictions", [answer.event for answer in answers])
        except Unavailable as error:
            self._meters.spool_errors += 1
            if not rows.start:
                raise
            return [error if isinstance(result, Answer) else result for result in found]
        for answer in answers:
            self._meters.count_prediction(answer.event)
        return found

    @staticmethod
    def _query(batch: Batch, history_m: FloatArray, row: int, is_unseen: bool) -> Query:
        assert batch.agent_id is not None
        return Query(
            batch.agent_id[row],
            at(batch.scene_id, row),
            None if is_unseen else history_m[row].tolist(),
            at(batch.observed_at_s, row),
            at(batch.model_version, row),
            cast("Literal['live', 'replay']", at(batch.source, row)),
        )

    def _ask_for_cold(self, found: Sequence[Found]) -> None:
        """Begin to load the versions that rows asked for in vain; a batch does not wait for them."""
        cold: set[ModelRef] = {one.details["model"] for one in found if isinstance(one, NoModelReady) and "model" in one.details}
        for model in cold.difference(self._service.snapshot.table.models()):
            with suppress(Unavailable):
                self._host().ask(model)

    async def _items(self, found: list[Found], further: AsyncIterator[list[Found]]) -> AsyncIterator[bytes]:
        """The answer as items, a part at a time."""
        opening = b'{"items":['
        while found:
            for first in range(0, len(found), SLICE):
                yield opening + orjson.dumps([_item(one) for one in found[first : first + SLICE]])[1:-1]
                opening = b","
            found = await anext(further, [])
        yield b"]}"

    async def _columns(self, found: Sequence[Found]) -> AsyncIterator[bytes]:
        """The answer as columns."""
        bodies = [one.body if isinstance(one, Answer) else None for one in found]
        epochs = {body["epoch"] for body in bodies if body is not None}
        yield b'{"dt_s":%g,"epoch":%s' % (DEFAULT_WINDOW.dt_s, orjson.dumps(max(epochs, default=None)))
        for name in ("model_name", "model_version", "variant", "prediction_id"):
            yield b',"%s":' % name.encode() + orjson.dumps([body and body[name] for body in bodies])
        for name, key in (("weights", "weight"), ("positions", "positions"), ("covariance", "covariance")):
            opening = b',"%s":[' % name.encode()
            for first in range(0, len(bodies), SLICE):
                rows = [body and [mode[key] for mode in body["modes"]] for body in bodies[first : first + SLICE]]
                yield opening + orjson.dumps(rows)[1:-1]
                opening = b","
            yield b"]"
        yield b',"errors":' + orjson.dumps(_errors({row: one for row, one in enumerate(found) if isinstance(one, TrajOpsError)})) + b"}"

    async def _arrow(self, asked: Asked) -> Reply:
        """An Arrow stream in and out: read and written on a thread, where it lets the event loop run."""
        from api import arrow_batch  # noqa: PLC0415 - brings pyarrow, which the API's start does without

        batch, history_m = await asyncio.to_thread(arrow_batch.read_stream, asked.body)
        self._doors.admit(asked.call, batch.rows)
        if batch.agent_id is None:
            choice, forecast, errors = await self._forecast(batch, history_m, np.float32)
            content = await asyncio.to_thread(arrow_batch.written, choice, forecast, errors)
        else:
            found = [one async for part in self.answered(batch, history_m, asked.call) for one in part]
            content = await asyncio.to_thread(arrow_batch.written_recorded, found)
        parts = [content[first : first + PART_BYTES] for first in range(0, len(content), PART_BYTES)]
        return Reply(parts, ARROW)

    async def _anonymous(self, batch: Batch, history_m: FloatArray) -> Reply:
        choice, forecast, errors = await self._forecast(batch, history_m, np.float64)
        stream = self._anonymous_columns(choice, forecast, errors)
        if batch.rows <= SLICE:
            return Reply([b"".join([part async for part in stream])])
        return Reply(stream)

    async def _forecast(self, batch: Batch, history_m: FloatArray, dtype: type) -> tuple[Choice, BulkForecast, dict[int, TrajOpsError]]:
        """Forecast rows that name no agent, and count them; rows that cannot be used are forecast as zeros, and have an error."""
        choice = await self._doors.choose(cast("Version | None", batch.model_version))
        bad = set(bad_rows(history_m).tolist())
        errors: dict[int, TrajOpsError] = {row: InvalidInput("history holds a number that is not finite, or beyond ±1e7 m") for row in bad}
        errors |= {row: InvalidInput(why) for row, why in batch.errors.items()}
        if errors:
            history_m = history_m.copy()
            history_m[list(errors)] = 0.0
        forecast = await self._doors.forecast(choice, history_m, dtype)
        self._doors.count(choice, np.delete(forecast.is_baseline, list(errors)), DOOR)
        return choice, forecast, errors

    async def _anonymous_columns(self, choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]) -> AsyncIterator[bytes]:
        named = [BASELINE if is_baseline else choice.model for is_baseline in forecast.is_baseline.tolist()]
        usable = [row not in errors for row in range(len(named))]
        yield b'{"dt_s":%g,"epoch":%d' % (DEFAULT_WINDOW.dt_s, choice.epoch)
        for name, values in (
            ("model_name", [ref.name for ref in named]),
            ("model_version", [ref.version for ref in named]),
            ("variant", [choice.assignment.variant] * len(named)),
        ):
            yield b',"%s":' % name.encode() + orjson.dumps([v if good else None for v, good in zip(values, usable, strict=True)])
        yield b',"prediction_id":null'
        covariance_m2 = forecast.covariance_m2.reshape(*forecast.mean_m.shape[:3], 4)[..., [0, 1, 3]]
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
        yield b',"errors":' + orjson.dumps(_errors(errors)) + b"}"


def _errors(errors: Mapping[int, TrajOpsError]) -> list[dict[str, Any]]:
    """Entries of `BatchRowError`."""
    return [{"row": row, "error_code": error.code, "error": error.message} for row, error in sorted(errors.items())]


def _item(result: Found) -> dict[str, Any]:
    """A result as `BatchItemOut`."""
    if isinstance(result, Answer):
        return {"prediction": result.body, "error_code": None, "error": None}
    return {"prediction": None, "error_code": result.code, "error": result.message}
