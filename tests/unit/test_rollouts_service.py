"""Rollouts from shadow to live: what each step does to states, routes and audit, what ends one, and what is refused."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.deployment_builders import WHO, route, states
from tests.rollout_builders import RolloutDesk, a_policy, champion
from trajops.clock import now
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import Units
from trajops.errors import Conflict, IllegalTransition, InvalidInput, NotValidated, StaleVersion
from trajops.experiments.lifecycle import ExperimentState
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.services.rollouts import ACTOR, Rollouts

R = RolloutState


def test_it_goes_from_shadow_to_live_without_a_hand() -> None:
    desk = RolloutDesk()
    seen = [desk.place]
    for number in range(1, 40):
        desk.look(units=400 * number, ratio=0.9)
        if desk.place != seen[-1]:
            seen.append(desk.place)
        if desk.rollout.ended_at is not None:
            break
    assert seen == [
        (Stage.SHADOW, 0, R.RUNNING),
        (Stage.CANARY, 0, R.RUNNING),
        (Stage.CANARY, 1, R.RUNNING),
        (Stage.CANARY, 2, R.RUNNING),
        (Stage.PROMOTING, 0, R.RUNNING),
        (Stage.BAKING, 0, R.RUNNING),
        (Stage.BAKING, 0, R.LIVE),
    ]
    assert route(desk.database) == (2, None, 1, 0.0)
    assert states(desk.releases) == {1: State.RETIRED, 2: State.LIVE}


def test_each_step_is_audited_with_the_figures_that_caused_it() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    with desk.database.unit_of_work(read_only=True) as uow:
        entries = uow.audit.newest(100, f"rollout/{desk.id}")
    assert [entry.actor for entry in entries] == [ACTOR] * 5 + [WHO["actor"]]
    for entry in entries[:-1]:
        assert all(gate["state"] == "passed" for gate in entry.after["gates"])
        assert entry.after["cause"]["arms"][1]["scored_units"] > 0
    first = entries[-2]
    assert (first.before["rollouts"], first.after["rollouts"]) == ({desk.id: "shadow, running"}, {desk.id: "canary 1/3, running"})
    assert (first.before["states"], first.after["states"]) == ({"trajectory/2": "shadow"}, {"trajectory/2": "canary"})


def test_nobody_changes_arms_from_step_to_step() -> None:
    desk = RolloutDesk()

    def arms() -> dict[str, str]:
        with desk.database.unit_of_work(read_only=True) as uow:
            table = uow.routes.table()
        found = {f"a{number}": table.assign(Units("s", f"a{number}", "c")) for number in range(2000)}
        return {name: one.variant for name, one in found.items() if one is not None and one.experiment_id is not None}

    desk.reach(Stage.CANARY, 0)
    steps = [arms()]
    for step in (1, 2):
        desk.reach(Stage.CANARY, step)
        steps.append(arms())
    assert [round(len(found) / 2000, 1) for found in steps] == [0.1, 0.5, 1.0]
    for before, after in pairwise(steps):
        assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("given", "gate"),
    [
        ({"units": 20}, "units"),
        ({"after_s": 10.0, "units": 3000}, "time"),
        ({"units": 3000, "joined": 9000, "due": 30_000}, "health"),
    ],
)
def test_a_step_waits_for_what_is_missing(given: dict[str, Any], gate: str) -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 0)
    desk.units = 0
    found = desk.look(ratio=0.9, **given)
    assert found is not None
    assert found.way == "wait"
    assert [one.name for one in found.gates if one.state != "passed"] == [gate]
    assert desk.rollout.gates == list(found.gates)
    assert next(one.detail for one in found.gates if one.name == gate) in desk.rollout.sentence


def test_a_fleet_that_returns_passes_a_step_as_a_new_one_does() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    desk.returned = 49
    desk.look()
    assert "49 of 50" in desk.rollout.sentence
    desk.returned = 50
    desk.look()
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)


def test_units_that_were_counted_for_another_step_do_not_count_in_this_one() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    desk.look(units=desk.units + 30)
    verdict = desk.experiment.verdict
    assert verdict is not None
    arms = [arm.model_copy(update={"units_since": 5000}) for arm in verdict.arms]
    counted = {"counted_since": desk.rollout.entered_at - timedelta(seconds=1), "arms": arms, "at": now(desk.clock)}
    with desk.database.unit_of_work() as uow:
        uow.experiments.note(desk.experiment.experiment_id, verdict.model_copy(update=counted), keep=False)
    desk.rollouts.advance()
    assert "0 of 50" in desk.rollout.sentence


def test_units_of_a_step_are_those_that_came_since_it_began() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    before = desk.units
    found = desk.look(units=before + 49)
    assert found is not None
    assert found.way == "wait"
    assert "49 of 50" in desk.rollout.sentence
    desk.look(units=before + 50)
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)


def test_the_last_step_waits_until_the_version_is_shown_to_be_no_worse() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 2)
    desk.units = 100
    # The steps before were decided on the same experiment: of a fresh one, nothing is known yet.
    with desk.database.unit_of_work() as uow:
        uow.experiments.save(desk.experiment.model_copy(update={"state": ExperimentState.RUNNING, "winner": None}), desk.experiment.version)
    found = desk.look(units=desk.units + 60, ratio=1.0)
    assert found is not None
    assert [one.name for one in found.gates if one.state != "passed"] in (["accuracy"], ["units", "accuracy"])
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)


@pytest.mark.parametrize("stage", [(Stage.SHADOW, 0), (Stage.CANARY, 0), (Stage.CANARY, 2), (Stage.PROMOTING, 0)])
def test_harm_ends_it_before_the_switch(stage: tuple[Stage, int]) -> None:
    desk = RolloutDesk()
    desk.reach(*stage)
    desk.look(units=4000, ratio=1.5)
    assert (desk.rollout.state, champion(desk)) == (R.ROLLED_BACK, 1)
    assert states(desk.releases)[2] == State.ROLLED_BACK
    assert "higher" in desk.rollout.sentence
    assert desk.look() is None, "what is over is not looked at"


def test_a_guardrail_ends_it() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 0)
    desk.look(units=2000, ratio=0.9, failed_units=200)
    assert (desk.rollout.state, champion(desk)) == (R.ROLLED_BACK, 1)
    assert "answered by the baseline" in desk.rollout.sentence


def test_invalid_data_pause_it_and_a_person_lets_it_go_on() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    for _ in range(3):
        desk.look(units=2000, ratio=0.9, joined=100, due=20_000)
    assert desk.place == (Stage.CANARY, 1, R.PAUSED)
    assert "Data invalid" in desk.rollout.sentence
    assert route(desk.database)[3] == 0.0
    desk.look(units=2000)
    assert desk.rollout.state == R.PAUSED, "nobody but a person resumes it"
    resumed = desk.rollouts.resume(desk.id, desk.rollout.version, **WHO).rollout
    assert (resumed.state, resumed.entered_at, route(desk.database)[3]) == (R.RUNNING, now(desk.clock), 0.5)


def test_a_promotion_that_waits_for_a_person() -> None:
    desk = RolloutDesk(a_policy(approval=["promoting"]))
    desk.reach(Stage.CANARY, 2)
    with pytest.raises(Conflict, match="cannot be approved yet"):
        desk.rollouts.approve(desk.id, desk.rollout.version, **WHO)
    for _ in range(3):
        desk.look(units=desk.units + 400, ratio=0.9)
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)
    assert desk.rollout.sentence == "The canary at 100 % waits: a person approves what comes next."
    with pytest.raises(StaleVersion):
        desk.rollouts.approve(desk.id, desk.rollout.version - 1, **WHO)
    desk.rollouts.approve(desk.id, desk.rollout.version, **WHO)
    desk.look()
    assert desk.place == (Stage.PROMOTING, 0, R.RUNNING)
    assert champion(desk) == 1
    desk.look()
    assert (desk.place, champion(desk)) == ((Stage.BAKING, 0, R.RUNNING), 2)
    with pytest.raises(Conflict, match="nothing is to be approved"):
        desk.rollouts.approve(desk.id, desk.rollout.version, **WHO)


def test_a_canary_that_waits_for_a_person() -> None:
    desk = RolloutDesk(a_policy(approval=["canary", "promoting"]))
    for _ in range(3):
        desk.look(units=desk.units + 400, ratio=0.9)
    assert desk.place == (Stage.SHADOW, 0, R.RUNNING)
    desk.rollouts.approve(desk.id, desk.rollout.version, **WHO)
    desk.look()
    assert desk.place == (Stage.CANARY, 0, R.RUNNING)
    assert not desk.rollout.is_approved


def test_the_predecessor_watches_and_comes_back_where_it_was_nearer_to_the_truth() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    assert states(desk.releases) == {1: State.SHADOW, 2: State.BAKING}
    assert desk.experiment.plan.mode == "watch"
    assert route(desk.database) == (2, None, 1, 0.0), "who watches challenges nobody"
    desk.look(units=2000, ratio=1.4)
    assert (desk.rollout.state, champion(desk)) == (R.ROLLED_BACK, 1)
    assert states(desk.releases) == {1: State.LIVE, 2: State.ROLLED_BACK}
    assert "predecessor" in desk.rollout.sentence


@pytest.mark.parametrize("ratio", [0.67, 1.0, 1.01])
def test_a_predecessor_that_was_not_nearer_by_the_margin_retires(ratio: float) -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    for number in range(1, 9):
        desk.look(units=500 * number, ratio=ratio)
    assert (desk.rollout.state, champion(desk)) == (R.LIVE, 2)
    assert states(desk.releases) == {1: State.RETIRED, 2: State.LIVE}
    assert desk.experiment.state == ExperimentState.STOPPED


def test_a_person_pauses_and_resumes_it() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    paused = desk.rollouts.pause(desk.id, desk.rollout.version, **WHO).rollout
    assert (paused.state, route(desk.database)[3], desk.experiment.state) == (R.PAUSED, 0.0, ExperimentState.PAUSED)
    desk.look(units=9000)
    assert desk.place == (Stage.CANARY, 1, R.PAUSED)
    desk.rollouts.resume(desk.id, desk.rollout.version, **WHO)
    assert (desk.place, route(desk.database)[3]) == ((Stage.CANARY, 1, R.RUNNING), 0.5)
    with pytest.raises(Conflict, match="not paused"):
        desk.rollouts.resume(desk.id, desk.rollout.version, **WHO)


def test_it_follows_what_is_done_to_its_experiment() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    desk.experiments.pause(desk.experiment.experiment_id, desk.experiment.version, **WHO)
    desk.look()
    assert desk.place == (Stage.CANARY, 1, R.PAUSED)
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, 0.3, **WHO)
    desk.look(after_s=1.0)
    assert desk.place == (Stage.CANARY, 1, R.RUNNING)
    desk.experiments.stop(desk.experiment.experiment_id, desk.experiment.version, **WHO)
    desk.look()
    assert (desk.rollout.state, states(desk.releases)[2]) == (R.STOPPED, State.STAGED)


def test_a_pause_while_it_is_promoted_leads_back_to_the_last_step() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.PROMOTING)
    desk.rollouts.pause(desk.id, desk.rollout.version, **WHO)
    desk.rollouts.resume(desk.id, desk.rollout.version, **WHO)
    assert (desk.place, states(desk.releases)[2]) == ((Stage.CANARY, 2, R.RUNNING), State.CANARY)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.PROMOTING])
def test_a_person_stops_it(stage: Stage) -> None:
    desk = RolloutDesk()
    desk.reach(stage)
    desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)
    assert (desk.rollout.state, states(desk.releases)[2], champion(desk)) == (R.STOPPED, State.STAGED, 1)
    with pytest.raises(Conflict, match="over"):
        desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)


def test_a_bake_that_is_ended_early_leaves_it_live() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    with pytest.raises(Conflict, match="champion already"):
        desk.rollouts.pause(desk.id, desk.rollout.version, **WHO)
    desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)
    assert (desk.rollout.state, states(desk.releases)) == (R.LIVE, {1: State.RETIRED, 2: State.LIVE})


@pytest.mark.parametrize("stage", list(Stage))
def test_a_person_takes_it_back(stage: Stage) -> None:
    desk = RolloutDesk()
    desk.reach(stage)
    desk.rollouts.roll_back(desk.id, desk.rollout.version, **WHO)
    assert (desk.rollout.state, states(desk.releases)) == (R.ROLLED_BACK, {1: State.LIVE, 2: State.ROLLED_BACK})
    assert route(desk.database)[:2] == (1, None)


@pytest.mark.parametrize("stage", list(Stage))
def test_another_promotion_ends_it(stage: Stage) -> None:
    desk = RolloutDesk()
    desk.reach(stage)
    staged = desk.releases.stage(3, **WHO).deployment
    desk.releases.promote(staged.deployment_id, staged.version, **WHO)
    desk.look()
    assert (desk.rollout.state, champion(desk)) == (R.STOPPED, 3)


def test_a_rollback_by_hand_ends_the_bake() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    desk.releases.rollback(desk.releases.routes().current.epoch, **WHO)
    desk.look()
    assert (desk.rollout.state, champion(desk)) == (R.ROLLED_BACK, 1)


def test_the_bake_goes_on_without_a_watch_that_somebody_has_stopped() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    desk.experiments.stop(desk.experiment.experiment_id, desk.experiment.version, **WHO)
    desk.look(after_s=700)
    assert desk.rollout.state == R.LIVE


def test_a_policy_without_shadow_or_watch() -> None:
    desk = RolloutDesk(a_policy(shadow=None, bake={"min_s": 60, "watched": False}))
    assert desk.place == (Stage.CANARY, 0, R.RUNNING)
    desk.reach(Stage.BAKING)
    assert (desk.rollout.experiment_id, states(desk.releases)) == (None, {1: State.RETIRED, 2: State.BAKING})
    desk.look()
    assert desk.rollout.state == R.LIVE


def test_the_kill_switch_holds_it() -> None:
    desk = RolloutDesk(a_policy(shadow=None))
    desk.experiments.switch(desk.releases.routes().current.epoch, is_stopped=True, **WHO)
    found = desk.look(units=400, ratio=0.9)
    assert found is not None
    assert (found.way, found.sentence) == ("wait", "The canary at 10 % waits: all experiments are stopped by hand.")


def test_what_cannot_be_started() -> None:
    desk = RolloutDesk()
    staged = desk.releases.stage(3, **WHO).deployment
    with pytest.raises(Conflict, match="another version is being rolled out"):
        desk.rollouts.start(staged.deployment_id, staged.version, **WHO)
    with pytest.raises(InvalidInput, match="no rollout policy 'bold'"):
        desk.rollouts.start(staged.deployment_id, staged.version, "bold", **WHO)
    with pytest.raises(StaleVersion):
        desk.rollouts.start(staged.deployment_id, staged.version + 1, **WHO)
    first = next(one for one in desk.releases.deployments().deployments if one.model_version == 1)
    with pytest.raises(IllegalTransition):
        desk.rollouts.start(first.deployment_id, first.version, **WHO)


def test_the_same_request_is_done_once() -> None:
    desk = RolloutDesk()
    version = desk.rollout.version
    twice = [desk.rollouts.pause(desk.id, version, idempotency_key="k", **WHO) for _ in range(2)]
    assert twice[0] == twice[1]
    assert desk.rollout.version == version + 1


def test_a_look_that_comes_too_late_does_nothing() -> None:
    desk = RolloutDesk()
    for _ in range(2):
        desk.look(units=desk.units + 400, ratio=0.9)
    place = desk.place
    assert desk.rollouts.advance()[0][1].way == "wait"
    assert desk.place == place


@pytest.mark.parametrize("change", ["roll_back", "stop", "worse", "baked"])
def test_a_predecessor_whose_watch_is_paused_is_no_obstacle(change: str) -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    desk.experiments.pause(desk.experiment.experiment_id, desk.experiment.version, **WHO)
    if change == "roll_back":
        desk.rollouts.roll_back(desk.id, desk.rollout.version, **WHO)
    elif change == "stop":
        desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)
    else:
        desk.look(units=3000, ratio=1.4 if change == "worse" else 0.9, after_s=700)
    is_back = change in {"roll_back", "worse"}
    assert desk.rollout.state == (R.ROLLED_BACK if is_back else R.LIVE)
    assert states(desk.releases) == ({1: State.LIVE, 2: State.ROLLED_BACK} if is_back else {1: State.RETIRED, 2: State.LIVE})


def test_what_keeps_a_step_from_being_taken_is_told() -> None:
    desk = RolloutDesk()
    desk.releases.stage(3, **WHO)
    other = next(one for one in desk.releases.deployments().deployments if one.model_version == 3)
    desk.releases.start_canary(other.deployment_id, other.version, 0.5, **WHO)
    for _ in range(3):
        desk.look(units=desk.units + 400, ratio=0.9)
    assert desk.place == (Stage.SHADOW, 0, R.RUNNING)
    assert "trajectory/3 is compared with the champion on the same units" in desk.rollout.sentence
    assert [gate.name for gate in desk.rollout.gates if gate.state != "passed"] == ["obstacle"]
    assert desk.rollout.looked_at == now(desk.clock)


def test_a_worse_champion_is_found_whatever_else_is_wrong_with_its_predecessor() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    assert desk.experiment.plan.guardrails == ()


def test_the_figures_of_the_decision_are_shown_and_not_the_last_change() -> None:
    desk = RolloutDesk(a_policy(approval=["promoting"]))
    desk.reach(Stage.CANARY, 2)
    desk.look(units=desk.units + 400)
    accuracy = next(gate for gate in desk.rollout.gates if gate.name == "accuracy")
    assert accuracy.state == "passed"
    assert accuracy.detail.startswith("shown to be no worse than by 2 %; by now the error is at most −")
    assert "enrolled" not in desk.experiment.sentence


def test_what_was_shown_and_is_no_more_holds_the_step() -> None:
    desk = RolloutDesk(a_policy(approval=["promoting"]))
    desk.reach(Stage.CANARY, 2)
    desk.look(ratio=1.0)
    assert desk.experiment.state == ExperimentState.RECOMMENDED, "a decision stands"
    accuracy = next(gate for gate in desk.rollout.gates if gate.name == "accuracy")
    assert accuracy.state == "waiting"
    assert accuracy.detail.startswith("was shown to be no worse than by 2 %; by now the error is at most +")


def test_another_coverage_by_hand_holds_the_step() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY, 1)
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, 0.03, **WHO)
    desk.look(units=desk.units + 400)
    assert "3 % are enrolled by hand; the step is one of 50 %" in desk.rollout.sentence
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, 0.5, **WHO)
    desk.look(units=desk.units + 400)
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)


def test_a_pause_that_no_look_has_seen_leads_back_to_the_last_step_too() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.PROMOTING)
    desk.experiments.pause(desk.experiment.experiment_id, desk.experiment.version, **WHO)
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, 1.0, **WHO)
    desk.look(after_s=1.0)
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)


def test_what_has_not_passed_its_battery_is_not_rolled_out() -> None:
    desk = RolloutDesk()
    desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)
    strict = Rollouts(desk.database.unit_of_work, desk.rollouts._rules, needs_validation=True, clock=desk.clock)
    staged = next(one for one in desk.releases.deployments().deployments if one.model_version == 2)
    with pytest.raises(NotValidated):
        strict.start(staged.deployment_id, staged.version, **WHO)
