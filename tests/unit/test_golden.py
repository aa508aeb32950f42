"""Golden replay: the same model passes wherever it is loaded, a changed one does not."""

from pathlib import Path

import numpy as np
import pytest

from data.models.loader import ModelLoader
from data.models.package import GOLDEN_TAG
from data.stubs import MemoryRegistry
from tests.mlflow_models import our_model
from trajops.deployments.model_ref import ModelRef
from trajops.errors import SignatureMismatch
from trajops.forecasters import cached, golden
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import FloatArray, Forecast

REF = ModelRef("trajectory", 1)


class Changed(ConstantVelocity):
    """Constant velocity that is off by `mean_m` metres and `factor` in its covariance."""

    mean_m, factor = 0.0, 1.0

    def forecast(self, history_m: FloatArray) -> Forecast:
        found = super().forecast(history_m)
        return Forecast(found.mean_m + self.mean_m, found.covariance_m2 * self.factor, found.weights)


@pytest.mark.parametrize(
    ("mean_m", "factor", "is_same"), [(0.0, 1.0, True), (1e-4, 1.0001, True), (0.05, 1.0, False), (0.0, 1.05, False), (np.nan, 1.0, False)]
)
def test_a_change_is_noticed_and_rounding_is_not(mean_m: float, factor: float, is_same: bool) -> None:
    changed = Changed()
    changed.mean_m, changed.factor = mean_m, factor
    recorded = golden.record(ConstantVelocity())
    if is_same:
        golden.replay(changed, recorded)
    else:
        with pytest.raises(SignatureMismatch, match=r"does not answer as it did when it was registered: probe \d+ is at"):
            golden.replay(changed, recorded)


@pytest.mark.parametrize("recorded", ["", "[]", "[[1,2]]", "{", '"x"'])
def test_a_record_that_cannot_be_read_is_said(recorded: str) -> None:
    with pytest.raises(SignatureMismatch, match="register the version again"):
        golden.replay(ConstantVelocity(), recorded)


def test_a_record_fits_into_a_tag() -> None:
    assert len(golden.record(ConstantVelocity())) < 5_000


def test_a_version_that_answers_otherwise_takes_no_traffic(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    loader = ModelLoader(registry, tmp_path / "cache")
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()), tags={GOLDEN_TAG: golden.record(ConstantVelocity())})
    assert loader.load(REF).family == "constant_velocity"
    changed = Changed()
    changed.mean_m = 1.0
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()), tags={GOLDEN_TAG: golden.record(changed)})
    with pytest.raises(SignatureMismatch, match="trajectory/1: it does not answer as it did") as caught:
        loader.load(REF)
    assert caught.value.details["check"] == "golden_replay"


def test_the_model_is_checked_and_not_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "WORTH", 0.0)
    registry = MemoryRegistry()
    registry.add(REF, our_model(tmp_path / "m", ConstantVelocity()), tags={GOLDEN_TAG: golden.record(ConstantVelocity())})
    asked = []
    monkeypatch.setattr(golden, "replay", lambda forecaster, _: asked.append(type(forecaster)))
    loader = ModelLoader(registry, tmp_path / "cache", remembered=5)
    first, again = loader.load(REF), loader.load(REF)
    assert asked == [ConstantVelocity] * 2
    for loaded in (first, again):
        assert isinstance(loaded, cached.CachedForecaster)
        assert (len(loaded), loaded.meter.hits, loaded.meter.misses) == (0, 0, 0)
    assert first is not again, "a version that was let go and comes back remembers nothing"
    assert type(ModelLoader(registry, tmp_path / "cache").load(REF)) is ConstantVelocity
