"""What answers learn from, over a real lake: traffic that drift checks have judged, and not found wrong."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.lake.drift_source import LakeDriftSource
from tests.builders import CLOCK_NS, a_turning_track
from tests.integration.test_answering import BAD, GOOD, NAME, OPENED_AT, S, Shop, an_answer
from tests.lake_house import a_house
from trajops.clock import utc
from trajops.contracts.drift import ReferenceChoice
from trajops.drift.rules import DriftRules
from trajops.policy.answers import StepState
from trajops.services.drift import DriftMonitor
from trajops.services.drift_settings import set_reference
from trajops.trajectories import Track

FEET = 3.28


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with a_house(tmp_path) as house:
        yield Shop(house)


def walk_in_feet(shop: Shop, agents: int, after_s: float) -> None:
    for number in range(agents):
        track = a_turning_track(f"feet{number}", steps=24, radius_m=20 + number % 7)
        shop.tell(Track(track.agent_id, after_s + track.times_s, FEET * track.positions_m))
    shop.house.spool.close()


def checked(shop: Shop, at_s: Iterable[float], **changes: Any) -> None:
    """Drift checks, and now is the time of the last one."""
    for one in at_s:
        shop.check(one, **changes)
        shop.house.clock.ns = CLOCK_NS + round(one * S)


@pytest.mark.parametrize("trouble", [{"unit": True}, {"bad": "frozen"}], ids=["unit", "quality"])
def test_nothing_is_learnt_from_bad_data(shop: Shop, trouble: dict[str, Any]) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    shop.walk(25)
    shop.check(**trouble)
    for step in (shop.steps().rollback, shop.steps().retrain):
        outcome = step(an_answer())
        assert (outcome.state, "nothing can be learnt" in outcome.sentence) == (StepState.WAITING, True)
    assert (shop.route, shop.trained) == ((BAD, None, GOOD, 0.0), [])
    shop.house.clock.ns += 200 * S
    for step in (shop.steps().rollback, shop.steps().retrain):
        outcome = step(an_answer())
        assert (outcome.state, "0 of" in outcome.sentence) == (StepState.WAITING, True), "what was bad stays bad when it is over"
    shop.walk(25, after_s=300, name="later")
    assert shop.steps().rollback(an_answer()).result["agents"] == 25, "and the later ones only"


def test_what_checks_have_wholly_seen_is_trained_on_and_nothing_else(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(25)
    checked(shop, range(-150, 61, 30))
    waits = shop.steps().retrain(an_answer())
    said = "0 of 20 agents seen since, to train on; 60 of 180 s are left out, because no drift check vouches for the traffic then"
    assert (waits.state, waits.sentence, shop.trained) == (StepState.WAITING, said, [])
    checked(shop, [90])
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert [agents for _, _, agents in shop.trained] == [25]


@pytest.mark.parametrize(
    ("at_s", "changes"),
    [
        pytest.param([1000], {}, id="first-check"),
        pytest.param([-150, -120, -90, -60, -30, 0, 970, 1000, 1030, 1060], {}, id="gap"),
        pytest.param([-150, -120, -90, -60, -30, 0], {}, id="no-more-checks"),
        pytest.param(range(-150, 1060, 30), {"is_judged": False, "verdict": "insufficient_data"}, id="too-few-agents-to-judge"),
        pytest.param(range(-150, 1060, 30), {"is_judged": False}, id="judged-by-other-columns"),
        pytest.param(range(-150, 1060, 240), {}, id="too-seldom"),
    ],
)
def test_what_no_check_has_judged_is_not_trained_on(shop: Shop, at_s: Iterable[float], changes: dict[str, Any]) -> None:
    shop.live(BAD)
    walk_in_feet(shop, 25, 100)
    checked(shop, at_s, **changes)
    shop.house.clock.ns = CLOCK_NS + 1065 * S
    waits = shop.steps().retrain(an_answer())
    assert (waits.state, shop.trained) == (StepState.WAITING, [])
    assert "0 of 20 agents seen since, to train on" in waits.sentence
    assert waits.sentence.endswith("s are left out, because no drift check vouches for the traffic then")


def test_a_unit_that_is_muted_is_not_learnt_from_when_it_is_over(shop: Shop) -> None:
    shop.live(BAD)
    walk_in_feet(shop, 25, 10)
    checked(shop, range(-150, 0, 30))
    checked(shop, range(0, 60, 30), unit=True, muted_until=utc(CLOCK_NS + 9999 * S), verdict="stable")
    checked(shop, range(60, 400, 30))
    assert shop.steps().retrain(an_answer()).sentence.startswith("0 of 20 agents seen since")
    assert shop.trained == []


def test_the_reference_as_trained_holds_what_was_trained_on(shop: Shop, tmp_path: Path) -> None:
    shop.live(BAD)
    walk_in_feet(shop, 40, 10)
    checked(shop, range(-150, 0, 30))
    checked(shop, range(0, 60, 30), unit=True)
    shop.walk(25, after_s=300, name="good")
    checked(shop, range(60, 420, 30))
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert [agents for _, _, agents in shop.trained] == [25]
    since = OPENED_AT - timedelta(seconds=120)
    assert shop.told == {
        "trained_since": since.isoformat(),
        "trained_until": (OPENED_AT + timedelta(seconds=330)).isoformat(),
        "trained_without": "0.000-210.000",
    }
    shop.promote(4)
    database, at = shop.database, utc(shop.house.clock.ns)
    choice = ReferenceChoice(kind="training")
    set_reference(database.unit_of_work, choice, model_name=NAME, actor="ada", reason="because of the test", at=at)
    rules = DriftRules.model_validate({"columns": [{"column": "speed_mps", "kind": "input"}], "reference": {"min_agents": 10}})
    monitor = DriftMonitor(LakeDriftSource(shop.house.lake), database.unit_of_work, rules, tmp_path, shop.house.clock)
    assert monitor.check().reference_agents == 25, "and not the forty who came in feet"
