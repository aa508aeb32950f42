"""Tables in memory: rows by key, copied for each transaction."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from trajops.alerts.lifecycle import Alert
from trajops.alerts.outbox import Notification
from trajops.alerts.silences import Silence
from trajops.contracts.audit import AuditOut
from trajops.contracts.calibrations import CalibrationOut
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.contracts.drift import DriftCheckOut, DriftSettings
from trajops.contracts.experiments import ExperimentOut, VerdictOut
from trajops.contracts.jobs import JobRunOut
from trajops.contracts.performance import PerformanceCheckOut
from trajops.contracts.rollouts import RolloutOut
from trajops.contracts.tasks import TaskOut
from trajops.contracts.validations import ValidationAskedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.policy.answers import Answer
from trajops.records import ApiKey, JobSchedule, ModelVersion, Remembered, User

K = TypeVar("K")


V = TypeVar("V")


class Table(Generic[K, V]):
    """Rows by key, in the order in which they were first written."""

    def __init__(self, rows: dict[K, V] | None = None, *, is_frozen: bool = False) -> None:
        self._rows: dict[K, V] = rows or {}
        self._is_frozen = is_frozen

    def copy(self, *, is_frozen: bool) -> "Table[K, V]":
        """The same rows in a table of its own."""
        return Table(dict(self._rows), is_frozen=is_frozen)

    def get(self, key: K) -> V | None:
        """One row, if there is one."""
        return self._rows.get(key)

    def rows(self) -> list[V]:
        """All rows."""
        return list(self._rows.values())

    def put(self, key: K, row: V) -> None:
        """Write or replace a row."""
        self._refuse_if_frozen()
        self._rows[key] = row

    def drop(self, key: K) -> None:
        """Take a row away; one that is gone is no error."""
        self._refuse_if_frozen()
        self._rows.pop(key, None)

    def _refuse_if_frozen(self) -> None:
        if self._is_frozen:
            raise RuntimeError("a unit of work opened with read_only=True cannot write")


@dataclass(slots=True)
class Tables:
    """Every table of the control state."""

    deployments: Table[str, DeploymentOut] = field(default_factory=Table)
    routes: Table[int, tuple[RouteTable, RouteOut]] = field(default_factory=Table)
    experiments: Table[str, ExperimentOut] = field(default_factory=Table)
    rollouts: Table[str, RolloutOut] = field(default_factory=Table)
    experiment_verdicts: Table[str, list[VerdictOut]] = field(default_factory=Table)
    audit: Table[str, AuditOut] = field(default_factory=Table)
    answers: Table[str, Answer] = field(default_factory=Table)
    model_versions: Table[ModelRef, ModelVersion] = field(default_factory=Table)
    validations: Table[str, tuple[ValidationOut, str]] = field(default_factory=Table)
    validation_requests: Table[ModelRef, ValidationAskedOut] = field(default_factory=Table)
    tasks: Table[str, TaskOut] = field(default_factory=Table)
    users: Table[str, User] = field(default_factory=Table)
    api_keys: Table[str, ApiKey] = field(default_factory=Table)
    idempotency: Table[tuple[str, str], Remembered] = field(default_factory=Table)
    schedules: Table[str, JobSchedule] = field(default_factory=Table)
    runs: Table[str, JobRunOut] = field(default_factory=Table)
    leases: Table[str, tuple[str, int, datetime, datetime]] = field(default_factory=Table)
    drift_checks: Table[str, tuple[DriftCheckOut, str | None]] = field(default_factory=Table)
    drift_settings: Table[str, DriftSettings] = field(default_factory=Table)
    performance_checks: Table[str, PerformanceCheckOut] = field(default_factory=Table)
    calibrations: Table[int, CalibrationOut] = field(default_factory=Table)
    probes: Table[int, list[tuple[datetime, bool, float | None, str | None]]] = field(default_factory=Table)
    alerts: Table[str, Alert] = field(default_factory=Table)
    silences: Table[str, Silence] = field(default_factory=Table)
    notifications: Table[str, Notification] = field(default_factory=Table)

    def copy(self, *, is_frozen: bool) -> "Tables":
        """All of them, each a copy."""
        return Tables(*(getattr(self, name).copy(is_frozen=is_frozen) for name in self.__slots__))


class Repository:
    """What all of them stand on."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
