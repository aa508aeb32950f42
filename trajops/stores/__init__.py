"""What the control state offers: one Protocol a repository, and the unit of work in which they share a transaction."""

from contextlib import AbstractContextManager
from typing import Protocol

from trajops.stores.accounts import ApiKeyStore, IdempotencyStore, UserStore
from trajops.stores.alerts import AlertStore, AnswerStore, NotificationStore, SilenceStore
from trajops.stores.experiments import ExperimentStore
from trajops.stores.jobs import JobStore, LeaseStore
from trajops.stores.monitoring import CalibrationStore, DriftCheckStore, DriftSettingsStore, PerformanceCheckStore, ProbeStore
from trajops.stores.releases import AuditLog, DeploymentStore, ModelVersionStore, RouteStore
from trajops.stores.rollouts import RolloutStore
from trajops.stores.tasks import TaskStore
from trajops.stores.validations import ValidationStore


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
    def experiments(self) -> ExperimentStore:
        """Experiments and their verdicts."""
        ...

    @property
    def rollouts(self) -> RolloutStore:
        """Rollouts."""
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
    def validations(self) -> ValidationStore:
        """What versions were held against."""
        ...

    @property
    def tasks(self) -> TaskStore:
        """What people have asked the workers to do."""
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

    @property
    def performance_checks(self) -> PerformanceCheckStore:
        """Verdicts on live performance."""
        ...

    @property
    def calibrations(self) -> CalibrationStore:
        """Factors for covariances."""
        ...

    @property
    def answers(self) -> AnswerStore:
        """What the policy has done about alerts."""
        ...

    @property
    def alerts(self) -> AlertStore:
        """Alerts."""
        ...

    @property
    def silences(self) -> SilenceStore:
        """Silences."""
        ...

    @property
    def notifications(self) -> NotificationStore:
        """The outbox."""
        ...

    @property
    def probes(self) -> ProbeStore:
        """What probes found."""
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
