"""The hot routes: `/predict`, `/observations`. No SQL, no thread, no model library's import."""

import asyncio
from collections.abc import Sequence

from api.fast_bodies import FastObservations, FastPredict, decoder
from api.fast_route import Call, Decode, FastApi, FastEndpoint, Use
from api.predict_door import PredictDoor
from api.wiring import Parts
from data.lake.spool import lines_of
from trajops.contracts.predictions import (
    ObservationsIn,
    ObservationsOut,
    PredictIn,
    PredictOut,
)
from trajops.contracts.session import Scope
from trajops.contracts.wire import Wire
from trajops.errors import NoModelReady, Unavailable
from trajops.services.predict import PredictQuery
from trajops.telemetry import Event, ObservationEvent

# Up to here a batch costs less than handing it to a thread and back would disturb others.
INLINE_ITEMS = 64


class HotRoutes:
    """The use of each hot route: decoded body and call in, JSON bytes out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service, self._meters, self._buffer, self._turn = parts.service, parts.meters, parts.buffer, parts.turn
        self._warm_up, self._tracks = parts.warm_up, parts.track_sync

    async def predict(self, query: PredictQuery, call: Call) -> bytes:
        """Forecast one agent from its last 8 positions.

        The answer is recorded before it leaves. Without `history`, the positions sent to `/observations` are used. A failing
        model is replaced by the baseline for that answer: `model_name` is then `baseline` and `model_version` 0.
        """
        if query.history is None and self._tracks is not None:
            await self._tracks.fetch([(query.scene_id, query.agent_id)])
        ask = self._service.received(query, call.client, call.request_id)
        try:
            return await self._turn.answer(ask)
        except NoModelReady as error:
            await self._warm_up(error)
        return await self._turn.answer(ask)

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
        if self._tracks is not None:
            await self._tracks.sent()
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

    def add(path: str, use: Use, decode: Decode, takes: type[Wire], gives: type[Wire], *, scope: Scope = "predict") -> FastEndpoint:
        meter, limit = parts.meters.route(path), parts.settings.max_body_bytes
        endpoint = FastEndpoint(use, decode, takes, parts.gate, meter, limit, scope=scope)
        app.add_fast_route(path, endpoint, gives, "predict")
        return endpoint

    predict = add("/predict", hot.predict, decoder(FastPredict), PredictIn, PredictOut)
    add("/observations", hot.observations, decoder(FastObservations), ObservationsIn, ObservationsOut, scope="observe")
    app.doors[b"/predict"] = PredictDoor(predict, parts.service, parts.turn, "/predict", is_sharing=parts.track_sync is not None)
