"""Storage in memory for tests and experiments; held to the same contract tests as the real adapters."""

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar
from uuid import uuid4

from data.models.cache import VersionInfo, publish
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.silences import Silence
from trajops.clock import utc
from trajops.contracts.alerts import AlertCounts
from trajops.contracts.audit import AuditOut
from trajops.contracts.calibrations import CalibrationOut, CalibrationState
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.contracts.drift import DriftCheckOut, DriftReportOut, without_histograms
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.errors import Conflict, NotFound, RegistryUnavailable, StaleVersion, Unavailable
from trajops.jobs import job_out
from trajops.objectives import Minutes, minute_of
from trajops.policy.answers import OPEN_ANSWERS, Answer
from trajops.ports import Calibrated
from trajops.rate_limits import Report, Settled, booked
from trajops.records import ApiKey, JobSchedule, ModelVersion, Remembered, User
from trajops.shared_tracks import AgentKey, News, Rules, SharedTrack, followed, in_runs
from trajops.telemetry import Event

K = TypeVar("K")
V = TypeVar("V")


class _Table(Generic[K, V]):
    """Rows by key, in the order in which they were first written."""

    def __init__(self, rows: dict[K, V] | None = None, *, is_frozen: bool = False) -> None:
        self._rows: dict[K, V] = rows or {}
        self._is_frozen = is_frozen

    def copy(self, *, is_frozen: bool) -> "_Table[K, V]":
        return _Table(dict(self._rows), is_frozen=is_frozen)

    def get(self, key: K) -> V | None:
        return self._rows.get(key)

    def rows(self) -> list[V]:
        return list(self._rows.values())

    def put(self, key: K, row: V) -> None:
        self._refuse_if_frozen()
        self._rows[key] = row

    def drop(self, key: K) -> None:
        self._refuse_if_frozen()
        self._rows.pop(key, None)

    def _refuse_if_frozen(self) -> None:
        if self._is_frozen:
            raise RuntimeError("a unit of work opened with read_only=True cannot write")


@dataclass(slots=True)
class _Tables:
    deployments: _Table[str, DeploymentOut] = field(default_factory=_Table)
    routes: _Table[int, tuple[RouteTable, RouteOut]] = field(default_factory=_Table)
    audit: _Table[str, AuditOut] = field(default_factory=_Table)
    answers: _Table[str, Answer] = field(default_factory=_Table)
    model_versions: _Table[ModelRef, ModelVersion] = field(default_factory=_Table)
    users: _Table[str, User] = field(default_factory=_Table)
    api_keys: _Table[str, ApiKey] = field(default_factory=_Table)
    idempotency: _Table[tuple[str, str], Remembered] = field(default_factory=_Table)
    schedules: _Table[str, JobSchedule] = field(default_factory=_Table)
    runs: _Table[str, JobRunOut] = field(default_factory=_Table)
    leases: _Table[str, tuple[str, int, datetime]] = field(default_factory=_Table)
    drift_checks: _Table[str, tuple[DriftCheckOut, str | None]] = field(default_factory=_Table)
    performance_checks: _Table[str, PerformanceCheckOut] = field(default_factory=_Table)
    calibrations: _Table[int, CalibrationOut] = field(default_factory=_Table)
    probes: _Table[int, list[tuple[datetime, bool, float | None, str | None]]] = field(default_factory=_Table)
    alerts: _Table[str, Alert] = field(default_factory=_Table)
    silences: _Table[str, Silence] = field(default_factory=_Table)
    notifications: _Table[str, Notification] = field(default_factory=_Table)

    def copy(self, *, is_frozen: bool) -> "_Tables":
        return _Tables(*(getattr(self, name).copy(is_frozen=is_frozen) for name in self.__slots__))


class MemoryDatabase:
    """`data.sql.engine.Database` without a database: writers come one after the other, each on a copy."""

    def __init__(self) -> None:
        self._tables = _Tables()
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

    def __init__(self, tables: _Tables) -> None:
        self.deployments = MemoryDeployments(tables)
        self.routes = MemoryRoutes(tables)
        self.audit = MemoryAuditLog(tables)
        self.model_versions = MemoryModelVersions(tables)
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


class _Repository:
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables


class MemoryDeployments(_Repository):
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


class MemoryRoutes(_Repository):
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

    def append(self, table: RouteTable, *, at: datetime, actor: str, reason: str) -> RouteOut:
        """Write the table of a new epoch; StaleVersion if that epoch exists already."""
        if self._tables.routes.get(table.epoch) is not None:
            raise StaleVersion(f"the routes are in epoch {self.epoch()}", present_epoch=self.epoch())
        shown = RouteOut.of(table, at=at, actor=actor, reason=reason)
        self._tables.routes.put(table.epoch, (table, shown))
        return shown

    def _newest(self) -> list[tuple[RouteTable, RouteOut]]:
        return sorted(self._tables.routes.rows(), key=lambda row: -row[0].epoch)


class MemoryAuditLog(_Repository):
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


class MemoryModelVersions(_Repository):
    """Implements `trajops.ports.ModelVersionStore`."""

    def put(self, version: ModelVersion) -> None:
        """Write or replace one version."""
        self._tables.model_versions.put(version.ref, version)

    def get(self, ref: ModelRef) -> ModelVersion:
        """One version; NotFound if it was never registered."""
        found = self._tables.model_versions.get(ref)
        if found is None:
            raise NotFound(f"the model version {ref} is not registered")
        return found

    def all(self, model_name: str) -> list[ModelVersion]:
        """All versions of a model, newest first."""
        found = [version for version in self._tables.model_versions.rows() if version.model_name == model_name]
        return sorted(found, key=lambda version: -version.model_version)


class MemoryUsers(_Repository):
    """Implements `trajops.ports.UserStore`."""

    def add(self, user: User) -> None:
        """Write a new user; Conflict if the name is taken."""
        if self.by_name(user.username) is not None:
            raise Conflict(f"there is a user {user.username!r} already")
        self._tables.users.put(user.user_id, user)

    def by_name(self, username: str) -> User | None:
        """The user of that name, also a disabled one."""
        return next((user for user in self._tables.users.rows() if user.username == username), None)

    def all(self) -> list[User]:
        """All users by name."""
        return sorted(self._tables.users.rows(), key=lambda user: user.username)

    def replace(self, user: User) -> None:
        """Write password hash, role and disabled time; NotFound if there is no user with that id."""
        known = self._tables.users.get(user.user_id)
        if known is None:
            raise NotFound(f"there is no user {user.username!r}")
        changed = replace(known, password_hash=user.password_hash, role=user.role, disabled_at=user.disabled_at)
        self._tables.users.put(user.user_id, changed)


class MemoryApiKeys(_Repository):
    """Implements `trajops.ports.ApiKeyStore`."""

    def add(self, key: ApiKey) -> None:
        """Write a new key."""
        self._tables.api_keys.put(key.key_id, key)

    def get(self, key_id: str) -> ApiKey:
        """One key; NotFound if there is none with that id."""
        known = self._tables.api_keys.get(key_id)
        if known is None:
            raise NotFound(f"there is no API key with the id {key_id!r}")
        return known

    def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that SHA-256, also an expired or revoked one."""
        return next((key for key in self._tables.api_keys.rows() if key.key_hash == key_hash), None)

    def all(self) -> list[ApiKey]:
        """All keys, newest first."""
        return sorted(self._tables.api_keys.rows(), key=lambda key: key.created_at, reverse=True)

    def touch(self, key_id: str, at: datetime) -> None:
        """Write when the key was used last; an unknown key is no error."""
        known = self._tables.api_keys.get(key_id)
        if known is not None:
            self._tables.api_keys.put(key_id, replace(known, last_used_at=at))

    def replace(self, key_id: str, successor_id: str, expires_at: datetime) -> ApiKey:
        """Name the successor of a key and when it ends; NotFound, or Conflict if it has one already or was revoked."""
        known = self.get(key_id)
        if known.successor_id is not None or known.revoked_at is not None:
            raise Conflict(f"the API key {known.prefix} was replaced or revoked meanwhile")
        replaced = replace(known, successor_id=successor_id, expires_at=expires_at)
        self._tables.api_keys.put(key_id, replaced)
        return replaced

    def revoke(self, key_id: str, at: datetime) -> ApiKey:
        """Mark a key as revoked; an earlier revocation stands. NotFound if there is no such key."""
        known = self.get(key_id)
        revoked = replace(known, revoked_at=known.revoked_at or at)
        self._tables.api_keys.put(key_id, revoked)
        return revoked


class MemoryIdempotency(_Repository):
    """Implements `trajops.ports.IdempotencyStore`."""

    def find(self, actor: str, key: str) -> Remembered | None:
        """What this actor was answered under this key."""
        return self._tables.idempotency.get((actor, key))

    def remember(self, actor: str, key: str, remembered: Remembered, at: datetime) -> None:
        """Keep an answer; Conflict if this actor has used the key already."""
        if self.find(actor, key) is not None:
            raise Conflict(f"the idempotency key {key!r} is in use")
        self._tables.idempotency.put((actor, key), remembered)


class MemoryJobs(_Repository):
    """Implements `trajops.ports.JobStore`."""

    def describe(self, job: str, description: str, every_s: float, cron: str | None = None) -> None:
        """Write or replace a schedule; requests and successes stay."""
        known = self._tables.schedules.get(job) or JobSchedule(job, description, every_s)
        self._tables.schedules.put(job, replace(known, description=description, every_s=every_s, cron=cron))

    def schedules(self) -> list[JobSchedule]:
        """All schedules by name."""
        return sorted(self._tables.schedules.rows(), key=lambda schedule: schedule.job)

    def schedule(self, job: str) -> JobSchedule:
        """One schedule; NotFound if there is no such job."""
        known = self._tables.schedules.get(job)
        if known is None:
            raise NotFound(f"there is no job {job!r}")
        return known

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), requested_at=at))

    def plan(self, job: str, due_at: datetime) -> None:
        """Write when a job is due next; an unknown job is no error."""
        known = self._tables.schedules.get(job)
        if known is not None:
            self._tables.schedules.put(job, replace(known, next_due_at=due_at))

    def pause(self, job: str, *, at: datetime, by: str, reason: str) -> None:
        """Let a job run by hand only; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), paused_at=at, paused_by=by, pause_reason=reason))

    def resume(self, job: str) -> None:
        """Let a paused job run by its schedule again; NotFound if there is no such job."""
        self._tables.schedules.put(job, replace(self.schedule(job), paused_at=None, paused_by=None, pause_reason=None))

    def take_request(self, job: str) -> bool:
        """Whether a run was asked for; the request is taken away."""
        known = self._tables.schedules.get(job)
        if known is None or known.requested_at is None:
            return False
        self._tables.schedules.put(job, replace(known, requested_at=None))
        return True

    def record_start(self, job: str, holder: str, at: datetime) -> JobRunOut:
        """A new run in state `running`."""
        run = JobRunOut(
            run_id=uuid4().hex,
            job=job,
            state="running",
            holder=holder,
            started_at=at,
            finished_at=None,
            duration_s=None,
            result={},
            error=None,
        )
        self._tables.runs.put(run.run_id, run)
        return run

    def record_finish(self, run_id: str, at: datetime, *, result: dict[str, Any] | None = None, error: str | None = None) -> JobRunOut:
        """End a run; NotFound if there is no such run, Conflict if it has ended already."""
        started = self._tables.runs.get(run_id)
        if started is None:
            raise NotFound(f"there is no job run {run_id!r}")
        if started.state != "running":
            raise Conflict(f"the job run {run_id!r} has ended already")
        ended = started.model_copy(
            update={
                "state": "succeeded" if error is None else "failed",
                "finished_at": at,
                "duration_s": (at - started.started_at).total_seconds(),
                "result": result or {},
                "error": error,
            }
        )
        self._tables.runs.put(run_id, ended)
        schedule = self._tables.schedules.get(started.job)
        if error is None and schedule is not None:
            self._tables.schedules.put(started.job, replace(schedule, last_success_at=at))
        return ended

    def runs(self, job: str, limit: int = 20) -> list[JobRunOut]:
        """Runs of one job, newest first."""
        found = [run for run in self._tables.runs.rows() if run.job == job]
        return sorted(found, key=lambda run: run.started_at, reverse=True)[:limit]

    def last_success(self, job: str) -> JobRunOut | None:
        """The newest run of one job that succeeded and is still on record."""
        return next((run for run in self.runs(job, len(self._tables.runs.rows())) if run.state == "succeeded"), None)

    def overview(self, now: datetime) -> list[JobOut]:
        """All jobs with their last run; late after three intervals without a success."""
        shown = []
        for schedule in self.schedules():
            runs = [run for run in self._tables.runs.rows() if run.job == schedule.job]
            first = min((run.started_at for run in runs), default=None)
            shown.append(job_out(schedule, max(runs, key=lambda run: run.started_at, default=None), first, now))
        return shown


class MemoryLeases(_Repository):
    """Implements `trajops.ports.LeaseStore`."""

    def acquire(self, job: str, holder: str, now: datetime, expires_at: datetime) -> int | None:
        """Fence of a fresh lease; None while another one, also of the same holder, has not expired."""
        known = self._tables.leases.get(job)
        if known is not None and known[2] > now:
            return None
        fence = 1 if known is None else known[1] + 1
        self._tables.leases.put(job, (holder, fence, expires_at))
        return fence

    def renew(self, job: str, holder: str, fence: int, now: datetime, expires_at: datetime) -> bool:
        """Extend a lease that is still held."""
        known = self._tables.leases.get(job)
        if known is None or known[:2] != (holder, fence) or known[2] <= now:
            return False
        self._tables.leases.put(job, (holder, fence, expires_at))
        return True

    def release(self, job: str, holder: str, fence: int, now: datetime) -> bool:
        """End a lease that is still held; the fence is kept."""
        return self.renew(job, holder, fence, now, now)

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        known = self._tables.leases.get(job)
        return None if known is None or known[2] <= now else known[0]


class MemoryDriftChecks(_Repository):
    """Implements `trajops.ports.DriftCheckStore`."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        known = check.model_copy(update={"has_report": report_path is not None})
        self._tables.drift_checks.put(check.check_id, (known, report_path))

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        return next(iter(self._newest()), None)

    def history(self, limit: int = 50) -> list[DriftCheckOut]:
        """Newest first, with columns that carry no histogram."""
        return [without_histograms(check) for check in self._newest()][:limit]

    def last_report(self) -> DriftReportOut | None:
        """Newest check with a full report."""
        reported = (check for check in self._newest() if check.has_report)
        return next((DriftReportOut(check_id=check.check_id, at=check.at, verdict=check.verdict) for check in reported), None)

    def report_path(self, check_id: str) -> str:
        """Where the full report lies; NotFound if there is no such check, or it has no report."""
        found = self._tables.drift_checks.get(check_id)
        if found is None or found[1] is None:
            raise NotFound(f"the drift check {check_id!r} has no report")
        return found[1]

    def _newest(self) -> list[DriftCheckOut]:
        return sorted((check for check, _ in self._tables.drift_checks.rows()), key=lambda check: check.at, reverse=True)


class MemoryPerformanceChecks(_Repository):
    """Implements `trajops.ports.PerformanceCheckStore`."""

    def add(self, check: PerformanceCheckOut) -> None:
        """Write one check."""
        self._tables.performance_checks.put(check.check_id, check)

    def latest(self) -> list[PerformanceCheckOut]:
        """Newest check of each version, newest version first."""
        newest = {(check.model_name, check.model_version): check for check in reversed(self.history(limit=-1))}
        return sorted(newest.values(), key=lambda check: (check.model_name, -check.model_version))

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given; a negative limit is none."""
        found = [one for one in self._tables.performance_checks.rows() if ref is None or ModelRef(one.model_name, one.model_version) == ref]
        ordered = sorted(found, key=lambda check: check.at, reverse=True)
        return ordered if limit < 0 else ordered[:limit]


class MemoryCalibrations(_Repository):
    """Implements `trajops.ports.CalibrationStore`."""

    def add(self, calibration: CalibrationOut) -> CalibrationOut:
        """Write one under the next number."""
        number = 1 + max((known.number for known in self._tables.calibrations.rows()), default=0)
        added = calibration.model_copy(update={"number": number})
        self._tables.calibrations.put(number, added)
        return added

    def get(self, number: int) -> CalibrationOut:
        """One calibration; NotFound if there is none with that number."""
        found = self._tables.calibrations.get(number)
        if found is None:
            raise NotFound(f"there is no calibration {number}")
        return found

    def newest(self, limit: int = 50, ref: ModelRef | None = None) -> list[CalibrationOut]:
        """Newest first; of one version, where it is given."""
        found = [one for one in self._tables.calibrations.rows() if ref is None or ModelRef(one.model_name, one.model_version) == ref]
        return sorted(found, key=lambda one: -one.number)[:limit]

    def in_force(self) -> list[CalibrationOut]:
        """Those that are applied."""
        return [one for one in self._tables.calibrations.rows() if one.state == "applied"]

    def move(self, number: int, expected: CalibrationState, state: CalibrationState, at: datetime, actor: str) -> CalibrationOut:
        """Write the state, if it still is the expected one; NotFound or StaleVersion otherwise."""
        present = self.get(number)
        if present.state != expected:
            raise StaleVersion(f"calibration {number} is {present.state}", present_state=present.state)
        moved = present.model_copy(update={"state": state, "changed_at": at, "changed_by": actor})
        self._tables.calibrations.put(number, moved)
        return moved


class MemoryAnswers(_Repository):
    """Implements `trajops.stores.AnswerStore`."""

    def add(self, answer: Answer) -> None:
        """Write a new answer; Conflict if its alert has one already."""
        if self.of_alerts([answer.alert_id]):
            raise Conflict(f"the alert {answer.alert_id} is answered already")
        self._tables.answers.put(answer.answer_id, answer)

    def get(self, answer_id: str) -> Answer:
        """One answer; NotFound if there is none with that id."""
        found = self._tables.answers.get(answer_id)
        if found is None:
            raise NotFound(f"there is no answer {answer_id!r}")
        return found

    def save(self, answer: Answer, expected_version: int) -> None:
        """Write all of a known answer, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        present = self.get(answer.answer_id)
        if present.version != expected_version:
            raise StaleVersion(
                f"the answer {answer.answer_id} has version {present.version}, not {expected_version}", present_version=present.version
            )
        self._tables.answers.put(answer.answer_id, answer)

    def open(self) -> list[Answer]:
        """Answers that are not over, oldest first."""
        return [answer for answer in reversed(self.newest()) if answer.state in OPEN_ANSWERS]

    def newest(self, *, since: datetime | None = None, limit: int = 500) -> list[Answer]:
        """Newest first; only those that began at `since` or later, where it is given."""
        found = [answer for answer in self._tables.answers.rows() if since is None or answer.created_at >= since]
        return sorted(found, key=lambda answer: answer.created_at, reverse=True)[:limit]

    def of_alerts(self, alert_ids: Sequence[str]) -> list[Answer]:
        """Answers to some alerts."""
        return [answer for answer in self._tables.answers.rows() if answer.alert_id in alert_ids]


class MemoryProbes(_Repository):
    """Implements `trajops.ports.ProbeStore`."""

    def add(self, at: datetime, *, is_good: bool, latency_ms: float | None, failure: str | None) -> None:
        """Count one probe in its minute."""
        minute = minute_of(at)
        self._tables.probes.put(minute, [*(self._tables.probes.get(minute) or []), (at, is_good, latency_ms, failure)])

    def summed(self, begin: int, end: int) -> Minutes:
        """What the probes of a range add up to."""
        found = (_minutes(probes) for minute, probes in self._by_minute() if begin <= minute < end)
        return reduce(Minutes.joined, found, Minutes())

    def buckets(self, begin: int, end: int, width: int) -> dict[int, Minutes]:
        """The same for each bucket of `width` minutes that has any, by its first minute."""
        found = {first: self.summed(first, min(end, first + width)) for first in range(begin, end, width)}
        return {first: minutes for first, minutes in found.items() if minutes.known}

    def first_minute(self) -> int | None:
        """Minute of the oldest probe on record."""
        return min((minute for minute, _ in self._by_minute()), default=None)

    def last_probe_at(self) -> datetime | None:
        """When the newest probe was sent."""
        return max((probes[-1][0] for _, probes in self._by_minute()), default=None)

    def last_failure(self) -> tuple[datetime, str] | None:
        """Minute and cause of the newest probe that was not good."""
        for minute, probes in sorted(self._by_minute(), reverse=True):
            for _, _, _, failure in reversed(probes):
                if failure is not None:
                    return utc(minute * 60 * 10**9), failure
        return None

    def _by_minute(self) -> list[tuple[int, list[tuple[datetime, bool, float | None, str | None]]]]:
        return [(minute_of(probes[0][0]), probes) for probes in self._tables.probes.rows()]


def _minutes(probes: Sequence[tuple[datetime, bool, float | None, str | None]]) -> Minutes:
    latencies = [latency_ms for _, _, latency_ms, _ in probes if latency_ms is not None]
    return Minutes(1, sum(not is_good for _, is_good, _, _ in probes) / len(probes), len(probes), max(latencies, default=None))


class MemoryAlerts(_Repository):
    """Implements `trajops.stores.AlertStore`."""

    def get(self, alert_id: str, *, for_change: bool = False) -> Alert:
        """One alert; NotFound if there is none with that id."""
        found = self._tables.alerts.get(alert_id)
        if found is None:
            raise NotFound(f"there is no alert {alert_id!r}")
        return found

    def unresolved(self, *, for_change: bool = False) -> list[Alert]:
        """Pending, open and acknowledged alerts, by id."""
        return [alert for alert in self._by_id() if alert.state != AlertState.RESOLVED]

    def to_tell(self, *, for_change: bool = False) -> list[Alert]:
        """Those that are resolved, while a receiver was told that they are not; by id."""
        over = (alert for alert in self._by_id() if alert.state == AlertState.RESOLVED)
        return [alert for alert in over if any(mark.state != AlertState.RESOLVED for mark in alert.marks.values())]

    def find(
        self,
        *,
        states: Sequence[AlertState] | None = None,
        severity: Severity | None = None,
        rule: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Alerts that are not over by severity and age, then the others, newest first."""
        found = [
            alert
            for alert in self._by_id()
            if (alert.state != AlertState.PENDING if states is None else alert.state in states)
            and severity in {None, alert.severity}
            and rule in {None, alert.rule}
            and (since is None or alert.resolved_at is None or alert.resolved_at >= since)
        ]
        found.sort(key=lambda alert: alert.resolved_at or alert.started_at, reverse=True)
        found.sort(key=lambda alert: (alert.resolved_at is not None, 0 if alert.resolved_at else -alert.severity.rank))
        return found[:limit]

    def add(self, alert: Alert) -> None:
        """Write a new alert; Conflict if one with its fingerprint is not resolved."""
        if any(known.fingerprint == alert.fingerprint for known in self.unresolved()):
            raise Conflict(f"there is an alert with the fingerprint {alert.fingerprint} that is not resolved")
        self._tables.alerts.put(alert.alert_id, alert)

    def save(self, alert: Alert, expected_version: int) -> None:
        """Write all of a known alert; StaleVersion or NotFound."""
        present = self.get(alert.alert_id).version
        if present != expected_version:
            raise StaleVersion(f"the alert has version {present}", present_version=present)
        self._tables.alerts.put(alert.alert_id, alert)

    def forget(self, alert_id: str) -> None:
        """Delete an alert that never opened; one that is gone is no error."""
        found = self._tables.alerts.get(alert_id)
        if found is not None and found.state == AlertState.PENDING:
            self._tables.alerts.drop(alert_id)

    def counts(self, at: datetime) -> AlertCounts:
        """How many there are."""
        states = Counter(alert.state for alert in self._by_id())
        active = [alert for alert in self._by_id() if alert.is_active]
        today = [alert for alert in self._by_id() if alert.resolved_at is not None and alert.resolved_at >= at - timedelta(hours=24)]
        return AlertCounts(
            open=states[AlertState.OPEN],
            acknowledged=states[AlertState.ACKNOWLEDGED],
            pending=states[AlertState.PENDING],
            silenced=sum(alert.silence_id is not None for alert in active),
            resolved_today=len(today),
            by_severity={one: sum(alert.severity == one for alert in active) for one in Severity},
            dead_letters=sum(one.state == NotificationState.DEAD for one in self._tables.notifications.rows()),
        )

    def _by_id(self) -> list[Alert]:
        return sorted(self._tables.alerts.rows(), key=lambda alert: alert.alert_id)


class MemorySilences(_Repository):
    """Implements `trajops.stores.SilenceStore`."""

    def get(self, silence_id: str) -> Silence:
        """One silence; NotFound if there is none with that id."""
        found = self._tables.silences.get(silence_id)
        if found is None:
            raise NotFound(f"there is no silence {silence_id!r}")
        return found

    def all(self, *, ending_after: datetime | None = None) -> list[Silence]:
        """Silences, newest first; only those that end after a time, where it is given."""
        found = (one for one in self._tables.silences.rows() if ending_after is None or one.ends_at > ending_after)
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def add(self, silence: Silence) -> None:
        """Write a new silence."""
        self._tables.silences.put(silence.silence_id, silence)

    def end(self, silence_id: str, at: datetime) -> Silence:
        """Let it end then, if it would end later; NotFound if there is none with that id."""
        known = self.get(silence_id)
        ended = replace(known, ends_at=min(known.ends_at, at))
        self._tables.silences.put(silence_id, ended)
        return ended


class MemoryNotifications(_Repository):
    """Implements `trajops.stores.NotificationStore`."""

    def add(self, notification: Notification) -> None:
        """Write a notification that is to be sent."""
        self._tables.notifications.put(notification.notification_id, notification)

    def get(self, notification_id: str) -> Notification:
        """One notification; NotFound if there is none with that id."""
        found = self._tables.notifications.get(notification_id)
        if found is None:
            raise NotFound(f"there is no notification {notification_id!r}")
        return found

    def due(self, at: datetime, *, without: Collection[str] = (), limit: int = 50) -> list[Notification]:
        """Those that are to be sent by now, the worst first and of these the oldest; none to the receivers `without`."""
        pending = [one for one in self._oldest() if one.state == NotificationState.PENDING and one.receiver not in without]
        return sorted((one for one in pending if one.next_attempt_at <= at), key=lambda one: -one.severity.rank)[:limit]

    def claim(self, notification: Notification, holder: str, until: datetime) -> Notification | None:
        """Begin an attempt, which counts as lost at `until`; None if somebody else has begun one since it was read."""
        known = self.get(notification.notification_id)
        seen = (NotificationState.PENDING, notification.attempts, notification.next_attempt_at)
        if (known.state, known.attempts, known.next_attempt_at) != seen:
            return None
        return self._change(known, attempts=known.attempts + 1, claimed_by=holder, next_attempt_at=until)

    def settle(
        self, notification: Notification, state: NotificationState, at: datetime, *, error: str | None = None, next_attempt_at: datetime
    ) -> bool:
        """End the attempt that was claimed; a delivery is recorded in any case, a failure only by whoever holds the claim."""
        known = self.get(notification.notification_id)
        is_delivered = state == NotificationState.DELIVERED
        claim = (NotificationState.PENDING, notification.attempts, notification.claimed_by)
        if known.state == state if is_delivered else (known.state, known.attempts, known.claimed_by) != claim:
            return False
        delivered_at = at if is_delivered else known.delivered_at
        self._change(known, state=state, error=error, next_attempt_at=next_attempt_at, claimed_by=None, delivered_at=delivered_at)
        return True

    def recover(self, holder: str, at: datetime) -> int:
        """Let the attempts that others than `holder` began, and never ended, count as lost now; how many these were."""
        pending = [one for one in self._oldest() if one.state == NotificationState.PENDING and one.next_attempt_at > at]
        lost = [one for one in pending if one.claimed_by not in {None, holder}]
        for one in lost:
            self._change(one, next_attempt_at=at, claimed_by=None)
        return len(lost)

    def resend(self, notification_id: str, at: datetime) -> Notification:
        """Let a dead letter be sent again; NotFound, or Conflict if it is none."""
        known = self.get(notification_id)
        if known.state != NotificationState.DEAD:
            raise Conflict(f"the notification {notification_id} is {known.state}")
        return self._change(known, state=NotificationState.PENDING, attempts=0, next_attempt_at=at, claimed_by=None)

    def of_alert(self, alert_id: str) -> list[Notification]:
        """All about one alert, oldest first."""
        return [one for one in self._oldest() if alert_id in one.alert_ids]

    def newest(self, *, state: NotificationState | None = None, receiver: str | None = None, limit: int = 50) -> list[Notification]:
        """Newest first; of one state and one receiver, where given."""
        found = [one for one in self._tables.notifications.rows() if state in {None, one.state} and receiver in {None, one.receiver}]
        return sorted(found, key=lambda one: one.created_at, reverse=True)[:limit]

    def last_delivered(self) -> dict[str, datetime]:
        """When each receiver took its last one, as far as it is on record."""
        delivered = [(one.delivered_at, one.receiver) for one in self._tables.notifications.rows() if one.delivered_at is not None]
        return {receiver: at for at, receiver in sorted(delivered)}

    def dead_letters(self) -> dict[str, int]:
        """How many there are, by receiver; receivers without are left out."""
        return dict(Counter(one.receiver for one in self._tables.notifications.rows() if one.state == NotificationState.DEAD))

    def _oldest(self) -> list[Notification]:
        return sorted(self._tables.notifications.rows(), key=lambda one: (one.created_at, one.notification_id))

    def _change(self, known: Notification, **changes: Any) -> Notification:
        changed = replace(known, **changes)
        self._tables.notifications.put(known.notification_id, changed)
        return changed


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


class MemorySink:
    """Implements `trajops.ports.TelemetrySink`: events by table, in the order of writing."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}

    def write(self, table: str, events: Sequence[Event]) -> None:
        """Keep the events."""
        self.events.setdefault(table, []).extend(events)


class MemoryQuota:
    """Implements `trajops.rate_limits.SharedQuota`; `is_away` makes it an outage.

    Args:
        clock_s: seconds of a clock that only goes forward.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self.is_away = False
        self._clock_s = clock_s
        self._levels: dict[str, tuple[float, float]] = {}

    def settle(self, reports: Sequence[Report]) -> list[Settled]:
        """Book the reports."""
        if self.is_away:
            raise Unavailable("the shared quota is away")
        return [self._book(report) for report in reports]

    def _book(self, report: Report) -> Settled:
        now_s = self._clock_s()
        level, at_s = self._levels.get(report.limit_id, (float(report.limit.burst), now_s))
        settled = booked(level, now_s - at_s, report)
        self._levels[report.limit_id] = (settled.level, now_s)
        return settled


class MemoryTracks:
    """Implements `trajops.shared_tracks.SharedTracks`; `is_away` makes it an outage.

    Args:
        rules: what is kept.
        clock_s: seconds of a clock that only goes forward.
    """

    def __init__(self, rules: Rules, clock_s: Callable[[], float]) -> None:
        self.is_away = False
        self._rules, self._clock_s = rules, clock_s
        self._tracks: dict[AgentKey, tuple[float, SharedTrack]] = {}
        self._lock = Lock()

    def exchange(self, news: Sequence[News], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        """Book the news, then answer what is known of the agents asked for."""
        with self._lock:
            now_s = self._reached_at_s()
            for run in in_runs(news, self._rules):
                self._tracks[run.key] = (now_s, followed(self._known(run.key, now_s), run, self._rules))
            return [self._known(key, now_s) for key in asked]

    def agents(self, scene_id: str | None, limit: int) -> list[tuple[AgentKey, SharedTrack]]:
        """Agents told of lately, the one told of last first."""
        with self._lock:
            now_s = self._reached_at_s()
            known = [(key, track) for key in self._tracks if scene_id in {None, key[0]} and (track := self._known(key, now_s))]
        return sorted(known, key=lambda one: one[1].seen_s, reverse=True)[:limit]

    def close(self) -> None:
        """Nothing is open."""

    def _reached_at_s(self) -> float:
        if self.is_away:
            raise Unavailable("the shared tracks are away")
        return self._clock_s()

    def _known(self, key: AgentKey, now_s: float) -> SharedTrack | None:
        at_s, track = self._tracks.get(key, (0.0, None))
        return track if now_s - at_s < self._rules.ttl_s else None


class MemoryRegistry:
    """Implements `trajops.ports.ModelRegistry` over folders that were given to `add`; `is_away` makes it an outage."""

    def __init__(self) -> None:
        self.is_away = False
        self._versions: dict[ModelRef, tuple[Path, dict[str, Any]]] = {}
        self._aliases: dict[tuple[str, str], int] = {}

    def add(
        self, ref: ModelRef, folder: Path, *, run_id: str | None = None, created_ns: int = 0, tags: Mapping[str, str] | None = None
    ) -> None:
        """Register a version whose MLflow model lies in a folder."""
        row = {"version": ref.version, "run_id": run_id, "tags": dict(tags or {}), "created_ns": created_ns, "source": str(folder)}
        self._versions[ref] = (folder, row)

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """All versions of a registered model, newest first."""
        self._answer()
        return [
            {**row, "aliases": sorted(alias for alias, version in self.aliases(name).items() if version == ref.version)}
            for ref, (_, row) in sorted(self._versions.items(), reverse=True)
            if ref.name == name
        ]

    def fetch(self, ref: ModelRef, into: Path) -> Path:
        """Copy one version into the cache `into` and return its folder. NotFound if there is no such version."""
        self._answer()
        if ref not in self._versions:
            raise NotFound(f"the registry has no {ref}")
        folder, row = self._versions[ref]
        info = VersionInfo(ref.name, ref.version, row["source"], row["run_id"], row["tags"], row["created_ns"])
        return publish(into, info, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True)).folder

    def aliases(self, name: str) -> Mapping[str, int]:
        """Version behind each alias."""
        self._answer()
        return {alias: version for (model, alias), version in self._aliases.items() if model == name}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; NotFound if there is no such version."""
        self._answer()
        if ModelRef(name, version) not in self._versions:
            raise NotFound(f"the registry has no {ModelRef(name, version)}")
        self._aliases[name, alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error when it does not exist."""
        self._answer()
        self._aliases.pop((name, alias), None)

    def _answer(self) -> None:
        if self.is_away:
            raise RegistryUnavailable("the registry is away")


class SetClock:
    """Implements `trajops.ports.Clock`: time stands still until somebody moves it."""

    def __init__(self, now_ns: int = 1_767_225_600_000_000_000) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """UTC nanoseconds since the epoch; 2026-01-01 unless set otherwise."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._now_ns += int(seconds * 1e9)
