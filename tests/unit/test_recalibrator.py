"""What becomes of recalibrations over days: decisions by hand hold, and nothing is proposed twice."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.unit.test_recalibration import LEVEL, RULE, walked
from trajops.clock import now
from trajops.contracts.calibrations import CalibrationOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import StaleVersion
from trajops.performance.recalibration import Distances
from trajops.performance.rules import RecalibrationRule
from trajops.services.calibrations import Calibrations, Recalibrator

REF = ModelRef("trajectory", 1)
WHY = "looked at by hand"


@dataclass
class Truth:
    """A performance source that always tells the same distances."""

    rows: Distances = field(default_factory=lambda: walked(np.random.default_rng(2), 300, gain=1.5))

    def distances(self, *_: Any) -> Distances:
        return self.rows


@dataclass
class Desk:
    """A recalibrator over memory, and the hand that decides."""

    rule: RecalibrationRule = RULE
    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    clock: SetClock = field(default_factory=SetClock)
    truth: Truth = field(default_factory=Truth)

    def __post_init__(self) -> None:
        with self.database.unit_of_work() as work:
            work.routes.append(RouteTable(1, champion=REF), at=now(self.clock), actor="test", reason=WHY)
        source: Any = self.truth
        self.recalibrator = Recalibrator(source, self.database.unit_of_work, self.rule, LEVEL, self.clock)
        self.hand = Calibrations(self.database.unit_of_work, self.clock)

    def run(self) -> CalibrationOut | None:
        """Five minutes later."""
        self.clock.advance(300.0)
        return self.recalibrator.run()[REF][1]

    def pass_by(self, count: int) -> None:
        """So many calibrations that were superseded by the next."""
        with self.database.unit_of_work() as work:
            (newest,) = work.calibrations.newest(1)
            for _ in range(count):
                work.calibrations.add(newest.model_copy(update={"state": "superseded"}))

    @property
    def states(self) -> dict[int, str]:
        with self.database.unit_of_work(read_only=True) as work:
            return {one.number: one.state for one in work.calibrations.newest(10_000) if one.state != "superseded"}


def test_what_was_taken_out_stays_out_however_long_ago() -> None:
    desk = Desk()
    assert desk.run() is not None
    desk.hand.revert(1, "applied", actor="ada", reason=WHY)
    desk.pass_by(600)
    for _ in range(3):
        made = desk.run()
        assert made is not None
        assert made.state == "proposed"
    assert desk.states == {1: "reverted", 602: "proposed"}


def test_what_is_in_force_is_known_however_many_were_made_since() -> None:
    desk = Desk()
    made = desk.run()
    assert made is not None
    factors = np.array(made.factors)
    served = walked(np.random.default_rng(3), 300, gain=1.5)
    desk.truth.rows = replace(served, calibrations=np.full(len(served), 1), distance2=served.distance2 / factors)
    desk.pass_by(600)
    found, _ = desk.recalibrator.run()[REF]
    assert found.factors == pytest.approx(factors, rel=0.2), "the rows carry the first calibration"
    assert found.coverage_before == pytest.approx(LEVEL, abs=0.03), "which is in force"


def test_an_older_one_that_is_put_back_ends_the_pause() -> None:
    desk = Desk()
    desk.run()
    desk.hand.revert(1, "applied", actor="ada", reason=WHY)
    desk.run()
    desk.clock.advance(1.0)
    desk.hand.apply(2, "proposed", actor="ada", reason=WHY)
    desk.clock.advance(1.0)
    desk.hand.revert(2, "applied", actor="ada", reason=WHY)
    desk.clock.advance(1.0)
    desk.hand.apply(1, "reverted", actor="ada", reason=WHY)
    desk.truth.rows = walked(np.random.default_rng(4), 300, gain=2.0)
    made = desk.run()
    assert made is not None
    assert made.state == "applied"


def test_what_is_in_force_already_is_told_as_it_is() -> None:
    desk = Desk()
    desk.run()
    with pytest.raises(StaleVersion) as caught:
        desk.hand.apply(1, "proposed", actor="ada", reason=WHY)
    assert caught.value.details == {"present_state": "applied"}
    assert desk.states == {1: "applied"}


def test_the_same_is_proposed_once_and_something_else_again() -> None:
    desk = Desk(RULE.model_copy(update={"largest_factor": 1.1}))
    assert [made and (made.number, made.state) for made in (desk.run(), desk.run(), desk.run())] == [(1, "proposed")] * 3
    with desk.database.unit_of_work(read_only=True) as work:
        assert [entry.action for entry in work.audit.newest()].count("calibration.propose") == 1
    desk.truth.rows = walked(np.random.default_rng(4), 300, gain=2.5)
    made = desk.run()
    assert made is not None
    assert (made.number, desk.states) == (2, {2: "proposed"})
