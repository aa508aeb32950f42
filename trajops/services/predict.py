"""Predict: the hot path's use case. Synchronous and without I/O: the caller records the event before the answer leaves.

A model that raises, or answers with a number that is not finite or a covariance that is not positive definite or too large
to be recorded, is replaced by the baseline for that answer. The answer
says so (`model_name` is `baseline`, `model_version` 0) and keeps the assigned variant, so that a failing arm is charged
with its failures.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from functools import cache
from itertools import chain, count
from math import isfinite
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np

from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Assignment, Units
from trajops.errors import NoModelReady, ShapeError, TrajOpsError
from trajops.ports import Clock, Forecaster
from trajops.services.snapshot import NOT_READ, Snapshot
from trajops.telemetry import Declared, PredictionEvent
from trajops.track_buffer import TrackBuffer
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec

BASELINE = ModelRef("baseline", 0)

# Positions leave in tenths of a millimetre, covariances in their square: shorter than any tracker resolves, and short to write.
_PER_M, _PER_M2 = 1e4, 1e8
# The lake keeps covariances in single precision: they must be definite by more than its rounding, and not run over.
_DEFINITE = 1.0 - 1e-5
LARGEST_M2 = float(np.finfo(np.float32).max)
UNUSABLE = "it answered with a number that is not finite, or a covariance that is not positive definite or cannot be recorded"
_XX_XY_YY = np.array([0, 1, 3])

logger = logging.getLogger(__name__)


class PredictQuery(Protocol):
    """What is asked for: `PredictIn`, or anything with the same fields."""

    @property
    def agent_id(self) -> str:
        """The moving body."""
        ...

    @property
    def scene_id(self) -> str:
        """Its scene."""
        ...

    @property
    def history(self) -> Sequence[tuple[float, float]] | None:
        """`t_obs` positions in metres, oldest first; None: the track buffer knows them."""
        ...

    @property
    def observed_at_s(self) -> float | None:
        """Time of the last position, agents' clock; None: now."""
        ...

    @property
    def model_version(self) -> int | Literal["champion", "challenger", "previous_champion"] | None:
        """A version or alias instead of the routed one."""
        ...

    @property
    def source(self) -> Declared:
        """Where the traffic comes from."""
        ...


class Caller(Protocol):
    """Who asks."""

    @property
    def client_id(self) -> str:
        """Name of the client in the telemetry."""
        ...


class Answer(NamedTuple):
    """The fields of `PredictOut`, and the event to record before they leave."""

    body: dict[str, Any]
    event: PredictionEvent


class Ask(NamedTuple):
    """One query: who sent it, under which id, and when it came in.

    Attributes:
        query: what is asked for.
        client_id: name of the client in the telemetry.
        request_id: the client's own id; None: it gave none.
        received_ns: server's clock.
        started_ns: monotonic clock.
    """

    query: PredictQuery
    client_id: str
    request_id: str | None
    received_ns: int
    started_ns: int


class _Item(NamedTuple):
    """One ask whose model and history are known."""

    ask: Ask
    place: int
    assignment: Assignment
    forecaster: Forecaster
    observed_at_s: float
    flat_m: list[float]


class Rows(NamedTuple):
    """Rounded forecasts as plain lists, one entry an agent: weights, and means then covariances in C order.

    `is_sound` tells that every row can be scored; otherwise each must be looked at, which is cheaper for one or two.
    """

    weights: list[list[float]]
    numbers: list[list[float]]
    is_sound: bool

    def is_usable(self, row: int) -> bool:
        """Whether a row can be recorded and scored: its numbers are finite and, as rounded, its covariances positive definite."""
        numbers, weights = self.numbers[row], self.weights[row]
        cov_m2 = numbers[len(numbers) * 2 // 5 :]
        if not isfinite(sum(numbers) + sum(weights)) or max(cov_m2) > LARGEST_M2:
            return False
        ellipses = zip(cov_m2[::3], cov_m2[1::3], cov_m2[2::3], strict=True)
        return all(xx > 0.0 and xx * yy * _DEFINITE > xy * xy for xx, xy, yy in ellipses)


def _are_sound(weights: FloatArray, numbers: FloatArray, means: int) -> bool:
    """`Rows.is_usable` of all rows at once; each comparison is false where a number is not one."""
    xx, xy, yy = numbers[:, means::3], numbers[:, means + 1 :: 3], numbers[:, means + 2 :: 3]
    surplus = xx * yy
    surplus *= _DEFINITE
    surplus -= xy * xy
    is_definite = surplus.min() > 0.0 and xx.min() > 0.0
    return bool(is_definite and numbers[:, means:].max() <= LARGEST_M2 and isfinite(numbers.sum() + weights.sum()))


@cache
def _scale(modes: int, steps: int) -> FloatArray:
    """What the numbers of a row are multiplied by before they are rounded to whole ones."""
    return np.repeat([_PER_M, _PER_M2], [modes * steps * 2, modes * steps * 3])


def rounded(forecast: Forecast, agents: int, window: WindowSpec) -> Rows:
    """Round a forecast and take it apart; all numbers in one array, because each call of numpy costs more than its work.

    Raises:
        ShapeError: if it is not for so many agents, or not over the whole horizon.
    """
    modes, steps = forecast.mean_m.shape[1], window.t_pred
    if forecast.mean_m.shape != (agents, modes, steps, 2):
        raise ShapeError(f"a forecast of shape {forecast.mean_m.shape} does not answer {agents} agents over {steps} steps")
    means, scale = modes * steps * 2, _scale(modes, steps)
    numbers = np.empty((agents, len(scale)))
    numbers[:, :means] = forecast.mean_m.reshape(agents, means)
    covariance_m2 = forecast.covariance_m2.reshape(agents, modes * steps, 4).take(_XX_XY_YY, axis=2)
    numbers[:, means:] = covariance_m2.reshape(agents, modes * steps * 3)
    numbers *= scale
    np.rint(numbers, numbers)
    numbers /= scale
    weights = forecast.weights
    return Rows(weights.tolist(), numbers.tolist(), agents > 2 and _are_sound(weights, numbers, means))


def _modes(weights: Sequence[float], mean_m: Sequence[float], cov_m2: Sequence[float], steps: int) -> list[dict[str, Any]]:
    """Flat numbers as the modes of `PredictOut`."""
    means, covariances = iter(mean_m), iter(cov_m2)
    points, ellipses = list(zip(means, means)), list(zip(covariances, covariances, covariances))  # noqa: B905 - one iterator in step
    if len(weights) == 1:
        return [{"weight": weights[0], "positions": points, "covariance": ellipses}]
    return [
        {"weight": weight, "positions": points[first : first + steps], "covariance": ellipses[first : first + steps]}
        for weight, first in zip(weights, range(0, len(points), steps), strict=True)
    ]


class PredictService:
    """Routes a query to a warm model and turns its forecast into an answer and an event. Safe to call from several threads.

    Args:
        model_name: the registered model whose versions can be asked for by number.
        baseline: answers where a model fails; always warm.
        buffer: recent positions of each agent.
        clock: the server's clock.
        window: what goes in and comes out.

    Attributes:
        snapshot: what decides the answers; replace it as a whole.
        failures: how often each model failed and the baseline answered.
        replaced: answers that the baseline gave because a model failed, by model and variant.
        asked_ns: when a version was last asked for by number or alias.
    """

    def __init__(
        self, model_name: str, baseline: Forecaster, buffer: TrackBuffer, clock: Clock, *, window: WindowSpec = DEFAULT_WINDOW
    ) -> None:
        self.snapshot = Snapshot(absence=NOT_READ)
        self.failures: dict[ModelRef, int] = {}
        self.replaced: dict[tuple[ModelRef, str], int] = {}
        self.asked_ns: dict[ModelRef, int] = {}
        self._model_name = model_name
        self._baseline = baseline
        self._buffer = buffer
        self._clock = clock
        self._window = window
        # Time first, so that ids sort by it; the process and a counter make them unique.
        self._process = secrets.token_hex(4)
        self._count = count()

    def received(self, query: PredictQuery, caller: Caller, request_id: str | None = None) -> Ask:
        """A query as it comes in, with the times of now."""
        return Ask(query, caller.client_id, request_id, self._clock.now_ns(), time.perf_counter_ns())

    def predict(self, query: PredictQuery, caller: Caller, request_id: str | None = None) -> Answer:
        """Answer one query.

        Raises:
            NotFound: if an alias points nowhere, or the agent is not in the track buffer.
            NoModelReady: if nobody answers for the routes, or the version asked for is not warm (`model` in the details).
            WindowTooShort: if the track buffer does not span the observation window.
        """
        [result] = self.answer([self.received(query, caller, request_id)])
        if isinstance(result, TrajOpsError):
            raise result
        return result

    def predict_many(self, queries: Sequence[PredictQuery], caller: Caller, request_id: str | None = None) -> list[Answer | TrajOpsError]:
        """Answer many queries of one caller; see `answer`."""
        if not queries:
            return []
        first = self.received(queries[0], caller, request_id)
        return self.answer([first._replace(query=query) for query in queries])

    def answer(self, asks: Sequence[Ask]) -> list[Answer | TrajOpsError]:
        """Answer many asks, each model forecasting its share as one array; order kept, a bad ask spoils only itself."""
        snapshot = self.snapshot
        results: list[Answer | TrajOpsError | None] = [None] * len(asks)
        groups: dict[ModelRef, list[_Item]] = {}
        for index, ask in enumerate(asks):
            try:
                item = self._prepare(snapshot, ask, index)
            except TrajOpsError as error:
                results[index] = error
            else:
                group = groups.get(item.assignment.model)
                if group is None:
                    group = groups[item.assignment.model] = []
                group.append(item)
        for model, group in groups.items():
            self._answer_group(snapshot, model, group, results)
        return cast("list[Answer | TrajOpsError]", results)

    def _prepare(self, snapshot: Snapshot, ask: Ask, index: int) -> _Item:
        query = ask.query
        assignment = self._assign(snapshot, ask)
        forecaster = snapshot.models.get(assignment.model)
        if forecaster is None:
            forecaster = self._unlisted(assignment.model)
        if assignment.variant == "direct":
            self.asked_ns[assignment.model] = ask.received_ns
        history = query.history
        if history is None:
            observed_at_s, history_m = self._buffer.history(query.scene_id, query.agent_id, query.observed_at_s)
            return _Item(ask, index, assignment, forecaster, observed_at_s, history_m.ravel().tolist())
        stated_s = query.observed_at_s
        observed_at_s = ask.received_ns / 1e9 if stated_s is None else stated_s
        flat_m = list(chain.from_iterable(history))
        if query.source != "probe":
            self._buffer.extend(query.scene_id, query.agent_id, observed_at_s, flat_m)
        return _Item(ask, index, assignment, forecaster, observed_at_s, flat_m)

    def _assign(self, snapshot: Snapshot, ask: Ask) -> Assignment:
        query = ask.query
        asked = query.model_version
        if asked is None:
            return snapshot.assign(Units(query.scene_id, query.agent_id, ask.client_id))
        return snapshot.direct(self._model_name, asked)

    def _unlisted(self, model: ModelRef) -> Forecaster:
        """The model of a version that is not among the warm ones: the baseline is always ready."""
        if model != BASELINE:
            raise NoModelReady(f"version {model} is not warm yet; try again in a second", model=model)
        return self._baseline

    def _answer_group(
        self, snapshot: Snapshot, model: ModelRef, items: Sequence[_Item], results: "list[Answer | TrajOpsError | None]"
    ) -> None:
        """Answer items that share one model, each in its place of `results`."""
        window, agents, epoch, number = self._window, len(items), snapshot.table.epoch, snapshot.calibrations.get(model)
        history_m = np.array([item.flat_m for item in items]).reshape(agents, window.t_obs, 2)
        model_ns = time.perf_counter_ns()
        rows = self._forecast(model, items[0].forecaster, history_m)
        done_ns = time.perf_counter_ns()
        model_ms = round((done_ns - model_ns) / 1e6 / agents, 4)
        for row, item in enumerate(items):
            answering, source, at, calibration = model, rows, row, number
            if source is None or not (source.is_sound or source.is_usable(at)):
                if source is not None:
                    self.count_failure(model, UNUSABLE)
                arm = (model, item.assignment.variant)
                self.replaced[arm] = self.replaced.get(arm, 0) + 1
                answering, at, calibration = BASELINE, 0, None
                source = rounded(self._baseline.forecast(history_m[row : row + 1]), 1, window)
            results[item.place] = self._answer(epoch, answering, calibration, item, source.weights[at], source.numbers[at], model_ms)

    def _answer(
        self,
        epoch: int,
        answering: ModelRef,
        calibration: int | None,
        item: _Item,
        weights: list[float],
        numbers: list[float],
        model_ms: float,
    ) -> Answer:
        ask, _, assignment, _, observed_at_s, flat_m = item
        query, client_id, request_id, received_ns, started_ns = ask
        window = self._window
        prediction_id = f"{received_ns:016x}{self._process}{next(self._count) & 0xFFFFFFFF:08x}"
        scene_id, agent_id, variant = query.scene_id, query.agent_id, assignment.variant
        name, version = answering
        means = len(weights) * window.t_pred * 2
        mean_m, cov_m2 = numbers[:means], numbers[means:]
        body = {
            "prediction_id": prediction_id,
            "agent_id": agent_id,
            "scene_id": scene_id,
            "observed_at_s": observed_at_s,
            "dt_s": window.dt_s,
            "model_name": name,
            "model_version": version,
            "variant": variant,
            "epoch": epoch,
            "modes": _modes(weights, mean_m, cov_m2, window.t_pred),
            "model_ms": model_ms,
        }
        event = PredictionEvent(
            prediction_id,
            received_ns,
            observed_at_s,
            scene_id,
            agent_id,
            client_id,
            request_id or prediction_id,
            name,
            version,
            variant,
            epoch,
            window.dt_s,
            flat_m,
            weights,
            mean_m,
            cov_m2,
            round((time.perf_counter_ns() - started_ns) / 1e6, 4),
            query.source,
            assignment.experiment_id,
            calibration,
        )
        return Answer(body, event)

    def _forecast(self, model: ModelRef, forecaster: Forecaster, history_m: FloatArray) -> Rows | None:
        """The model's forecast; None where it failed."""
        try:
            return rounded(forecaster.forecast(history_m), len(history_m), self._window)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the agent is still moving and needs an answer
            self.count_failure(model, f"{type(error).__name__}: {error}")
            return None

    def count_failure(self, model: ModelRef, cause: str) -> None:
        """Count that a model failed and the baseline answered; the log hears of it now and then."""
        failures = self.failures[model] = self.failures.get(model, 0) + 1
        # A broken model fails on every request: powers of two say so without flooding the log.
        if failures.bit_count() == 1:
            logger.error("version %s failed %d times and the baseline answered; last cause: %s", model, failures, cause)
