"""Storage in memory for tests and experiments; held to the same contract tests as the real adapters."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar
from uuid import uuid4

from data.models.cache import VersionInfo, publish
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.contracts.drift import DriftCheckOut, DriftReportOut, DriftSettings, without_histograms
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.errors import Conflict, NotFound, RegistryUnavailable, StaleVersion, Unavailable
from trajops.jobs import job_out
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
        if self._is_frozen:
            raise RuntimeError("a unit of work opened with read_only=True cannot write")
        self._rows[key] = row


@dataclass(slots=True)
class _Tables:
    deployments: _Table[str, DeploymentOut] = field(default_factory=_Table)
    routes: _Table[int, tuple[RouteTable, RouteOut]] = field(default_factory=_Table)
    audit: _Table[str, AuditOut] = field(default_factory=_Table)
    model_versions: _Table[ModelRef, ModelVersion] = field(default_factory=_Table)
    users: _Table[str, User] = field(default_factory=_Table)
    api_keys: _Table[str, ApiKey] = field(default_factory=_Table)
    idempotency: _Table[tuple[str, str], Remembered] = field(default_factory=_Table)
    schedules: _Table[str, JobSchedule] = field(default_factory=_Table)
    runs: _Table[str, JobRunOut] = field(default_factory=_Table)
    leases: _Table[str, tuple[str, int, datetime]] = field(default_factory=_Table)
    drift_checks: _Table[str, tuple[DriftCheckOut, str | None]] = field(default_factory=_Table)
    drift_settings: _Table[str, DriftSettings] = field(default_factory=_Table)

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
        self.drift_settings = MemoryDriftSettings(tables)


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

    def request(self, job: str, at: datetime) -> None:
        """Ask for a run outside the schedule; NotFound if there is no such job."""
        known = self._tables.schedules.get(job)
        if known is None:
            raise NotFound(f"there is no job {job!r}")
        self._tables.schedules.put(job, replace(known, requested_at=at))

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


class MemoryDriftSettings(_Repository):
    """Implements `trajops.stores.DriftSettingsStore`."""

    def get(self) -> DriftSettings:
        """See the port."""
        return self._tables.drift_settings.get("only") or DriftSettings()

    def put(self, settings: DriftSettings) -> None:
        """See the port."""
        self._tables.drift_settings.put("only", settings)


class MemoryDriftChecks(_Repository):
    """Implements `trajops.ports.DriftCheckStore`."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        known = check.model_copy(update={"has_report": report_path is not None})
        self._tables.drift_checks.put(check.check_id, (known, report_path))

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        return next(iter(self._newest()), None)

    def history(self, limit: int = 50, scene: str | None = None) -> list[DriftCheckOut]:
        """Newest first, without histograms; of scenes only the columns that drifted, and all columns of the one that is named."""
        return [without_histograms(check, scene) for check in self._newest()[:limit]]

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


class MemoryRouteSource:
    """Implements `trajops.ports.RouteSource`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def epoch(self) -> int:
        """Newest epoch; 0 before the first deployment."""
        return self.table().epoch

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first deployment."""
        with self._database.unit_of_work(read_only=True) as uow:
            return uow.routes.table()


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
