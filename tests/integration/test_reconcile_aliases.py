"""Job `reconcile_aliases`: the registry's aliases follow the routes, and versions of others are adopted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.stubs import MemoryRegistry, SetClock
from trajops.clock import now
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import RegistryUnavailable, SignatureMismatch
from trajops.records import ModelVersion
from trajops.settings import Settings
from workers.jobs.reconcile_aliases import FRESH, QUEUED, AliasReconciler
from workers.wiring import Parts

CONFIGS = Path(__file__).parents[2] / "configs"
V1, V2, V3 = (ModelRef("trajectory", version) for version in (1, 2, 3))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=tmp_path / "var", configs_dir=CONFIGS))
    parts.clock = SetClock()
    parts.database.migrate()
    yield parts
    parts.close()


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    registry = MemoryRegistry()
    for ref in (V1, V2, V3):
        registry.add(ref, tmp_path)
    return registry


@pytest.fixture
def reconciler(parts: Parts, registry: MemoryRegistry) -> AliasReconciler:
    return AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock)


def route(parts: Parts, table: RouteTable) -> None:
    with parts.database.unit_of_work() as work:
        work.routes.append(table, at=now(parts.clock), actor="test", reason="a test's route")


def test_aliases_follow_the_routes(parts: Parts, registry: MemoryRegistry, reconciler: AliasReconciler) -> None:
    registry.set_alias("trajectory", "challenger", 1)
    registry.set_alias("trajectory", "somebody-elses", 3)
    route(parts, RouteTable(1, champion=V2, previous=V1))
    result = reconciler.run()
    assert result["set"] == {"champion": 2, "previous_champion": 1}
    assert result["deleted"] == ["challenger"]
    assert registry.aliases("trajectory") == {"champion": 2, "previous_champion": 1, "somebody-elses": 3}
    again = reconciler.run()
    assert (again["set"], again["deleted"], again["epoch"]) == ({}, [], 1)


def test_before_the_first_route_nothing_is_changed(registry: MemoryRegistry, reconciler: AliasReconciler) -> None:
    registry.set_alias("trajectory", "champion", 3)
    assert reconciler.run()["deleted"] == []
    assert registry.aliases("trajectory") == {"champion": 3}


def test_an_outage_of_the_registry_is_a_clear_failure_and_repaired_later(
    parts: Parts, registry: MemoryRegistry, reconciler: AliasReconciler
) -> None:
    route(parts, RouteTable(1, champion=V1))
    reconciler.run()
    route(parts, RouteTable(2, champion=V2))
    registry.is_away = True
    with pytest.raises(RegistryUnavailable):
        reconciler.run()
    registry.is_away = False
    assert reconciler.run()["set"] == {"champion": 2}


def test_a_registry_that_is_only_starting_is_no_failure_for_a_minute(
    parts: Parts, registry: MemoryRegistry, reconciler: AliasReconciler
) -> None:
    route(parts, RouteTable(1, champion=V1))
    registry.is_away = True
    assert "nothing was done yet: " in reconciler.run()["sentence"]
    assert isinstance(parts.clock, SetClock)
    parts.clock.advance(61)
    with pytest.raises(RegistryUnavailable):
        reconciler.run()
    registry.is_away = False
    assert reconciler.run()["set"] == {"champion": 1}


def test_a_version_that_left_the_registry_is_named(parts: Parts, reconciler: AliasReconciler) -> None:
    route(parts, RouteTable(1, champion=ModelRef("trajectory", 9), previous=V1))
    result = reconciler.run()
    assert (result["missing"], result["set"]) == ({"champion": 9}, {"previous_champion": 1})


def test_what_was_deleted_leaves_the_registry_but_for_somebody_elses_alias(parts: Parts, registry: MemoryRegistry, tmp_path: Path) -> None:
    """Version 1 goes, 2 has a foreign alias, 3 was given its number anew since."""
    deleted_at = now(parts.clock)
    registry.add(V3, tmp_path, created_ns=parts.clock.now_ns() + 10**9)
    registry.set_alias("trajectory", "production", 2)
    with parts.database.unit_of_work() as work:
        for ref in (V1, V2, V3):
            row = ModelVersion(ref.name, ref.version, "kalman", None, {}, {}, "d" * 64, deleted_at, deleted_at)
            work.model_versions.put(row)
    adopted: list[ModelRef] = []
    reconciler = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, adopted.append)
    result = reconciler.run()
    assert (result["removed"], list(result["kept"])) == ([1], ["2"])
    assert "alias" in result["kept"]["2"]
    assert [row["version"] for row in registry.versions("trajectory")] == [3, 2]
    registry.delete_alias("trajectory", "production")
    assert isinstance(parts.clock, SetClock)
    parts.clock.advance(300)
    again = reconciler.run()
    assert (again["removed"], again["kept"], adopted) == ([2], {}, [V3]), "what was deleted is not adopted again"
    assert reconciler.run()["removed"] == []


def test_a_registry_that_lets_nobody_delete_keeps_nothing_else_waiting(
    parts: Parts, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbids(_: ModelRef) -> None:
        raise RegistryUnavailable("MLflow answered 403")

    monkeypatch.setattr(registry, "delete_version", forbids)
    with parts.database.unit_of_work() as work:
        at = now(parts.clock)
        work.model_versions.put(ModelVersion(V1.name, 1, "kalman", None, {}, {}, "d" * 64, at, at))
    adopted: list[ModelRef] = []
    isinstance(parts.clock, SetClock) and parts.clock.advance(300)
    result = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, adopted.append).run()
    assert (result["removed"], result["kept"], adopted) == ([], {"1": "MLflow answered 403"}, [V2])


def test_what_answers_is_not_removed_whatever_the_versions_say(parts: Parts, registry: MemoryRegistry, reconciler: AliasReconciler) -> None:
    route(parts, RouteTable(1, champion=V1))
    with parts.database.unit_of_work() as work:
        at = now(parts.clock)
        work.model_versions.put(ModelVersion(V1.name, 1, "kalman", None, {}, {}, "d" * 64, at, at))
    result = reconciler.run()
    assert (result["removed"], result["kept"], registry.aliases("trajectory")) == ([], {}, {"champion": 1})


def test_the_state_of_each_deployed_version_stands_in_the_registry(
    parts: Parts, registry: MemoryRegistry, reconciler: AliasReconciler
) -> None:
    with parts.unit_of_work() as work:
        first = work.deployments.add(V1, State.REGISTERED, now(parts.clock))
        work.deployments.add(ModelRef("trajectory", 9), State.STAGED, now(parts.clock))
    route(parts, RouteTable(1, champion=V1))
    assert reconciler.run()["tagged"] == {"1": "registered"}
    assert reconciler.run()["tagged"] == {}
    with parts.unit_of_work() as work:
        work.deployments.move(first.deployment_id, first.version, State.CANARY, now(parts.clock))
    assert reconciler.run()["tagged"] == {"1": "canary"}
    tags = {row["version"]: row["tags"].get("rollout.state") for row in registry.versions("trajectory")}
    assert tags[1] == "canary"


def test_versions_of_foreign_origin_are_adopted_one_a_run(parts: Parts, registry: MemoryRegistry, tmp_path: Path) -> None:
    """1 is known, 2 is refused once and for all, 3 is adopted, 4 is too fresh: its training run may not be over."""
    fresh = ModelRef("trajectory", 4)
    registry.add(fresh, tmp_path, created_ns=parts.clock.now_ns())
    adopted: list[ModelRef] = []

    def listed(ref: ModelRef) -> None:
        with parts.database.unit_of_work() as work:
            work.model_versions.put(ModelVersion(ref.name, ref.version, "foreign", None, {}, {}, "0" * 64, now(parts.clock)))

    def adopt(ref: ModelRef) -> None:
        adopted.append(ref)
        if ref == V2:
            raise SignatureMismatch("it answers 11 steps")
        listed(ref)

    listed(V1)
    reconciler = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, adopt)
    first, second = reconciler.run(), reconciler.run()
    assert (first["adopted"], second["adopted"]) == ([3], [])
    assert adopted == [V2, V3]
    assert [(one["model_version"], one["state"], one["code"], one["reason"]) for one in first["adoptions"]] == [
        (4, "waiting", None, FRESH),
        (2, "refused", "signature_mismatch", "it answers 11 steps"),
    ]
    assert second["adoptions"] == first["adoptions"]


def test_versions_behind_one_that_was_adopted_wait_their_turn(parts: Parts, registry: MemoryRegistry) -> None:
    reconciler = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, lambda ref: None)
    result = reconciler.run()
    assert result["adopted"] == [1]
    assert [(one["model_version"], one["reason"]) for one in result["adoptions"]] == [(3, QUEUED), (2, QUEUED)]


def test_an_outage_lets_versions_wait_and_refuses_none(parts: Parts, registry: MemoryRegistry) -> None:
    def adopt(ref: ModelRef) -> None:
        raise RegistryUnavailable("the registry is away")

    reconciler = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, adopt)
    found = [(one["model_version"], one["state"], one["code"]) for one in reconciler.run()["adoptions"]]
    assert found == [(number, "waiting", "registry_unavailable") for number in (3, 2, 1)]


def test_foreign_code_that_breaks_is_refused_and_the_next_version_is_adopted(parts: Parts, registry: MemoryRegistry) -> None:
    def adopt(ref: ModelRef) -> None:
        if ref == V1:
            raise ModuleNotFoundError("No module named 'theirs'")

    result = AliasReconciler("trajectory", registry, parts.database.unit_of_work, parts.clock, adopt).run()
    assert result["adopted"] == [2]
    refused = result["adoptions"][-1]
    assert (refused["model_version"], refused["state"], refused["code"]) == (1, "refused", "invalid_input")
    assert refused["reason"].endswith("ModuleNotFoundError: No module named 'theirs'")
