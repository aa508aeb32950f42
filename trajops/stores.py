"""What the control state offers: one Protocol a repository, and the unit of work in which they share a transaction."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.contracts.drift import DriftCheckOut, DriftReportOut, DriftSettings
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.records import ApiKey, JobSchedule, ModelVersion, Remembered, User


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


class ModelVersionStore(Protocol):
    """Registered versions, mirrored so that deployments never wait for the registry."""

    def put(self, version: ModelVersion) -> None:
        """Write or replace one version."""
        ...

    def get(self, ref: ModelRef) -> ModelVersion:
        """One version.

        Raises:
            NotFound: if it was never registered.
        """
        ...

    def all(self, model_name: str) -> list[ModelVersion]:
        """All versions of a model, newest first."""
        ...


class UserStore(Protocol):
    """People who sign in."""

    def add(self, user: User) -> None:
        """Write a new user.

        Raises:
            Conflict: if the name is taken.
        """
        ...

    def by_name(self, username: str) -> User | None:
        """The user of that name, also a disabled one."""
        ...

    def all(self) -> list[User]:
        """All users by name."""
        ...

    def replace(self, user: User) -> None:
        """Write password hash, role and disabled time of a known user.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class ApiKeyStore(Protocol):
    """Keys of programs."""

    def add(self, key: ApiKey) -> None:
        """Write a new key."""
        ...

    def get(self, key_id: str) -> ApiKey:
        """One key.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that SHA-256, also an expired or revoked one."""
        ...

    def all(self) -> list[ApiKey]:
        """All keys, newest first."""
        ...

    def touch(self, key_id: str, at: datetime) -> None:
        """Write when the key was used last; an unknown key is no error."""
        ...

    def replace(self, key_id: str, successor_id: str, expires_at: datetime) -> ApiKey:
        """Name the successor of a key and when it ends.

        Raises:
            NotFound: if there is none with that id.
            Conflict: if it has a successor already, or was revoked.
        """
        ...

    def revoke(self, key_id: str, at: datetime) -> ApiKey:
        """Mark a key as revoked; an earlier revocation stands.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class IdempotencyStore(Protocol):
    """Answers to requests that carried an idempotency key."""

    def find(self, actor: str, key: str) -> Remembered | None:
        """What this actor was answered under this key."""
        ...

    def remember(self, actor: str, key: str, remembered: Remembered, at: datetime) -> None:
        """Keep an answer.

        Raises:
            Conflict: if this actor has used the key already.
        """
        ...


class JobStore(Protocol):
    """What the workers do, how often, and how it went."""

    def describe(self, job: str, description: str, every_s: float, cron: str | None = None) -> None:
        """Write or replace a schedule; requests and successes stay."""
        ...

    def schedules(self) -> list[JobSchedule]:
        """All schedules by name."""
        ...

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def take_request(self, job: str) -> bool:
        """Whether a run was asked for; the request is taken away, so that one caller only gets True."""
        ...

    def record_start(self, job: str, holder: str, at: datetime) -> JobRunOut:
        """A new run in state `running`."""
        ...

    def record_finish(self, run_id: str, at: datetime, *, result: dict[str, Any] | None = None, error: str | None = None) -> JobRunOut:
        """End a run: failed where there is an error, succeeded otherwise.

        Raises:
            NotFound: if there is no such run.
            Conflict: if it has ended already.
        """
        ...

    def runs(self, job: str, limit: int = 20) -> list[JobRunOut]:
        """Runs of one job, newest first."""
        ...

    def last_success(self, job: str) -> JobRunOut | None:
        """The newest run of one job that succeeded and is still on record."""
        ...

    def overview(self, now: datetime) -> list[JobOut]:
        """All jobs with their last run; late after three intervals without a success."""
        ...


class LeaseStore(Protocol):
    """One holder a job at a time. The fence grows with each new holder, so that a late one can be told."""

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one, also of the same holder, has not expired."""
        ...

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that is still held. In the unit of work of a job's own writes it fences them."""
        ...

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """End a lease that is still held; the fence is kept."""
        ...


class DriftSettingsStore(Protocol):
    """What operators have chosen for the drift check."""

    def get(self) -> DriftSettings:
        """What was chosen last; the defaults before."""
        ...

    def put(self, settings: DriftSettings) -> None:
        """Write what is chosen now."""
        ...


class DriftCheckStore(Protocol):
    """Verdicts on drift."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        ...

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        ...

    def history(self, limit: int = 50, scene: str | None = None) -> list[DriftCheckOut]:
        """Newest first, without histograms; of scenes only the columns that drifted, and all columns of the one that is named."""
        ...

    def last_report(self) -> DriftReportOut | None:
        """Newest check with a full report."""
        ...

    def report_path(self, check_id: str) -> str:
        """Where the full report lies.

        Raises:
            NotFound: if there is no such check, or it has no report.
        """
        ...


class UnitOfWork(Protocol):
    """Repositories that share one transaction."""

    @property
    def deployments(self) -> DeploymentStore:
        """Deployed model versions."""
        ...

    @property
    def routes(self) -> RouteStore:
        """Route tables."""
        ...

    @property
    def audit(self) -> AuditLog:
        """Audit entries."""
        ...

    @property
    def model_versions(self) -> ModelVersionStore:
        """Registered versions."""
        ...

    @property
    def users(self) -> UserStore:
        """People."""
        ...

    @property
    def api_keys(self) -> ApiKeyStore:
        """Keys of programs."""
        ...

    @property
    def idempotency(self) -> IdempotencyStore:
        """Remembered answers."""
        ...

    @property
    def jobs(self) -> JobStore:
        """Schedules and runs."""
        ...

    @property
    def leases(self) -> LeaseStore:
        """Job leases."""
        ...

    @property
    def drift_checks(self) -> DriftCheckStore:
        """Verdicts on drift."""
        ...

    @property
    def drift_settings(self) -> DriftSettingsStore:
        """What operators have chosen for the drift check."""
        ...


class UnitOfWorkFactory(Protocol):
    """Opens a unit of work, for example `Database.unit_of_work`."""

    def __call__(self, *, read_only: bool = False) -> AbstractContextManager[UnitOfWork]:
        """A transaction: committed at a clean exit, rolled back otherwise; one that only reads never waits for writers.

        Raises:
            Conflict: if two transactions could not both be committed.
            Unavailable: if the database is away.
        """
        ...
