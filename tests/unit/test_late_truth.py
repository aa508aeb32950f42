"""When truth is late: where more units lack it than chance explains, from the moment on that any can be waited for."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks.late_truth import Pace, by_share, hours_of, run, told_after, told_after_h
from tests.deployment_builders import WHO
from tests.experiment_builders import STARTED, a_plan, figures, two
from tests.unit.test_judging import Desk
from trajops.clock import now
from trajops.contracts.experiments import VerdictOut
from trajops.experiments.evidence import log_level, log_run
from trajops.experiments.figures import Figures
from trajops.experiments.overdue import is_beyond_chance
from trajops.experiments.verdict import judge

LAST = STARTED + timedelta(hours=10)
ALPHA = 0.01
MANY, FEW = two(600, 600, 0.3), two(2, 2, 0.3)


def said(overdue: int, known: int, visits: int = 1200, *, age_s: float = 181.0, arms: Any = MANY, **changes: Any) -> VerdictOut:
    at = LAST + timedelta(seconds=age_s)
    counts = {"overdue_units": overdue, "visits": visits, "known_visits": known} | changes
    return judge(a_plan(), figures(*arms, at=at, last_outcome_at=LAST, **counts), STARTED)


def is_fresh(verdict: VerdictOut) -> bool:
    return next(one.is_ok for one in verdict.health if one.name == "freshness")


@pytest.mark.parametrize(
    ("overdue", "known", "age_s", "expected"),
    [
        pytest.param(0, 1152, 14_400, True, id="nobody has asked"),
        pytest.param(1, 1152, 14_400, True, id="one stray"),
        pytest.param(2, 1200, 14_400, True, id="two are too few to tell"),
        pytest.param(3, 1200, 181, False, id="three, where each one got truth"),
        pytest.param(3, 1200, 180, True, id="not for long yet"),
        pytest.param(5, 1152, 14_400, True, id="five of which hardly any lack truth, which each week has"),
        pytest.param(6, 1152, 181, False, id="six of which hardly any lack truth"),
        pytest.param(23, 600, 14_400, True, id="each second one lacks it"),
        pytest.param(25, 600, 181, False, id="each second one lacks it, 1 in 30 million"),
        pytest.param(500, 1152, 181, False, id="many"),
        pytest.param(500, 0, 14_400, True, id="it never came, which is said of the join rate"),
    ],
)
def test_truth_is_late_where_more_units_lack_it_than_chance_explains(overdue: int, known: int, age_s: float, *, expected: bool) -> None:
    verdict = said(overdue, known, age_s=age_s)
    assert is_fresh(verdict) is expected
    assert (verdict.kind == "invalid") is not expected


def test_of_two_units_both_are_enough_to_tell_that_truth_is_late() -> None:
    """Each counts as often as it comes, and one that comes alone is one all the same."""
    counts: dict[str, Any] = {"arms": FEW, "visits": 480, "known": 480}
    assert is_fresh(said(1, overdue_visits=50, **counts))
    assert is_fresh(said(2, overdue_visits=2, **counts))
    assert not is_fresh(said(2, overdue_visits=4, **counts))
    # Of many units, who stays in front of no camera is one unit for a while.
    assert is_fresh(said(4, 1152, overdue_visits=50))


def test_where_few_are_awake_truth_that_stays_away_is_told_in_the_end() -> None:
    """Five who go on asking are never six, and count anew with each stay."""
    assert is_fresh(said(5, 1152, age_s=36_000, overdue_visits=900))
    assert is_fresh(said(5, 1152, overdue_stays=5))
    assert not is_fresh(said(5, 1152, overdue_stays=6))
    assert is_fresh(said(2, 1152, overdue_stays=60)), "two units are too few to tell, however long they stay"
    for night_share in (0.96, 0.7, 0.5):
        pace = Pace(60, 0.96, 15, night_share)
        assert max(told_after_h(hours_of(pace, hours)) for hours in (15, 48, 168)) <= 2


def test_of_a_small_fleet_the_few_that_are_awake_count_by_their_stays_as_those_of_a_large_one_do() -> None:
    """Six of sixty who stand in front of no camera for twenty minutes are six, and no forty visits; sixty of sixty are no night."""
    counts: dict[str, Any] = {"arms": two(30, 30, 0.3), "visits": 18_000, "known": 17_280, "hours": ((1200, 1152),) * 15}
    assert is_fresh(said(6, age_s=1200, overdue_visits=42, overdue_stays=6, **counts))
    assert not is_fresh(said(6, age_s=7200, overdue_visits=240, overdue_stays=36, **counts))
    assert not is_fresh(said(60, age_s=181, overdue_visits=60, overdue_stays=60, **counts))
    assert not is_fresh(said(30, age_s=400, overdue_visits=60, overdue_stays=30, **counts))


def test_a_run_at_the_end_has_the_probability_of_its_place() -> None:
    # Of the six orders of two hits and two misses, one ends with both misses.
    assert np.exp(log_run(2, 4, 2)) == pytest.approx(1 / 6)
    assert log_run(0, 4, 2) == 0
    assert log_run(4, 4, 4) == 0
    # However long it goes on, no more than alpha is spent.
    parts = np.exp([log_level(ALPHA, n) for n in range(1, 200_000)])
    assert parts.sum() < ALPHA
    assert parts.sum() + ALPHA / 2.10974 / np.log(200_001) == pytest.approx(ALPHA, rel=1e-4)


def test_in_a_week_in_which_nothing_is_wrong_hardly_ever_anything_is_paused() -> None:
    found = run(weeks=9).details
    assert found["weeks"] == 180
    assert found["paused"] <= 0.01
    assert found["paused_by_run"] >= 0.5, "the negative control must fail here"
    assert found["night_weeks"] == 36
    assert found["paused_with_nights"] <= 0.01
    assert found["paused_with_nights_by_share"] >= 0.25, "one share for day and night must fail here"


@pytest.mark.parametrize(("share", "few"), [(0.96, 7), (0.9, 9), (0.8, 13), (0.7, 17), (0.5, 29)])
def test_that_truth_stays_away_is_told_after_a_few_units(share: float, few: int) -> None:
    steady = Pace(50, share, 50, share)
    assert max(told_after(hours_of(steady, hours), 50) for hours in (2, 20, 400)) <= few


# Nights

WITH_NIGHTS = Pace(60, 0.96, 15, 0.5)


@pytest.mark.parametrize(
    ("hours", "per_hour", "few"),
    [
        pytest.param(15, 60, 7, id="on the first day"),
        pytest.param(15, 15, 17, id="in the first night"),
        pytest.param(72, 60, 13, id="on a later day"),
        pytest.param(72, 15, 29, id="in a later night"),
        pytest.param(168, 15, 30, id="in a night after a week"),
    ],
)
def test_that_truth_stays_away_is_told_by_day_and_by_night(hours: int, per_hour: float, few: int) -> None:
    """Later than by one share for day and night, which takes bad luck of a night for a fault."""
    found = hours_of(WITH_NIGHTS, hours)
    assert 7 <= told_after(found, per_hour) <= few
    assert per_hour == 60 or told_after(found, per_hour, by_share) <= 12


def beyond(run: int, hours: list[tuple[int, int]], lasts_s: float) -> bool:
    return is_beyond_chance(run, sum(visits for visits, _ in hours), sum(known for _, known in hours), hours, lasts_s)


def test_what_comes_slowly_may_be_of_a_night_that_nobody_has_seen() -> None:
    hours = [(60, 58)] * 15
    assert beyond(8, hours, 480)
    assert not beyond(8, hours, 1920)
    assert beyond(17, hours, 4080)
    assert not beyond(3, hours, 60), "and what comes fast is chance as before"
    # Without hours the share is taken to be the same at all of them.
    assert is_beyond_chance(8, 900, 870, (), 1920)


def test_a_night_that_was_seen_says_how_many_get_truth_in_one() -> None:
    day, bright, dark = [(60, 58)] * 15, [(15, 14)] * 9, [(15, 6)] * 9
    assert beyond(20, day + bright + day, 4800)
    assert not beyond(20, day + dark + day, 4800)
    # So few visits of a night say nothing of nights, and parts of an hour are none that is quiet.
    assert beyond(20, day + dark[:1] + day, 4800)
    assert beyond(20, [(20, 2), *day, (20, 2)], 4800)
    assert not beyond(20, [*day, (20, 2), (20, 2), *day], 4800)


def test_by_what_was_asked_and_since_when_truth_is_waited_for_a_run_is_fast() -> None:
    hours = {"hours": ((60, 58),) * 12 + ((60, 57),) * 8}
    known = 12 * 58 + 8 * 57
    assert not is_fresh(said(8, known, age_s=480, **hours))
    assert is_fresh(said(8, known, age_s=1920, **hours))
    resumed_at = LAST + timedelta(seconds=1440)
    assert not is_fresh(said(8, known, age_s=1920, enrolled_since=resumed_at, **hours))


# Who resumes


class LateDesk(Desk):
    """A desk whose truth stays away from the second look on, while units go on asking."""

    def __init__(self) -> None:
        super().__init__(a_plan(margin=0.001))
        self.enrolled: list[Any] = []
        self.look(two(600, 620))
        self.newest = now(self.clock)

    def figures(self, *asked: Any, **more: Any) -> Figures:
        self.enrolled.append(asked[6])
        if not hasattr(self, "newest"):
            return super().figures(*asked, **more)
        return figures(*self.arms, at=asked[3], last_outcome_at=self.newest, enrolled_since=asked[6])

    def decided(self, *after_s: float) -> list[str | None]:
        return [self.look(self.arms, after_s=one) for one in after_s]

    def switch(self, *, is_stopped: bool) -> datetime:
        epoch = self.releases.routes().current.epoch
        self.service.switch(epoch, is_stopped=is_stopped, **WHO)
        return now(self.clock)

    def cover(self, coverage: float) -> datetime:
        return self.service.cover(self.id, self.experiment.version, coverage, **WHO).experiment.updated_at


def test_the_kill_switch_is_no_time_in_which_data_were_invalid() -> None:
    desk = LateDesk()
    assert desk.decided(181, 20) == [None, None]
    desk.switch(is_stopped=True)
    desk.clock.advance(20)
    assert desk.judge.run() == []
    desk.switch(is_stopped=False)
    assert desk.decided(20, 20, 20, 20) == [None, None, None, "invalid"]


def test_where_nobody_has_looked_for_long_the_first_look_pauses_nothing() -> None:
    desk = LateDesk()
    assert desk.decided(181, 20, 50_000, 20, 20, 20) == [None, None, None, None, None, "invalid"]


def test_a_pause_in_which_nobody_looked_is_none_in_which_data_were_invalid() -> None:
    desk = LateDesk()
    assert desk.decided(181, 50) == [None, None]
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    desk.clock.advance(5)
    desk.cover(1.0)
    assert desk.decided(2, 30, 30) == [None, None, "invalid"]


def test_truth_is_waited_for_of_those_who_were_answered_since_units_are_enrolled() -> None:
    desk = LateDesk()
    began_at = desk.experiment.started_at
    desk.decided(2)
    desk.cover(0.6)
    desk.decided(2)
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    desk.decided(2)
    resumed_at = desk.cover(0.5)
    desk.decided(2)
    desk.switch(is_stopped=True)
    desk.clock.advance(2)
    on_again_at = desk.switch(is_stopped=False)
    desk.decided(2)
    assert desk.enrolled == [began_at, began_at, began_at, None, resumed_at, on_again_at]
