"""Rollouts from shadow to live: what each step does to states, routes and audit, what ends one, and what is refused."""

import contextlib
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.alert_builders import an_alert
from tests.experiment_builders import a_verdict
from tests.rollout_builders import RolloutDesk, a_policy
from tests.unit.test_deployments_service import WHO, route, states
from tests.unit.test_experiments_service import AnySequence
from trajops.alerts.lifecycle import Severity
from trajops.clock import now
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import Units
from trajops.errors import Conflict, IllegalTransition, InRollout, InvalidInput, NotFound, NotValidated, StaleVersion
from trajops.experiments.decisions import Decision
from trajops.experiments.lifecycle import ExperimentState
from trajops.rollouts.lifecycle import ACTIVE, DEPLOYED, RolloutState, Stage
from trajops.rollouts.rules import RolloutRules
from trajops.services.rollouts import ACTOR, Rollouts

R = RolloutState


def champion(desk: RolloutDesk) -> int | None:
    return route(desk.database)[0]


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


def test_what_was_shown_in_shadow_need_not_be_shown_again_where_the_policy_says_so() -> None:
    desk = RolloutDesk(a_policy(shown_in=["shadow"]))
    desk.look(units=120, ratio=1.2)
    assert desk.place[0] != Stage.CANARY, "not before it is shown"
    desk = RolloutDesk(a_policy(shown_in=["shadow"]))
    desk.reach(Stage.CANARY, 0)
    desk.units = 0
    for units in (60, 120, 180):
        desk.look(units=units, ratio=1.0)
    assert desk.experiment.state == ExperimentState.RUNNING, "nothing is known of so few"
    assert desk.place[0] == Stage.PROMOTING


def test_what_is_shown_in_the_canary_alone_does_not_hold_the_shadow() -> None:
    desk = RolloutDesk(a_policy(shown_in=["canary"]))
    desk.look(units=110, ratio=1.0)
    assert desk.place == (Stage.CANARY, 0, R.RUNNING)
    desk.units = 0
    for units in (60, 120, 180, 240):
        desk.look(units=units, ratio=1.0)
    assert desk.place == (Stage.CANARY, 2, R.RUNNING)
    assert "not shown to be no worse" in desk.rollout.sentence


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


def alarm(desk: RolloutDesk, rule: str, *, version: str | None = None, after_s: float = 1.0) -> None:
    labels = {} if version is None else {"model_version": version}
    with desk.database.unit_of_work() as uow:
        opened = {"severity": Severity.CRITICAL, "opened_at": now(desk.clock) + timedelta(seconds=after_s)}
        uow.alerts.add(an_alert("a1", now(desk.clock), rule=rule, labels=labels, **opened))


@pytest.mark.parametrize(
    ("rule", "version", "state"),
    [
        ("performance_degraded", "2", R.ROLLED_BACK),
        ("performance_degraded", None, R.ROLLED_BACK),
        ("performance_degraded", "1", R.LIVE),
        ("budget_burns", None, R.RUNNING),
    ],
)
def test_alerts_of_the_bake(rule: str, version: str | None, state: RolloutState) -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    alarm(desk, rule, version=version)
    for number in range(1, 9):
        desk.look(units=500 * number, ratio=1.0)
    assert desk.rollout.state == state
    assert champion(desk) == (1 if state == R.ROLLED_BACK else 2)


@pytest.mark.parametrize(
    ("rule", "version", "state"),
    [
        ("performance_degraded", "2", R.ROLLED_BACK),
        ("performance_degraded", None, R.RUNNING),
        ("performance_degraded", "1", R.LIVE),
        ("budget_burns", None, R.RUNNING),
        ("budget_burns", "2", R.RUNNING),
    ],
)
def test_alerts_that_were_open_before_the_switch(rule: str, version: str | None, state: RolloutState) -> None:
    desk = RolloutDesk()
    desk.reach(Stage.BAKING)
    alarm(desk, rule, version=version, after_s=-3600)
    for number in range(1, 9):
        desk.look(units=500 * number, ratio=1.0)
    assert desk.rollout.state == state
    if state == R.RUNNING:
        assert desk.rollout.sentence == f"Baking waits: critical: {rule}."


@pytest.mark.parametrize("stage", [(Stage.CANARY, 2), (Stage.PROMOTING, 0)])
@pytest.mark.parametrize(("version", "is_held"), [("2", True), (None, True), ("1", False)])
def test_nobody_is_promoted_into_an_alarm(stage: tuple[Stage, int], version: str | None, is_held: bool) -> None:
    desk = RolloutDesk()
    desk.reach(*stage)
    alarm(desk, "performance_degraded", version=version)
    for _ in range(3):
        desk.look(units=desk.units + 400)
    assert (champion(desk) == 1) is is_held
    if is_held:
        assert (desk.rollout.stage, desk.rollout.step) == stage
        assert "critical: performance_degraded" in desk.rollout.sentence


def until_the_horizon(desk: RolloutDesk) -> None:
    """To a second before what is compared reaches its horizon, of three days."""
    began_at = desk.experiment.started_at
    assert began_at is not None
    desk.clock.advance(3 * 86_400 - 1 - (now(desk.clock) - began_at).total_seconds())


@pytest.mark.parametrize("stage", [(Stage.SHADOW, 0), (Stage.CANARY, 0), (Stage.CANARY, 1)])
def test_what_is_not_through_at_the_horizon_ends_and_makes_room(stage: tuple[Stage, int]) -> None:
    desk = RolloutDesk(a_policy(horizon_s=3 * 86_400))
    desk.reach(*stage)
    until_the_horizon(desk)
    desk.look(after_s=0)
    assert desk.rollout.state == R.RUNNING
    assert next(gate for gate in desk.rollout.gates if gate.name == "horizon").detail == "1 second left of 3 days"
    desk.rollouts.advance()
    desk.clock.advance(1)
    desk.rollouts.advance()
    assert (desk.rollout.state, champion(desk), route(desk.database)[3]) == (R.INCONCLUSIVE, 1, 0.0)
    name = "shadow" if stage[0] == Stage.SHADOW else "canary"
    assert desk.rollout.sentence.startswith(f"The {name} was not through after 3 days: ")
    assert desk.rollout.sentence.endswith(" in this step. The champion stays.")
    staged = desk.releases.stage(3, **WHO).deployment
    assert desk.rollouts.start(staged.deployment_id, staged.version, **WHO).rollout.state == R.RUNNING


def test_what_was_shown_before_the_horizon_stays_on_record() -> None:
    desk = RolloutDesk(a_policy(horizon_s=3 * 86_400, approval=["promoting"]))
    desk.reach(Stage.CANARY, 2)
    desk.look(units=desk.units + 400)
    until_the_horizon(desk)
    desk.look(after_s=1)
    assert (desk.rollout.state, states(desk.releases)[2]) == (R.INCONCLUSIVE, State.STAGED)
    assert (desk.experiment.state, desk.experiment.winner) == (ExperimentState.STOPPED, "treatment")
    assert "a person approves what comes next" in desk.rollout.sentence


def test_a_pause_and_the_kill_switch_do_not_stop_the_clock() -> None:
    desk = RolloutDesk(a_policy(horizon_s=3 * 86_400))
    desk.rollouts.pause(desk.id, desk.rollout.version, **WHO)
    desk.experiments.switch(desk.releases.routes().current.epoch, is_stopped=True, **WHO)
    until_the_horizon(desk)
    desk.look(after_s=0)
    assert desk.rollout.state == R.PAUSED
    desk.look(after_s=1)
    assert (desk.rollout.state, states(desk.releases)[2]) == (R.INCONCLUSIVE, State.INCONCLUSIVE)
    assert "it was paused, and nobody resumed it" in desk.rollout.sentence
    with desk.database.unit_of_work(read_only=True) as uow:
        assert [entry.action for entry in uow.audit.newest(1, f"rollout/{desk.id}")] == ["rollout.end"]


def test_a_bake_has_no_horizon() -> None:
    desk = RolloutDesk(a_policy(horizon_s=3 * 86_400))
    desk.reach(Stage.BAKING)
    alarm(desk, "budget_burns")
    desk.look(units=desk.units + 400, after_s=30 * 86_400)
    assert desk.place == (Stage.BAKING, 0, R.RUNNING)
    assert "budget_burns" in desk.rollout.sentence


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


@pytest.mark.parametrize("stage", list(Stage))
def test_nobody_promotes_it_past_its_gates(stage: Stage) -> None:
    desk = RolloutDesk(a_policy(approval=["promoting"]) if stage == Stage.CANARY else None)
    desk.reach(stage, 2 if stage == Stage.CANARY else 0)
    desk.look(units=desk.units + 5, after_s=1.0)
    before = desk.place, champion(desk)
    with pytest.raises(InRollout, match="under Models") as refused:
        desk.experiments.stop(desk.experiment.experiment_id, desk.experiment.version, "treatment", **WHO)
    assert (refused.value.code, refused.value.details) == ("in_rollout", {"rollout_id": desk.id})
    deployment = next(one for one in desk.releases.deployments().deployments if one.model_version == 2)
    with pytest.raises(InRollout):
        desk.releases.promote(deployment.deployment_id, deployment.version, **WHO)
    assert (desk.place, champion(desk)) == before


def test_without_its_rollout_it_is_promoted_by_hand() -> None:
    desk = RolloutDesk()
    desk.reach(Stage.CANARY)
    desk.rollouts.stop(desk.id, desk.rollout.version, **WHO)
    deployment = next(one for one in desk.releases.deployments().deployments if one.model_version == 2)
    desk.releases.promote(deployment.deployment_id, deployment.version, **WHO)
    assert champion(desk) == 2


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
    assert accuracy.detail.startswith("shown to be no worse than by 2 %; by now the error is at most -")
    assert "enrolled" not in desk.experiment.sentence


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


class AnySequenceWithRollouts(AnySequence):
    """The same with rollouts: at most one is active, it agrees with what is routed, and what is over changes no more."""

    @initialize()
    def start(self) -> None:
        super().start()
        rules = RolloutRules(default="unattended", policies=(a_policy(), a_policy(name="bare", shadow=None, bake={"watched": False})))
        self.rollouts = Rollouts(self.database.unit_of_work, lambda: rules, clock=self.clock)
        self.ended: dict[str, Any] = {}

    @rule(number=st.integers(1, 4), policy=st.sampled_from(["unattended", "bare"]))
    def roll_out(self, number: int, policy: str) -> None:
        found = next((one for one in self.releases.deployments().deployments if one.model_version == number), None)
        if found is not None:
            with contextlib.suppress(Conflict):
                self.rollouts.start(found.deployment_id, found.version, policy, **WHO)

    @rule(steps=st.integers(0, 6))
    def look(self, steps: int) -> None:
        """So often, whatever the gates say that can be said of figures is put right before."""
        self.rollouts.advance()
        for _ in range(steps):
            for rollout in self.rollouts.newest().rollouts[:1]:
                if rollout.state == R.RUNNING:
                    self.clock.advance(3600)
                    self.show(rollout)
            self.rollouts.advance()

    def show(self, rollout: RolloutOut) -> None:
        """Figures that pass."""
        if rollout.experiment_id is None:
            return
        experiment = self.service.get(rollout.experiment_id)
        if experiment.state == ExperimentState.RUNNING and rollout.stage != Stage.BAKING:
            won = Decision("better", "treatment")
            self.service.decide(experiment.experiment_id, experiment.version, won, a_verdict(), actor=ACTOR)
        self.note(experiment, rollout.entered_at)

    def note(self, experiment: ExperimentOut, counted_since: datetime) -> None:
        at = now(self.clock)
        verdict = a_verdict(mean_m=0.5 if experiment.plan.mode == "watch" else 0.42)
        arms = [arm.model_copy(update={"units_since": 10_000}) for arm in verdict.arms]
        seen = verdict.model_copy(update={"at": at, "arms": arms, "counted_since": counted_since})
        with self.database.unit_of_work() as uow:
            uow.experiments.note(experiment.experiment_id, seen, keep=False)

    @rule(change=st.sampled_from(["approve", "pause", "resume", "stop", "roll_back"]), drift=AnySequence.drift)
    def steer(self, change: str, drift: int) -> None:
        for rollout in self.rollouts.newest().rollouts[:1]:
            with contextlib.suppress(Conflict, NotFound):
                getattr(self.rollouts, change)(rollout.rollout_id, rollout.version + drift, **WHO)

    @invariant()
    def rollouts_agree(self) -> None:
        found = self.rollouts.newest().rollouts
        assert sum(one.state in ACTIVE for one in found) <= 1
        for one in found:
            if one.state not in ACTIVE:
                assert self.ended.setdefault(one.rollout_id, one) == one
        self.rollouts.advance()
        for one in self.rollouts.newest().rollouts:
            deployed = {row.model_version: row.state for row in self.releases.deployments().deployments}[one.model_version]
            if one.state == R.RUNNING:
                assert deployed == DEPLOYED[one.stage]
            if one.state == R.PAUSED:
                assert deployed == State.PAUSED


TestAnySequenceWithRollouts = AnySequenceWithRollouts.TestCase
TestAnySequenceWithRollouts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
