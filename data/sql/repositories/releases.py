"""Model versions, their deployments and the routes that send traffic to them."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, update

from data.sql.repositories.statements import insert_or
from data.sql.tables import deployments, model_versions, new_id, routes
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.records import ModelVersion

# Of the epochs of an experiment hardly ever more have to be read.
AT_ONCE = 20


class SqlDeployments:
    """Implements `trajops.ports.DeploymentStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, deployment_id: str) -> DeploymentOut:
        """One deployment; NotFound if there is none with that id."""
        row = self._connection.execute(select(deployments).where(deployments.c.deployment_id == deployment_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no deployment {deployment_id!r}; list them with GET /v1/deployments")
        return DeploymentOut(**row)

    def of_model(self, ref: ModelRef) -> DeploymentOut | None:
        """The deployment of a model version, if it has one."""
        found = select(deployments).where(deployments.c.model_name == ref.name, deployments.c.model_version == ref.version)
        row = self._connection.execute(found).mappings().first()
        return None if row is None else DeploymentOut(**row)

    def all(self) -> list[DeploymentOut]:
        """All deployments, newest first."""
        newest = select(deployments).order_by(deployments.c.created_at.desc(), deployments.c.model_version.desc())
        return [DeploymentOut(**row) for row in self._connection.execute(newest).mappings()]

    def add(self, ref: ModelRef, state: State, at: datetime) -> DeploymentOut:
        """A new deployment with version 1; Conflict if the model version has one already."""
        added = DeploymentOut(
            deployment_id=new_id(), model_name=ref.name, model_version=ref.version, state=state, version=1, created_at=at, updated_at=at
        )
        # DO NOTHING rather than an error, which would end the whole transaction on PostgreSQL.
        written = (
            insert_or(self._connection, deployments)
            .values(**_columns(added))
            .on_conflict_do_nothing()
            .returning(deployments.c.deployment_id)
        )
        if self._connection.execute(written).first() is None:
            raise Conflict(f"{ref} has a deployment already; read it again and repeat")
        return added

    def move(self, deployment_id: str, expected_version: int, state: State, at: datetime) -> DeploymentOut:
        """Write state and next version where the version is the expected one; StaleVersion or NotFound otherwise."""
        change = (
            update(deployments)
            .where(deployments.c.deployment_id == deployment_id, deployments.c.version == expected_version)
            .values(state=state.value, version=expected_version + 1, updated_at=at)
            .returning(deployments)
        )
        row = self._connection.execute(change).mappings().first()
        if row is None:
            present = self.get(deployment_id).version
            raise StaleVersion(
                f"deployment {deployment_id} has version {present}, not {expected_version}: somebody changed it; read it again and repeat",
                present_version=present,
            )
        return DeploymentOut(**row)


def _columns(deployment: DeploymentOut) -> dict[str, Any]:
    return {**dict(deployment), "state": deployment.state.value}


class SqlRoutes:
    """Implements `trajops.ports.RouteStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def epoch(self) -> int:
        """Newest epoch; 0 before the first."""
        return self._connection.execute(select(func.max(routes.c.epoch))).scalar() or 0

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first."""
        rows = self._newest(1)
        return RouteTable.from_json(rows[0]["route"]) if rows else RouteTable(epoch=0)

    def current(self) -> RouteOut:
        """Newest route with its actor, reason and time."""
        return next(iter(self.history(1)), RouteOut.of(RouteTable(epoch=0)))

    def history(self, limit: int = 50) -> list[RouteOut]:
        """Newest first."""
        return [
            RouteOut.of(RouteTable.from_json(row["route"]), at=row["changed_at"], actor=row["actor"], reason=row["reason"])
            for row in self._newest(limit)
        ]

    def enrolled_since(self, experiment_id: str) -> datetime | None:
        """Since when units of an experiment are enrolled, without a pause or the kill switch; None: nobody is."""
        since: datetime | None = None
        newest = select(routes.c.route, routes.c.changed_at).order_by(routes.c.epoch.desc())
        with self._connection.execute(newest.execution_options(yield_per=AT_ONCE)) as rows:
            for route, changed_at in rows:
                if not RouteTable.from_json(route).enrols(experiment_id):
                    break
                since = changed_at
        return since

    def append(self, table: RouteTable, *, at: datetime, actor: str, reason: str) -> RouteOut:
        """Write the table of a new epoch; StaleVersion if that epoch exists already."""
        values = {"epoch": table.epoch, "route": table.to_json(), "changed_at": at, "actor": actor, "reason": reason}
        written = insert_or(self._connection, routes).values(**values).on_conflict_do_nothing().returning(routes.c.epoch)
        if self._connection.execute(written).first() is None:
            present = self.epoch()
            raise StaleVersion(
                f"the routes are in epoch {present}, not {table.epoch - 1}: somebody changed them; read them again and repeat",
                present_epoch=present,
            )
        return RouteOut.of(table, at=at, actor=actor, reason=reason)

    def _newest(self, limit: int) -> list[RowMapping]:
        return list(self._connection.execute(select(routes).order_by(routes.c.epoch.desc()).limit(limit)).mappings())


class SqlModelVersions:
    """Implements `trajops.ports.ModelVersionStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, version: ModelVersion) -> None:
        """Write or replace one version."""
        row: dict[str, Any] = asdict(version)
        keys = ("model_name", "model_version")
        written = insert_or(self._connection, model_versions).values(**row)
        self._connection.execute(
            written.on_conflict_do_update(index_elements=keys, set_={name: value for name, value in row.items() if name not in keys})
        )

    def get(self, ref: ModelRef) -> ModelVersion:
        """One version; NotFound if it was never registered, or was deleted."""
        found = select(model_versions).where(model_versions.c.model_name == ref.name, model_versions.c.model_version == ref.version)
        row = self._connection.execute(found).mappings().first()
        if row is None:
            raise NotFound(
                f"{ref} is not known here. Train a version, or register one in MLflow: it is adopted within three minutes, or at once by "
                f"`python -m workers.training --adopt {ref.version}`; GET /v1/models lists those that wait or were refused, with the reason"
            )
        if row["deleted_at"] is not None:
            when = f"{row['deleted_at']:%Y-%m-%d %H:%M} UTC"
            raise NotFound(f"{ref} was deleted at {when}; GET /v1/audit?subject={ref} says by whom, and why")
        return ModelVersion(**row)

    def all(self, model_name: str) -> list[ModelVersion]:
        """All versions of a model that were not deleted, newest first."""
        return self._where(model_name, is_deleted=False)

    def deleted(self, model_name: str) -> list[ModelVersion]:
        """Those that were, newest first."""
        return self._where(model_name, is_deleted=True)

    def _where(self, model_name: str, *, is_deleted: bool) -> list[ModelVersion]:
        table = model_versions.c
        mine = (table.model_name == model_name) & (table.deleted_at.is_not(None) if is_deleted else table.deleted_at.is_(None))
        found = select(model_versions).where(mine).order_by(table.model_version.desc())
        return [ModelVersion(**row) for row in self._connection.execute(found).mappings()]
