"""Rollouts as the Models page words them."""

from datetime import timedelta
from typing import Any

import pytest

from console.changes import Action
from console.rollouts.words import (
    PAST_GATES,
    actions,
    approval_problem,
    behind_gates,
    effect,
    gate_lines,
    history,
    path,
    place_help,
    policy_words,
    shown,
    stale_words,
    start_action,
)
from tests.experiment_builders import STARTED
from tests.rollout_builders import a_policy, a_rollout
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import RouteOut
from trajops.contracts.models import ModelVersionOut
from trajops.contracts.rollouts import GateOut, RolloutOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.rollouts.lifecycle import RolloutState, Stage

R = RolloutState


def a_version(number: int, state: str) -> ModelVersionOut:
    return ModelVersionOut(
        model_name="trajectory",
        model_version=number,
        family="kalman",
        run_id=None,
        run_url=None,
        created_at=STARTED,
        aliases=[],
        metrics={},
        params={},
        deployment_id="d4",
        state=State(state),
        version=2,
        is_warm=False,
    )


def a_route(champion: int | None) -> RouteOut:
    return RouteOut.of(RouteTable(1, None if champion is None else ModelRef("trajectory", champion)))


ASKED = GateOut(name="approval", state="waiting", detail="a person approves what comes next")
HELD = GateOut(name="units", state="waiting", detail="3 of 50 agents")
PASSED = GateOut(name="time", state="passed", detail="70 of 60 s")


def marks(**changes: Any) -> list[tuple[str, str]]:
    return [(place.words, place.mark.word) for place in path(a_rollout(**changes))]


def test_the_path_shows_what_is_gone_where_it_is_and_what_is_ahead() -> None:
    assert marks(step=1) == [
        ("Shadow", "Passed"),
        ("Canary 10 %", "Passed"),
        ("Canary 50 %", "Here"),
        ("Canary 100 %", "Ahead"),
        ("Promotion", "Ahead"),
        ("Bake", "Ahead"),
        ("Live", "Ahead"),
    ]
    assert {word for _, word in marks(stage=Stage.BAKING, state=R.LIVE)} == {"Passed"}
    assert marks(policy=a_policy(shadow=None))[0] == ("Canary 10 %", "Here")


def test_where_it_ended_has_the_tone_of_its_end() -> None:
    places = path(a_rollout(step=1, state=R.ROLLED_BACK))
    assert (places[2].mark.tone, places[2].mark.icon) == ("warn", "undo")


def test_what_holds_it_stands_first() -> None:
    lines = gate_lines([PASSED, HELD, GateOut(name="health", state="failed", detail="no truth")])
    assert [(name, mark.word) for name, mark, _ in lines] == [("Data are well", "Not passed"), ("Agents", "Waits"), ("Time", "Passed")]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["pause", "stop", "roll_back"]),
        ({"gates": [PASSED, ASKED]}, ["approve", "pause", "stop", "roll_back"]),
        ({"gates": [PASSED, ASKED], "is_approved": True}, ["pause", "stop", "roll_back"]),
        ({"state": R.PAUSED}, ["resume", "stop", "roll_back"]),
        ({"stage": Stage.BAKING}, ["roll_back", "stop"]),
        ({"state": R.LIVE, "stage": Stage.BAKING}, []),
        ({"state": R.ROLLED_BACK}, []),
    ],
)
def test_what_can_be_done_with_it(changes: dict[str, Any], names: list[str]) -> None:
    offered = actions(a_rollout(**changes), "operator")
    assert [one.name for one in offered] == names
    assert all(one.refusal is None for one in offered)
    assert all(one.refusal for one in actions(a_rollout(**changes), "viewer"))


def test_an_approval_waits_for_the_other_gates() -> None:
    assert approval_problem(a_rollout(gates=[PASSED, ASKED])) is None
    assert approval_problem(a_rollout(gates=[HELD, ASKED])) == "Other gates are not passed yet: 3 of 50 agents."


def test_a_version_is_rolled_out_from_where_it_is_staged() -> None:
    staged = a_version(4, "staged")
    route = a_route(2)
    begin = start_action(staged, route, [a_rollout(state=R.LIVE)], "operator")
    assert begin is not None
    assert begin.refusal is None
    assert start_action(a_version(4, "live"), route, [], "operator") is None
    for found, said in [
        (start_action(staged, route, [a_rollout()], "operator"), "Version 2 is being rolled out"),
        (start_action(staged, a_route(None), [], "operator"), "no champion"),
        (start_action(staged, route, [], "viewer"), "viewer"),
    ]:
        assert found is not None
        assert said in str(found.refusal)


@pytest.mark.parametrize(
    ("rollout", "asked", "is_refused"),
    [
        (a_rollout(), {"model_version": 2}, True),
        (a_rollout(), {"model_version": 1}, False),
        (a_rollout(), {"experiment_id": "e1"}, True),
        (a_rollout(), {"experiment_id": "e2"}, False),
        (a_rollout(experiment_id=None), {"model_version": 1}, False),
        (a_rollout(state=R.STOPPED), {"model_version": 2, "experiment_id": "e1"}, False),
    ],
)
def test_a_promotion_past_the_gates_is_not_offered(rollout: RolloutOut, asked: dict[str, Any], *, is_refused: bool) -> None:
    offered = [Action("pause", "Pause"), Action("promote", "Promote")]
    pause, promote = behind_gates(offered, [rollout], **asked)
    assert (pause, promote.refusal) == (offered[0], PAST_GATES if is_refused else None)
    assert behind_gates(offered, [], **asked) == offered


def test_words_of_policies_and_steps() -> None:
    assert policy_words(a_policy()) == "shadow, then canary at 10 %, 50 %, 100 %; bake of 10 min; nobody is asked"
    careful = a_policy(shadow=None, approval=["promoting"])
    assert policy_words(careful) == "canary at 10 %, 50 %, 100 %; bake of 10 min; a person approves the promotion"
    assert place_help(a_policy(), Stage.CANARY, 0).endswith("5 % of the agents are answered by the version.")
    assert "predecessor" in effect("stop", a_rollout(stage=Stage.BAKING)).lower()
    assert "staged" in effect("stop", a_rollout())


def test_the_active_one_is_shown_before_the_newest() -> None:
    old, new = a_rollout("r1", state=R.PAUSED), a_rollout("r2", state=R.LIVE)
    assert (shown([new, old]), shown([new]), shown([])) == (old, new, None)


def test_how_it_came_here() -> None:
    def entry(action: str, place: str, reason: str, actor: str = "ada") -> AuditOut:
        gates = [{"name": "units", "detail": "61 of 50 agents"}, {"name": "health", "detail": "well"}]
        after = {"rollouts": {"r1": place}, "gates": gates if action == "rollout.next" else []}
        return AuditOut(audit_id="a", at=STARTED, actor=actor, action=action, subject="rollout/r1", reason=reason, before={}, after=after)

    rows = history(
        a_rollout(),
        [
            entry("rollout.next", "canary 2/3, running", "All gates are passed."),
            entry("rollout.pause", "shadow, paused", "the feed is odd"),
        ],
        STARTED + timedelta(minutes=5),
    )
    assert [(row["To"], row["Because"]) for row in rows] == [("Canary step 2/3", "61 of 50 agents"), ("Shadow, paused", "the feed is odd")]


@pytest.mark.parametrize(
    ("changes", "after_s", "is_told"),
    [
        ({}, 30, False),
        ({}, 90, True),
        ({"looked_at": STARTED + timedelta(seconds=80)}, 90, False),
        ({"looked_at": STARTED}, 90, True),
        ({"state": R.LIVE}, 900, False),
    ],
)
def test_a_rollout_that_nobody_looks_at_says_so(changes: dict[str, Any], after_s: float, is_told: bool) -> None:
    told = stale_words(a_rollout(**changes), STARTED + timedelta(seconds=after_s))
    assert (told is not None) is is_told
    assert told is None or "90 s: it goes no further while the job “Take rollouts further” does not run." in told
