"""What becomes of recalibrations over days: decisions by hand hold, and nothing is proposed twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.record_builders import drift_check
from tests.unit.test_recalibration import LEVEL, RULE, walked
from trajops.clock import now
from trajops.contracts.calibrations import CalibrationOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import StaleVersion
from trajops.performance.recalibration import Distances
from trajops.performance.rules import RecalibrationRule
from trajops.services.calibrations import Calibrations, Recalibrator
from trajops.services.trust import Trust

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
    is_checked: bool = False

    def __post_init__(self) -> None:
        with self.database.unit_of_work() as work:
            work.routes.append(RouteTable(1, champion=REF), at=now(self.clock), actor="test", reason=WHY)
        source: Any = self.truth
        trust = Trust(is_checked=self.is_checked)
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


def checked(desk: Desk, at_s: float, **changes: Any) -> None:
    with desk.database.unit_of_work() as work:
        work.drift_checks.add(drift_check(datetime.fromtimestamp(at_s, UTC), **changes))


def desk_at(at_s: float, rows: Distances, *, is_checked: bool = True) -> Desk:
    desk = Desk(is_checked=is_checked)
    desk.clock.advance(at_s - now(desk.clock).timestamp())
    # As the lake gives them: none of before the window, at the run that is to come.
    desk.truth.rows = rows.select(rows.received_s >= at_s + 300 - RULE.window_s)
    return desk


def joined(*parts: Distances) -> Distances:
    names = ("received_s", "agents", "calibrations", "distance2")
    return Distances(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def test_truth_in_another_unit_is_not_learnt_from_then_or_later() -> None:
    """An hour of good truth, half of one in feet, and an hour of good truth again."""
    rng, begin_s = np.random.default_rng(5), 1.7e9
    good, feet, again = (walked(rng, 300, gain=gain, since_s=begin_s + since_s) for gain, since_s in ((1.5, 0), (12.0, 3800), (1.5, 7600)))

    def made(rows: Distances, *, with_checks: bool) -> CalibrationOut | None:
        desk = desk_at(begin_s + 11_200, rows, is_checked=with_checks)
        for at_s in range(-60, 11_590, 30) if with_checks else ():
            checked(desk, begin_s + at_s, unit=3830 <= at_s < 7630)
        return desk.run()

    never, known, unknown = (
        made(joined(good, again), with_checks=False),
        made(joined(good, feet, again), with_checks=True),
        made(joined(good, feet, again), with_checks=False),
    )
    assert never is not None
    assert known is not None
    np.testing.assert_allclose(known.factors, never.factors, rtol=0.05)
    assert unknown is None or min(unknown.factors) > 1.5 * max(known.factors), "without checks, feet would be learnt from"


def test_while_the_newest_data_are_wrong_nothing_is_learnt() -> None:
    begin_s, rows = 1.7e9, walked(np.random.default_rng(5), 300, gain=1.5, since_s=1.7e9)
    made = {}
    for is_wrong_unit in (False, True):
        desk = desk_at(begin_s + 3300, rows)
        for at_s in range(0, 3600, 30):
            checked(desk, begin_s + at_s, unit=is_wrong_unit)
        made[is_wrong_unit] = desk.run()
    assert made[False] is not None
    assert made[True] is None


def agents_learnt_from(rows: Distances, *at_s: float, **changes: Any) -> tuple[int, str]:
    """How many agents a recalibration looks at, an hour and five minutes after the begin of an hour of truth, and what it says."""
    desk = desk_at(1.7e9 + 3600, rows)
    for one in at_s:
        checked(desk, 1.7e9 + one, **changes)
    desk.clock.advance(300.0)
    found, _ = desk.recalibrator.run()[REF]
    return found.fitted_agents + found.holdout_agents, found.reason


def test_only_what_checks_have_wholly_seen_is_learnt_from() -> None:
    rows = walked(np.random.default_rng(5), 300, gain=1.5, since_s=1.7e9)
    always = np.arange(-60, 3900, 30).tolist()
    whole, _ = agents_learnt_from(rows, *always)
    assert whole == rows.agent_count
    early, _ = agents_learnt_from(rows, *(at_s for at_s in always if at_s < 3000))
    gap, _ = agents_learnt_from(rows, *(at_s for at_s in always if not 1000 < at_s < 1500))
    assert early < whole
    assert gap < whole


@pytest.mark.parametrize(
    ("at_s", "changes"),
    [
        pytest.param([], {}, id="none-yet"),
        pytest.param([3890], {}, id="the-first-one"),
        pytest.param(range(-60, 3900, 30), {"is_judged": False}, id="too-few-agents-to-judge"),
        pytest.param(range(-60, 3900, 240), {}, id="too-seldom"),
        pytest.param(
            range(-60, 3900, 30), {"unit": True, "muted_until": datetime(2100, 1, 1, tzinfo=UTC), "verdict": "stable"}, id="muted"
        ),
    ],
)
def test_what_no_check_vouches_for_is_waited_for_and_that_is_said(at_s: Sequence[float], changes: dict[str, Any]) -> None:
    rows = walked(np.random.default_rng(5), 300, gain=1.5, since_s=1.7e9)
    agents, said = agents_learnt_from(rows, *at_s, **changes)
    count = len(rows)
    assert (agents, said) == (0, f"{count} of {count} predictions are left out, because no drift check vouches for the traffic then")


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
