"""Bulk forecasts of arrays that name no agent: one model for all rows, and nothing to remember row by row.

Truth arrives for agents. A row without one can never be scored, so it is answered and counted, but leaves no event; and without
a unit there is nothing to assign a variant to, so the champion answers, or the version that is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Assignment
from trajops.errors import NoModelReady, NotFound, ShapeError
from trajops.ports import Clock, Forecaster
from trajops.services.predict import BASELINE, LARGEST_M2, UNUSABLE, PredictService
from trajops.trajectories import DEFAULT_WINDOW, BoolArray, FloatArray, Forecast, WindowSpec

Asked = int | Literal["champion", "challenger", "previous_champion"]

LARGEST_M = 1e7
# Rows forecast at once: what they need stays in the processor's cache, and no step of it keeps other threads waiting.
BLOCK = 1024
# Single precision must find a covariance definite too.
_DEFINITE = 1.0 - 1e-5


class Choice(NamedTuple):
    """The warm model that answers a bulk, and the routing epoch in which it was chosen."""

    assignment: Assignment
    forecaster: Forecaster
    epoch: int

    @property
    def model(self) -> ModelRef:
        """The version."""
        return self.assignment.model


@dataclass(frozen=True, slots=True, eq=False)
class BulkForecast:
    """Forecasts of N agents, in the precision that was asked for.

    Attributes:
        mean_m: (N, K, t_pred, 2) metres.
        covariance_m2: (N, K, t_pred, 2, 2) square metres.
        weights: (N, K); the first mode is the likeliest.
        is_baseline: (N,) where the model failed and the baseline answered: in the first mode, which then weighs one.
    """

    mean_m: FloatArray
    covariance_m2: FloatArray
    weights: FloatArray
    is_baseline: BoolArray


def bad_rows(history_m: FloatArray) -> NDArray[np.intp]:
    """Indices of rows that hold a number which is not finite, or farther out than 10,000 km.

    Args:
        history_m: (N, t_obs, 2) metres.
    """
    flat_m = history_m.reshape(len(history_m), -1)
    if not len(flat_m) or (flat_m.max() <= LARGEST_M and flat_m.min() >= -LARGEST_M):  # false where a number is not one
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(~(np.abs(flat_m) <= LARGEST_M).all(axis=1))


def _go_on() -> None:
    """Somebody waits."""


class Bulk:
    """Chooses a model and forecasts many rows with it. Safe to call from several threads.

    Args:
        service: holds the snapshot and counts failures.
        model_name: the registered model whose versions can be asked for.
        baseline: answers where a model fails; always warm.
        clock: the server's clock.
        window: what goes in and comes out.
    """

    def __init__(
        self, service: PredictService, model_name: str, baseline: Forecaster, clock: Clock, *, window: WindowSpec = DEFAULT_WINDOW
    ) -> None:
        self.window = window
        self.model_name = model_name
        self._service = service
        self._baseline = baseline
        self._clock = clock

    def choose(self, asked: Asked | None) -> Choice:
        """The champion, or who stands in for it, or the version or alias that is asked for.

        Raises:
            NotFound: if an alias points nowhere.
            NoModelReady: if nobody answers, or the version is not warm (`model` in the details).
        """
        snapshot = self._service.snapshot
        assignment = snapshot.lead() if asked is None else snapshot.direct(self.model_name, asked)
        forecaster = self._baseline if assignment.model == BASELINE else snapshot.models.get(assignment.model)
        if forecaster is None:
            raise NoModelReady(f"version {assignment.model} is not warm yet; try again in a second", model=assignment.model)
        if assignment.variant == "direct":
            self._service.asked_ns[assignment.model] = self._clock.now_ns()
        return Choice(assignment, forecaster, snapshot.table.epoch)

    def most_modes(self, asked: Asked | None) -> int:
        """Most modes of the answers to rows that name agents, or to a version asked for: by the models that may be drawn now.

        A model has one number of modes, whatever it is asked (`forecasters.checks.check_shapes`), so that one trajectory tells it.
        """
        snapshot = self._service.snapshot
        if asked is None:
            table = snapshot.table
            refs: set[ModelRef | None] = {snapshot.leader, *table.drawn()}
        else:
            try:
                refs = {snapshot.direct(self.model_name, asked).model}
            except NotFound:
                refs = set()
        forecasters = [snapshot.models[ref] for ref in refs if ref is not None and ref in snapshot.models]
        return max(map(self.modes, forecasters), default=1)

    def modes(self, forecaster: Forecaster) -> int:
        """How many modes a model answers with; 1, which is the baseline's, where it fails."""
        walk_m = np.zeros((1, self.window.t_obs, 2))
        walk_m[0, :, 0] = np.arange(self.window.t_obs) * self.window.dt_s  # along x at 1 m/s
        try:
            return max(1, int(forecaster.forecast(walk_m).weights.shape[1]))
        except Exception:  # noqa: BLE001 - whatever a model raises is counted where it is asked for an answer
            return 1

    def forecast(
        self,
        choice: Choice,
        history_m: FloatArray,
        dtype: type = np.float32,
        *,
        most_modes: int | None = None,
        check: Callable[[], None] = _go_on,
    ) -> BulkForecast:
        """Forecast (N, t_obs, 2) metres, all finite, into arrays of `dtype`. Lets other threads run.

        Args:
            choice: the model.
            history_m: (N, t_obs, 2) metres.
            dtype: of the forecast.
            most_modes: most that there is a place for; a model that answers with more has failed.
            check: is called before each `BLOCK` of rows, and raises if nobody waits for them any more.

        Raises:
            ShapeError: if there is no row, or they do not have that shape.
            Exception: what `check` raises.
        """
        rows, window = len(history_m), self.window
        if not rows or history_m.shape[1:] != (window.t_obs, 2):
            raise ShapeError(f"history must have shape (N, {window.t_obs}, 2) with N ≥ 1, not {history_m.shape}")
        blocks = _Blocks(rows, window.t_pred, dtype)
        for first in range(0, rows, BLOCK):
            check()
            block_m = np.asarray(history_m[first : first + BLOCK], dtype=np.float64)
            blocks.put(first, *self._block(choice, block_m, most_modes))
        return blocks.whole()

    def _block(self, choice: Choice, history_m: FloatArray, most_modes: int | None) -> tuple[Forecast, BoolArray]:
        """A forecast whose every row can be scored, and which rows of it are the baseline's."""
        agents = len(history_m)
        try:
            forecast = choice.forecaster.forecast(history_m)
            if forecast.mean_m.shape[::2] != (agents, self.window.t_pred):
                raise ShapeError(f"a forecast of shape {forecast.mean_m.shape} does not answer {agents} agents")
            if most_modes is not None and forecast.mean_m.shape[1] > most_modes:
                raise ShapeError(f"a forecast of {forecast.mean_m.shape[1]} modes by a model that has {most_modes}")
            unusable = _unusable(forecast)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the agents need an answer
            self._service.count_failure(choice.model, f"{type(error).__name__}: {error}")
            return self._baseline.forecast(history_m), np.ones(agents, dtype=np.bool_)
        if unusable.any():
            self._service.count_failure(choice.model, UNUSABLE)
            forecast = _patched(forecast, unusable, self._baseline.forecast(history_m[unusable]))
        return forecast, unusable


class _Blocks:
    """The whole forecast, put together from blocks; a block of the baseline may have fewer modes than the others."""

    def __init__(self, rows: int, t_pred: int, dtype: type) -> None:
        self._rows, self._t_pred, self._dtype = rows, t_pred, dtype
        self._is_baseline = np.zeros(rows, dtype=np.bool_)
        self._allocate(1)

    def put(self, first: int, forecast: Forecast, is_baseline: BoolArray) -> None:
        """Place the forecast of the rows from `first` on."""
        agents, modes = forecast.weights.shape
        if modes > self._modes:
            before = self._mean_m, self._covariance_m2, self._weights
            self._allocate(modes)
            for whole, part in zip((self._mean_m, self._covariance_m2, self._weights), before, strict=True):
                whole[:first] = part[:first, :1]
            self._weights[:first, 1:] = 0.0
        rows = slice(first, first + agents)
        self._is_baseline[rows] = is_baseline
        self._mean_m[rows] = forecast.mean_m
        covariance_m2 = forecast.covariance_m2
        if covariance_m2.strides[0] == 0:  # all agents share one: cast it once
            covariance_m2 = covariance_m2[:1].astype(self._dtype)
        self._covariance_m2[rows] = covariance_m2
        self._weights[rows] = forecast.weights
        if modes < self._modes:
            self._weights[rows, 1:] = 0.0

    def whole(self) -> BulkForecast:
        """All rows."""
        return BulkForecast(self._mean_m, self._covariance_m2, self._weights, self._is_baseline)

    def _allocate(self, modes: int) -> None:
        self._modes = modes
        self._mean_m: FloatArray = np.empty((self._rows, modes, self._t_pred, 2), dtype=self._dtype)
        self._covariance_m2: FloatArray = np.empty((self._rows, modes, self._t_pred, 2, 2), dtype=self._dtype)
        self._weights: FloatArray = np.empty((self._rows, modes), dtype=self._dtype)


def _unusable(forecast: Forecast) -> BoolArray:
    """(A,) whether a row cannot be scored: a number is not finite, or a covariance is not positive definite or too large."""
    agents = len(forecast.weights)
    covariance_m2 = forecast.covariance_m2
    if covariance_m2.strides[0] == 0:
        covariance_m2 = covariance_m2[:1]
    xx, xy, yy = covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]
    # Each comparison is false where a number is not one; the sums of a block cannot run over, its positions are bounded.
    is_definite = (xx > 0.0) & (xx * yy * _DEFINITE > xy * xy) & (xx <= LARGEST_M2) & (yy <= LARGEST_M2)
    if is_definite.all() and np.isfinite(forecast.mean_m.sum() + forecast.weights.sum()):
        return np.zeros(agents, dtype=np.bool_)
    is_finite = np.isfinite(forecast.mean_m).all(axis=(1, 2, 3)) & np.isfinite(forecast.weights).all(axis=1)
    return np.asarray(~(is_finite & is_definite.all(axis=(1, 2))))


def _patched(forecast: Forecast, rows: BoolArray, baseline: Forecast) -> Forecast:
    """The forecast with some rows exchanged for the baseline's: all modes alike, and the first of them certain."""
    mean_m, covariance_m2, weights = forecast.mean_m.copy(), forecast.covariance_m2.copy(), forecast.weights.copy()
    mean_m[rows] = baseline.mean_m
    covariance_m2[rows] = baseline.covariance_m2
    weights[rows] = 0.0
    weights[rows, 0] = 1.0
    return Forecast(mean_m, covariance_m2, weights)
