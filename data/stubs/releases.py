"""Deployments, routes, audit and registered versions in memory."""

from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import uuid4

from data.stubs.tables import Repository
from trajops.audit import AuditQuery, is_prefix
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Conflict, NotFound, StaleVersion
from trajops.records import ModelVersion


class MemoryDeployments(Repository):
    """Implements `trajops.ports.DeploymentStore`."""

    def get(self, deployment_id: str) -> DeploymentOut:
        """One deployment; NotFound if there is none with that id."""
        found = self._tables.deployments.get(deployment_id)
        if found is None:
            raise NotFound(f"there is no deployment {deployment_id!r}")
        return found

    def of_model(self, ref: ModelRef) -> DeploymentOut | None:
        """The deployment of a model version, if it has one."""
        return next((row for row in self._tables.deployments.rows() if (row.model_name, row.model_version) == ref), None)

    def all(self) -> list[DeploymentOut]:
        """All deployments, newest first."""
        return sorted(self._tables.deployments.rows(), key=lambda row: (row.created_at, row.model_version), reverse=True)

    def add(self, ref: ModelRef, state: State, at: datetime) -> DeploymentOut:
        """A new deployment with version 1; Conflict if the model version has one already."""
        if self.of_model(ref) is not None:
            raise Conflict(f"{ref} has a deployment already")
        added = DeploymentOut(
            deployment_id=uuid4().hex, model_name=ref.name, model_version=ref.version, state=state, version=1, created_at=at, updated_at=at
        )
        self._tables.deployments.put(added.deployment_id, added)
        return added

    def move(self, deployment_id: str, expected_version: int, state: State, at: datetime) -> DeploymentOut:
        """Write state and next version where the version is the expected one; StaleVersion or NotFound otherwise."""
        present = self.get(deployment_id)
        if present.version != expected_version:
            raise StaleVersion(f"deployment {deployment_id} has version {present.version}", present_version=present.version)
        moved = present.model_copy(update={"state": state, "version": expected_version + 1, "updated_at": at})
        self._tables.deployments.put(deployment_id, moved)
        return moved


class MemoryRoutes(Repository):
    """Implements `trajops.ports.RouteStore`, and `RouteSource` over one copy."""

    def epoch(self) -> int:
        """Newest epoch; 0 before the first."""
        return self.table().epoch

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first."""
        return next((table for table, _ in self._newest()), RouteTable(epoch=0))

    def current(self) -> RouteOut:
        """Newest route with its actor, reason and time."""
        return next((shown for _, shown in self._newest()), RouteOut.of(RouteTable(epoch=0)))

    def history(self, limit: int = 50) -> list[RouteOut]:
        """Newest first."""
        return [shown for _, shown in self._newest()][:limit]

    def enrolled_since(self, experiment_id: str) -> datetime | None:
        """Since when units of an experiment are enrolled, without a pause or the kill switch; None: nobody is."""
        enrolling = list(takewhile(lambda row: row[0].enrols(experiment_id), self._newest()))
        return enrolling[-1][1].changed_at if enrolling else None

    def append(self, table: RouteTable, *, at: datetime, actor: str, reason: str) -> RouteOut:
        """Write the table of a new epoch; StaleVersion if that epoch exists already."""
        if self._tables.routes.get(table.epoch) is not None:
            raise StaleVersion(f"the routes are in epoch {self.epoch()}", present_epoch=self.epoch())
        shown = RouteOut.of(table, at=at, actor=actor, reason=reason)
        self._tables.routes.put(table.epoch, (table, shown))
        return shown

    def _newest(self) -> list[tuple[RouteTable, RouteOut]]:
        return sorted(self._tables.routes.rows(), key=lambda row: -row[0].epoch)


class MemoryAuditLog(Repository):
    """Implements `trajops.ports.AuditLog`."""

    def append(
        self, *, at: datetime, actor: str, action: str, subject: str, reason: str, before: dict[str, Any], after: dict[str, Any]
    ) -> AuditOut:
        """Write one entry."""
        entry = AuditOut(
            audit_id=uuid4().hex, at=at, actor=actor, action=action, subject=subject, reason=reason, before=before, after=after
        )
        self._tables.audit.put(entry.audit_id, entry)
        return entry

    def newest(self, limit: int = 50, subject: str | None = None) -> list[AuditOut]:
        """Newest first; of one subject, where it is given."""
        found = [entry for entry in self._tables.audit.rows() if subject in {None, entry.subject}]
        return sorted(found, key=lambda entry: entry.at, reverse=True)[:limit]

    def find(self, query: AuditQuery, limit: int) -> list[AuditOut]:
        """What a query asks for, newest first; of those written at once, by id."""
        found = [entry for entry in self._tables.audit.rows() if _is_asked_for(entry, query)]
        return sorted(sorted(found, key=lambda entry: entry.audit_id), key=lambda entry: entry.at, reverse=True)[:limit]

    def get(self, audit_id: str) -> AuditOut:
        """One entry; NotFound if there is none with that id."""
        found = self._tables.audit.get(audit_id)
        if found is None:
            raise NotFound(f"there is no audit entry {audit_id!r}")
        return found


def _is_asked_for(entry: AuditOut, query: AuditQuery) -> bool:
    asked = ((query.actor, entry.actor), (query.action, entry.action), (query.subject, entry.subject))
    return (
        (query.since is None or entry.at >= query.since)
        and (query.until is None or entry.at < query.until)
        and all(wanted is None or (value.startswith(wanted) if is_prefix(wanted) else value == wanted) for wanted, value in asked)
        and (query.text is None or query.text.casefold() in entry.reason.casefold())
        and (query.after is None or entry.at < query.after.at or (entry.at == query.after.at and entry.audit_id > query.after.audit_id))
    )


class MemoryModelVersions(Repository):
    """Implements `trajops.ports.ModelVersionStore`."""

    def put(self, version: ModelVersion) -> None:
        """Write or replace one version."""
        self._tables.model_versions.put(version.ref, version)

    def get(self, ref: ModelRef) -> ModelVersion:
        """One version; NotFound if it was never registered, or was deleted."""
        found = self._tables.model_versions.get(ref)
        if found is None:
            raise NotFound(f"the model version {ref} is not registered")
        if found.deleted_at is not None:
            raise NotFound(f"{ref} was deleted")
        return found

    def all(self, model_name: str) -> list[ModelVersion]:
        """All versions of a model that were not deleted, newest first."""
        return [version for version in self._of(model_name) if version.deleted_at is None]

    def deleted(self, model_name: str) -> list[ModelVersion]:
        """Those that were, newest first."""
        return [version for version in self._of(model_name) if version.deleted_at is not None]

    def _of(self, model_name: str) -> list[ModelVersion]:
        found = [version for version in self._tables.model_versions.rows() if version.model_name == model_name]
        return sorted(found, key=lambda version: -version.model_version)
