"""Warm models are served with the calibration in force, multiplied in once, and without it again."""

from collections.abc import Mapping

import numpy as np
import pytest

from tests.builders import a_history
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, ShapeError, Unavailable
from trajops.forecasters.cached import CachedForecaster
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.stretched import Stretched, stretched
from trajops.ports import Calibrated, Forecaster
from trajops.services.calibrating import Calibrating
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec

REF, OTHER = ModelRef("trajectory", 1), ModelRef("trajectory", 2)
FACTORS = tuple(np.linspace(1.0, 2.1, 12).tolist())


class Source:
    """What is in force; `is_away` makes it an outage."""

    def __init__(self) -> None:
        self.rows: dict[ModelRef, Calibrated] = {}
        self.is_away = False

    def in_force(self) -> Mapping[ModelRef, Calibrated]:
        if self.is_away:
            raise Unavailable("the database is away")
        return dict(self.rows)


class Foreign:
    """A model that cannot stretch itself."""

    family = "pyfunc_model"
    window: WindowSpec = DEFAULT_WINDOW

    def forecast(self, history_m: FloatArray) -> Forecast:
        return ConstantVelocity().forecast(history_m)


def spread(model: Forecaster) -> FloatArray:
    return model.forecast(a_history(3)).covariance_m2[0, 0, :, 0, 0]


@pytest.mark.parametrize(
    "model", [ConstantVelocity(), Foreign(), CachedForecaster(ConstantVelocity(), 16), CachedForecaster(Foreign(), 16)]
)
def test_every_kind_of_model_is_stretched_step_by_step(model: Forecaster) -> None:
    before = spread(model)
    after = stretched(model, np.array(FACTORS))
    np.testing.assert_allclose(spread(after), before * FACTORS)
    np.testing.assert_allclose(spread(after), before * FACTORS, err_msg="a remembered answer is stretched once")
    np.testing.assert_array_equal(after.forecast(a_history(3)).mean_m, model.forecast(a_history(3)).mean_m)
    assert (after.family, after.window) == (model.family, model.window)


def test_only_what_cannot_stretch_itself_is_wrapped() -> None:
    assert isinstance(stretched(ConstantVelocity(), np.array(FACTORS)), ConstantVelocity)
    assert isinstance(stretched(Foreign(), np.array(FACTORS)), Stretched)


@pytest.mark.parametrize(("factors", "error"), [([1.0] * 11, ShapeError), ([np.nan] * 12, ShapeError), ([0.0] * 12, InvalidInput)])
def test_factors_that_fit_no_model_are_refused(factors: list[float], error: type[Exception]) -> None:
    with pytest.raises(error):
        stretched(ConstantVelocity(), np.array(factors))


def test_a_calibration_comes_changes_and_goes() -> None:
    source, plain = Source(), ConstantVelocity()
    calibrating = Calibrating(source)

    def served(models: Mapping[ModelRef, Forecaster]) -> tuple[dict[ModelRef, Forecaster], dict[ModelRef, int]]:
        calibrating.look()
        return calibrating.served(models)

    models, numbers = served({REF: plain, OTHER: plain})
    assert (models, numbers) == ({REF: plain, OTHER: plain}, {})
    source.rows[REF] = Calibrated(3, FACTORS)
    models, numbers = served(models)
    assert numbers == {REF: 3}
    assert models[OTHER] is plain
    np.testing.assert_allclose(spread(models[REF]), spread(plain) * FACTORS)
    again, _ = served(models)
    assert again[REF] is models[REF], "nothing is made anew while nothing changes"
    source.rows[REF] = Calibrated(4, (2.0,) * 12)
    models, numbers = served(models)
    assert numbers == {REF: 4}
    np.testing.assert_allclose(spread(models[REF]), spread(plain) * 2.0, err_msg="relative to the version as trained")
    source.is_away = True
    models, numbers = served(models)
    assert numbers == {REF: 4}, "an outage changes nothing"
    source.is_away = False
    source.rows.clear()
    models, numbers = served(models)
    assert (models[REF], numbers) == (plain, {})


def test_a_version_that_was_loaded_again_is_stretched_again() -> None:
    source = Source()
    source.rows[REF] = Calibrated(3, FACTORS)
    calibrating = Calibrating(source)
    calibrating.look()
    calibrating.served({REF: ConstantVelocity()})
    fresh = ConstantVelocity()
    models, numbers = calibrating.served({REF: fresh})
    assert numbers == {REF: 3}
    np.testing.assert_allclose(spread(models[REF]), spread(fresh) * FACTORS)


def test_factors_that_cannot_be_applied_leave_the_version_as_trained_and_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source, plain = Source(), ConstantVelocity()
    source.rows[REF] = Calibrated(3, (1.0,))
    calibrating = Calibrating(source)
    models: Mapping[ModelRef, Forecaster] = {REF: plain}
    for _ in range(3):
        calibrating.look()
        models, numbers = calibrating.served(models)
        assert (models, numbers) == ({REF: plain}, {})
    assert caplog.text.count("calibration 3 of trajectory/1 cannot be applied") == 1
