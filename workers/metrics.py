"""What the workers tell Prometheus about jobs, drift, performance, shadows, probes and alerts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trajops.contracts.alerts import AlertCounts
from trajops.contracts.drift import DriftCheckOut
from trajops.contracts.performance import PerformanceCheckOut
from trajops.contracts.tasks import TaskKind
from trajops.tasks.lifecycle import OVER
from workers.probes import OUTCOMES, Probe

Skip = Literal["not_due", "elsewhere", "overlap", "queued", "paused"]
SKIPS: tuple[Skip, ...] = get_args(Skip)
SHADOWS = ("predicted", "failed", "dropped")
PROBES_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
TASKS_S = (1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200)
DURATIONS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
VERDICTS: Mapping[str, int] = {"insufficient_data": -1, "stable": 0, "warning": 1, "drift": 2}
QUALITY: Mapping[str, int] = {"insufficient_data": -1, "ok": 0, "warning": 1, "bad": 2}

PERFORMANCE: Mapping[str, int] = {
    "too_little_data": -1,
    "no_figure": -1,
    "better": 0,
    "as_validated": 0,
    "unclear": 0,
    "warning": 1,
    "degraded": 2,
}


class WorkerMetrics:
    """Gauges and counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry}
        self._runs = Counter("trajops_job_runs", "Runs by outcome.", ["job", "outcome"], **common)
        self._durations = Histogram("trajops_job_duration_seconds", "Duration of runs.", ["job"], buckets=DURATIONS_S, **common)
        self._last_success = Gauge("trajops_job_last_success_timestamp_seconds", "When this worker last succeeded.", ["job"], **common)
        self._running = Gauge("trajops_job_running", "Runs in progress in this worker.", ["job"], **common)
        self._skips = Counter("trajops_job_skips", "Times that this worker passed over, by reason.", ["job", "reason"], **common)
        self._misfires = Counter("trajops_job_misfires", "Times of the schedule at which nobody ran the job.", ["job"], **common)
        self._catch_ups = Counter("trajops_job_catch_ups", "Runs that made up for missed times, one for all of them.", ["job"], **common)
        queue = "From the time at which a run was due until it began."
        self._delays = Histogram("trajops_job_queue_delay_seconds", queue, ["job"], buckets=DURATIONS_S, **common)
        self._paused = Gauge("trajops_job_paused", "Whether the job runs by hand only, as this worker last saw it.", ["job"], **common)
        self._every = Gauge("trajops_job_interval_seconds", "How often the job is scheduled.", ["job"], **common)
        self._verdict = Gauge("trajops_drift_verdict", "-1 too little data, 0 stable, 1 warning, 2 drift.", **common)
        self._checked = Gauge("trajops_drift_last_check_timestamp_seconds", "When drift was last checked.", **common)
        truth = "Predictions that truth is waited for no longer: it is complete, partial or none, or they are unscorable."
        self._truth = Counter("trajops_truth_predictions", truth, ["model_version", "variant", "truth"], **common)
        shadows = "Predictions of shadows: made, made by the baseline because the model failed, or passed over."
        self._shadows = Counter("trajops_shadow_predictions", shadows, ["result"], **common)
        self._agents = Gauge("trajops_drift_current_agents", "Tracks in the window that was checked.", **common)
        self._probes = Counter("trajops_probes", "Probes of the API by outcome.", ["outcome"], **common)
        self._probe_seconds = Histogram("trajops_probe_seconds", "From a probe to its whole answer.", buckets=PROBES_S, **common)
        self._probed = Gauge("trajops_probe_last_timestamp_seconds", "When this worker last probed.", **common)
        self._tasks = Counter("trajops_tasks", "Batch and training jobs that have ended, by kind and state.", ["kind", "state"], **common)
        lasting = "From the begin of a batch or training job to its end."
        self._task_seconds = Histogram("trajops_task_duration_seconds", lasting, ["kind"], buckets=TASKS_S, **common)
        self._score = Gauge("trajops_drift_score", "Score of a column.", ["column"], **common)
        self._threshold = Gauge("trajops_drift_threshold", "Threshold of a column.", ["column"], **common)
        self._scene = Gauge("trajops_drift_scene_verdict", "-1 too little data, 0 stable, 1 warning, 2 drift.", ["scene"], **common)
        findings = "Worst finding of a rule on data quality: -1 too little data, 0 ok, 1 warning, 2 bad."
        self._quality = Gauge("trajops_drift_quality", findings, ["kind"], **common)

        self._alerts = Gauge("trajops_alerts_active", "Alerts that are open or acknowledged.", ["severity"], **common)
        self._evaluated = Gauge("trajops_alerts_evaluated_timestamp_seconds", "When this worker last looked at the rules.", **common)
        self._dead_letters = Gauge("trajops_notifications_dead_letters", "Notifications that were given up.", **common)
        attempts = "Attempts to deliver a notification: it was delivered, will be tried again, or was given up."
        self._notifications = Counter("trajops_notification_attempts", attempts, ["receiver", "outcome"], **common)
        of_version: dict[str, Any] = {"labelnames": ["model_version"], **common}
        words = "-1 too little data or no validation, 0 as validated, 1 warning, 2 degraded and confirmed."
        self._performance = Gauge("trajops_performance_verdict", words, **of_version)
        self._performance_checked = Gauge("trajops_performance_last_check_timestamp_seconds", "When it was last checked.", **common)
        self._ade_ratio = Gauge("trajops_performance_ade_ratio", "Live ADE over the one of validation.", **of_version)
        self._ade_ratio_low = Gauge("trajops_performance_ade_ratio_low", "Lower end of its interval.", **of_version)
        figure = "Live figure of the window that was checked."
        self._figure = Gauge("trajops_performance_figure", figure, ["model_version", "metric"], **common)
        self._estimated = Gauge("trajops_performance_estimated_ade_m", "ADE of the predictions without truth, metres.", **of_version)

    def scheduled(self, job: str, every_s: float, last_success_at: datetime | None = None) -> None:
        """Make the job's series exist before its first run here; its last success may have been in another worker."""
        self._every.labels(job).set(every_s)
        self._running.labels(job).set(0)
        self._paused.labels(job).set(0)
        for outcome in ("succeeded", "failed"):
            self._runs.labels(job, outcome)
        for reason in SKIPS:
            self._skips.labels(job, reason)
        for made in (self._misfires, self._catch_ups, self._delays, self._durations):
            made.labels(job)
        if last_success_at is not None:
            self._last_success.labels(job).set(last_success_at.timestamp())
        if job == "probe":
            for outcome in OUTCOMES:
                self._probes.labels(outcome)
        if job == "shadow":
            self.shadows({})
        if job == "run_tasks":
            for kind in get_args(TaskKind):
                for state in OVER:
                    self._tasks.labels(kind, state.value)

    def skipped(self, job: str, reason: Skip) -> None:
        """It was time, and this worker did not run the job."""
        self._skips.labels(job, reason).inc()

    def paused(self, job: str, *, is_paused: bool) -> None:
        """Whether the job runs by hand only."""
        self._paused.labels(job).set(is_paused)

    def missed(self, job: str, times: int) -> None:
        """Times passed at which nobody ran the job."""
        self._misfires.labels(job).inc(times)

    def due(self, job: str, delay_s: float, *, is_catch_up: bool) -> None:
        """A run began that was due for so long; whether it makes up for missed times."""
        self._delays.labels(job).observe(delay_s)
        if is_catch_up:
            self._catch_ups.labels(job).inc()

    def began(self, job: str) -> None:
        """A run begins."""
        self._running.labels(job).set(1)

    def ended(self, job: str, at_s: float, duration_s: float, *, is_success: bool) -> None:
        """A run ended."""
        self._running.labels(job).set(0)
        self._runs.labels(job, "succeeded" if is_success else "failed").inc()
        self._durations.labels(job).observe(duration_s)
        if is_success:
            self._last_success.labels(job).set(at_s)

    def probed(self, found: Probe, at_s: float) -> None:
        """A probe was sent."""
        self._probes.labels(found.outcome).inc()
        self._probed.set(at_s)
        if found.latency_s is not None:
            self._probe_seconds.observe(found.latency_s)

    def task(self, kind: TaskKind, state: str, duration_s: float) -> None:
        """A batch or training job has ended."""
        self._tasks.labels(kind, state).inc()
        self._task_seconds.labels(kind).observe(duration_s)

    def truth(self, ends: Mapping[Any, int]) -> None:
        """The truth join has ceased to wait for predictions, by (version, variant, what became of their truth)."""
        for (version, variant, truth), count in ends.items():
            self._truth.labels(version, variant, truth).inc(count)

    def shadows(self, done: Mapping[str, Any]) -> None:
        """Shadows have predicted beside answers: how many, by what became of them."""
        for result in SHADOWS:
            self._shadows.labels(result).inc(done.get(result, 0))

    def drift(self, check: DriftCheckOut) -> None:
        """A drift check was stored; what was not compared this time has no series."""
        self._verdict.set(VERDICTS[check.verdict])
        self._checked.set(check.at.timestamp())
        self._agents.set(check.current_agents)
        self._scene.clear()
        for scene in check.scenes:
            self._scene.labels(scene.scene).set(VERDICTS[scene.verdict])
        self._quality.clear()
        for finding in reversed(check.quality):  # the worst comes first
            self._quality.labels(finding.kind).set(QUALITY[finding.verdict])
        self._score.clear()
        self._threshold.clear()
        for column in check.columns:
            if column.score is not None and column.threshold is not None:
                self._score.labels(column.column).set(column.score)
                self._threshold.labels(column.column).set(column.threshold)

    def performance(self, checks: Sequence[PerformanceCheckOut]) -> None:
        """Performance was checked; a version that did not answer in the window has no series."""
        for gauge in (self._performance, self._ade_ratio, self._ade_ratio_low, self._figure, self._estimated):
            gauge.clear()
        for check in checks:
            self._performance_checked.set(check.at.timestamp())
            self._performance.labels(check.model_version).set(PERFORMANCE[check.verdict])
            values = (
                (self._ade_ratio, check.ade_ratio),
                (self._ade_ratio_low, check.ade_ratio_low),
                (self._estimated, check.estimated_ade_m),
            )
            for gauge, value in values:
                if value is not None:
                    gauge.labels(check.model_version).set(value)
            for figure in check.figures:
                if figure.mean is not None:
                    self._figure.labels(check.model_version, figure.metric).set(figure.mean)

    def alerts(self, counts: AlertCounts, at_s: float) -> None:
        """The alert rules were looked at."""
        for severity, number in counts.by_severity.items():
            self._alerts.labels(severity.value).set(number)
        self._dead_letters.set(counts.dead_letters)
        self._evaluated.set(at_s)

    def notification(self, receiver: str, outcome: str) -> None:
        """An attempt to deliver a notification ended: `delivered`, `failed` or `dead`."""
        self._notifications.labels(receiver, outcome).inc()
