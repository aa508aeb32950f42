"""Storage in memory for tests and experiments; held to the same contract tests as the real adapters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

from data.stubs.accounts import MemoryApiKeys, MemoryIdempotency, MemoryUsers
from data.stubs.alerts import MemoryAlerts, MemoryAnswers, MemoryNotifications, MemorySilences
from data.stubs.experiments import MemoryExperiments
from data.stubs.jobs import MemoryJobs, MemoryLeases
from data.stubs.monitoring import MemoryCalibrations, MemoryDriftChecks, MemoryDriftSettings, MemoryPerformanceChecks, MemoryProbes
from data.stubs.releases import MemoryAuditLog, MemoryDeployments, MemoryModelVersions, MemoryRoutes
from data.stubs.rollouts import MemoryRollouts
from data.stubs.serving import MemoryQuota, MemoryRegistry, MemorySink, MemoryTracks, SetClock
from data.stubs.tables import Tables
from data.stubs.tasks import MemoryTasks
from data.stubs.validations import MemoryValidations
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.ports import Calibrated

__all__ = [
    "MemoryDatabase",
    "MemoryQuota",
    "MemoryRegistry",
    "MemoryRouteSource",
    "MemorySink",
    "MemoryTracks",
    "MemoryUnitOfWork",
    "SetClock",
]


class MemoryDatabase:
    """`data.sql.engine.Database` without a database: writers come one after the other, each on a copy."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._writing = Lock()

    @contextmanager
    def unit_of_work(self, *, read_only: bool = False) -> Iterator["MemoryUnitOfWork"]:
        """Repositories over one copy of all tables, which replaces them at a clean exit."""
        if read_only:
            yield MemoryUnitOfWork(self._tables.copy(is_frozen=True))
            return
        with self._writing:
            tables = self._tables.copy(is_frozen=False)
            yield MemoryUnitOfWork(tables)
            self._tables = tables


class MemoryUnitOfWork:
    """Implements `trajops.ports.UnitOfWork`."""

    def __init__(self, tables: Tables) -> None:
        self.deployments = MemoryDeployments(tables)
        self.routes = MemoryRoutes(tables)
        self.experiments = MemoryExperiments(tables)
        self.rollouts = MemoryRollouts(tables)
        self.audit = MemoryAuditLog(tables)
        self.model_versions = MemoryModelVersions(tables)
        self.validations = MemoryValidations(tables)
        self.tasks = MemoryTasks(tables)
        self.users = MemoryUsers(tables)
        self.api_keys = MemoryApiKeys(tables)
        self.idempotency = MemoryIdempotency(tables)
        self.jobs = MemoryJobs(tables)
        self.leases = MemoryLeases(tables)
        self.drift_checks = MemoryDriftChecks(tables)
        self.answers = MemoryAnswers(tables)
        self.probes = MemoryProbes(tables)
        self.alerts = MemoryAlerts(tables)
        self.silences = MemorySilences(tables)
        self.notifications = MemoryNotifications(tables)
        self.performance_checks = MemoryPerformanceChecks(tables)
        self.calibrations = MemoryCalibrations(tables)
        self.drift_settings = MemoryDriftSettings(tables)


class MemoryRouteSource:
    """Implements `trajops.ports.RouteSource` and `CalibrationSource`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def epoch(self) -> int:
        """Newest epoch; 0 before the first deployment."""
        return self.table().epoch

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first deployment."""
        with self._database.unit_of_work(read_only=True) as uow:
            return uow.routes.table()

    def in_force(self) -> Mapping[ModelRef, Calibrated]:
        """Calibrations by version."""
        with self._database.unit_of_work(read_only=True) as uow:
            found = uow.calibrations.in_force()
        return {ModelRef(one.model_name, one.model_version): Calibrated(one.number, tuple(one.factors)) for one in found}
