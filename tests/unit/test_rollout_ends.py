"""What ends a rollout or holds it where no gate of its figures does: the horizon, alerts, and hands that would go past it."""

from datetime import timedelta

import pytest

from tests.alert_builders import an_alert
from tests.deployment_builders import WHO, route, states
from tests.rollout_builders import RolloutDesk, a_policy, champion
from trajops.alerts.lifecycle import Severity
from trajops.clock import now
from trajops.deployments.lifecycle import State
from trajops.errors import InRollout
from trajops.experiments.lifecycle import ExperimentState
from trajops.rollouts.lifecycle import RolloutState, Stage

R = RolloutState


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


def test_whoever_resumes_before_the_promotion_is_back_in_the_last_step_of_the_canary() -> None:
    steps = [{"coverage": 0.1, "min_units": 50, "min_s": 60}, {"coverage": 0.5, "min_units": 50, "min_s": 60}]
    desk = RolloutDesk(a_policy(canary=steps))
    desk.reach(Stage.PROMOTING)
    desk.rollouts.pause(desk.id, desk.rollout.version, **WHO)
    desk.look(after_s=2)
    desk.rollouts.resume(desk.id, desk.rollout.version, **WHO)
    assert (desk.place, desk.experiment.coverage) == ((Stage.CANARY, 1, R.RUNNING), 0.5)
    desk.reach(Stage.BAKING)


@pytest.mark.parametrize(("stage", "of_policy"), [(Stage.SHADOW, 0.8), (Stage.CANARY, 0.5), (Stage.PROMOTING, 0.5)])
def test_another_coverage_by_hand_holds_each_step_until_it_is_that_of_the_policy(stage: Stage, of_policy: float) -> None:
    shadow = {"min_units": 100, "min_s": 60, "coverage": 0.8}
    desk = RolloutDesk(a_policy(shadow=shadow, canary=[{"coverage": 0.5, "min_units": 50, "min_s": 60}]))
    desk.reach(stage)
    assert desk.experiment.coverage == of_policy
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, 0.3, **WHO)
    place = desk.place
    for _ in range(4):
        desk.look(units=desk.units + 400, ratio=0.9)
    assert desk.place == place
    assert f"30 % are enrolled by hand; the step is one of {100 * of_policy:g} %" in [gate.detail for gate in desk.rollout.gates]
    desk.experiments.cover(desk.experiment.experiment_id, desk.experiment.version, of_policy, **WHO)
    desk.look(units=desk.units + 400, ratio=0.9)
    assert desk.place != place
