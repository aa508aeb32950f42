"""What is deployed and routed, and who changed it."""

from datetime import datetime
from typing import Any, Protocol

from trajops.audit import AuditQuery
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.records import ModelVersion


class DeploymentStore(Protocol):
    """Deployed model versions, changed by compare-and-set on their version."""

    def get(self, deployment_id: str) -> DeploymentOut:
        """One deployment.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def of_model(self, ref: ModelRef) -> DeploymentOut | None:
        """The deployment of a model version, if it has one."""
        ...

    def all(self) -> list[DeploymentOut]:
        """All deployments, newest first."""
        ...

    def add(self, ref: ModelRef, state: State, at: datetime) -> DeploymentOut:
        """A new deployment with version 1.

        Raises:
            Conflict: if the model version has one already.
        """
        ...

    def move(self, deployment_id: str, expected_version: int, state: State, at: datetime) -> DeploymentOut:
        """Write the state and the next version, if the version is still the expected one.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...


class RouteStore(Protocol):
    """Route tables, appended under growing epochs."""

    def epoch(self) -> int:
        """Newest epoch; 0 before the first."""
        ...

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first."""
        ...

    def current(self) -> RouteOut:
        """Newest route with its actor, reason and time."""
        ...

    def history(self, limit: int = 50) -> list[RouteOut]:
        """Newest first."""
        ...

    def enrolled_since(self, experiment_id: str) -> datetime | None:
        """Since when units of an experiment are enrolled, without a pause or the kill switch; None: nobody is."""
        ...

    def append(self, table: RouteTable, *, at: datetime, actor: str, reason: str) -> RouteOut:
        """Write the table of a new epoch.

        Raises:
            StaleVersion: if that epoch exists already; `present_epoch` in the details.
        """
        ...


class AuditLog(Protocol):
    """Who changed what; entries are never changed."""

    def append(
        self, *, at: datetime, actor: str, action: str, subject: str, reason: str, before: dict[str, Any], after: dict[str, Any]
    ) -> AuditOut:
        """Write one entry."""
        ...

    def newest(self, limit: int = 50, subject: str | None = None) -> list[AuditOut]:
        """Newest first; of one subject, where it is given."""
        ...

    def find(self, query: AuditQuery, limit: int) -> list[AuditOut]:
        """What a query asks for, newest first; of those written at once, by id."""
        ...

    def get(self, audit_id: str) -> AuditOut:
        """One entry.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class ModelVersionStore(Protocol):
    """Registered versions, mirrored so that deployments never wait for the registry."""

    def put(self, version: ModelVersion) -> None:
        """Write or replace one version."""
        ...

    def get(self, ref: ModelRef) -> ModelVersion:
        """One version.

        Raises:
            NotFound: if it was never registered, or was deleted.
        """
        ...

    def all(self, model_name: str) -> list[ModelVersion]:
        """All versions of a model that were not deleted, newest first."""
        ...

    def deleted(self, model_name: str) -> list[ModelVersion]:
        """Those that were, newest first; kept because audit, validations and experiments name them."""
        ...
