"""What the workers tell Prometheus about jobs, drift and performance."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trajops.contracts.drift import DriftCheckOut
from trajops.contracts.performance import PerformanceCheckOut

DURATIONS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
VERDICTS: Mapping[str, int] = {"insufficient_data": -1, "stable": 0, "warning": 1, "drift": 2}

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
        self._every = Gauge("trajops_job_interval_seconds", "How often the job is scheduled.", ["job"], **common)
        self._verdict = Gauge("trajops_drift_verdict", "-1 too little data, 0 stable, 1 warning, 2 drift.", **common)
        self._checked = Gauge("trajops_drift_last_check_timestamp_seconds", "When drift was last checked.", **common)
        truth = "Predictions that truth is waited for no longer: it is complete, partial or none, or they are unscorable."
        self._truth = Counter("trajops_truth_predictions", truth, ["model_version", "variant", "truth"], **common)
        self._agents = Gauge("trajops_drift_current_agents", "Tracks in the window that was checked.", **common)
        self._score = Gauge("trajops_drift_score", "Score of a column.", ["column"], **common)
        self._threshold = Gauge("trajops_drift_threshold", "Threshold of a column.", ["column"], **common)
        of_version: dict[str, Any] = {"labelnames": ["model_version"], **common}
        words = "-1 too little data or no validation, 0 as validated, 1 warning, 2 degraded and confirmed."
        self._performance = Gauge("trajops_performance_verdict", words, **of_version)
        self._performance_checked = Gauge("trajops_performance_last_check_timestamp_seconds", "When it was last checked.", **common)
        self._ade_ratio = Gauge("trajops_performance_ade_ratio", "Live ADE over the one of validation.", **of_version)
        self._ade_ratio_low = Gauge("trajops_performance_ade_ratio_low", "Lower end of its interval.", **of_version)
        figure = "Live figure of the window that was checked."
        self._figure = Gauge("trajops_performance_figure", figure, ["model_version", "metric"], **common)
        self._estimated = Gauge("trajops_performance_estimated_ade_m", "ADE of the predictions without truth, metres.", **of_version)

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
        """A drift check was stored; columns that were not compared this time have no series."""
        self._verdict.set(VERDICTS[check.verdict])
        self._checked.set(check.at.timestamp())
        self._agents.set(check.current_agents)
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
