"""Warm models as they are served: with the covariances of the calibration that is in force.

Nothing is multiplied while somebody waits: families of our own multiply the factors into their arrays once, and what cannot, a foreign
Python model, is wrapped.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trajops.deployments.model_ref import ModelRef
from trajops.errors import TrajOpsError
from trajops.forecasters.stretched import stretched
from trajops.ports import Calibrated, CalibrationSource, Forecaster

logger = logging.getLogger(__name__)


class _Served(NamedTuple):
    """A model as it is served, what it was made from, the calibration that was asked for, and the one that it carries."""

    model: Forecaster
    plain: Forecaster
    number: int = 0
    carries: int = 0


class Calibrating:
    """Follows the calibrations in force. Used by one thread.

    Args:
        source: where those in force are read; None: versions are served as trained.
    """

    def __init__(self, source: CalibrationSource | None) -> None:
        self._source = source
        self._in_force: Mapping[ModelRef, Calibrated] = {}
        self._served: dict[ModelRef, _Served] = {}

    def look(self) -> None:
        """Read what is in force; while the database is away, what was known goes on."""
        if self._source is None:
            return
        try:
            self._in_force = self._source.in_force()
        except TrajOpsError as error:
            logger.debug("the calibrations in force are not known; the last ones go on: %s", error.message)

    def served(self, models: Mapping[ModelRef, Forecaster]) -> tuple[dict[ModelRef, Forecaster], dict[ModelRef, int]]:
        """Warm models with their calibrations, and the numbers of these; models may be plain or as this has returned them before."""
        served = {ref: self._made(ref, model) for ref, model in models.items()}
        self._served = served
        return {ref: made.model for ref, made in served.items()}, {ref: made.carries for ref, made in served.items() if made.carries}

    def _made(self, ref: ModelRef, model: Forecaster) -> _Served:
        known = self._served.get(ref)
        plain = known.plain if known is not None and known.model is model else model
        wanted = self._in_force.get(ref)
        number = 0 if wanted is None else wanted.number
        if known is not None and known.plain is plain and known.number == number:
            return known
        if wanted is None:
            return _Served(plain, plain)
        try:
            calibrated = stretched(plain, np.array(wanted.factors))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with its factors, the version goes on as it was trained
            logger.warning("calibration %d of %s cannot be applied, and the version is served as trained: %s", number, ref, error)
            return _Served(plain, plain, number)
        logger.info("version %s is served with calibration %d", ref, number)
        return _Served(calibrated, plain, number, number)
