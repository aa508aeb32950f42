"""What answers learn from, over a real lake: traffic that is judged when it is learnt from, whatever was checked before."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.drift_source import LakeDriftSource
from tests.answer_shop import BAD, GOOD, NAME, OPENED_AT, S, Shop, an_answer
from tests.builders import CLOCK_NS
from tests.lake_house import a_house
from trajops.clock import utc
from trajops.contracts.drift import ReferenceChoice
from trajops.policy.answers import StepState
from trajops.services.drift import DriftMonitor
from trajops.services.drift_settings import set_reference
from trajops.trajectories import Track

FEET = 3.28
A_DAY_S = 86_400.0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """With a reference of the scene s1, of the day before."""
    with a_house(tmp_path) as house:
        shop = Shop(house)
        shop.is_checked = True
        walkers(shop, "usual", -A_DAY_S, 10, per_minute=15, source="backfill")
        shop.live(BAD)
        yield shop


def walkers(shop: Shop, name: str, begin_s: float, minutes: float, *, per_minute: float, gain: float = 1.0, **changes: Any) -> int:
    """So many agents a minute walk straight on, each at a pace of its own, and are predicted every three seconds; how many they are."""
    count = round(per_minute * minutes)
    rng = np.random.default_rng(abs(int(begin_s)) + count)
    pace_mps, heading_rad = rng.gamma(8.0, 0.15, count), rng.uniform(-np.pi, np.pi, count)
    for number in range(count):
        times_s = 0.4 * np.arange(24)
        way = np.array([np.cos(heading_rad[number]), np.sin(heading_rad[number])])
        positions_m = 20 * way + gain * pace_mps[number] * times_s[:, None] * way + rng.normal(0, 0.01, (24, 2))
        shop.tell(Track(f"{name}{number}", begin_s + 60 * number / per_minute + times_s, positions_m), every=8, **changes)
    shop.house.spool.close()
    return count


def now_is(shop: Shop, at_s: float) -> None:
    shop.house.clock.ns = CLOCK_NS + round(at_s * S)


def learnt_from(shop: Shop) -> dict[str, set[str]]:
    """By scene, the names of whom a version was trained on, without their numbers."""
    return {scene: {agent.rstrip("0123456789") for agent in agents} for scene, agents in shop.learnt_from.items()}


@pytest.mark.parametrize("trouble", [{"unit": True}, {"bad": "frozen"}], ids=["unit", "quality"])
def test_while_the_newest_check_finds_the_data_bad_nothing_is_learnt(shop: Shop, trouble: dict[str, Any]) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    walkers(shop, "good", 0, 4, per_minute=40)
    now_is(shop, 240)
    shop.check(**trouble)
    for step in (shop.steps().rollback, shop.steps().retrain):
        outcome = step(an_answer())
        assert (outcome.state, "nothing can be learnt" in outcome.sentence) == (StepState.WAITING, True)
    assert (shop.route, shop.trained) == ((BAD, None, GOOD, 0.0), [])
    shop.check(at_s=241)
    now_is(shop, 242)
    assert shop.steps().rollback(an_answer()).state == StepState.DONE, "what was right all the time is learnt from, whatever a check said"


def test_what_is_good_is_trained_on_without_a_single_check(shop: Shop) -> None:
    count = walkers(shop, "good", 0, 4, per_minute=40)
    now_is(shop, 240)
    outcome = shop.steps().retrain(an_answer())
    assert outcome.state == StepState.DONE
    assert [agents for _, _, agents in shop.trained] == [pytest.approx(0.75 * count, abs=10)], "but for the newest minute"


def test_without_a_reference_nothing_is_trained_on_and_that_is_said(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        shop = Shop(house)
        shop.is_checked = True
        shop.live(BAD)
        walkers(shop, "good", 0, 2, per_minute=30)
        now_is(shop, 120)
        waits = shop.steps().retrain(an_answer())
        said = "0 of 20 agents seen since, to train on; 100 % of the traffic is left out: 100 % has no reference to be judged by"
        assert (waits.state, waits.sentence, shop.trained) == (StepState.WAITING, said, [])
        shop.is_checked = False
        assert shop.steps().retrain(an_answer()).state == StepState.DONE, "where nobody checks drift, everything counts"


def test_checks_of_another_worker_are_reason_enough_to_judge(shop: Shop) -> None:
    shop.is_checked = False
    walkers(shop, "feet", 0, 4, per_minute=30, gain=FEET)
    now_is(shop, 240)
    with shop.database.unit_of_work() as work:
        work.jobs.describe("check_drift", "Compares traffic with the reference.", 30)
    assert shop.steps().retrain(an_answer()).state == StepState.WAITING
    assert shop.trained == []


def test_a_new_scene_is_trained_on_and_feet_of_few_agents_beside_it_are_not(shop: Shop) -> None:
    count = walkers(shop, "new", 0, 4, per_minute=30, scene_id="square")
    walkers(shop, "feet", 0, 3, per_minute=4, gain=FEET)
    now_is(shop, 240)
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert learnt_from(shop) == {"square": {"new"}}
    assert len(shop.learnt_from["square"]) == pytest.approx(0.75 * count, abs=8)


def test_a_feed_of_three_agents_in_two_minutes_is_trained_on(shop: Shop) -> None:
    walkers(shop, "few", 0, 60, per_minute=1.5)
    now_is(shop, 3600)
    outcome = shop.steps(retrain={"window_s": 3600, "min_agents": 40}).retrain(an_answer())
    assert outcome.state == StepState.DONE, outcome
    assert [agents for _, _, agents in shop.trained] == [pytest.approx(60, abs=4)], "of ninety, but for the newest twenty minutes"


def test_a_feed_of_three_agents_in_two_minutes_in_feet_is_not_trained_on(shop: Shop) -> None:
    walkers(shop, "feet", 0, 60, per_minute=1.5, gain=FEET)
    now_is(shop, 3600)
    waits = shop.steps().retrain(an_answer())
    said = "100 % of the traffic is left out: 100 % has another unit or bad data, or comes next to such"
    assert (waits.state, shop.trained) == (StepState.WAITING, [])
    assert waits.sentence == f"0 of 20 agents seen since, to train on; {said}"


def test_a_quiet_feed_in_feet_that_becomes_busy_leaves_no_feet_behind(shop: Shop) -> None:
    walkers(shop, "quietfeet", 0, 20, per_minute=2, gain=FEET)
    walkers(shop, "busyfeet", 1200, 2, per_minute=40, gain=FEET)
    walkers(shop, "good", 1320, 5, per_minute=40)
    now_is(shop, 1620)
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert learnt_from(shop) == {"s1": {"good"}}


@pytest.mark.parametrize(
    "at_s", [range(0, 480, 31), [one for one in range(0, 480, 30) if one % 300], [479]], ids=["late", "with-failures", "the-last-one-only"]
)
def test_what_is_learnt_from_does_not_depend_on_checks(shop: Shop, at_s: Iterable[float]) -> None:
    count = walkers(shop, "good", 0, 8, per_minute=40)
    for one in at_s:
        shop.check(float(one))
    now_is(shop, 480)
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert [agents for _, _, agents in shop.trained] == [pytest.approx(count - 40, abs=10)]


def test_a_unit_whose_alarm_is_muted_is_not_learnt_from_when_it_is_over(shop: Shop) -> None:
    walkers(shop, "feet", 0, 3, per_minute=40, gain=FEET)
    walkers(shop, "good", 180, 4, per_minute=40)
    for at_s in (30.0, 60.0):
        shop.check(at_s, unit=True, muted_until=utc(CLOCK_NS + 9999 * S), verdict="stable")
    now_is(shop, 420)
    shop.check(verdict="stable")
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert learnt_from(shop) == {"s1": {"good"}}


def test_champions_are_compared_on_the_newest_traffic_too_and_not_on_feet(shop: Shop) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    walkers(shop, "feet", 0, 3, per_minute=40, gain=FEET)
    good = walkers(shop, "good", 180, 3, per_minute=40)
    now_is(shop, 360)
    found = shop.steps().rollback(an_answer())
    assert found.state == StepState.DONE
    assert found.result["agents"] == pytest.approx(good - 40, abs=6), "without the minute next to the feet"


def test_the_reference_as_trained_holds_what_was_trained_on(shop: Shop, tmp_path: Path) -> None:
    walkers(shop, "feet", 0, 3, per_minute=40, gain=FEET, scene_id="s1")
    walkers(shop, "good", 180, 4, per_minute=40)
    walkers(shop, "new", 0, 7, per_minute=30, scene_id="the square @ 5th")
    now_is(shop, 420)
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    since = OPENED_AT - timedelta(seconds=120)
    assert shop.told == {
        "trained_since": since.isoformat(),
        "trained_until": (OPENED_AT + timedelta(seconds=360)).isoformat(),
        "trained_without": "0.000-360.000@s1",
    }
    shop.promote(4)
    database, at = shop.database, utc(shop.house.clock.ns)
    choice = ReferenceChoice(kind="training")
    set_reference(database.unit_of_work, choice, model_name=NAME, actor="ada", reason="because of the test", at=at)
    monitor = DriftMonitor(LakeDriftSource(shop.house.lake), database.unit_of_work, shop.drift_rules, tmp_path, shop.house.clock)
    assert monitor.check().reference_agents == sum(map(len, shop.learnt_from.values())), "and not those who came in feet"
