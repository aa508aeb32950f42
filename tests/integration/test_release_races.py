"""Changes of a release that meet in a real database: one wins, the others hear why, and nothing is torn."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from data.sql.engine import Database
from data.sql.repositories.releases import SqlDeployments
from tests.experiment_builders import a_plan
from trajops.contracts.deployments import ChangeOut, DeploymentOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.versions import Versions

Answer = TypeVar("Answer")
WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    with database.unit_of_work() as uow:
        for number in range(1, 5):
            uow.model_versions.put(ModelVersion("trajectory", number, "kalman", None, {}, {}, "d" * 64, datetime(2026, 1, 1, tzinfo=UTC)))
    yield database
    database.close()


@pytest.fixture
def service(database: Database) -> Deployments:
    return Deployments(database.unit_of_work)


def at_once(change: Callable[[int], Answer], times: int) -> list[Answer | Conflict]:
    together = threading.Barrier(times)

    def run(number: int) -> Answer | Conflict:
        together.wait()
        try:
            return change(number)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


def test_of_many_promotions_of_one_deployment_one_wins(service: Deployments, database: Database) -> None:
    staged = service.stage(1, **WHO).deployment
    answers = at_once(lambda _: service.promote(staged.deployment_id, staged.version, **WHO), 5)
    assert sorted(type(answer).__name__ for answer in answers) == ["ChangeOut"] + ["StaleVersion"] * 4
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 1
        assert len(uow.audit.newest()) == 2


def test_one_request_sent_many_times_is_answered_alike(service: Deployments, database: Database) -> None:
    staged = at_once(lambda _: service.stage(1, idempotency_key="stage", **WHO), 4)
    assert all(answer == staged[0] for answer in staged)
    assert isinstance(staged[0], ChangeOut)
    deployment = staged[0].deployment
    answers = at_once(lambda _: service.promote(deployment.deployment_id, deployment.version, idempotency_key="promote", **WHO), 4)
    assert isinstance(answers[0], ChangeOut)
    assert all(answer == answers[0] for answer in answers)
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 1
        assert Counter(entry.action for entry in uow.audit.newest()) == {"deployment.stage": 1, "deployment.promote": 1}


@pytest.mark.parametrize("is_retired", [False, True], ids=["registered", "retired"])
def test_a_version_that_is_staged_while_it_is_deleted_is_one_or_the_other(
    service: Deployments, database: Database, *, is_retired: bool
) -> None:
    if is_retired:
        for number in (1, 2, 3):
            staged = service.stage(number, **WHO).deployment
            service.promote(staged.deployment_id, staged.version, **WHO)
    versions = Versions(database.unit_of_work)

    def either(number: int) -> object:
        try:
            return service.stage(1, **WHO) if number % 2 else versions.delete(1, **WHO)
        except NotFound as gone:
            return gone

    answers = [type(answer).__name__ for answer in at_once(either, 4)]
    with database.unit_of_work(read_only=True) as uow:
        found = uow.deployments.of_model(ModelRef("trajectory", 1))
        is_gone = bool(uow.model_versions.deleted("trajectory"))
    assert found is not None
    assert (found.state, answers.count("DeletionOut")) == ((State.RETIRED, 1) if is_gone else (State.STAGED, 0)), answers


def test_a_version_that_is_promoted_while_it_is_deleted_is_one_or_the_other(service: Deployments, database: Database) -> None:
    first = service.stage(1, **WHO).deployment
    service.promote(first.deployment_id, first.version, **WHO)
    versions = Versions(database.unit_of_work)
    for number in (2, 3, 4):
        staged = service.stage(number, **WHO).deployment

        def either(worker: int, number: int = number, staged: DeploymentOut = staged) -> object:
            try:
                if worker % 2:
                    return service.promote(staged.deployment_id, staged.version, **WHO)
                return versions.delete(number, **WHO)
            except NotFound as unknown:
                return unknown

        answers = [type(answer).__name__ for answer in at_once(either, 2)]
        with database.unit_of_work(read_only=True) as uow:
            champion, gone = uow.routes.table().champion, {version.ref for version in uow.model_versions.deleted("trajectory")}
        assert champion not in gone, answers
        assert ("ChangeOut" in answers) is (champion == ModelRef("trajectory", number))
        assert ("DeletionOut" in answers) is (ModelRef("trajectory", number) in gone)


@pytest.mark.parametrize(("change", "reads"), [("stage", 1), ("promote", 2), ("shadow", 1)])
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_deletion_that_is_committed_between_two_reads_of_a_change_refuses_it(
    service: Deployments, database: Database, monkeypatch: pytest.MonkeyPatch, change: str, reads: int
) -> None:
    """What SQLite's lock rules out: version 2 was there when its row was read, and is gone when its deployment is."""
    first = service.stage(1, **WHO).deployment
    service.promote(first.deployment_id, first.version, **WHO)
    second = first if change == "stage" else service.stage(2, **WHO).deployment
    name = "get" if change == "promote" else "of_model"
    read, deleted, left = getattr(SqlDeployments, name), [], [reads]

    def late(self: SqlDeployments, wanted: object) -> DeploymentOut | None:
        left[0] -= 1
        if not left[0]:
            deleted.append(Versions(database.unit_of_work).delete(2, **WHO))
        found: DeploymentOut | None = read(self, wanted)
        return found

    monkeypatch.setattr(SqlDeployments, name, late)
    changes: dict[str, Callable[[], object]] = {
        "stage": lambda: service.stage(2, **WHO),
        "promote": lambda: service.promote(second.deployment_id, second.version, **WHO),
        "shadow": lambda: Experiments(database.unit_of_work).create(a_plan(mode="shadow"), is_launched=True, **WHO),
    }
    with pytest.raises(NotFound, match="was deleted"):
        changes[change]()
    assert deleted
    with database.unit_of_work(read_only=True) as uow:
        found = uow.deployments.of_model(ModelRef("trajectory", 2))
        assert found is not None
        assert found.state is State.RETIRED
        assert uow.routes.table().models() == (ModelRef("trajectory", 1),)


def test_many_people_at_once_leave_one_truth(service: Deployments, database: Database) -> None:
    staged = [service.stage(number, **WHO).deployment for number in (1, 2, 3, 4)]

    def anything(worker: int) -> ChangeOut:
        draw, last, refused = random.Random(worker), None, Conflict("nothing was tried")
        for _ in range(15):
            seen = draw.choice(service.deployments().deployments)
            change = draw.choice(["promote", "canary", "stop", "rollback"])
            try:
                if change == "promote":
                    last = service.promote(seen.deployment_id, seen.version, **WHO)
                elif change == "canary":
                    last = service.start_canary(seen.deployment_id, seen.version, 0.5, **WHO)
                elif change == "stop":
                    last = service.stop_canary(seen.deployment_id, seen.version, **WHO)
                else:
                    last = service.rollback(service.routes(1).current.epoch or 1, **WHO)
            except Conflict as conflict:
                refused = conflict
        if last is None:
            raise refused
        return last

    answers = at_once(anything, 4)
    assert any(isinstance(answer, ChangeOut) for answer in answers)
    with database.unit_of_work(read_only=True) as uow:
        table, history, rows = uow.routes.table(), uow.routes.history(1000), uow.deployments.all()
        changes = [entry for entry in uow.audit.newest(1000) if entry.action != "deployment.stage"]
    assert [route.epoch for route in history] == list(range(table.epoch, 0, -1))
    assert sorted(entry.after["route"]["epoch"] for entry in changes) == list(range(1, table.epoch + 1))
    assert [row.model_version for row in rows if row.state is State.LIVE] == [table.champion and table.champion.version]
    assert [row.model_version for row in rows if row.state is State.CANARY] == ([table.challenger.version] if table.challenger else [])
    assert len(rows) == len(staged)
