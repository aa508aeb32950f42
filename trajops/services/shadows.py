"""Shadows: what a treatment would have answered, predicted beside answers that were given, and given to nobody.

A row that a treatment cannot predict is predicted by the baseline and charged to the treatment, by the rule that answers go by. The newest
answers come first: what there is no time for is the oldest, whose truth is nearest to its end.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.experiments.routed import Arm, RoutedExperiment
from trajops.ports import Forecaster
from trajops.services.predict import BASELINE, UNUSABLE, rounded
from trajops.telemetry import PredictionEvent
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, WindowSpec

# Rows forecast at once: what they need stays in the processor's cache, and a slow model is noticed in time.
BLOCK = 256
# A run that has forecast for so long leaves the rest; the next one is due every second.
MOST_S = 2.0
# So many rows are forecast alone to time a model, or as many as fit into this; at least one.
TIMED_ROWS, TIMED_S = 5, 0.1
# The median of fewer would be one slow moment of the machine.
LEAST_TIMED_ROWS, STALLED_S = 3, 0.9

logger = logging.getLogger(__name__)


class Answered(NamedTuple):
    """An answer that was given: the fields of its `PredictionEvent` that a shadow takes over."""

    prediction_id: str
    received_ns: int
    observed_at_s: float
    scene_id: str
    agent_id: str
    client_id: str
    request_id: str
    dt_s: float
    history_m: Sequence[float]


class Beside(NamedTuple):
    """One prediction to be made: beside which answer, in which arm."""

    answer: Answered
    experiment_id: str
    arm: Arm


class Wanted(NamedTuple):
    """A treatment whose predictions are wanted beside the answers received from `since_ns` on, server's clock."""

    experiment: RoutedExperiment
    arm: Arm
    since_ns: int

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.experiment.experiment_id}/{self.arm.variant}"


class Treatment(NamedTuple):
    """A warm model as it would answer, and the number of the calibration that it carries."""

    forecaster: Forecaster
    calibration: int | None


class Shadowed(NamedTuple):
    """What was predicted.

    Attributes:
        events: of the first `taken` pairs, oldest first.
        taken: how many of the pairs there was time for.
        failed: of these, predicted by the baseline because the treatment failed.
    """

    events: list[PredictionEvent]
    taken: int
    failed: int


def shadow_id(answer: Answered, experiment_id: str, variant: str) -> str:
    """The id of what an arm predicts beside an answer: the same whenever it is made, and sorted by time as those of answers."""
    text = f"{answer.prediction_id}\0{experiment_id}\0{variant}".encode()
    return f"{answer.received_ns:016x}{blake2b(text, digest_size=8).hexdigest()}"


def answered_by(table: RouteTable, control: ModelRef) -> list[str]:
    """`EXPERIMENT/VARIANT` of the answers that a version gives by the routes, without the experiment where there is none.

    So it is known for whom the baseline stood in, which answers under its own name.
    """
    unenrolled = ["/champion", "/holdout"] if table.champion == control else []
    arms = [(one, arm) for one in table.experiments for arm in one.arms if not one.is_shadow and arm.model == control]
    return unenrolled + [f"{one.experiment_id}/{arm.variant}" for one, arm in arms]


class Shadows:
    """Predicts beside answers. Used by one thread at a time.

    Args:
        baseline: predicts where a treatment fails.
        most_s: after so long what is left is left.
        window: what goes in and comes out.
        stopwatch: seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        baseline: Forecaster,
        *,
        most_s: float = MOST_S,
        window: WindowSpec = DEFAULT_WINDOW,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._baseline = baseline
        self._most_s = most_s
        self._window = window
        self._stopwatch = stopwatch
        self._failures: dict[ModelRef, int] = {}

    def predict(self, pairs: Sequence[Beside], treatments: Mapping[ModelRef, Treatment], epoch: int) -> Shadowed:
        """Predict as many as there is time for, one block of rows at least.

        A row's `latency_ms` is the median time of a few rows of its version that are forecast alone: the model's share of what an answer
        takes, and the same for all rows of a call, so that one slow moment of this process is not taken for a slow model.

        Args:
            pairs: newest answer first, each with a history of the window's length.
            treatments: the model of each arm.
            epoch: of the routes that say so.
        """
        began_s = self._stopwatch()
        latency_ms = self._timed(pairs, treatments)
        events: list[PredictionEvent] = []
        failed = 0
        for first in range(0, len(pairs), BLOCK):
            if first and self._stopwatch() - began_s > self._most_s:
                break
            block = pairs[first : first + BLOCK]
            made: list[PredictionEvent | None] = [None] * len(block)
            for model, places in _by_model(block).items():
                treatment = treatments[model]
                chosen = [block[place] for place in places]
                found = self._forecast(model, treatment, self._histories(chosen))
                failed += sum(one.model == BASELINE for one in found)
                for place, beside, one in zip(places, chosen, found, strict=True):
                    made[place] = self._event(beside, one, epoch, latency_ms[model])
            events += [event for event in made if event is not None]
        events.reverse()
        return Shadowed(events, len(events), failed)

    def _timed(self, pairs: Sequence[Beside], treatments: Mapping[ModelRef, Treatment]) -> dict[ModelRef, float]:
        """Milliseconds that each model takes for one row."""
        latency_ms = {}
        for model, places in _by_model(pairs).items():
            spread = np.unique(np.linspace(0, len(places) - 1, TIMED_ROWS).astype(int))
            histories_m = self._histories([pairs[places[number]] for number in spread])
            taken_s = list[float]()
            for row in range(len(histories_m)):
                if sum(taken_s) > (TIMED_S if len(taken_s) >= LEAST_TIMED_ROWS else STALLED_S):
                    break
                taken_s.append(self._taken_s(treatments[model].forecaster, histories_m[row : row + 1]))
            latency_ms[model] = round(1e3 * statistics.median(taken_s), 4)
        return latency_ms

    def _taken_s(self, forecaster: Forecaster, history_m: FloatArray) -> float:
        began_s = self._stopwatch()
        try:
            forecaster.forecast(history_m)
        except Exception:
            # It is charged where it is asked for an answer, and an answer would have taken so long too.
            logger.debug("a model failed while it was timed", exc_info=True)
        return self._stopwatch() - began_s

    def _histories(self, pairs: Sequence[Beside]) -> FloatArray:
        """(N, t_obs, 2) metres."""
        return np.array([one.answer.history_m for one in pairs], dtype=float).reshape(len(pairs), self._window.t_obs, 2)

    def _forecast(self, model: ModelRef, treatment: Treatment, history_m: FloatArray) -> "list[_Forecast]":
        """One entry a row: the treatment's, or the baseline's where that failed."""
        found = self._tried(model, treatment, history_m)
        missing = [row for row, one in enumerate(found) if one is None]
        if missing:
            rows = rounded(self._baseline.forecast(history_m[missing]), len(missing), self._window)
            for place, row in enumerate(missing):
                found[row] = _Forecast(BASELINE, None, rows.weights[place], rows.numbers[place])
        return [one for one in found if one is not None]

    def _tried(self, model: ModelRef, treatment: Treatment, history_m: FloatArray) -> "list[_Forecast | None]":
        """None where the model failed. One that raises is asked again about either half: a row must not be charged for its neighbours."""
        agents = len(history_m)
        try:
            rows = rounded(treatment.forecaster.forecast(history_m), agents, self._window)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, it has failed
            if agents > 1:
                half = agents // 2
                return self._tried(model, treatment, history_m[:half]) + self._tried(model, treatment, history_m[half:])
            self._count_failure(model, f"{type(error).__name__}: {error}")
            return [None]
        found: list[_Forecast | None] = []
        for row, (weights, numbers) in enumerate(zip(rows.weights, rows.numbers, strict=True)):
            if rows.is_sound or rows.is_usable(row):
                found.append(_Forecast(model, treatment.calibration, weights, numbers))
            else:
                self._count_failure(model, UNUSABLE)
                found.append(None)
        return found

    def _event(self, beside: Beside, found: "_Forecast", epoch: int, latency_ms: float) -> PredictionEvent:
        answer, experiment_id, arm = beside
        means = len(found.weights) * self._window.t_pred * 2
        return PredictionEvent(
            shadow_id(answer, experiment_id, arm.variant),
            answer.received_ns,
            answer.observed_at_s,
            answer.scene_id,
            answer.agent_id,
            answer.client_id,
            answer.request_id,
            found.model.name,
            found.model.version,
            arm.variant,
            epoch,
            answer.dt_s,
            list(answer.history_m),
            found.weights,
            found.numbers[:means],
            found.numbers[means:],
            latency_ms,
            "shadow",
            experiment_id,
            found.calibration,
            answer.prediction_id,
        )

    def _count_failure(self, model: ModelRef, cause: str) -> None:
        failures = self._failures[model] = self._failures.get(model, 0) + 1
        # A broken model fails for every answer: powers of two say so without flooding the log.
        if failures.bit_count() == 1:
            logger.error("version %s failed %d times in shadow; last cause: %s", model, failures, cause)


class _Forecast(NamedTuple):
    """One row: who predicted it, with which calibration, the weights, and means then covariances in C order."""

    model: ModelRef
    calibration: int | None
    weights: list[float]
    numbers: list[float]


def _by_model(pairs: Sequence[Beside]) -> dict[ModelRef, list[int]]:
    """Places of the pairs of each version."""
    found: dict[ModelRef, list[int]] = {}
    for place, one in enumerate(pairs):
        found.setdefault(one.arm.model, []).append(place)
    return found
