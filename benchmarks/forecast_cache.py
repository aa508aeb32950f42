"""What a remembered forecast costs against a new one, for each family as the product trains it: where the cache pays.

The value is how many times cheaper a turn of 16 remembered rows is than the same turn forecast by gradient boosting, the one family
that the product puts a cache before. Beside it, at 1 and 16 rows: the forecast alone, a hit, and a miss, which is the forecast and what
looking up and keeping it adds. Each is the least of many tries: a shared machine only ever adds.
"""

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.record import Measurement
from data.datasets import skillcorner
from trajops.forecasters.cached import ROWS, CachedForecaster, costs_s, where_it_pays
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray
from workers.compute import Inline
from workers.training.candidates import fit
from workers.training.partitions import split

FAMILIES = ("constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting")
REPEAT, CALLS = 25, 8


def run() -> Measurement:
    """Fit each family on the embedded tracks and measure it with and without a cache."""
    data = split([skillcorner.load()["first_half"]], Inline())
    details: dict[str, Any] = {}
    ratios = {}
    with threadpool_limits(1):
        for family in FAMILIES:
            model, _ = fit(family, data.fit, data.calibration, 0)
            for rows in (1, ROWS):
                costs_us = _costs_us(model, data.validation.history_m, rows)
                details |= {f"{family}_{rows}_{what}_us": round(cost, 1) for what, cost in costs_us.items()}
            new_s, remembered_s = min((costs_s(model) for _ in range(REPEAT)), key=lambda costs: costs[0])
            ratios[family] = new_s / remembered_s
            details[f"{family}_ratio"] = round(ratios[family], 1)
            details[f"{family}_is_cached"] = isinstance(where_it_pays(model, 1), CachedForecaster)
    return Measurement(ratios["gradient_boosting"], details)


def _costs_us(model: Forecaster, histories_m: FloatArray, rows: int) -> dict[str, float]:
    """Microseconds of a forecast of so many rows: alone, remembered, and new to a cache that is full."""
    question = np.ascontiguousarray(histories_m[:rows])
    cache, full = CachedForecaster(model, rows), CachedForecaster(model, 4 * rows)
    cache.forecast(question)
    number = iter(range(10**9))

    def new() -> object:
        return full.forecast(question + next(number) * 1e-3)

    shift_us = _least_us(lambda: question + next(number) * 1e-3)
    for _ in range(8):
        new()
    return {
        "alone": _least_us(lambda: model.forecast(question)),
        "hit": _least_us(lambda: cache.forecast(question)),
        "miss": _least_us(new) - shift_us,
    }


def _least_us(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=CALLS, repeat=REPEAT)) / CALLS * 1e6
