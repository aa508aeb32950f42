"""The champion network as a BentoML service; runs in BentoML's own environment.

`async`, so that no thread is handed anything, an answer that is not held against a schema, access log and metrics off: of what was
tried, the cheapest.
"""

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from trajops.forecasters import artifact


@bentoml.service(name="trajectory", workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Trajectory:
    """Loads the artefact that `PEER_ARTIFACT` names."""

    def __init__(self) -> None:
        self._forecaster = artifact.load(Path(os.environ["PEER_ARTIFACT"]))

    @bentoml.api
    async def predict(self, history: list[list[list[float]]]) -> Any:
        """(N, 8, 2) in; mean, covariance and weights out."""
        forecast = self._forecaster.forecast(np.asarray(history, dtype=float))
        return {"mean": forecast.mean_m.tolist(), "covariance": forecast.covariance_m2.tolist(), "weights": forecast.weights.tolist()}
