"""Rows that name an agent, answered exactly as `/predict` does it: assigned, forecast, recorded, and only then written.

A few rows at a time, on a thread, and no further once the client has hung up. What was answered is turned into its piece of the
answer at once: ten thousand answers kept as objects would make the garbage collector look through all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from api.batch_bodies import Batch, at
from api.bulk_endpoint import Asked
from api.fast_route import Call
from api.metrics import Meters
from api.model_host import ModelHost
from api.track_sync import TrackSync
from data.lake.spool import Spool
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, NoModelReady, TrajOpsError, Unavailable
from trajops.services.bulk import LARGEST_M, bad_rows
from trajops.services.predict import Answer, PredictService
from trajops.telemetry import Declared
from trajops.trajectories import FloatArray

# Rows that are answered in one go: up to here it costs less than handing it to a thread would disturb others.
SLICE = 64
# Slices between two returns to the event loop.
SLICES_A_PART = 8

Found = Answer | TrajOpsError
Piece = TypeVar("Piece")
# The first row, and what was found from there on → its piece of the answer.
Form = Callable[[int, Sequence[Found]], Piece]


class Query(NamedTuple):
    """One row as the predict service asks for it."""

    agent_id: str
    scene_id: str
    history: Any
    observed_at_s: float | None
    model_version: Any
    source: Declared


class NamedRows:
    """Answers and records rows.

    Args:
        service: answers.
        spool: gets the events before any of their answers leaves.
        meters: count the answers.
        host: gives what begins to load versions that were asked for and are not warm.
        tracks: what other processes were told of agents; None: this one has to know.
    """

    def __init__(
        self, service: PredictService, spool: Spool, meters: Meters, host: Callable[[], ModelHost], tracks: TrackSync | None = None
    ) -> None:
        self._service, self._spool, self._meters, self._host, self._tracks = service, spool, meters, host, tracks

    async def answered(
        self, batch: Batch, history_m: FloatArray, asked: Asked, form: Form[Piece], most_modes: int | None = None
    ) -> AsyncIterator[list[Piece]]:
        """Pieces of the answer, some at a time and in order; what they tell is recorded.

        Args:
            batch: what is asked for.
            history_m: (N, 8, 2) metres.
            asked: the request; no further slice is answered when its client has hung up.
            form: makes a piece of what was found for a slice.
            most_modes: most that the answer's form has a place for; a row that gets more is not recorded, and has an error.

        Raises:
            Unavailable: if not even the first rows can be recorded. Later it is an error of the rows that could not be.
            ClientGone: if the client has hung up.
        """
        for row in set(bad_rows(history_m).tolist()) - batch.errors.keys():
            batch.errors[row] = beyond(history_m[row])
        unseen = frozenset(batch.unseen)
        if unseen and self._tracks is not None and batch.agent_id is not None:
            await self._tracks.fetch([(at(batch.scene_id, row), batch.agent_id[row]) for row in unseen])

        def part(rows: range) -> list[Piece]:
            pieces = []
            for first in range(rows.start, rows.stop, SLICE):
                asked.departure.check()
                few = range(first, min(first + SLICE, rows.stop))
                pieces.append(form(first, self._found(batch, history_m, few, unseen, asked.call, most_modes)))
            return pieces

        step = SLICE * SLICES_A_PART
        for first in range(0, batch.rows, step):
            rows = range(first, min(first + step, batch.rows))
            yield part(rows) if batch.rows <= SLICE else await asyncio.to_thread(part, rows)

    def _found(
        self, batch: Batch, history_m: FloatArray, rows: range, unseen: frozenset[int], call: Call, most_modes: int | None
    ) -> list[Found]:
        usable = [row for row in rows if row not in batch.errors]
        queries = [_query(batch, history_m, row, row in unseen) for row in usable]
        results = dict(zip(usable, self._service.predict_many(queries, call.client, call.request_id), strict=True))
        found: list[Found] = [results[row] if row in results else InvalidInput(batch.errors[row]) for row in rows]
        if most_modes is not None:
            found = [_too_wide(one, most_modes) or one for one in found]
        found = self._ask_for_cold(found)
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

    def _ask_for_cold(self, found: list[Found]) -> list[Found]:
        """Begin to load the versions that rows asked for in vain, and say so; a batch does not wait for them."""
        cold: set[ModelRef] = {one.details["model"] for one in found if isinstance(one, NoModelReady) and "model" in one.details}
        cold.difference_update(self._service.snapshot.table.models())
        for model in cold:
            with suppress(Unavailable):
                self._host().ask(model)
        return [_begun(one) if isinstance(one, NoModelReady) and one.details.get("model") in cold else one for one in found]


def beyond(row_m: FloatArray) -> str:
    """Why a (8, 2) history cannot be used, by its first position that cannot."""
    step = int(np.flatnonzero(~(np.abs(row_m) <= LARGEST_M).all(axis=1))[0])
    x_m, y_m = row_m[step].tolist()
    return (
        f"history.{step} is [{x_m:g}, {y_m:g}], which is not finite, or beyond ±1e7 m; send metres in the scene's frame, and leave a "
        "trajectory out that has an unknown position"
    )


def _begun(error: NoModelReady) -> NoModelReady:
    told = f"version {error.details['model']} is not warm yet, and its load has begun; send the row again in a second"
    return NoModelReady(f"{told}, or ask /predict for it, which waits for it and tells why it cannot be loaded", **error.details)


def _too_wide(found: Found, most_modes: int) -> Unavailable | None:
    """Why an answer does not fit: the routes, or what is warm, have changed since the answer's first bytes left."""
    if not isinstance(found, Answer) or len(found.event.weights) <= most_modes:
        return None
    model, modes = f"{found.event.model_name}/{found.event.model_version}", len(found.event.weights)
    return Unavailable(f"version {model} answers now, with {modes} modes, and this stream was begun for {most_modes}; send the row again")


def _query(batch: Batch, history_m: FloatArray, row: int, is_unseen: bool) -> Query:
    assert batch.agent_id is not None
    return Query(
        batch.agent_id[row],
        at(batch.scene_id, row),
        None if is_unseen else history_m[row].tolist(),
        at(batch.observed_at_s, row),
        at(batch.model_version, row),
        cast("Declared", at(batch.source, row)),
    )
