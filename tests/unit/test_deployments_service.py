"""Each change of a release: what it does to states, routes and audit, and what it refuses."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import NAME, WHO, a_database, canary, live, route, seed, states
from trajops.contracts.deployments import ChangeOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Units
from trajops.errors import Conflict, IllegalTransition, InvalidInput, ModelNotLoadable, NotFound, StaleVersion, TrajOpsError
from trajops.services.deployments import Deployments


@pytest.fixture
def database() -> MemoryDatabase:
    return a_database()


@pytest.fixture
def service(database: MemoryDatabase) -> Deployments:
    return Deployments(database.unit_of_work, clock=SetClock())


# Readiness of what may take traffic


class Ready:
    """A check that remembers what it was asked, and refuses the versions in `broken`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.asked: list[int] = []
        self.broken: set[int] = set()
        self.database = database

    def __call__(self, ref: ModelRef) -> None:
        self.asked.append(ref.version)
        with self.database.unit_of_work():  # it may take seconds: no transaction is held meanwhile
            pass
        if ref.version in self.broken:
            raise ModelNotLoadable(f"{ref} cannot be loaded")


def test_a_version_that_cannot_be_made_ready_gets_no_traffic(database: MemoryDatabase) -> None:
    ready = Ready(database)
    service = Deployments(database.unit_of_work, make_ready=ready, clock=SetClock())
    live(service, 1)
    ready.broken.add(2)
    staged = service.stage(2, **WHO).deployment
    for change in (service.promote, lambda *args, **options: service.start_canary(*args, 0.1, **options)):
        for key in (None, f"key-{change}"):
            with pytest.raises(ModelNotLoadable):
                change(staged.deployment_id, staged.version, **WHO, idempotency_key=key)
    assert ready.asked == [1, 2, 2, 2, 2]
    assert route(database) == (1, None, None, 0.0)
    assert states(service) == {1: State.LIVE, 2: State.STAGED}
    ready.broken.clear()
    assert service.promote(staged.deployment_id, staged.version, **WHO).deployment.state == State.LIVE


def test_what_would_be_refused_or_is_done_already_is_not_made_ready(database: MemoryDatabase) -> None:
    ready = Ready(database)
    service = Deployments(database.unit_of_work, make_ready=ready, clock=SetClock())
    live(service, 1)
    staged = service.stage(2, **WHO).deployment
    done = service.start_canary(staged.deployment_id, staged.version, 0.1, **WHO, idempotency_key="k")
    assert ready.asked == [1, 2]
    ready.broken.add(2)
    assert service.start_canary(staged.deployment_id, staged.version, 0.1, **WHO, idempotency_key="k") == done
    wider = service.start_canary(staged.deployment_id, done.deployment.version, 0.5, **WHO)
    with pytest.raises(StaleVersion):
        service.promote(staged.deployment_id, staged.version, **WHO)
    with pytest.raises(NotFound):
        service.promote("nowhere", 1, **WHO)
    service.stop_canary(staged.deployment_id, wider.deployment.version, **WHO)
    service.rollback(live(service, 3).route.epoch, **WHO)
    assert ready.asked == [1, 2, 3]


# Stage


def test_staging_leaves_the_routes_alone(service: Deployments, database: MemoryDatabase) -> None:
    change = service.stage(1, **WHO)
    assert (change.deployment.state, change.route.epoch) == (State.STAGED, 0)
    assert route(database) == (None, None, None, 0.0)


def test_an_unregistered_version_cannot_be_staged(service: Deployments) -> None:
    with pytest.raises(NotFound):
        service.stage(99, **WHO)
    assert service.deployments().deployments == []


def test_staging_twice_is_refused(service: Deployments) -> None:
    service.stage(1, **WHO)
    with pytest.raises(IllegalTransition):
        service.stage(1, **WHO)


def test_the_challenger_cannot_be_staged(service: Deployments) -> None:
    live(service, 1)
    canary(service, 2)
    with pytest.raises(Conflict, match="stop the canary"):
        service.stage(2, **WHO)


# Promote


def test_the_first_promotion_needs_no_champion(service: Deployments, database: MemoryDatabase) -> None:
    change = live(service, 1)
    assert (change.deployment.state, change.route.epoch, change.route.actor) == (State.LIVE, 1, "ada")
    assert route(database) == (1, None, None, 0.0)


def test_the_old_champion_retires_and_is_kept(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    live(service, 2)
    assert states(service) == {1: State.RETIRED, 2: State.LIVE}
    assert route(database) == (2, None, 1, 0.0)


def test_promoting_the_challenger_ends_the_comparison(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    challenger = canary(service, 2).deployment
    service.promote(challenger.deployment_id, challenger.version, **WHO)
    assert states(service) == {1: State.RETIRED, 2: State.LIVE}
    assert route(database) == (2, None, 1, 0.0)


def test_promoting_a_third_version_stages_the_challenger_again(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    canary(service, 2)
    live(service, 3)
    assert states(service) == {1: State.RETIRED, 2: State.STAGED, 3: State.LIVE}
    assert route(database) == (3, None, 1, 0.0)


def test_promoting_what_somebody_changed_is_refused(service: Deployments) -> None:
    staged = service.stage(1, **WHO).deployment
    with pytest.raises(StaleVersion) as refused:
        service.promote(staged.deployment_id, staged.version - 1, **WHO)
    assert refused.value.details == {"present_version": staged.version}
    assert states(service) == {1: State.STAGED}


def test_the_champion_cannot_be_promoted(service: Deployments) -> None:
    champion = live(service, 1).deployment
    with pytest.raises(IllegalTransition):
        service.promote(champion.deployment_id, champion.version, **WHO)
    with pytest.raises(NotFound):
        service.promote("nothing", 1, **WHO)


# Canary


def test_a_canary_needs_a_champion(service: Deployments) -> None:
    with pytest.raises(Conflict, match="no champion"):
        canary(service, 1)


def test_there_is_one_challenger_at_a_time(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    canary(service, 2)
    with pytest.raises(Conflict, match="trajectory/2"):
        canary(service, 3)
    assert route(database) == (1, 2, None, 0.1)


@pytest.mark.parametrize("coverage", [0.0, -0.1, 1.1, float("nan")])
def test_coverage_must_be_a_share(service: Deployments, coverage: float) -> None:
    live(service, 1)
    with pytest.raises(InvalidInput):
        canary(service, 2, coverage)


def test_a_ramp_keeps_the_seed(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    challenger = canary(service, 2, 0.1).deployment
    first_seed = seed(database)
    wider = service.start_canary(challenger.deployment_id, challenger.version, 0.5, **WHO)
    assert (wider.deployment.state, wider.deployment.version) == (State.CANARY, challenger.version + 1)
    assert route(database) == (1, 2, None, 0.5)
    assert seed(database) == first_seed != ""


def test_a_new_comparison_has_a_new_seed(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    challenger = canary(service, 2).deployment
    first_seed = seed(database)
    stopped = service.stop_canary(challenger.deployment_id, challenger.version, **WHO).deployment
    assert (stopped.state, route(database), seed(database)) == (State.STAGED, (1, None, None, 0.0), "")
    service.start_canary(stopped.deployment_id, stopped.version, 0.1, **WHO)
    assert seed(database) not in {"", first_seed}


def test_only_the_challenger_can_be_stopped(service: Deployments) -> None:
    champion = live(service, 1).deployment
    with pytest.raises(Conflict, match="nothing to stop"):
        service.stop_canary(champion.deployment_id, champion.version, **WHO)


# Roll back


def test_a_rollback_puts_the_previous_champion_back(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    epoch = live(service, 2).route.epoch
    change = service.rollback(epoch, **WHO)
    assert (change.deployment.model_version, change.deployment.state, change.route.epoch) == (1, State.LIVE, epoch + 1)
    assert states(service) == {1: State.LIVE, 2: State.ROLLED_BACK}
    assert route(database) == (1, None, None, 0.0)


def test_a_rollback_ends_a_comparison(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    live(service, 2)
    epoch = canary(service, 3).route.epoch
    service.rollback(epoch, **WHO)
    assert states(service) == {1: State.LIVE, 2: State.ROLLED_BACK, 3: State.STAGED}
    assert route(database) == (1, None, None, 0.0)


def test_the_previous_champion_can_be_compared_and_still_be_returned_to(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    live(service, 2)
    compared = canary(service, 1)
    assert route(database) == (2, 1, 1, 0.1)
    back = service.rollback(compared.route.epoch, **WHO)
    assert states(service) == {1: State.LIVE, 2: State.ROLLED_BACK}
    assert route(database) == (1, None, None, 0.0)
    assert back.deployment.version == compared.deployment.version + 1
    with database.unit_of_work(read_only=True) as uow:
        entry = next(entry for entry in uow.audit.newest() if entry.audit_id == back.audit_id)
    assert entry.before["states"] == {"trajectory/1": "canary", "trajectory/2": "live"}


def test_without_a_previous_champion_there_is_no_rollback(service: Deployments) -> None:
    with pytest.raises(Conflict, match="no previous"):
        service.rollback(0, **WHO)
    epoch = live(service, 1).route.epoch
    with pytest.raises(Conflict, match="no previous"):
        service.rollback(epoch, **WHO)


def test_a_rollback_of_an_older_epoch_is_refused(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    epoch = live(service, 2).route.epoch
    canary(service, 3)
    with pytest.raises(StaleVersion) as refused:
        service.rollback(epoch, **WHO)
    assert refused.value.details == {"present_epoch": epoch + 1}
    assert route(database) == (2, 3, 1, 0.1)


def test_what_was_rolled_back_can_be_promoted_again(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    second = live(service, 2)
    service.rollback(second.route.epoch, **WHO)
    service.promote(second.deployment.deployment_id, second.deployment.version + 1, **WHO)
    assert route(database) == (2, None, 1, 0.0)


# Audit and history


def test_the_audit_holds_actor_reason_before_and_after(service: Deployments, database: MemoryDatabase) -> None:
    live(service, 1)
    change = live(service, 2)
    with database.unit_of_work(read_only=True) as uow:
        entry = next(entry for entry in uow.audit.newest() if entry.audit_id == change.audit_id)
    assert (entry.audit_id, entry.actor, entry.action, entry.subject) == (change.audit_id, "ada", "deployment.promote", "trajectory/2")
    assert entry.reason == WHO["reason"]
    assert entry.before["states"] == {"trajectory/1": "live", "trajectory/2": "staged"}
    assert entry.after["states"] == {"trajectory/1": "retired", "trajectory/2": "live"}
    assert (entry.before["route"]["champion"], entry.after["route"]["champion"]) == ([NAME, 1], [NAME, 2])
    assert (entry.before["route"]["epoch"], entry.after["route"]["epoch"]) == (1, 2)


def test_the_history_shows_what_was_live_when(service: Deployments) -> None:
    live(service, 1)
    epoch = live(service, 2).route.epoch
    service.rollback(epoch, **WHO)
    shown = service.routes()
    assert [entry.champion and entry.champion.model_version for entry in shown.history] == [1, 2, 1]
    assert shown.current == shown.history[0]


def test_a_refused_change_leaves_no_trace(service: Deployments, database: MemoryDatabase) -> None:
    champion = live(service, 1).deployment
    with database.unit_of_work(read_only=True) as uow:
        before = uow.audit.newest(), uow.routes.history(), uow.deployments.all()
    for refused in (
        lambda: service.promote(champion.deployment_id, champion.version, **WHO),
        lambda: service.rollback(1, idempotency_key="k", **WHO),
        lambda: service.stage(99, **WHO),
    ):
        with pytest.raises(TrajOpsError):
            refused()
    with database.unit_of_work(read_only=True) as uow:
        assert (uow.audit.newest(), uow.routes.history(), uow.deployments.all()) == before
        assert uow.idempotency.find("ada", "k") is None


# Idempotency


def test_the_same_request_gets_the_same_answer(service: Deployments, database: MemoryDatabase) -> None:
    staged = service.stage(1, **WHO).deployment
    first = service.promote(staged.deployment_id, staged.version, idempotency_key="k", **WHO)
    assert service.promote(staged.deployment_id, staged.version, idempotency_key="k", **WHO) == first
    assert route(database) == (1, None, None, 0.0)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 1
        assert len(uow.audit.newest()) == 2


def test_another_request_under_the_same_key_is_refused(service: Deployments) -> None:
    service.stage(1, idempotency_key="k", **WHO)
    with pytest.raises(Conflict, match="different request"):
        service.stage(2, idempotency_key="k", **WHO)
    with pytest.raises(Conflict, match="different request"):
        service.stage(1, idempotency_key="k", actor="ada", reason="for another reason")


def test_keys_of_different_actors_are_different(service: Deployments) -> None:
    service.stage(1, idempotency_key="k", **WHO)
    assert service.stage(2, idempotency_key="k", actor="ben", reason="because").deployment.model_version == 2


def test_the_same_request_sent_many_times_at_once_happens_once(service: Deployments, database: MemoryDatabase) -> None:
    staged = service.stage(1, **WHO).deployment
    together = threading.Barrier(5)

    def promote(_: int) -> ChangeOut:
        together.wait()
        return service.promote(staged.deployment_id, staged.version, idempotency_key="k", **WHO)

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(promote, range(5)))
    assert all(answer == answers[0] for answer in answers)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 1


# Pause


def test_a_paused_canary_answers_nobody_and_goes_on_with_the_same_arms(database: MemoryDatabase, service: Deployments) -> None:
    live(service, 1)
    running = canary(service, 2, 0.4).deployment
    before = seed(database)
    paused = service.pause_canary(running.deployment_id, running.version, **WHO).deployment
    assert paused.state == State.PAUSED
    assert route(database) == (1, 2, None, 0.0)
    with database.unit_of_work(read_only=True) as uow:
        assert {uow.routes.table().assign(Units("s", f"agent-{number}", "c")).variant for number in range(200)} == {"champion"}
    with pytest.raises(IllegalTransition):
        service.pause_canary(paused.deployment_id, paused.version, **WHO)
    with pytest.raises(IllegalTransition):
        service.promote(paused.deployment_id, paused.version, **WHO)
    resumed = service.start_canary(paused.deployment_id, paused.version, 0.2, **WHO).deployment
    assert (resumed.state, route(database), seed(database)) == (State.CANARY, (1, 2, None, 0.2), before)
    again = service.pause_canary(resumed.deployment_id, resumed.version, **WHO).deployment
    assert service.stop_canary(again.deployment_id, again.version, **WHO).deployment.state == State.STAGED
    assert route(database) == (1, None, None, 0.0)


def test_only_the_challenger_can_be_paused(service: Deployments) -> None:
    champion = live(service, 1).deployment
    with pytest.raises(Conflict):
        service.pause_canary(champion.deployment_id, champion.version, **WHO)
