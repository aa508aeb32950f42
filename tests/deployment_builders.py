"""Versions, and how tests move them along."""

from datetime import UTC, datetime
from typing import Any

from data.stubs import MemoryDatabase
from trajops.contracts.deployments import ChangeOut
from trajops.deployments.lifecycle import State
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments

WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}
NAME = "trajectory"


def a_database(versions: int = 3) -> MemoryDatabase:
    database = MemoryDatabase()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with database.unit_of_work() as uow:
        for number in range(1, versions + 1):
            uow.model_versions.put(ModelVersion(NAME, number, "kalman", None, {}, {}, "d" * 64, at))
    return database


def live(service: Deployments, number: int) -> ChangeOut:
    staged = service.stage(number, **WHO).deployment
    return service.promote(staged.deployment_id, staged.version, **WHO)


def canary(service: Deployments, number: int, coverage: float = 0.1) -> ChangeOut:
    staged = service.stage(number, **WHO).deployment
    return service.start_canary(staged.deployment_id, staged.version, coverage, **WHO)


def states(service: Deployments) -> dict[int, State]:
    return {row.model_version: row.state for row in service.deployments().deployments}


def route(database: MemoryDatabase) -> tuple[int | None, int | None, int | None, float]:
    with database.unit_of_work(read_only=True) as uow:
        table = uow.routes.table()
    return (*(ref and ref.version for ref in (table.champion, table.challenger, table.previous)), table.coverage)


def seed(database: MemoryDatabase) -> str:
    with database.unit_of_work(read_only=True) as uow:
        return next((one.seed for one in uow.routes.table().experiments), "")
