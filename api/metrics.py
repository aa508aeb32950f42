"""Counters in plain lists and dictionaries, exported by one collector: a request costs an addition, not a label look-up."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from trajops.deployments.routing import ModelRef
from trajops.telemetry import PredictionEvent

# Seconds; fine where an answer is usually given, coarse where something is wrong.
BOUNDS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

Gauge = Callable[[], float]
ModelCounts = Callable[[], Mapping[ModelRef, int]]


class RouteMeter:
    """Requests and latencies of one route."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, status: int, elapsed_s: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BOUNDS_S, elapsed_s)] += 1
        self.total_s += elapsed_s


class Meters:
    """All counters of one API process.

    Attributes:
        predictions: answers by (model name, version, variant).
        bulk: trajectories that named no agent, by (model name, version, door).
        observations: positions stored.
        overloads: predictions refused because they would have waited too long.
        spool_errors: answers withheld because they could not be recorded.
        unexpected: requests that failed for a reason nobody foresaw.
    """

    def __init__(self) -> None:
        self.predictions: dict[tuple[str, int, str], int] = {}
        self.bulk: dict[tuple[str, int, str], int] = {}
        self.observations = 0
        self.overloads = 0
        self.spool_errors = 0
        self.unexpected = 0
        self._routes: dict[str, RouteMeter] = {}
        self._gauges: list[tuple[str, str, Gauge]] = []
        self._model_counts: list[tuple[str, str, ModelCounts]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_prediction(self, event: PredictionEvent) -> None:
        """Count one answer."""
        key = (event.model_name, event.model_version, event.variant)
        self.predictions[key] = self.predictions.get(key, 0) + 1

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

    def gauge(self, name: str, description: str, read: Gauge) -> None:
        """Export a number that is read when it is scraped."""
        self._gauges.append((name, description, read))

    def count_by_model(self, name: str, description: str, read: ModelCounts) -> None:
        """Export counts by (model name, version) that are read when they are scraped."""
        self._model_counts.append((name, description, read))

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is exported depends on what has happened."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """What prometheus-client asks for at a scrape."""
        requests = CounterMetricFamily("trajops_requests", "Answered requests.", labels=("route", "status"))
        latency = HistogramMetricFamily("trajops_request_seconds", "Time from the request's head to its answer.", labels=("route",))
        for path, meter in list(self._routes.items()):
            for status, count in list(meter.statuses.items()):
                requests.add_metric((path, str(status)), count)
            bounds = [*map(str, BOUNDS_S), "+Inf"]
            latency.add_metric((path,), list(zip(bounds, accumulate(meter.buckets), strict=True)), meter.total_s)
        yield requests
        yield latency
        predictions = CounterMetricFamily("trajops_predictions", "Answered predictions.", labels=("model", "version", "variant"))
        for (name, version, variant), count in list(self.predictions.items()):
            predictions.add_metric((name, str(version), variant), count)
        yield predictions
        bulk = CounterMetricFamily(
            "trajops_bulk_predictions", "Answered trajectories that named no agent.", labels=("model", "version", "door")
        )
        for (name, version, door), count in list(self.bulk.items()):
            bulk.add_metric((name, str(version), door), count)
        yield bulk
        yield CounterMetricFamily("trajops_observations", "Positions stored.", self.observations)
        yield CounterMetricFamily("trajops_overloads", "Predictions refused because they would have waited too long.", self.overloads)
        yield CounterMetricFamily("trajops_spool_errors", "Answers withheld because they could not be recorded.", self.spool_errors)
        yield CounterMetricFamily("trajops_unexpected_errors", "Requests that failed for a reason nobody foresaw.", self.unexpected)
        for name, description, read_counts in self._model_counts:
            family = CounterMetricFamily(name, description, labels=("model", "version"))
            for (model, version), count in list(read_counts().items()):
                family.add_metric((model, str(version)), count)
            yield family
        for name, description, read in self._gauges:
            yield GaugeMetricFamily(name, description, read())
