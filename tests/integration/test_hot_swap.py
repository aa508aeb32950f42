"""Models change under load: no request fails, and no answer names another model than the one that made it."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.running_api import Api, a_body, running_api
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.experiments.routed import canary
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast

VERSIONS = 6


class Signed:
    """Predicts its own version number as every x, so that an answer betrays who made it."""

    family = "signed"
    window = DEFAULT_WINDOW

    def __init__(self, version: int) -> None:
        self.version = version

    def forecast(self, history_m: FloatArray) -> Forecast:
        shape = (len(history_m), 1, self.window.t_pred)
        return Forecast(np.full((*shape, 2), float(self.version)), np.broadcast_to(np.eye(2), (*shape, 2, 2)), np.ones(shape[:2]))


class Rotating:
    """A route source with a new champion at each epoch; slow to read, as a database may be."""

    def __init__(self) -> None:
        self.number = 1

    def epoch(self) -> int:
        return self.number

    def table(self) -> RouteTable:
        version, other = (ModelRef("trajectory", number % VERSIONS + 1) for number in (self.number, self.number + 1))
        return RouteTable(self.number, version, experiments=(canary("e", version, other, 0.5, "seed"),))


def wait_for_epoch(api: Api, epoch: int) -> None:
    deadline = time.monotonic() + 10
    while api.parts.host.epoch < epoch:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.slow
def test_swaps_under_load_fail_nothing_and_mislabel_nothing(tmp_path: Path) -> None:
    with running_api(tmp_path, model_slots=3, epoch_poll_s=0.005) as api:
        source = Rotating()
        api.parts.loader.models = {version: lambda version=version: Signed(version) for version in range(1, VERSIONS + 1)}
        api.parts.host._source = source
        wait_for_epoch(api, 1)
        stop = threading.Event()

        def rotate() -> None:
            while not stop.wait(0.01):
                source.number += 1

        rotator = threading.Thread(target=rotate)
        rotator.start()
        epochs, versions, mislabelled, failed = set(), set(), [], []
        try:
            deadline = time.monotonic() + 60
            number = 0
            while (len(epochs) < 60 or number < 1_500) and time.monotonic() < deadline:
                number += 1
                answers = [api.post("/predict", a_body(f"a{number}"))]
                if number % 50 == 0:
                    answers.append(api.post("/batch_predict", {"items": [a_body(f"b{number}-{n}") for n in range(80)]}))
                for answer in answers:
                    if answer.status_code != 200:
                        failed.append(answer.text)
                        continue
                    body = answer.json()
                    for one in [item["prediction"] for item in body["items"]] if "items" in body else [body]:
                        epochs.add(one["epoch"])
                        versions.add(one["model_version"])
                        table_version = one["epoch"] % VERSIONS + 1
                        routed = {table_version, table_version % VERSIONS + 1}
                        if one["modes"][0]["positions"][0][0] != one["model_version"] or one["model_version"] not in routed:
                            mislabelled.append(one)
        finally:
            stop.set()
            rotator.join()
        assert failed == []
        assert mislabelled == []
        assert len(epochs) >= 60, "the routes hardly changed, so nothing was shown"
        assert versions == set(range(1, VERSIONS + 1))
        assert len(api.parts.host.warm) <= 3
        assert api.parts.service.failures == {}
