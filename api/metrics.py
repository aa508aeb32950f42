"""What one API process counts, in plain lists and dictionaries: a request costs additions, not a label look-up.

`api.metrics_export` says what each number means, and shows those of all processes; nothing here knows Prometheus.
"""

from bisect import bisect_left

from api.metrics_merge import Counts, alone
from trajops.deployments.model_ref import ModelRef
from trajops.histogram import LATENCIES_S, Histogram
from trajops.telemetry import PredictionEvent

BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)


class RouteMeter:
    """Requests and latencies of one route."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCIES_S) + 1)
        self.total_s = 0.0

    def observe(self, status: int, elapsed_s: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(LATENCIES_S, elapsed_s)] += 1
        self.total_s += elapsed_s


class ModelMeter(Histogram):
    """Answers that one model version gave under one variant, and the seconds each took. Safe to use from several threads."""

    __slots__ = ()


class Meters:
    """All counters of one API process.

    Attributes:
        bulk: trajectories that named no agent, by (model name, version, door).
        batches: predictions forecast at once, one value a turn of the event loop.
        observations: positions stored.
        overloads: predictions refused because they would have waited too long.
        spool_errors: answers withheld because they could not be recorded.
        unexpected: requests that failed for a reason nobody foresaw.
    """

    def __init__(self) -> None:
        self.bulk: dict[tuple[str, int, str], int] = {}
        self.batches = Histogram(BATCH_SIZES)
        self.observations = 0
        self.overloads = 0
        self.spool_errors = 0
        self.unexpected = 0
        self._routes: dict[str, RouteMeter] = {}
        self._models: dict[tuple[str, int, str], ModelMeter] = {}

    @property
    def predictions(self) -> dict[tuple[str, int, str], int]:
        """Answers by (model name, version, variant)."""
        return {key: meter.count for key, meter in list(self._models.items())}

    def model(self, name: str, version: int, variant: str) -> ModelMeter:
        """The meter of one model version under one variant; it stays the same, so that it may be kept."""
        key = (name, version, variant)
        meter = self._models.get(key)
        # Two threads that come first together must not each count on a meter of its own.
        return meter if meter is not None else self._models.setdefault(key, ModelMeter())

    def count_prediction(self, event: PredictionEvent) -> None:
        """Count one answer."""
        self.model(event.model_name, event.model_version, event.variant).observe(event.latency_ms / 1e3)

    def count_bulk(self, model: ModelRef, trajectories: int, door: str) -> None:
        """Count answered trajectories that named no agent."""
        if trajectories:
            key = (*model, door)
            self.bulk[key] = self.bulk.get(key, 0) + trajectories

    def route(self, path: str) -> RouteMeter:
        """The meter of one route, by its template."""
        meter = self._routes.get(path)
        if meter is None:
            meter = self._routes[path] = RouteMeter()
        return meter

    def counts(self) -> Counts:
        """Everything, by name of its family. Safe to call from another thread than the one that counts."""
        routes, models = list(self._routes.items()), list(self._models.items())
        return {
            "trajops_requests": {(path, str(status)): [count] for path, meter in routes for status, count in list(meter.statuses.items())},
            "trajops_request_seconds": {(path,): [*meter.buckets, meter.total_s] for path, meter in routes},
            "trajops_predictions": {(name, str(version), variant): [meter.count] for (name, version, variant), meter in models},
            "trajops_prediction_seconds": {(name, str(version), variant): meter.numbers() for (name, version, variant), meter in models},
            # Each arm has this one from its first answer on, so that a share of it can be told before anything fails.
            "trajops_prediction_errors": {(name, str(version), variant): [0] for (name, version, variant), _ in models},
            "trajops_bulk_predictions": {(name, str(version), door): [count] for (name, version, door), count in list(self.bulk.items())},
            "trajops_turn_predictions": {(): self.batches.numbers()},
            "trajops_observations": alone(self.observations),
            "trajops_overloads": alone(self.overloads),
            "trajops_spool_errors": alone(self.spool_errors),
            "trajops_unexpected_errors": alone(self.unexpected),
        }
