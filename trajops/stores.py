"""What the control state offers: one Protocol a repository, and the unit of work in which they share a transaction."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.alerts.outbox import Notification, NotificationState
from trajops.alerts.silences import Silence
from trajops.contracts.alerts import AlertCounts
from trajops.contracts.audit import AuditOut
from trajops.contracts.calibrations import CalibrationOut, CalibrationState
from trajops.contracts.deployments import DeploymentOut, RouteOut
from trajops.contracts.drift import DriftCheckOut, DriftReportOut
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.lifecycle import State
from trajops.deployments.routing import ModelRef, RouteTable
from trajops.objectives import Minutes
from trajops.policy.answers import Answer
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

    def schedule(self, job: str) -> JobSchedule:
        """One schedule.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def plan(self, job: str, due_at: datetime) -> None:
        """Write when a job is due next; an unknown job is no error."""
        ...

    def pause(self, job: str, *, at: datetime, by: str, reason: str) -> None:
        """Let a job run by hand only; an earlier pause is replaced.

        Raises:
            NotFound: if there is no such job.
        """
        ...

    def resume(self, job: str) -> None:
        """Let a paused job run by its schedule again; one that is not paused stays as it is.

        Raises:
            NotFound: if there is no such job.
        """
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

    def holder(self, job: str, now: datetime) -> str | None:
        """Who holds a job's lease; None: nobody."""
        ...


class DriftCheckStore(Protocol):
    """Verdicts on drift."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        ...

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        ...

    def history(self, limit: int = 50) -> list[DriftCheckOut]:
        """Newest first, with columns that carry no histogram."""
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


class PerformanceCheckStore(Protocol):
    """Verdicts on live performance."""

    def add(self, check: PerformanceCheckOut) -> None:
        """Write one check."""
        ...

    def latest(self) -> list[PerformanceCheckOut]:
        """Newest check of each version, newest version first."""
        ...

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given."""
        ...


class CalibrationStore(Protocol):
    """Factors for the covariances of served versions, numbered in the order in which they were made."""

    def add(self, calibration: CalibrationOut) -> CalibrationOut:
        """Write one under the next number, which is returned; the given number is not looked at."""
        ...

    def get(self, number: int) -> CalibrationOut:
        """One calibration.

        Raises:
            NotFound: if there is none with that number.
        """
        ...

    def newest(self, limit: int = 50, ref: ModelRef | None = None) -> list[CalibrationOut]:
        """Newest first; of one version, where it is given."""
        ...

    def in_force(self) -> list[CalibrationOut]:
        """Those that are applied."""
        ...

    def move(self, number: int, expected: CalibrationState, state: CalibrationState, at: datetime, actor: str) -> CalibrationOut:
        """Write the state, if it still is the expected one.

        Raises:
            NotFound: if there is none with that number.
            StaleVersion: if its state is another; `present_state` in the details.
        """
        ...


class AlertStore(Protocol):
    """Alerts. At most one with a fingerprint is not resolved."""

    def get(self, alert_id: str, *, for_change: bool = False) -> Alert:
        """One alert; with `for_change`, nobody else changes it until the transaction is over.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def unresolved(self, *, for_change: bool = False) -> list[Alert]:
        """Pending, open and acknowledged alerts, by id; with `for_change`, nobody else changes them until the transaction is over."""
        ...

    def to_tell(self, *, for_change: bool = False) -> list[Alert]:
        """Those that are resolved, while a receiver was told that they are not; by id."""
        ...

    def find(
        self,
        *,
        states: Sequence[AlertState] | None = None,
        severity: Severity | None = None,
        rule: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Alerts that are not over by severity and age, then the others, newest first.

        Args:
            states: only these. Default: all but pending ones.
            severity: only of this severity.
            rule: only of this rule.
            since: only those that were not resolved before.
            limit: most that are given.
        """
        ...

    def add(self, alert: Alert) -> None:
        """Write a new alert.

        Raises:
            Conflict: if one with its fingerprint is not resolved.
        """
        ...

    def save(self, alert: Alert, expected_version: int) -> None:
        """Write all of a known alert, if its version is still the expected one; the new version is the caller's affair.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def forget(self, alert_id: str) -> None:
        """Delete an alert that never opened; one that is gone is no error."""
        ...

    def counts(self, at: datetime) -> AlertCounts:
        """How many there are."""
        ...


class SilenceStore(Protocol):
    """Silences."""

    def get(self, silence_id: str) -> Silence:
        """One silence.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def all(self, *, ending_after: datetime | None = None) -> list[Silence]:
        """Silences, newest first; only those that end after a time, where it is given."""
        ...

    def add(self, silence: Silence) -> None:
        """Write a new silence."""
        ...

    def end(self, silence_id: str, at: datetime) -> Silence:
        """Let it end then, if it would end later.

        Raises:
            NotFound: if there is none with that id.
        """
        ...


class NotificationStore(Protocol):
    """The outbox: written in the transaction of what caused it, and worked off after that."""

    def add(self, notification: Notification) -> None:
        """Write a notification that is to be sent."""
        ...

    def get(self, notification_id: str) -> Notification:
        """One notification.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def due(self, at: datetime, *, without: Collection[str] = (), limit: int = 50) -> list[Notification]:
        """Those that are to be sent by now, the worst first and of these the oldest; none to the receivers `without`."""
        ...

    def claim(self, notification: Notification, holder: str, until: datetime) -> Notification | None:
        """Begin an attempt, which counts as lost at `until`; None if somebody else has begun one since it was read."""
        ...

    def settle(
        self, notification: Notification, state: NotificationState, at: datetime, *, error: str | None = None, next_attempt_at: datetime
    ) -> bool:
        """End the attempt that was claimed, and whether there was one to end.

        A delivery is recorded in any case, a failure only by whoever holds the claim.
        """
        ...

    def recover(self, holder: str, at: datetime) -> int:
        """Let the attempts that others than `holder` began, and never ended, count as lost now; how many these were."""
        ...

    def resend(self, notification_id: str, at: datetime) -> Notification:
        """Let a dead letter be sent again, with its attempts counted anew.

        Raises:
            NotFound: if there is none with that id.
            Conflict: if it is no dead letter.
        """
        ...

    def of_alert(self, alert_id: str) -> list[Notification]:
        """All about one alert, oldest first."""
        ...

    def newest(self, *, state: NotificationState | None = None, receiver: str | None = None, limit: int = 50) -> list[Notification]:
        """Newest first; of one state and one receiver, where given."""
        ...

    def last_delivered(self) -> dict[str, datetime]:
        """When each receiver took its last one, as far as it is on record."""
        ...

    def dead_letters(self) -> dict[str, int]:
        """How many there are, by receiver; receivers without are left out."""
        ...


class AnswerStore(Protocol):
    """What the policy has done about alerts. An alert is answered once."""

    def add(self, answer: Answer) -> None:
        """Write a new answer.

        Raises:
            Conflict: if its alert has one already.
        """
        ...

    def get(self, answer_id: str) -> Answer:
        """One answer.

        Raises:
            NotFound: if there is none with that id.
        """
        ...

    def save(self, answer: Answer, expected_version: int) -> None:
        """Write all of a known answer, if its version is still the expected one.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if its version is another; `present_version` in the details.
        """
        ...

    def open(self) -> list[Answer]:
        """Answers that are not over, oldest first."""
        ...

    def newest(self, *, since: datetime | None = None, limit: int = 500) -> list[Answer]:
        """Newest first; only those that began at `since` or later, where it is given."""
        ...

    def of_alerts(self, alert_ids: Sequence[str]) -> list[Answer]:
        """Answers to some alerts."""


class ProbeStore(Protocol):
    """What probes found, by minutes. Minutes are whole ones since the epoch; ranges hold their begin and not their end."""

    def add(self, at: datetime, *, is_good: bool, latency_ms: float | None, failure: str | None) -> None:
        """Count one probe in its minute.

        Args:
            at: when it was sent.
            is_good: whether it was answered well.
            latency_ms: time to the answer; None where nobody answered.
            failure: why it was not good; of several in a minute the last is kept.
        """
        ...

    def summed(self, begin: int, end: int) -> Minutes:
        """What the probes of a range add up to."""
        ...

    def buckets(self, begin: int, end: int, width: int) -> dict[int, Minutes]:
        """The same for each bucket of `width` minutes that has any, by its first minute; `begin` is the first of the first bucket."""
        ...

    def first_minute(self) -> int | None:
        """Minute of the oldest probe on record."""
        ...

    def last_probe_at(self) -> datetime | None:
        """When the newest probe was sent."""
        ...

    def last_failure(self) -> tuple[datetime, str] | None:
        """Minute and cause of the newest probe that was not good."""
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
