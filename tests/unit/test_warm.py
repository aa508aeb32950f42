"""Versions that a worker keeps warm: loaded once, calibrated as the API serves them, tried again with pauses."""

import logging
from collections.abc import Mapping

import numpy as np
import pytest

from tests.builders import a_history
from trajops.deployments.model_ref import ModelRef
from trajops.errors import RegistryUnavailable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Calibrated, Forecaster
from workers.warm import LONGEST_PAUSE_S, WarmModels

REF, OTHER = ModelRef("trajectory", 1), ModelRef("trajectory", 2)


class Shelf:
    """A registry, what is in force, and a watch."""

    def __init__(self) -> None:
        self.loads: list[ModelRef] = []
        self.broken: dict[ModelRef, Exception] = {}
        self.rows: dict[ModelRef, Calibrated] = {}
        self.at_s = 0.0
        self.warm = WarmModels(self.load, self, lambda: self.at_s)

    def load(self, ref: ModelRef) -> Forecaster:
        self.loads.append(ref)
        if ref in self.broken:
            raise self.broken[ref]
        return ConstantVelocity()

    def in_force(self) -> Mapping[ModelRef, Calibrated]:
        return self.rows


def test_a_version_is_loaded_once_and_given_up_when_nobody_wants_it() -> None:
    shelf = Shelf()
    first = shelf.warm.ready([REF, OTHER])
    assert first.keys() == {REF, OTHER}
    assert shelf.warm.ready([OTHER]).keys() == {OTHER}
    assert shelf.loads == [REF, OTHER]
    shelf.warm.ready([])
    shelf.warm.ready([OTHER])
    assert shelf.loads == [REF, OTHER, OTHER]


def test_it_predicts_with_the_calibration_in_force() -> None:
    shelf = Shelf()
    plain = shelf.warm.ready([REF])[REF]
    shelf.rows = {REF: Calibrated(4, tuple(np.linspace(2, 3, 12)))}
    wider = shelf.warm.ready([REF])[REF]
    again = shelf.warm.ready([REF])[REF]
    shelf.rows = {}
    back = shelf.warm.ready([REF])[REF]
    assert [one.calibration for one in (plain, wider, again, back)] == [None, 4, 4, None]
    before, after = (one.forecaster.forecast(a_history(2)).covariance_m2 for one in (plain, wider))
    np.testing.assert_allclose(after, before * np.linspace(2, 3, 12)[:, None, None])
    assert again.forecaster is wider.forecaster
    assert back.forecaster is plain.forecaster
    assert shelf.loads == [REF]


def test_a_version_that_cannot_be_loaded_is_tried_again_ever_less_often(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    shelf.broken = {REF: RegistryUnavailable("the registry is away")}
    with caplog.at_level(logging.WARNING):
        for second in range(120):
            shelf.at_s = float(second)
            assert shelf.warm.ready([REF, OTHER]).keys() == {OTHER}, "no other waits for it"
    assert shelf.loads.count(REF) == 1 + 5 + (119 - 31) // LONGEST_PAUSE_S
    assert shelf.warm.missing == {REF: "the registry is away"}
    assert len(caplog.records) == 1
    shelf.broken = {}
    shelf.at_s += LONGEST_PAUSE_S
    assert shelf.warm.ready([REF]).keys() == {REF}
    assert shelf.warm.missing == {}


def test_whatever_a_load_raises_is_the_reason() -> None:
    shelf = Shelf()
    shelf.broken = {REF: ZeroDivisionError("planted")}
    assert shelf.warm.ready([REF]) == {}
    assert shelf.warm.missing == {REF: "ZeroDivisionError: planted"}
    shelf.warm.ready([])
    assert shelf.warm.missing == {}
