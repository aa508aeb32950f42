"""A calibration in force is no drift: what was predicted is compared as it would be without it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.drift_rows import AsTrained
from data.lake.drift_source import LakeDriftSource
from tests.builders import CLOCK_NS, a_forecast, a_prediction_event, an_outcome_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.drift.columns import Rows
from trajops.metrics import chi_square_quantile

S = 10**9
STEPS = 12
FACTORS = np.linspace(1.2, 2.0, STEPS)
WITHIN = chi_square_quantile(0.9)
DISTANCE2 = np.linspace(0.5, 9.0, STEPS)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        yield made


def write(house: House, name: str, calibration: int | None, **outcome: Any) -> None:
    """A prediction whose covariances were multiplied by `FACTORS` where it carries a calibration, and what came of it."""
    factors = np.ones(STEPS) if calibration is None else FACTORS
    covariance = a_forecast().covariance_m2[0, 0] * factors[:, None, None]
    flat = np.stack([covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]], axis=-1).ravel().tolist()
    distance2 = DISTANCE2 / factors
    about = {"agent_id": name, "calibration": calibration}
    scored = {"inside_share": float((distance2 <= WITHIN).mean()), "step_distance2": distance2.tolist()} | outcome
    house.write(a_prediction_event(name, **about, cov_m2=flat), close=False)
    house.write(an_outcome_event(name, **about, **scored), table="outcomes", close=False)


def read(house: House, as_trained: AsTrained | None) -> Rows:
    house.spool.close()
    source = LakeDriftSource(house.lake, None if as_trained is None else lambda: as_trained)
    return source.rows(utc(CLOCK_NS - S), utc(CLOCK_NS + S), ["live"])


def test_a_calibrated_prediction_counts_as_an_uncalibrated_one(house: House) -> None:
    write(house, "plain", None)
    write(house, "calibrated", 3)
    served = read(house, None)
    assert np.ptp(served.values["predicted_spread_m"]) > 0.1, "otherwise this test would prove nothing"
    assert np.ptp(served.values["inside_share"]) > 0.1
    compared = read(house, AsTrained({3: FACTORS}.get, WITHIN))
    assert np.ptp(compared.values["predicted_spread_m"]) < 1e-6
    assert np.ptp(compared.values["inside_share"]) < 1e-6


def test_what_cannot_be_known_is_not_compared(house: House) -> None:
    write(house, "plain", None)
    write(house, "forgotten", 2)
    write(house, "without distances", 3, step_distance2=None)
    compared = read(house, AsTrained({3: FACTORS}.get, WITHIN))
    assert sorted(np.isfinite(compared.values["predicted_spread_m"]).tolist()) == [False, True, True]
    assert sorted(np.isfinite(compared.values["inside_share"]).tolist()) == [False, False, True]
