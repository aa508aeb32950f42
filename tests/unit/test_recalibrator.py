"""What becomes of recalibrations over days: decisions by hand hold, and nothing is proposed twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.unit.test_recalibration import LEVEL, RULE, walked
from trajops.clock import now
from trajops.contracts.calibrations import CalibrationOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.drift.gaps import Gap, LeftOut, Span
from trajops.errors import StaleVersion
from trajops.experiments.routed import canary
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
class FixedTrust:
    """Always leaves out the same, and remembers what it was asked about."""

    found: LeftOut = field(default_factory=LeftOut)
    asked: list[tuple[Span, Sequence[str]]] = field(default_factory=list)

    def left_out(self, whole: Span, sources: Sequence[str]) -> LeftOut:
        self.asked.append((whole, sources))
        return self.found


@dataclass
class Desk:
    """A recalibrator over memory, and the hand that decides."""

    rule: RecalibrationRule = RULE
    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    clock: SetClock = field(default_factory=SetClock)
    truth: Truth = field(default_factory=Truth)
    trust: FixedTrust = field(default_factory=FixedTrust)

    def __post_init__(self) -> None:
        with self.database.unit_of_work() as work:
            work.routes.append(RouteTable(1, champion=REF), at=now(self.clock), actor="test", reason=WHY)
        source: Any = self.truth
        trust: Any = self.trust
        self.recalibrator = Recalibrator(source, self.database.unit_of_work, self.rule, LEVEL, self.clock, trust=trust)
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


def in_scenes(rows: Distances, *names: str) -> Distances:
    """The same rows, agent by agent in one scene after the other."""
    return replace(rows, scenes=rows.agents % len(names), scene_names=names)


def recalibrated(desk: Desk) -> tuple[int, str]:
    """How many agents a recalibration looks at, and what it says."""
    found, _ = desk.recalibrator.run()[REF]
    return found.fitted_agents + found.holdout_agents, found.reason


def test_what_is_left_out_of_one_scene_is_learnt_from_in_the_others() -> None:
    """An hour of truth of three scenes, one of them in feet for a quarter of it; without trust, they would be learnt from."""
    rng, begin_s = np.random.default_rng(5), now(SetClock()).timestamp() - 3600
    rows = in_scenes(walked(rng, 600, gain=1.5, since_s=begin_s), "north", "south", "west")
    is_feet = (rows.scenes == 1) & (rows.received_s >= begin_s + 900) & (rows.received_s < begin_s + 2700)
    wrong = replace(rows, distance2=np.where(is_feet[:, None], 40 * rows.distance2, rows.distance2))
    gap = Gap(*(datetime.fromtimestamp(begin_s + at_s, UTC) for at_s in (900, 2700)), "south")

    def factors(rows: Distances, *gaps: Gap) -> np.ndarray:
        desk = Desk(truth=Truth(rows), trust=FixedTrust(LeftOut(gaps, wrong=0.1)))
        return np.array(desk.recalibrator.run()[REF][0].factors)

    np.testing.assert_allclose(factors(wrong, gap), factors(rows), rtol=0.05)
    assert factors(wrong).min() > 1.5 * factors(rows).max()


def test_what_may_not_be_learnt_from_is_waited_for_and_that_is_said() -> None:
    desk = Desk()
    desk.trust.found = LeftOut((Gap(datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)),), wrong=0.25, untold=0.75)
    count, because = len(desk.truth.rows), "25 % has another unit or bad data, or comes next to such, 75 % cannot be judged, or not yet"
    assert recalibrated(desk) == (0, f"{count} of {count} predictions are left out; of all traffic, {because}")


def test_traffic_is_judged_once_for_all_versions_and_not_where_there_is_too_little_of_it() -> None:
    desk = Desk()
    challenger = ModelRef("trajectory", 2)
    with desk.database.unit_of_work() as work:
        table = work.routes.table().next(experiments=(canary("e1", REF, challenger, 0.5, "salt"),))
        work.routes.append(table, at=now(desk.clock), actor="test", reason=WHY)
    assert set(desk.recalibrator.run()) == {REF, challenger}
    assert desk.trust.asked == [(Span(now(desk.clock) - timedelta(seconds=RULE.window_s), now(desk.clock)), RULE.sources)]
    desk.truth.rows = desk.truth.rows.select(desk.truth.rows.agents < 20)
    assert desk.recalibrator.run()[REF][0].conclusion == "too_little_data"
    assert len(desk.trust.asked) == 1


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
