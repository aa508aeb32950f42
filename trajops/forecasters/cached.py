"""A model that remembers its answers: the same history, byte for byte, is forecast once.

For models that are slow. A small network answers sooner than its answer is found, and is left as it is (`where_it_pays`).
"""

import time
from dataclasses import dataclass
from threading import Lock

import numpy as np

from trajops.forecasters.checks import probe_histories
from trajops.forecasters.frames import checked_history
from trajops.forecasters.stretched import stretched
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, Forecast, WindowSpec

# Larger questions are bulk, which does not repeat itself, and would only push out what does.
LARGEST = 64
# A remembered answer must be so many times cheaper than a new one to be worth memory, and what every new question loses to the look-up.
# The network is at 4, gradient boosting at 25 and more (docs/decisions/0014-forecasts-are-remembered-where-it-pays.md).
WORTH = 10.0
# Measured over as many rows as a busy turn of the event loop has; the least of several tries, because a busy machine only ever adds.
ROWS, TRIES, ENOUGH_S = 16, 7, 0.1


@dataclass(slots=True, eq=False)
class CacheMeter:
    """What the caches of a version counted, one after another: rows that were remembered, and rows that the model was asked about."""

    hits: int = 0
    misses: int = 0


class CachedForecaster:
    """Remembers what another forecaster answered. Safe to call from several threads.

    A row is answered as it was when it was first asked about. Beside other rows the model might round it otherwise, by less than
    `checks.check_batch_size` allows.

    Args:
        inner: the model.
        entries: most rows remembered; the one asked about least recently goes first.
        meter: counts; it may have counted for the version before.

    Attributes:
        inner: the model.
        meter: counts.
    """

    def __init__(self, inner: Forecaster, entries: int, meter: CacheMeter | None = None) -> None:
        self.inner = inner
        self.meter = meter or CacheMeter()
        self._entries = entries
        # In order of the last question; weights, means and covariances of each row as float64.
        self._rows: dict[bytes, bytes] = {}
        self._lock = Lock()

    @property
    def family(self) -> str:
        """Name of the model's family."""
        return self.inner.family

    @property
    def window(self) -> WindowSpec:
        """What the model expects and predicts."""
        return self.inner.window

    def __len__(self) -> int:
        return len(self._rows)

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, K, t_pred, 2), not to be written to.

        Raises:
            ShapeError: if the history does not have that shape.
        """
        history = checked_history(history_m, self.window)
        if not 0 < len(history) <= LARGEST:
            return self.inner.forecast(history)
        found = self._found(_cut(history.tobytes(), len(history)))
        missing = [row for row, (_, kept) in enumerate(found) if kept is None]
        if not missing:
            return self._unpacked([kept for _, kept in found if kept is not None])
        fresh = self.inner.forecast(history if len(missing) == len(found) else history[missing])
        for row, packed in zip(missing, _packed(fresh), strict=True):
            found[row] = (found[row][0], packed)
        self._keep([found[row] for row in missing])
        return fresh if len(missing) == len(found) else self._unpacked([kept for _, kept in found if kept is not None])

    def rescaled(self, factors: FloatArray) -> "CachedForecaster":
        """The model with the covariance of step t multiplied by factors[t], and a memory of its own: what was remembered is of before."""
        return CachedForecaster(stretched(self.inner, factors), self._entries, self.meter)

    def _found(self, keys: list[bytes]) -> list[tuple[bytes, bytes | None]]:
        """What is remembered, now asked about last."""
        found: list[tuple[bytes, bytes | None]] = []
        with self._lock:
            rows = self._rows
            for key in keys:
                kept = rows.pop(key, None)
                if kept is not None:
                    rows[key] = kept
                    self.meter.hits += 1
                found.append((key, kept))
        return found

    def _keep(self, fresh: list[tuple[bytes, bytes | None]]) -> None:
        """Remember the rows of an answer."""
        with self._lock:
            self.meter.misses += len(fresh)
            for key, packed in fresh:
                # What no agent could be answered with is asked for again: the model may do better.
                if packed is not None and np.isfinite(np.frombuffer(packed)).all():
                    self._rows[key] = packed
            while len(self._rows) > self._entries:
                del self._rows[next(iter(self._rows))]

    def _unpacked(self, rows: list[bytes]) -> Forecast:
        """One forecast of remembered rows; nobody can write to it."""
        agents, steps = len(rows), self.window.t_pred
        numbers = np.frombuffer(b"".join(rows)).reshape(agents, -1)
        modes = numbers.shape[1] // (1 + 6 * steps)
        means, covariances = modes, modes * (1 + 2 * steps)
        return Forecast(
            numbers[:, means:covariances].reshape(agents, modes, steps, 2),
            numbers[:, covariances:].reshape(agents, modes, steps, 2, 2),
            numbers[:, :means],
        )


def where_it_pays(model: Forecaster, entries: int, meter: CacheMeter | None = None) -> Forecaster:
    """The model with a cache of so many entries, if a remembered answer is so much cheaper than a new one; else the model itself.

    Asks the model a few questions; whether its answers are right is for the caller to judge.
    """
    if entries == 0:
        return model
    new_s, remembered_s = costs_s(model)
    return CachedForecaster(model, entries, meter) if new_s >= WORTH * remembered_s else model


def costs_s(model: Forecaster, rows: int = ROWS) -> tuple[float, float]:
    """What the model takes for new questions, and a cache before it for the same ones when it remembers all of them, seconds."""
    probes, numbers = probe_histories(model.window), np.arange(rows)
    questions = probes[numbers % len(probes)] + numbers[:, None, None]
    cache = CachedForecaster(model, rows)
    cache.forecast(questions)
    new_s, remembered_s = list[float](), list[float]()
    began_s = time.perf_counter()
    while not new_s or (len(new_s) < TRIES and time.perf_counter() < began_s + ENOUGH_S):
        new_s.append(_taken_s(model, questions))
        remembered_s.append(_taken_s(cache, questions))
    return min(new_s), min(remembered_s)


def _taken_s(model: Forecaster, questions: FloatArray) -> float:
    began_s = time.perf_counter()
    model.forecast(questions)
    return time.perf_counter() - began_s


def _packed(forecast: Forecast) -> list[bytes]:
    """Weights, means and covariances of each agent as float64."""
    agents = len(forecast.weights)
    parts = (forecast.weights, forecast.mean_m.reshape(agents, -1), forecast.covariance_m2.reshape(agents, -1))
    return _cut(np.concatenate(parts, axis=1, dtype=np.float64).tobytes(), agents)


def _cut(whole: bytes, rows: int) -> list[bytes]:
    size = len(whole) // rows
    return [whole[first : first + size] for first in range(0, len(whole), size)]
