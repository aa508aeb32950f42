"""The steps of an answer over a real lake: what they do, what they refuse, and that a crash in between does nothing twice."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.answer_shop import BAD, GOOD, NAME, OPENED_AT, WHO, Shop, StandStill, an_answer, raising
from tests.experiment_builders import a_verdict
from tests.lake_house import a_house
from tests.record_builders import check, validation
from trajops import configs
from trajops.clock import utc
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, StaleVersion
from trajops.experiments.decisions import Decision
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.routed import canary
from trajops.policy.answers import Answer, Outcome, Step, StepState
from trajops.records import ModelVersion
from trajops.rollouts.rules import RolloutRules
from trajops.services.rollouts import Rollouts
from trajops.services.versions import Versions


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with a_house(tmp_path) as house:
        yield Shop(house)


BOTH = "the experiment “wider net” (v2) and the experiment “wider net” (v3) are paused"


def told(outcome: Outcome) -> tuple[StepState, str]:
    return outcome.state, outcome.sentence


# Pause the rollout


def test_a_running_canary_is_paused_once(shop: Shop) -> None:
    shop.live(GOOD)
    shop.canary(3)
    for _ in range(2):
        assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, "the canary of v3 is paused")
        assert shop.route == (GOOD, 3, None, 0.0)
    assert shop.state(3) == State.PAUSED


def test_a_canary_beside_an_experiment_is_named_as_what_it_is(shop: Shop) -> None:
    shop.live(GOOD)
    shop.compare(BAD, 0.0)
    shop.compare(3, 0.25, name="canary of v3")
    said = "the experiment “wider net” (v2) and the canary of v3 are paused"
    assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, said)
    later = replace(an_answer(), answer_id="another")
    assert told(shop.steps().pause_rollout(later)) == (StepState.SKIPPED, said.replace("are paused", "were paused before"))


def test_a_canary_that_was_paused_before_is_no_work_of_this_answer(shop: Shop) -> None:
    shop.live(GOOD)
    shop.canary(3)
    shop.steps().pause_rollout(an_answer())
    later = replace(an_answer(), answer_id="another")
    for _ in range(2):
        assert told(shop.steps().pause_rollout(later)) == (StepState.SKIPPED, "the canary of v3 was paused before")


def test_all_that_is_compared_live_is_paused_and_a_shadow_goes_on(shop: Shop) -> None:
    shop.live(GOOD)
    live = [shop.compare(BAD, 0.0, name="boosted trees"), shop.compare(3, 0.25), shop.compare(GOOD, 0.5, name="same twice")]
    shop.register(4)
    shadow = shop.compare(4, 0.75, mode="shadow")
    for _ in range(2):
        assert told(shop.steps().pause_rollout(an_answer())) == (
            StepState.DONE,
            "the experiment “boosted trees” (v2), the experiment “wider net” (v3) and the experiment “same twice” (v1) are paused",
        )
    assert [shop.standing(one) for one in (*live, shadow)] == ["paused", "paused", "paused", "running"]
    with shop.database.unit_of_work(read_only=True) as work:
        assert [one.coverage for one in work.routes.table().experiments] == [0.0, 0.0, 0.0, 1.0]


def test_what_was_paused_before_a_crash_is_not_paused_again_and_the_others_are(shop: Shop) -> None:
    shop.live(GOOD)
    first, second = shop.compare(BAD, 0.0), shop.compare(3, 0.25)
    with shop.failing_to_pause(second, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        shop.steps().pause_rollout(an_answer())
    # Somebody has let the first go on meanwhile.
    shop.experiments.cover(first, shop.experiments.get(first).version, 1.0, **WHO)
    assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, BOTH)
    assert (shop.standing(first), shop.standing(second)) == ("running", "paused")


def test_one_that_changes_meanwhile_is_looked_at_again_and_the_others_are_paused(shop: Shop) -> None:
    shop.live(GOOD)
    first, second = shop.compare(BAD, 0.0), shop.compare(3, 0.25)
    with shop.failing_to_pause(first, StaleVersion("somebody was faster")):
        assert shop.steps().pause_rollout(an_answer()).state == StepState.WAITING
    assert (shop.standing(first), shop.standing(second)) == ("running", "paused")
    assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, BOTH)


def test_what_is_decided_is_paused_too_and_comes_back_as_decided(shop: Shop) -> None:
    shop.live(GOOD)
    first = shop.compare(3, 0.0)
    version = shop.experiments.get(first).version
    shop.experiments.decide(first, version, Decision("better", "treatment"), a_verdict(), actor="worker")
    assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, "the experiment “wider net” (v3) is paused")
    assert shop.standing(first) == "paused"
    shop.experiments.cover(first, shop.experiments.get(first).version, 1.0, **WHO)
    assert shop.standing(first) == "recommended"


def test_a_canary_that_the_release_before_has_begun_is_paused(shop: Shop) -> None:
    shop.live(GOOD)
    shop.service.stage(3, **WHO)
    with shop.database.unit_of_work() as work:
        table, ref = work.routes.table(), ModelRef(NAME, 3)
        deployment = work.deployments.of_model(ref)
        assert deployment is not None
        assert table.champion is not None
        work.deployments.move(deployment.deployment_id, deployment.version, State.CANARY, OPENED_AT)
        begun = table.next(experiments=(canary("old", table.champion, ref, 0.5, "old"),))
        work.routes.append(begun, at=OPENED_AT, actor="ada", reason="of before")
    for _ in range(2):
        assert told(shop.steps().pause_rollout(an_answer())) == (StepState.DONE, "the canary of v3 is paused")
    assert shop.route == (GOOD, 3, None, 0.0)


def test_without_a_rollout_there_is_nothing_to_pause(shop: Shop) -> None:
    shop.live(GOOD)
    assert shop.steps().pause_rollout(an_answer()).state == StepState.SKIPPED


# Roll back


def test_the_previous_champion_comes_back_where_it_would_have_been_nearer_to_the_truth(shop: Shop) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    shop.walk(15)
    outcome = shop.steps().rollback(an_answer(model_version="2"))
    assert outcome.state == StepState.DONE, outcome
    assert outcome.result["candidate_ade_m"] < outcome.result["incumbent_ade_m"]
    assert shop.route == (GOOD, None, None, 0.0)
    assert shop.state(BAD) == State.ROLLED_BACK
    with shop.database.unit_of_work(read_only=True) as work:
        [entry] = [entry for entry in work.audit.newest() if entry.action == "deployment.rollback"]
    assert entry.actor == "policy:worse"
    assert "v1 against v2" in entry.reason
    # The worker was killed before the step was on record.
    assert told(shop.steps().rollback(an_answer(model_version="2"))) == (StepState.DONE, "v1 is champion again")
    assert shop.route == (GOOD, None, None, 0.0)


def test_a_rollback_that_would_not_help_is_refused(shop: Shop) -> None:
    shop.live(BAD)
    shop.live(GOOD)
    shop.walk(15)
    outcome = shop.steps().rollback(an_answer())
    assert outcome.state == StepState.REFUSED
    assert outcome.sentence.startswith("going back would not help; v2 against v1: ADE ")
    assert shop.route == (GOOD, None, BAD, 0.0)


def test_a_rollback_waits_until_enough_was_seen_since_the_alert(shop: Shop) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    shop.walk(15, after_s=-400, name="long before")
    shop.walk(4)
    assert told(shop.steps().rollback(an_answer())) == (StepState.WAITING, "4 of 10 agents seen since, to compare the champions on")
    assert shop.route == (BAD, None, GOOD, 0.0)


def test_an_alert_about_another_version_is_no_reason_to_roll_back(shop: Shop) -> None:
    shop.live(GOOD)
    shop.live(BAD)
    assert told(shop.steps().rollback(an_answer(model_version="3"))) == (StepState.SKIPPED, "the alert is about v3, and the champion is v2")


def test_without_a_previous_champion_there_is_no_way_back(shop: Shop) -> None:
    assert shop.steps().rollback(an_answer()).state == StepState.SKIPPED
    shop.live(BAD)
    assert shop.steps().rollback(an_answer()).state == StepState.SKIPPED


# Retrain


def test_a_version_is_trained_on_recent_tracks_and_challenges_the_champion(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(25)
    outcome = shop.steps().retrain(an_answer())
    assert outcome.state == StepState.DONE, outcome
    assert outcome.sentence.startswith("v4 is the challenger on 20 % of the agents; v4 (Kalman filter) against v2 on agents")
    assert shop.route == (BAD, 4, None, 0.2)
    assert shop.trained == [("kalman", "recent traffic, answer 0123456789ab", 25)]
    at, since = utc(shop.house.clock.ns), OPENED_AT - timedelta(seconds=120)
    assert shop.told == {"trained_since": since.isoformat(), "trained_until": at.isoformat()}, "what drift may be compared with from now on"


def test_what_was_trained_before_a_crash_is_not_trained_again(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(25)
    killed, shop.service.stage = shop.service.stage, raising(KeyboardInterrupt())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        shop.steps().retrain(an_answer())
    shop.service.stage = killed  # type: ignore[method-assign]
    assert told(shop.steps().retrain(an_answer())) == (StepState.WAITING, "v4 is trained; 0 of 5 agents seen to try it on")
    shop.walk(8, after_s=60, name="later")
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is the challenger on 20 % of the agents; v4 (Kalman filter) against")
    assert told(shop.steps().retrain(an_answer())) == (StepState.DONE, "v4 is the challenger"), "and challenges once"
    assert len(shop.trained) == 1
    assert shop.route == (BAD, 4, None, 0.2)


def test_what_was_trained_and_then_deleted_is_not_trained_again(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(30)
    shop.found = None
    assert "has not been validated yet" in shop.steps().retrain(an_answer()).sentence
    Versions(shop.database.unit_of_work, model_name=NAME, clock=shop.house.clock).delete(4, **WHO)
    outcome = shop.steps().retrain(an_answer())
    assert told(outcome) == (StepState.REFUSED, "v4 was trained, and somebody has deleted it; no other one is trained")
    assert len(shop.trained) == 1


def test_a_version_that_is_worse_gets_no_traffic_after_a_crash_either(shop: Shop) -> None:
    shop.live(GOOD)
    shop.walk(25)
    shop.models[4] = StandStill()
    shop.register(4, "recent traffic, answer 0123456789ab")
    assert shop.steps().retrain(an_answer()).state == StepState.WAITING
    shop.walk(8, after_s=60, name="later")
    assert shop.steps().retrain(an_answer()).state == StepState.REFUSED
    assert (shop.route, shop.trained) == ((GOOD, None, None, 0.0), [])


def test_an_alert_about_the_challenger_trains_nothing_in_its_place(shop: Shop) -> None:
    shop.live(GOOD)
    shop.canary(BAD)
    shop.walk(25)
    shop.steps().pause_rollout(an_answer(model_version="2"))
    assert told(shop.steps().retrain(an_answer(model_version="2"))) == (StepState.SKIPPED, "the alert is about v2, and the champion is v1")
    assert (shop.route, shop.trained) == ((GOOD, BAD, None, 0.0), [])


def test_agents_that_are_not_seen_for_long_enough_yet_are_waited_for(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(25)
    few = "the tracks give 4 windows for calibration, at least 10 are needed"
    trained, shop.train = shop.train, raising(InvalidInput(few))  # type: ignore[method-assign]
    assert told(shop.steps().retrain(an_answer())) == (StepState.WAITING, few)
    shop.train = trained  # type: ignore[method-assign]
    shop.walk(8, after_s=60, name="later")
    assert shop.steps().retrain(an_answer()).state == StepState.DONE


def test_a_version_that_is_worse_than_the_champion_gets_no_traffic(shop: Shop) -> None:
    shop.live(GOOD)
    shop.makes = StandStill()
    shop.walk(25)
    outcome = shop.steps().retrain(an_answer())
    assert outcome.state == StepState.REFUSED
    assert shop.route == (GOOD, None, None, 0.0)
    assert shop.state(4) is None


def test_a_version_whose_battery_failed_gets_no_traffic(shop: Shop) -> None:
    shop.live(BAD)
    shop.found = (check("latency", "failed", 31.0),)
    shop.walk(25)
    outcome = shop.steps().retrain(an_answer())
    assert outcome.state == StepState.REFUSED
    assert "its battery has failed" in outcome.sentence
    assert "latency: the 99th percentile is 31 ms, allowed at most 20 ms" in outcome.sentence
    assert (shop.route, shop.state(4)) == ((BAD, None, None, 0.0), None)


def test_a_version_that_is_not_validated_yet_waits_for_it(shop: Shop) -> None:
    shop.live(BAD)
    shop.found = None
    shop.walk(25)
    waiting = shop.steps().retrain(an_answer())
    assert waiting.state == StepState.WAITING
    assert "validate_versions" in waiting.sentence
    with shop.database.unit_of_work() as work:
        work.validations.add(validation(4, 0.0, model_name=NAME), "# Card")
    shop.walk(8, after_s=60, name="later")
    assert shop.steps().retrain(an_answer()).state == StepState.DONE
    assert len(shop.trained) == 1


def test_a_paused_canary_of_an_answer_makes_way_and_a_running_one_does_not(shop: Shop) -> None:
    shop.live(BAD)
    shop.canary(3, actor="policy:traffic_has_changed")
    shop.walk(25)
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is staged, because v3 is being compared")
    assert (shop.route, shop.state(4)) == ((BAD, 3, None, 0.5), State.STAGED)
    shop.steps().pause_rollout(an_answer())
    shop.walk(8, after_s=60, name="later")
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is the challenger")
    assert (shop.route, shop.state(3)) == ((BAD, 4, None, 0.2), State.STAGED)


def test_what_an_operator_compares_is_not_ended_though_an_answer_has_paused_it(shop: Shop) -> None:
    shop.live(BAD)
    shop.canary(3)
    shop.walk(25)
    shop.steps().pause_rollout(an_answer())
    said = shop.steps().retrain(an_answer()).sentence
    assert said.startswith("v4 is staged, because the comparison of v3 is paused, and not begun by an answer; v4 (Kalman filter) against")
    assert (shop.route, shop.state(3), shop.state(4)) == ((BAD, 3, None, 0.0), State.PAUSED, State.STAGED)


def test_a_champion_that_is_compared_with_itself_is_named(shop: Shop) -> None:
    shop.models[GOOD] = StandStill()
    shop.live(GOOD)
    shop.compare(GOOD, 0.0)
    shop.walk(25)
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is staged, because v1 is being compared;")


def test_a_shadow_keeps_nobody_from_challenging(shop: Shop) -> None:
    shop.live(BAD)
    shadow = shop.shadow(3)
    shop.walk(25)
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is the challenger on 20 % of the agents")
    assert shop.compared == [(3, 1.0), (4, 0.2)]
    with shop.database.unit_of_work(read_only=True) as work:
        assert work.experiments.get(shadow).state == ExperimentState.RUNNING


def test_beside_a_rollout_a_version_is_only_staged(shop: Shop) -> None:
    shop.live(BAD)
    staged = shop.service.stage(3, **WHO).deployment
    rules = configs.load(Path("configs/rollouts.yaml"), RolloutRules)
    rollouts = Rollouts(shop.database.unit_of_work, lambda: rules, model_name=NAME, clock=shop.house.clock)
    rollouts.start(staged.deployment_id, staged.version, **WHO)
    shop.walk(25)
    assert shop.steps().retrain(an_answer()).sentence.startswith("v4 is staged, because v3 is being rolled out;")
    assert [version for version, _ in shop.compared] == [3]


def test_what_was_done_before_a_crash_is_recalled(shop: Shop) -> None:
    def left(action: str) -> Answer:
        return replace(an_answer(), steps=(Step(action),))  # type: ignore[arg-type]

    shop.live(BAD)
    shop.canary(3)
    steps = shop.steps()
    assert [steps.recall(left(action)) for action in ("pause_rollout", "rollback", "retrain")] == [None, None, None]
    steps.pause_rollout(an_answer())
    assert steps.recall(left("pause_rollout")) == Outcome(StepState.DONE, "the canary of v3 is paused", {"model_version": 3})
    shop.walk(25)
    steps.retrain(an_answer())
    assert steps.recall(left("retrain")) == Outcome(StepState.DONE, "v4 is staged", {"model_version": 4})


def test_the_policy_may_only_stage(shop: Shop) -> None:
    shop.live(BAD)
    shop.walk(25)
    assert shop.steps(retrain={"min_agents": 20, "coverage": 0}).retrain(an_answer()).sentence.startswith("v4 is staged;")
    assert shop.route == (BAD, None, None, 0.0)


def test_training_waits_for_enough_agents_and_refuses_a_family_from_elsewhere(shop: Shop) -> None:
    assert shop.steps().retrain(an_answer()).state == StepState.SKIPPED
    shop.live(GOOD)
    shop.walk(5)
    assert told(shop.steps().retrain(an_answer())) == (StepState.WAITING, "5 of 20 agents seen since, to train on")
    with shop.database.unit_of_work() as work:
        work.model_versions.put(ModelVersion(NAME, GOOD, "onnx_model", None, {}, {}, "d" * 64, OPENED_AT + timedelta(0)))
    assert shop.steps().retrain(an_answer()).state == StepState.REFUSED
    assert shop.trained == []
