"""The end of a version: what it leaves behind, and what keeps it."""

from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import NAME, WHO, a_database, canary, live
from tests.experiment_builders import a_plan
from trajops.contracts.deployments import ModelRefOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.versions import JOB, Versions


@pytest.fixture
def database() -> MemoryDatabase:
    return a_database(versions=4)


@pytest.fixture
def releases(database: MemoryDatabase) -> Deployments:
    return Deployments(database.unit_of_work, clock=SetClock())


@pytest.fixture
def versions(database: MemoryDatabase) -> Versions:
    return Versions(database.unit_of_work, clock=SetClock())


def listed(database: MemoryDatabase) -> list[int]:
    with database.unit_of_work(read_only=True) as uow:
        return [version.model_version for version in uow.model_versions.all(NAME)]


@pytest.mark.parametrize("is_staged", [False, True])
def test_what_is_deleted_is_neither_listed_nor_staged_and_stays_on_record(
    database: MemoryDatabase, releases: Deployments, versions: Versions, *, is_staged: bool
) -> None:
    if is_staged:
        releases.stage(2, **WHO)
    deleted = versions.delete(2, **WHO)
    assert (deleted.model_version, deleted.by, deleted.job) == (2, "ada", JOB)
    assert listed(database) == [4, 3, 1]
    with pytest.raises(NotFound, match="deleted"):
        releases.stage(2, **WHO)
    with pytest.raises(Conflict, match="deleted before"):
        versions.delete(2, **WHO)
    with database.unit_of_work(read_only=True) as uow:
        [entry] = [one for one in uow.audit.newest() if one.action == "model.deleted"]
        found = uow.deployments.of_model(ModelRef(NAME, 2))
        assert [one.model_version for one in uow.model_versions.deleted(NAME)] == [2]
    assert (entry.audit_id, entry.subject, entry.reason) == (deleted.audit_id, f"{NAME}/2", WHO["reason"])
    assert entry.before == {"state": "staged" if is_staged else "registered"}
    assert found is not None
    assert found.state == State.RETIRED


def test_what_has_an_alias_is_kept(database: MemoryDatabase, releases: Deployments, versions: Versions) -> None:
    """A registry would drop the alias with the version, and tell nobody."""
    live(releases, 1)
    live(releases, 2)
    canary(releases, 3)
    for number, why in ((1, "kept for a rollback"), (2, "is the champion"), (3, "is being compared")):
        with pytest.raises(Conflict, match=why):
            versions.delete(number, **WHO)
    assert listed(database) == [4, 3, 2, 1]
    live(releases, 4)
    versions.delete(1, **WHO)
    assert listed(database) == [4, 3, 2]


@pytest.mark.parametrize("begins", ["registered", "staged", "rolled back"])
def test_what_is_deleted_answers_nobody_any_more(database: MemoryDatabase, releases: Deployments, versions: Versions, begins: str) -> None:
    live(releases, 1)
    if begins == "staged":
        releases.stage(2, **WHO)
    if begins == "rolled back":
        live(releases, 2)
        releases.rollback(releases.routes().current.epoch, **WHO)
    versions.delete(2, **WHO)
    with database.unit_of_work(read_only=True) as uow:
        found = uow.deployments.of_model(ModelRef(NAME, 2))
    assert found is not None
    for change in (releases.promote, lambda *about, **who: releases.start_canary(*about, 0.5, **who)):
        with pytest.raises((NotFound, Conflict)):
            change(found.deployment_id, found.version, **WHO)
    assert releases.routes().current.champion == ModelRefOut(model_name=NAME, model_version=1)


def test_what_is_promoted_while_it_is_looked_at_is_not_deleted(
    database: MemoryDatabase, releases: Deployments, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a database may show it that has no locks: nothing is in the way, and then it is live."""
    live(releases, 1)
    live(releases, 2)
    monkeypatch.setattr("trajops.services.versions._obstacle", lambda *_: None)
    with pytest.raises(Conflict, match="is live"):
        versions.delete(2, **WHO)


@pytest.mark.parametrize("is_over", [False, True])
def test_what_an_experiment_plans_is_kept_until_it_is_over(
    database: MemoryDatabase, releases: Deployments, versions: Versions, *, is_over: bool
) -> None:
    live(releases, 1)
    releases.stage(2, **WHO)
    experiments = Experiments(database.unit_of_work, clock=SetClock())
    draft = experiments.create(a_plan(), **WHO).experiment
    if is_over:
        experiments.stop(draft.experiment_id, draft.version, **WHO)
        versions.delete(2, **WHO)
    else:
        with pytest.raises(Conflict, match="which is draft; stop it first, or discard it"):
            versions.delete(2, **WHO)
    assert (2 in listed(database)) is not is_over


def test_the_same_request_deletes_once(database: MemoryDatabase, versions: Versions) -> None:
    asked: dict[str, Any] = {**WHO, "idempotency_key": "k"}
    assert versions.delete(2, **asked) == versions.delete(2, **asked)
    with database.unit_of_work(read_only=True) as uow:
        assert len(uow.audit.newest()) == 1


def test_an_unknown_version_is_not_found(versions: Versions) -> None:
    with pytest.raises(NotFound):
        versions.delete(9, **WHO)
