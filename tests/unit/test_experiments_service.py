"""Each change of an experiment: what it does to states, routes and audit, and what it refuses."""

from datetime import timedelta
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import NAME, WHO, a_database, live, route, states
from tests.experiment_builders import STOP, a_plan, a_verdict, figures, three_arms, two
from trajops.contracts.experiments import ExperimentChangeOut, ExperimentOut, ExperimentPlan, VerdictOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Units
from trajops.errors import Conflict, IllegalTransition, InvalidInput, ModelNotLoadable, NotFound, StaleVersion
from trajops.experiments.decisions import Decision, decision
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.verdict import judge
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments

S = ExperimentState
WORKER = {"actor": "worker:judge_experiments"}


@pytest.fixture
def database() -> MemoryDatabase:
    return a_database(versions=4)


@pytest.fixture
def releases(database: MemoryDatabase) -> Deployments:
    found = Deployments(database.unit_of_work, clock=SetClock())
    live(found, 1)
    for number in (2, 3):
        found.stage(number, **WHO)
    return found


@pytest.fixture
def service(database: MemoryDatabase, releases: Deployments) -> Experiments:
    return Experiments(database.unit_of_work, clock=SetClock())


def comparing(control: int, treatment: int, **changes: Any) -> ExperimentPlan:
    arms = [
        {"variant": "control", "model_version": control, "weight": 0.5},
        {"variant": "treatment", "model_version": treatment, "weight": 0.5},
    ]
    return a_plan(arms=arms, **changes)


def launched(service: Experiments, plan: ExperimentPlan | None = None) -> ExperimentOut:
    draft = service.create(plan or a_plan(), **WHO).experiment
    return service.launch(draft.experiment_id, draft.version, **WHO).experiment


def variants(database: MemoryDatabase) -> set[str]:
    with database.unit_of_work(read_only=True) as uow:
        table = uow.routes.table()
    return {one.variant for number in range(300) if (one := table.assign(Units("s", f"a{number}", "c")))}


def test_a_draft_changes_no_traffic(service: Experiments, database: MemoryDatabase) -> None:
    draft = service.create(a_plan(), **WHO)
    assert (draft.experiment.state, draft.epoch, variants(database)) == (S.DRAFT, 1, {"champion"})
    assert service.newest().experiments == [draft.experiment]
    with pytest.raises(NotFound):
        service.create(comparing(1, 9), **WHO)


def test_a_launch_routes_units_and_moves_the_treatments(service: Experiments, releases: Deployments, database: MemoryDatabase) -> None:
    experiment = launched(service, a_plan(coverage=0.5))
    assert (experiment.state, experiment.coverage, experiment.started_at is not None) == (S.RUNNING, 0.5, True)
    assert states(releases) == {1: State.LIVE, 2: State.CANARY, 3: State.STAGED}
    assert variants(database) == {"champion", "control", "treatment"}
    with database.unit_of_work(read_only=True) as uow:
        entry = next(one for one in uow.audit.newest() if one.action == "experiment.launch")
    assert entry.subject == f"experiment/{experiment.experiment_id}"
    assert entry.after["experiments"] == {experiment.experiment_id: "running"}
    assert entry.after["route"]["experiments"][0]["seed"] == experiment.seed


def test_a_version_is_made_ready_before_it_takes_traffic(database: MemoryDatabase, releases: Deployments) -> None:
    asked: list[ModelRef] = []

    def refuses(ref: ModelRef) -> None:
        asked.append(ref)
        if ref.version == 2:
            raise ModelNotLoadable("its file is gone")

    service = Experiments(database.unit_of_work, make_ready=refuses, clock=SetClock())
    draft = service.create(a_plan(), **WHO).experiment
    with pytest.raises(ModelNotLoadable):
        service.launch(draft.experiment_id, draft.version, **WHO)
    assert [ref.version for ref in asked] == [1, 2]
    assert service.get(draft.experiment_id) == draft


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        pytest.param(comparing(2, 3), "champion, and is what", id="the control is not champion"),
        pytest.param(comparing(1, 4), "not deployed", id="never staged"),
    ],
)
def test_what_cannot_be_compared_is_refused(service: Experiments, plan: ExperimentPlan, said: str) -> None:
    draft = service.create(plan, **WHO).experiment
    with pytest.raises(Conflict, match=said):
        service.launch(draft.experiment_id, draft.version, **WHO)
    assert service.get(draft.experiment_id).state == S.DRAFT


def half(begin: float, end: float, version: int = 2, **changes: Any) -> ExperimentPlan:
    return comparing(1, version, namespace={"name": "models", "begin": begin, "end": end}, **changes)


def test_experiments_run_beside_one_another_in_disjoint_parts_of_a_namespace(service: Experiments, releases: Deployments) -> None:
    first = launched(service, half(0, 0.5))
    for plan in (half(0.4, 1, 3), half(0.5, 1, 3, unit="client"), comparing(1, 3), half(0.5, 1, 2)):
        draft = service.create(plan, **WHO).experiment
        with pytest.raises(Conflict, match=r"v?2|trajectory/2"):
            service.launch(draft.experiment_id, draft.version, **WHO)
    second = launched(service, half(0.5, 1, 3))
    assert states(releases) == {1: State.LIVE, 2: State.CANARY, 3: State.CANARY}
    service.stop(first.experiment_id, first.version, **WHO)
    assert states(releases) == {1: State.LIVE, 2: State.STAGED, 3: State.CANARY}
    assert service.get(second.experiment_id).state == S.RUNNING


def test_an_experiment_of_the_champion_with_itself_is_named_where_it_is_in_the_way(service: Experiments) -> None:
    found = launched(service, comparing(1, 1))
    draft = service.create(a_plan(), **WHO).experiment
    with pytest.raises(
        Conflict, match=f"^{NAME}/1 itself is compared with the champion on the same units, in experiment {found.experiment_id}"
    ):
        service.launch(draft.experiment_id, draft.version, **WHO)


def test_a_shadow_answers_nobody_and_runs_beside_anything(service: Experiments, releases: Deployments, database: MemoryDatabase) -> None:
    launched(service, a_plan(mode="shadow"))
    assert (states(releases)[2], variants(database)) == (State.SHADOW, {"champion"})
    with database.unit_of_work(read_only=True) as uow:
        [(routed, arm)] = uow.routes.table().shadows(Units("s", "a", "c"))
    assert (routed.is_shadow, arm.model.version) == (True, 2)
    launched(service, half(0, 1, 3))
    assert variants(database) == {"control", "treatment"}


def test_a_pause_keeps_everybodys_arm(service: Experiments, releases: Deployments, database: MemoryDatabase) -> None:
    experiment = launched(service)
    with database.unit_of_work(read_only=True) as uow:
        before = uow.routes.table()
    paused = service.pause(experiment.experiment_id, experiment.version, **WHO).experiment
    assert (paused.state, states(releases)[2], variants(database)) == (S.PAUSED, State.PAUSED, {"champion"})
    again = service.cover(paused.experiment_id, paused.version, 1.0, **WHO).experiment
    assert (again.state, states(releases)[2]) == (S.RUNNING, State.CANARY)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.table().experiments == before.experiments


def test_another_coverage_moves_nobody(service: Experiments, database: MemoryDatabase) -> None:
    experiment = launched(service, a_plan(coverage=0.1))
    wider = service.cover(experiment.experiment_id, experiment.version, 0.5, **WHO).experiment
    assert (wider.coverage, wider.seed, wider.state) == (0.5, experiment.seed, S.RUNNING)
    with pytest.raises(InvalidInput):
        service.cover(experiment.experiment_id, wider.version, 0.0, **WHO)
    with pytest.raises(StaleVersion):
        service.cover(experiment.experiment_id, experiment.version, 0.6, **WHO)


@pytest.mark.parametrize("winner", [None, "control"])
def test_a_stop_without_a_treatment_that_wins_leaves_the_champion(
    service: Experiments, releases: Deployments, database: MemoryDatabase, winner: str | None
) -> None:
    experiment = launched(service)
    change = service.stop(experiment.experiment_id, experiment.version, winner, **WHO)
    stopped = change.experiment
    assert (stopped.state, stopped.winner, stopped.ended_at is not None) == (S.STOPPED, winner, True)
    with database.unit_of_work(read_only=True) as uow:
        [entry] = [one for one in uow.audit.newest() if one.audit_id == change.audit_id]
    assert entry.after["winner"] == winner, "who was named is in the audit"
    assert (states(releases), variants(database)) == ({1: State.LIVE, 2: State.STAGED, 3: State.STAGED}, {"champion"})
    with pytest.raises(Conflict):
        service.pause(stopped.experiment_id, stopped.version, **WHO)


def test_a_stop_with_a_winner_promotes_it(service: Experiments, releases: Deployments, database: MemoryDatabase) -> None:
    experiment = launched(service, three_arms())
    for name in ("nobody", "deeper"):
        with pytest.raises(Conflict, match="cannot win"):
            service.stop(experiment.experiment_id, experiment.version, name, **WHO)
    over = service.stop(experiment.experiment_id, experiment.version, "wide", **WHO).experiment
    assert (over.state, over.winner) == (S.PROMOTED, "wide")
    assert (states(releases), route(database)) == ({1: State.RETIRED, 2: State.LIVE, 3: State.STAGED}, (2, None, 1, 0.0))


def test_a_promotion_elsewhere_ends_what_is_compared(service: Experiments, releases: Deployments) -> None:
    experiment = launched(service, half(0, 0.5))
    other = next(one for one in releases.deployments().deployments if one.model_version == 3)
    releases.promote(other.deployment_id, other.version, **WHO)
    assert (service.get(experiment.experiment_id).state, states(releases)[2]) == (S.STOPPED, State.STAGED)


def test_a_rollback_ends_what_is_compared(service: Experiments, releases: Deployments) -> None:
    second = next(one for one in releases.deployments().deployments if one.model_version == 2)
    releases.promote(second.deployment_id, second.version, **WHO)
    experiment = launched(service, comparing(2, 3))
    releases.rollback(releases.routes().current.epoch, **WHO)
    ended = service.get(experiment.experiment_id)
    assert (ended.state, ended.sentence) == (S.STOPPED, "v2 was rolled back to v1.")
    assert states(releases) == {1: State.LIVE, 2: State.ROLLED_BACK, 3: State.STAGED}


def test_a_canary_is_an_experiment(service: Experiments, releases: Deployments) -> None:
    staged = next(one for one in releases.deployments().deployments if one.model_version == 2)
    releases.start_canary(staged.deployment_id, staged.version, 0.2, **WHO)
    [canary] = service.newest().experiments
    assert (canary.state, canary.coverage, canary.plan.name) == (S.RUNNING, 0.2, "canary of v2")
    service.stop(canary.experiment_id, canary.version, "treatment", **WHO)
    assert states(releases)[2] == State.LIVE


def test_the_oldest_of_very_many_experiments_is_paused_under_its_own_name(database: MemoryDatabase, releases: Deployments) -> None:
    service = Experiments(database.unit_of_work, clock=(clock := SetClock()))
    parts = [{"name": "all", "begin": n / 128, "end": (n + 1) / 128} for n in range(102)]
    first = launched(service, a_plan(name="wider net", namespace=parts[0]))
    clock.advance(1.0)
    for part in parts[1:]:
        launched(service, comparing(1, 1, namespace=part))
    compared = next(one for one in releases.deployments().deployments if one.model_version == 2)
    releases.pause_canary(compared.deployment_id, compared.version, **WHO)
    found = service.get(first.experiment_id)
    assert (found.plan.name, found.state, found.version) == ("wider net", S.PAUSED, first.version + 1)


def test_an_override_puts_a_unit_into_an_arm(service: Experiments, database: MemoryDatabase) -> None:
    experiment = launched(service)
    chosen = service.override(experiment.experiment_id, experiment.version, "s/a1", "treatment", **WHO).experiment
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.table().assign(Units("s", "a1", "c")) == (ModelRef(NAME, 2), "override", experiment.experiment_id)
    with pytest.raises(InvalidInput, match="there are control, treatment"):
        service.override(experiment.experiment_id, chosen.version, "s/a1", "other", **WHO)
    decided(service, chosen, "invalid")
    assert variants(database) == {"champion"}, "a pause leaves everybody to the champion"
    chosen = service.cover(experiment.experiment_id, chosen.version + 1, 0.01, **WHO).experiment
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.table().assign(Units("s", "a1", "c")) == (ModelRef(NAME, 2), "override", experiment.experiment_id)
    service.override(experiment.experiment_id, chosen.version, "s/a1", None, **WHO)
    assert "override" not in variants(database)


def test_the_kill_switch_lets_the_champion_answer_everybody(service: Experiments, database: MemoryDatabase) -> None:
    experiment = launched(service)
    stopped = service.switch(2, is_stopped=True, **WHO)
    assert (stopped.is_stopped, stopped.epoch, variants(database)) == (True, 3, {"champion"})
    assert service.get(experiment.experiment_id).state == S.RUNNING
    for epoch, error in ((2, StaleVersion), (3, Conflict)):
        with pytest.raises(error):
            service.switch(epoch, is_stopped=True, **WHO)
    service.switch(3, is_stopped=False, **WHO)
    assert variants(database) == {"control", "treatment"}


def test_a_share_of_all_units_is_held_out_of_what_runs_and_of_what_is_launched_later(
    service: Experiments, database: MemoryDatabase
) -> None:
    experiment = launched(service)

    def held() -> set[str]:
        with database.unit_of_work(read_only=True) as uow:
            table = uow.routes.table()
        found = {f"a{number}": table.assign(Units("s", f"a{number}", "c")) for number in range(2000)}
        return {agent for agent, assigned in found.items() if assigned is not None and assigned.variant == "holdout"}

    assert held() == set()
    made = service.hold_out(2, 0.05, **WHO)
    assert (made.share, made.epoch) == (0.05, 3)
    few = held()
    assert 60 < len(few) < 140
    for epoch, share, error in ((2, 0.1, StaleVersion), (3, 0.05, Conflict), (3, 0.51, InvalidInput), (3, -0.1, InvalidInput)):
        with pytest.raises(error):
            service.hold_out(epoch, share, **WHO)
    assert service.hold_out(3, 0.1, **WHO).epoch == 4
    assert few < held(), "who was held out stays so"
    present = service.get(experiment.experiment_id)
    service.stop(experiment.experiment_id, present.version, **WHO)
    assert held() == set(), "nothing is compared"
    launched(service)
    assert few < held()
    with database.unit_of_work(read_only=True) as uow:
        epoch = uow.routes.table().epoch
    service.hold_out(epoch, 0.0, **WHO)
    assert held() == set()
    service.hold_out(epoch + 1, 0.05, **WHO)
    assert held() == few, "the seed is kept"


# Decisions


def decided(service: Experiments, experiment: ExperimentOut, kind: Any, variant: str | None = None) -> ExperimentChangeOut:
    return service.decide(experiment.experiment_id, experiment.version, Decision(kind, variant), a_verdict(), **WORKER)


def test_harm_ends_an_experiment_of_two_and_keeps_the_figures_that_caused_it(
    service: Experiments, releases: Deployments, database: MemoryDatabase
) -> None:
    experiment = launched(service)
    verdict = judge(experiment.plan, figures(*two(60, 60, 0.95)), figures().at - timedelta(seconds=60))
    found = decision(experiment.plan, verdict)
    assert found is not None
    change = service.decide(experiment.experiment_id, experiment.version, found, verdict, **WORKER)
    over = change.experiment
    assert (over.state, over.closed_arms, over.sentence, over.verdict) == (S.ROLLED_BACK, ["treatment"], verdict.sentence, verdict)
    assert (states(releases)[2], variants(database)) == (State.ROLLED_BACK, {"champion"})
    with database.unit_of_work(read_only=True) as uow:
        entry = next(one for one in uow.audit.newest() if one.audit_id == change.audit_id)
    assert VerdictOut.model_validate(entry.after["cause"]) == verdict
    with pytest.raises(StaleVersion):
        service.decide(experiment.experiment_id, experiment.version, found, verdict, **WORKER)


def test_harm_of_one_of_several_closes_its_arm_and_the_others_go_on(
    service: Experiments, releases: Deployments, database: MemoryDatabase
) -> None:
    experiment = launched(service, three_arms())
    with database.unit_of_work(read_only=True) as uow:
        before = uow.routes.table()
    after = decided(service, experiment, "worse", "wide").experiment
    assert (after.state, after.closed_arms, states(releases)[2]) == (S.RUNNING, ["wide"], State.ROLLED_BACK)
    with database.unit_of_work(read_only=True) as uow:
        table = uow.routes.table()
    for number in range(200):
        one, other = (found.assign(Units("s", f"a{number}", "c")) for found in (before, table))
        assert one is not None
        assert other is not None
        assert one.variant == other.variant
        assert other.model.version == (1 if one.variant == "wide" else one.model.version)
    over = decided(service, after, "guardrail", "deep").experiment
    assert (over.state, over.closed_arms) == (S.ROLLED_BACK, ["wide", "deep"])
    assert states(releases) == {1: State.LIVE, 2: State.ROLLED_BACK, 3: State.ROLLED_BACK}


def test_better_is_recommended_and_stays_so(service: Experiments, releases: Deployments) -> None:
    experiment = launched(service)
    found = decided(service, experiment, "better", "treatment").experiment
    assert (found.state, found.winner, states(releases)[2]) == (S.RECOMMENDED, "treatment", State.CANARY)
    paused = service.pause(found.experiment_id, found.version, **WHO).experiment
    assert (paused.state, paused.winner, states(releases)[2]) == (S.PAUSED, "treatment", State.PAUSED)
    found = service.cover(found.experiment_id, paused.version, 1.0, **WHO).experiment
    assert (found.state, found.winner) == (S.RECOMMENDED, "treatment"), "a decision latches over a pause too"
    assert service.stop(found.experiment_id, found.version, "treatment", **WHO).experiment.state == S.PROMOTED


def test_a_winner_that_is_taken_back_is_no_winner_and_another_may_win(service: Experiments, releases: Deployments) -> None:
    found = decided(service, launched(service, three_arms()), "better", "wide").experiment
    for kind, variant in (("better", "deep"), ("better", "wide")):
        with pytest.raises(Conflict, match="'wide' has won, and is only ever taken back for harm"):
            decided(service, found, kind, variant)
    found = decided(service, found, "worse", "wide").experiment
    assert (found.state, found.winner, found.closed_arms) == (S.RUNNING, None, ["wide"])
    for variant in ("wide", "control"):
        with pytest.raises(Conflict, match=f"'{variant}' cannot win; what is being compared is control, deep"):
            decided(service, found, "better", variant)
    found = decided(service, found, "better", "deep").experiment
    assert (found.state, found.winner) == (S.RECOMMENDED, "deep")
    assert service.stop(found.experiment_id, found.version, "deep", **WHO).experiment.state == S.PROMOTED
    assert states(releases) == {1: State.RETIRED, 2: State.ROLLED_BACK, 3: State.LIVE}


def test_another_arm_that_is_taken_back_leaves_the_winner(service: Experiments, releases: Deployments) -> None:
    found = decided(service, launched(service, three_arms()), "better", "wide").experiment
    found = decided(service, found, "guardrail", "deep").experiment
    assert (found.state, found.winner, found.closed_arms) == (S.RECOMMENDED, "wide", ["deep"])


def test_only_a_draft_is_launched(service: Experiments, releases: Deployments) -> None:
    found = decided(service, launched(service), "better", "treatment").experiment
    for state in (S.RECOMMENDED, S.PAUSED):
        with pytest.raises(IllegalTransition, match=f"only a draft is launched, and this experiment is {state}"):
            service.launch(found.experiment_id, found.version, **WHO)
        found = service.pause(found.experiment_id, found.version, **WHO).experiment if state == S.RECOMMENDED else found


def test_what_is_paused_wins_nothing(service: Experiments, releases: Deployments) -> None:
    experiment = launched(service)
    service.pause(experiment.experiment_id, experiment.version, **WHO)
    with pytest.raises(Conflict, match="paused"):
        service.decide(experiment.experiment_id, experiment.version + 1, Decision("better", "treatment"), a_verdict(), **WORKER)


def test_better_is_promoted_where_the_plan_says_so(service: Experiments, releases: Deployments, database: MemoryDatabase) -> None:
    experiment = launched(service, a_plan(stop=STOP | {"on_win": "promote"}))
    over = decided(service, experiment, "better", "treatment").experiment
    assert (over.state, over.winner, over.verdict) == (S.PROMOTED, "treatment", a_verdict())
    assert route(database) == (2, None, 1, 0.0)


@pytest.mark.parametrize(
    ("kind", "state", "deployed"), [("invalid", S.PAUSED, State.PAUSED), ("inconclusive", S.INCONCLUSIVE, State.INCONCLUSIVE)]
)
def test_other_ends(service: Experiments, releases: Deployments, kind: Any, state: S, deployed: State) -> None:
    assert decided(service, launched(service), kind).experiment.state == state
    assert states(releases) == {1: State.LIVE, 2: deployed, 3: State.STAGED}


def test_nobody_launches_a_watch_of_their_own(service: Experiments) -> None:
    with pytest.raises(InvalidInput, match="only the bake of a rollout"):
        service.create(a_plan(mode="watch"), **WHO)


def test_a_change_of_the_coverage_leaves_what_was_decided(service: Experiments) -> None:
    found = decided(service, launched(service), "better", "treatment").experiment
    assert service.cover(found.experiment_id, found.version, 0.5, **WHO).experiment.sentence == found.sentence


def test_the_same_request_is_done_once(service: Experiments) -> None:
    drafts = [service.create(a_plan(), idempotency_key="k", **WHO) for _ in range(2)]
    assert drafts[0] == drafts[1]
    assert len(service.newest().experiments) == 1
