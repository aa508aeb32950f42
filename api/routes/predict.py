"""The hot routes: `/predict`, `/batch_predict`, `/observations`. No SQL, no thread, no model library's import."""

import asyncio
import functools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import orjson
from pydantic import ValidationError

from api.errors import field_problems
from api.fast_bodies import FastBatch, FastObservations, FastPredict, decoder
from api.fast_route import REFUSALS, Call, Cost, Decode, FastApi, FastEndpoint, Use
from api.wiring import Parts
from data.lake.spool import lines_of
from trajops.contracts.predictions import (
    BatchPredictIn,
    BatchPredictOut,
    ObservationsIn,
    ObservationsOut,
    PredictIn,
    PredictOut,
)
from trajops.contracts.session import Scope
from trajops.contracts.wire import Wire
from trajops.deployments.routing import ModelRef
from trajops.errors import InvalidInput, NoModelReady, TooLarge, TrajOpsError, Unavailable
from trajops.services.predict import Answer, PredictQuery
from trajops.telemetry import Event, ObservationEvent

# Up to here a batch costs less than handing it to a thread and back would disturb others.
INLINE_ITEMS = 64


class HotRoutes:
    """The use of each hot route: decoded body and call in, JSON bytes out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service, self._meters, self._buffer, self._turn = parts.service, parts.meters, parts.buffer, parts.turn
        self._warm_up = parts.warm_up
        self._decode_item = decoder(FastPredict)

    async def predict(self, query: PredictQuery, call: Call) -> bytes:
        """Forecast one agent from its last 8 positions.

        The answer is recorded before it leaves. Without `history`, the positions sent to `/observations` are used. A failing
        model is replaced by the baseline for that answer: `model_name` is then `baseline` and `model_version` 0.
        """
        ask = self._service.received(query, call.client, call.request_id)
        try:
            return await self._turn.answer(ask)
        except NoModelReady as error:
            await self._warm_up(error)
        return await self._turn.answer(ask)

    async def batch_predict(self, batch: FastBatch | BatchPredictIn, call: Call) -> bytes:
        """Forecast many agents at once.

        The answers keep the order of the items. A bad item spoils only itself: it is answered with a code and a sentence.
        """
        items = batch.items
        limit = self._parts.settings.max_batch
        if len(items) > limit:
            raise TooLarge(f"a batch has at most {limit} items, not {len(items)}; send it in parts")
        answer_all = functools.partial(self._answer_all, items, call)
        answers, content = answer_all() if len(items) <= INLINE_ITEMS else await asyncio.to_thread(answer_all)
        for answer in answers:
            self._meters.count_prediction(answer.event)
        return content

    async def observations(self, body: FastObservations | ObservationsIn, call: Call) -> bytes:
        """Report new positions, in any order, of any agents.

        They are the truth for earlier predictions, and the history of later ones that name only the agent.
        """
        count = len(body.observations)
        if count <= INLINE_ITEMS:
            await self._record("observations", lines_of(self._events(body)))
            self._remember(body)
        else:
            await asyncio.to_thread(self._keep_all, body)
        self._meters.observations += count
        return b'{"accepted":%d}' % count

    async def _record(self, table: str, lines: bytes) -> None:
        """Return once the lines are in the spool, together with those of other requests of this turn."""
        try:
            await self._parts.commit.commit_line(table, lines)
        except Unavailable:
            self._meters.spool_errors += 1
            raise

    def _record_many(self, table: str, events: Sequence[Event]) -> None:
        """The same in a thread: many events are a write of their own."""
        try:
            self._parts.spool.write(table, events)
        except Unavailable:
            self._meters.spool_errors += 1
            raise

    def _answer_all(self, items: Sequence[msgspec.Raw | PredictIn], call: Call) -> tuple[list[Answer], bytes]:
        judged = [self._judge(item) for item in items]
        queries = [query for query in judged if not isinstance(query, TrajOpsError)]
        results = iter(self._service.predict_many(queries, call.client, call.request_id))
        found = [query if isinstance(query, TrajOpsError) else next(results) for query in judged]
        answers = [result for result in found if isinstance(result, Answer)]
        self._ask_for_cold(found)
        self._record_many("predictions", [answer.event for answer in answers])
        return answers, orjson.dumps({"items": [_item(result) for result in found]})

    def _ask_for_cold(self, found: Sequence[Answer | TrajOpsError]) -> None:
        """Begin to load the versions that items asked for in vain; a batch does not wait for them."""
        cold: set[ModelRef] = {
            result.details["model"] for result in found if isinstance(result, NoModelReady) and "model" in result.details
        }
        for model in cold.difference(self._service.snapshot.table.models()):
            with suppress(Unavailable):
                self._parts.host.ask(model)

    def _judge(self, item: msgspec.Raw | PredictIn) -> PredictQuery | TrajOpsError:
        if isinstance(item, PredictIn):
            return item
        with suppress(*REFUSALS):
            query: PredictQuery = self._decode_item(item)
            return query
        try:
            return PredictIn.model_validate_json(bytes(item))
        except ValidationError as error:
            return InvalidInput("; ".join(f"{found.field}: {found.message}" for found in field_problems(error.errors(include_url=False))))

    def _keep_all(self, body: FastObservations | ObservationsIn) -> None:
        self._record_many("observations", self._events(body))
        self._remember(body)

    def _events(self, body: FastObservations | ObservationsIn) -> list[Event]:
        received_ns, source = self._parts.clock.now_ns(), body.source
        return [
            ObservationEvent(received_ns, one.observed_at_s, one.scene_id, one.agent_id, *one.position, source) for one in body.observations
        ]

    def _remember(self, body: FastObservations | ObservationsIn) -> None:
        for one in body.observations:
            self._buffer.observe(one.scene_id, one.agent_id, one.observed_at_s, one.position)


def install(app: FastApi, parts: Parts) -> None:
    """Register the hot routes."""
    hot = HotRoutes(parts)

    def add(
        path: str, use: Use, decode: Decode, takes: type[Wire], gives: type[Wire], *, scope: Scope = "predict", cost: Cost | None = None
    ) -> None:
        meter, limit = parts.meters.route(path), parts.settings.max_body_bytes
        endpoint = FastEndpoint(use, decode, takes, parts.gate, meter, limit, scope=scope, cost=cost)
        app.add_fast_route(path, endpoint, gives, "predict")

    add("/predict", hot.predict, decoder(FastPredict), PredictIn, PredictOut)
    # The names of a batch stand in its items, which are judged one by one.
    add("/batch_predict", hot.batch_predict, msgspec.json.Decoder(FastBatch).decode, BatchPredictIn, BatchPredictOut, cost=_items)
    add("/observations", hot.observations, decoder(FastObservations), ObservationsIn, ObservationsOut, scope="observe")


def _items(batch: FastBatch | BatchPredictIn) -> int:
    return len(batch.items)


def _item(result: Answer | TrajOpsError) -> dict[str, Any]:
    """A result as `BatchItemOut`."""
    if isinstance(result, Answer):
        return {"prediction": result.body, "error_code": None, "error": None}
    return {"prediction": None, "error_code": result.code, "error": result.message}
