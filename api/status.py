"""The product in one glance: what each part says, and one sentence over it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from api.wiring import Parts
from data.lake.backlog import quarantined
from trajops.alerts.lifecycle import Alert, AlertState, Severity
from trajops.clock import now
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import RouteOut
from trajops.contracts.figures import grouped
from trajops.contracts.jobs import JobOut, job_title
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.status import Health, ProcessOut, ServiceOut, Standing, StatusOut, TrafficPoint, service_title
from trajops.errors import TrajOpsError
from trajops.jobs import unscheduled
from trajops.services.availability import read_availability

MINUTES = 15
WINDOW = timedelta(minutes=MINUTES)
RECENT_CHANGES = 10
PROBE_S = 1.0
SILENT_INTERVALS = 3
# Where so many of the worst are silenced, no other one is looked for.
MOST_ALERTS = 100
MOST_SAID = 300
# Shorter pauses are how traffic is.
SILENCE = timedelta(seconds=30)
WORST_FIRST: tuple[Health, ...] = ("bad", "warn", "unknown", "ok")
ADES = ("ade_m", "cv_ade_m")


def read_status(parts: Parts) -> StatusOut:
    """Ask every part; one that is away is reported, and takes nothing else with it."""
    at = now(parts.clock)
    control = _Control(parts, at)
    telemetry = _Telemetry(parts, at)
    services = [
        _api(parts),
        control.service,
        parts.cached_longer.get("mlflow", lambda: _mlflow(parts)),
        workers_service(control.jobs, at),
        telemetry.service,
        *_redis(parts),
    ]
    budget_left = parts.cached_longer.get("budget", lambda: _budget_left(parts, at))
    processes = [_process(gauges) for gauges in parts.exposition.processes()]
    is_answering = parts.host.readiness().status == "ready" or any(process.is_ready for process in processes)
    healths = (*(service.health for service in services), _of_drift(control.drift_verdict), _of_alert(control.worst_alert))
    return StatusOut(
        at=at,
        verdict=min(healths, key=WORST_FIRST.index),
        standing=standing(
            services,
            control.drift_verdict,
            control.worst_alert,
            budget_left,
            is_answering=is_answering or control.route.champion is None,  # before the first deployment nothing is promised
        ),
        sentence=sentence(
            services, control.route, telemetry.rows, control.drift_verdict, telemetry.traffic, control.open_alerts, control.worst_alert
        ),
        environment=parts.settings.environment,
        route=control.route,
        services=services,
        processes=processes,
        traffic=telemetry.traffic,
        performance=telemetry.rows,
        changes=control.changes,
        jobs=control.jobs,
        drift_verdict=control.drift_verdict,
        open_alerts=control.open_alerts,
        budget_left=budget_left,
    )


def standing(
    services: Sequence[ServiceOut], drift_verdict: str | None, worst_alert: Alert | None, budget_left: float | None, *, is_answering: bool
) -> Standing:
    """What the verdict means to who asks for predictions: an alert, however bad, is not an API that is away.

    Args:
        services: each part.
        drift_verdict: of the newest check.
        worst_alert: of the open ones.
        budget_left: share of the error budget; below 0 the objective is missed.
        is_answering: whether a process of the API answers predictions.
    """
    healths = {service.health for service in services}
    if not is_answering:
        return "down"
    if "bad" in {*healths, _of_alert(worst_alert)}:
        return "needs_attention"
    if "warn" in healths:
        return "degraded"
    if "warn" in {_of_alert(worst_alert), _of_drift(drift_verdict)} or (budget_left is not None and budget_left < 0):
        return "worth_a_look"
    return "unknown" if "unknown" in healths else "healthy"


def sentence(
    services: Sequence[ServiceOut],
    route: RouteOut,
    rows: Sequence[PerformanceRow],
    drift_verdict: str | None,
    traffic: Sequence[TrafficPoint],
    open_alerts: int = 0,
    worst_alert: Alert | None = None,
) -> str:
    """The state of the product in one sentence: what is wrong, or who answers and how well, and whether anybody asks.

    Args:
        services: each part.
        route: who answers.
        rows: figures of the last minutes.
        drift_verdict: of the newest check.
        traffic: of the last minutes.
        open_alerts: how many there are.
        worst_alert: of them.
    """
    for health in WORST_FIRST[:2]:
        if health == _of_alert(worst_alert) == "bad" and worst_alert is not None and all(one.health != "bad" for one in services):
            more = f", and {open_alerts - 1} more" if open_alerts > 1 else ""
            return f"A critical alert is open{more}: {worst_alert.title}. {worst_alert.summary[:MOST_SAID]}".rstrip()
        for service in services:
            if service.health == health:
                return f"{service_title(service.service)}: {service.detail}"
    if route.champion is None:
        return "No model is deployed yet: stage a registered version and promote it."
    answered = sum(row.predictions for row in rows)
    text = f"v{route.champion.model_version} is champion; {grouped(answered)} predictions of all versions in the last {MINUTES} minutes"
    mine = [row for row in rows if row.model_version == route.champion.model_version and row.complete]
    ade_m, cv_ade_m = (_mean([(value, row.complete) for row in mine if (value := getattr(row, name)) is not None]) for name in ADES)
    if ade_m is not None and cv_ade_m is not None:
        text += f"; its ADE is {ade_m:.2f} m, that of constant velocity {cv_ade_m:.2f} m"
    if route.challenger is not None and not route.coverage:
        text += f"; the comparison of v{route.challenger.model_version} is paused"
    elif route.challenger is not None:
        text += f"; {100 * route.coverage:.0f} % of the agents are enrolled, half of them get v{route.challenger.model_version}"
    silence = _silence(traffic)
    if silence == WINDOW:
        text += "; no traffic in all that time"
    elif silence >= SILENCE:
        text += f"; no traffic for {silence.total_seconds():.0f} s"
    if open_alerts:
        text += "; 1 alert is open" if open_alerts == 1 else f"; {grouped(open_alerts)} alerts are open"
    return f"{text}; drift: {drift_verdict}." if _of_drift(drift_verdict) != "ok" else f"{text}."


def _silence(traffic: Sequence[TrafficPoint]) -> timedelta:
    """How long there has been no prediction, at least: the empty buckets at the end of the window."""
    if not traffic:
        return timedelta(0)
    empty = next((number for number, point in enumerate(reversed(traffic)) if point.predictions), len(traffic))
    return empty * (WINDOW / len(traffic))


def _mean(pairs: Sequence[tuple[float, int]]) -> float | None:
    weight = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / weight if weight else None


def _of_drift(verdict: str | None) -> Health:
    return "warn" if verdict in {"warning", "drift"} else "ok"


def _of_alert(worst: Alert | None) -> Health:
    if worst is None or worst.severity == Severity.INFO:
        return "ok"
    return "bad" if worst.severity == Severity.CRITICAL else "warn"


class _Control:
    """What the database says; the route that answers in this process where the database is away."""

    def __init__(self, parts: Parts, at: datetime) -> None:
        self.route = RouteOut.of(parts.service.snapshot.table)
        self.changes: list[AuditOut] = []
        self.jobs: list[JobOut] = []
        self.drift_verdict: str | None = None
        self.open_alerts = 0
        self.worst_alert: Alert | None = None
        try:
            with parts.unit_of_work(read_only=True) as uow:
                self.route = uow.routes.current()
                self.changes = uow.audit.newest(RECENT_CHANGES)
                self.jobs = uow.jobs.overview(at)
                drift = uow.drift_checks.latest()
                self.open_alerts = uow.alerts.counts(at).loud
                worst_first = uow.alerts.find(states=[AlertState.OPEN], limit=MOST_ALERTS) if self.open_alerts else []
                self.worst_alert = next((alert for alert in worst_first if alert.silence_id is None), None)
        except TrajOpsError as error:
            self.service = ServiceOut(service="database", health="bad", detail=error.message)
        else:
            self.drift_verdict = None if drift is None else drift.verdict
            self.service = ServiceOut(service="database", health="ok", detail=f"epoch {self.route.epoch}")


class _Telemetry:
    """What the lake says of the last minutes."""

    def __init__(self, parts: Parts, at: datetime) -> None:
        self.traffic: list[TrafficPoint] = []
        self.rows: list[PerformanceRow] = []

        broken: list[str] = []
        aside = quarantined(parts.settings.spool_dir)

        def read() -> None:
            self.traffic = parts.lake.traffic(at - WINDOW, at)
            self.rows = parts.lake.performance(at - WINDOW, at, parts.settings.coverage_level).rows
            broken.extend(parts.lake.broken_files())

        cause = _failure(read)
        if cause is not None:
            self.service = ServiceOut(service="lake", health="bad", detail=cause)
            return
        predictions, scored = sum(row.predictions for row in self.rows), sum(row.scored for row in self.rows)
        detail = f"{grouped(predictions)} predictions in the last {MINUTES} minutes, {grouped(scored)} of them scored by truth"
        if broken:
            many = "1 file of the lake is" if len(broken) == 1 else f"{len(broken)} files of the lake are"
            named = f"{broken[0]}{', …' if len(broken) > 1 else ''}"
            detail += f"; {many} broken and left out ({named}); put a good copy in its place, and it comes back by itself"
        if aside:
            detail += f"; lines that are no rows are kept in the spool's quarantine ({aside[0]}{', …' if len(aside) > 1 else ''})"
        self.service = ServiceOut(service="lake", health="warn" if broken or aside else "ok", detail=detail)


def _failure(read: Callable[[], None]) -> str | None:
    """Why a read failed; None when it did not. A status page must stand when what it reports on does not."""
    try:
        read()
    except TrajOpsError as error:
        return error.message
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return None


def _api(parts: Parts) -> ServiceOut:
    readiness = parts.host.readiness()
    if readiness.status == "not_ready":
        return ServiceOut(service="api", health="warn", detail=f"not ready: {readiness.detail}")
    if readiness.stand_in is not None:
        return ServiceOut(service="api", health="bad", detail=readiness.detail)
    failures = sum(parts.service.failures.get(ref, 0) for ref in parts.service.snapshot.table.models())
    if failures:
        detail = f"a routed model failed and the baseline answered, {grouped(failures)} times since the start; see the API's log"
        return ServiceOut(service="api", health="warn", detail=detail)
    health: Health = "warn" if readiness.missing else "ok"
    return ServiceOut(service="api", health=health, detail=f"{readiness.detail}; warm: {_versions(readiness.warm)}")


def _versions(refs: Sequence[str]) -> str:
    """`trajectory/2` as it is called on every page: v2."""
    return ", ".join(f"v{ref.rpartition('/')[2]}" for ref in refs)


def _mlflow(parts: Parts) -> ServiceOut:
    import httpx  # noqa: PLC0415 - the registry needs it anyway, the start does not

    url = parts.settings.registry_url
    try:
        httpx.get(f"{url}/health", timeout=PROBE_S, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        detail = f"{url} does not answer ({type(error).__name__}); predictions go on with the models that are warm or cached"
        return ServiceOut(service="mlflow", health="warn", detail=detail)
    return ServiceOut(service="mlflow", health="ok", detail=f"{url} answers")


def _budget_left(parts: Parts, at: datetime) -> float | None:
    try:
        with parts.unit_of_work(read_only=True) as uow:
            return read_availability(uow, parts.objectives.availability, at, hours=1).budget_left
    except TrajOpsError:
        return None  # the database is away, which its own tile says, or the configuration cannot be used, which the route says


def _redis(parts: Parts) -> list[ServiceOut]:
    """What the processes share; nothing where they are not meant to share."""
    shared = {"limits": parts.quota_sync, "tracks": parts.track_sync}
    asked = {what: sync.is_up for what, sync in shared.items() if sync is not None}
    if not asked:
        return []
    away = [what for what, is_up in asked.items() if not is_up]
    if away:
        detail = f"does not answer: {' and '.join(away)} are not shared, and each process goes by what it knows itself"
        return [ServiceOut(service="redis", health="warn", detail=detail)]
    return [ServiceOut(service="redis", health="ok", detail=f"{' and '.join(asked)} are shared by all processes")]


def _process(gauges: Mapping[str, float]) -> ProcessOut:
    return ProcessOut(
        epoch=int(gauges.get("trajops_epoch", 0)),
        newest_epoch=int(gauges.get("trajops_newest_epoch", 0)),
        is_ready=bool(gauges.get("trajops_ready_processes", 0)),
        has_stand_in=bool(gauges.get("trajops_stand_in_processes", 0)),
    )


def workers_service(jobs: Sequence[JobOut], at: datetime) -> ServiceOut:
    """Whether jobs run, and all that the product relies on are scheduled.

    Args:
        jobs: all that are on record.
        at: present.
    """
    runs = [job.last_run for job in jobs if job.last_run is not None]
    if not runs:
        return ServiceOut(service="workers", health="unknown", detail="no job has run yet; start the workers")
    last_at = max(run.finished_at or run.started_at for run in runs)
    silent = at - last_at
    if silent > timedelta(seconds=SILENT_INTERVALS * min(job.every_s for job in jobs) + 10):
        return ServiceOut(service="workers", health="bad", detail=f"no job has run for {silent.total_seconds():.0f} s; start the workers")
    failed = sorted(job_title(run.job) for run in runs if run.state == "failed")
    late = sorted(job_title(job.job) for job in jobs if job.is_late)
    missing = unscheduled(job.job for job in jobs)
    if failed or late or missing:
        troubles = [f"failed: {', '.join(failed)}"] * bool(failed) + [f"late: {', '.join(late)}"] * bool(late)
        if missing:
            effects = "; ".join(f"{job_title(job)} ({effect})" for job, effect in missing.items())
            troubles.append(
                f"named in no schedules.yaml, so never run: {effects}. Take them over from the shipped file, and restart the workers"
            )
        return ServiceOut(service="workers", health="warn", detail="; ".join(troubles))
    return ServiceOut(
        service="workers", health="ok", detail=f"{len(runs)} of {len(jobs)} jobs have run, the last at {last_at:%H:%M:%S} UTC"
    )
