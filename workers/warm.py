"""Versions that a worker keeps warm, as the API would answer with them: loaded once, with the calibration that is in force."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from trajops.deployments.model_ref import ModelRef
from trajops.errors import TrajOpsError
from trajops.ports import CalibrationSource, Forecaster
from trajops.services.calibrating import Calibrating
from trajops.services.shadows import Treatment

# A failed load is tried again after 1, 2, 4 … seconds, at most this many.
LONGEST_PAUSE_S = 30.0

logger = logging.getLogger(__name__)


class _Failure(NamedTuple):
    reason: str
    attempts: int
    retry_at_s: float


class WarmModels:
    """Loads what is asked for, and gives up what is not. Used by one thread at a time.

    Args:
        load: brings a version into memory, ready to answer.
        calibrations: where those in force are read.
        stopwatch: seconds on a clock that nobody sets.
    """

    def __init__(
        self, load: Callable[[ModelRef], Forecaster], calibrations: CalibrationSource, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._calibrating = Calibrating(calibrations)
        self._stopwatch = stopwatch
        self._models: dict[ModelRef, Forecaster] = {}
        self._failures: dict[ModelRef, _Failure] = {}

    def ready(self, refs: Collection[ModelRef]) -> dict[ModelRef, Treatment]:
        """Those of some versions that can predict; all others are given up. Waits for a load."""
        self._models = {ref: model for ref, model in self._models.items() if ref in refs}
        self._failures = {ref: failure for ref, failure in self._failures.items() if ref in refs}
        if not refs:
            return {}
        for ref in refs:
            if ref not in self._models:
                self._try(ref)
        self._calibrating.look()
        self._models, numbers = self._calibrating.served(self._models)
        return {ref: Treatment(model, numbers.get(ref)) for ref, model in self._models.items()}

    @property
    def missing(self) -> Mapping[ModelRef, str]:
        """Of the versions that were last asked for, those that cannot predict, and why."""
        return {ref: failure.reason for ref, failure in self._failures.items()}

    def _try(self, ref: ModelRef) -> None:
        before = self._failures.get(ref)
        if before is not None and self._stopwatch() < before.retry_at_s:
            return
        try:
            self._models[ref] = self._load(ref)
        except Exception as error:  # noqa: BLE001 - a version that cannot be loaded keeps no other from predicting
            reason = error.message if isinstance(error, TrajOpsError) else f"{type(error).__name__}: {error}"
            attempts = 1 if before is None else before.attempts + 1
            pause_s = min(2.0 ** (attempts - 1), LONGEST_PAUSE_S)
            self._failures[ref] = _Failure(reason, attempts, self._stopwatch() + pause_s)
            if before is None or before.reason != reason:
                logger.warning("version %s cannot be loaded, and what it is wanted for waits: %s", ref, reason)
        else:
            self._failures.pop(ref, None)
