"""What the workers tell Prometheus about jobs and drift."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trajops.contracts.drift import DriftCheckOut

DURATIONS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
VERDICTS: Mapping[str, int] = {"insufficient_data": -1, "stable": 0, "warning": 1, "drift": 2}
QUALITY: Mapping[str, int] = {"insufficient_data": -1, "ok": 0, "warning": 1, "bad": 2}


class WorkerMetrics:
    """Gauges and counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry}
        self._runs = Counter("trajops_job_runs", "Runs by outcome.", ["job", "outcome"], **common)
        self._durations = Histogram("trajops_job_duration_seconds", "Duration of runs.", ["job"], buckets=DURATIONS_S, **common)
        self._last_success = Gauge("trajops_job_last_success_timestamp_seconds", "When this worker last succeeded.", ["job"], **common)
        self._running = Gauge("trajops_job_running", "Runs in progress in this worker.", ["job"], **common)
        self._every = Gauge("trajops_job_interval_seconds", "How often the job is scheduled.", ["job"], **common)
        self._verdict = Gauge("trajops_drift_verdict", "-1 too little data, 0 stable, 1 warning, 2 drift.", **common)
        self._checked = Gauge("trajops_drift_last_check_timestamp_seconds", "When drift was last checked.", **common)
        truth = "Predictions that truth is waited for no longer: it is complete, partial or none, or they are unscorable."
        self._truth = Counter("trajops_truth_predictions", truth, ["model_version", "variant", "truth"], **common)
        self._agents = Gauge("trajops_drift_current_agents", "Tracks in the window that was checked.", **common)
        self._score = Gauge("trajops_drift_score", "Score of a column.", ["column"], **common)
        self._threshold = Gauge("trajops_drift_threshold", "Threshold of a column.", ["column"], **common)
        self._scene = Gauge("trajops_drift_scene_verdict", "-1 too little data, 0 stable, 1 warning, 2 drift.", ["scene"], **common)
        findings = "Worst finding of a rule on data quality: -1 too little data, 0 ok, 1 warning, 2 bad."
        self._quality = Gauge("trajops_drift_quality", findings, ["kind"], **common)

    def scheduled(self, job: str, every_s: float) -> None:
        """Make the job's series exist before its first run."""
        self._every.labels(job).set(every_s)
        self._running.labels(job).set(0)
        for outcome in ("succeeded", "failed"):
            self._runs.labels(job, outcome)

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

    def truth(self, ends: Mapping[Any, int]) -> None:
        """The truth join has ceased to wait for predictions, by (version, variant, what became of their truth)."""
        for (version, variant, truth), count in ends.items():
            self._truth.labels(version, variant, truth).inc(count)

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
