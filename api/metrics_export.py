"""Every metric of the API: what it means, how it adds up over processes, and how Prometheus reads it.

`docs/metrics.md` is generated from the table here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.metrics import BATCH_SIZES, Meters
from api.metrics_merge import Combine, Counts, Snapshot, added, alone, combined
from api.metrics_slots import MetricsSlot
from api.metrics_sources import Sources
from api.model_loads import LOADS_S
from trajops.histogram import LATENCIES_S

MODEL = ("model", "version")
ARM = ("model", "version", "variant")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: without what Prometheus appends to it.
        meaning: one sentence or two.
        labels: names of its labels.
        kind: what Prometheus calls its type.
        combine: of a gauge, over processes; None: it is the same for all, and read by the one that is asked.
        bounds: of a histogram.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    kind: Literal["counter", "gauge", "histogram"] = "counter"
    combine: Combine | None = None
    bounds: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """What its numbers are kept under: those of a release with other labels or bounds are not mixed with these."""
        return f"{self.name}({','.join(self.labels)})" + (f"<{','.join(map(str, self.bounds))}" if self.bounds else "")

    @property
    def shown(self) -> str:
        """Its name as Prometheus shows it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _gauge(name: str, combine: Combine | None, meaning: str) -> Family:
    return Family(name, meaning, kind="gauge", combine=combine)


def _histogram(name: str, meaning: str, labels: tuple[str, ...] = (), bounds: tuple[float, ...] = LATENCIES_S) -> Family:
    return Family(name, meaning, labels, "histogram", bounds=bounds)


FAMILIES = (
    Family("trajops_requests", "Answered requests; status 0: the client had gone.", ("route", "status")),
    _histogram("trajops_request_seconds", "From the head of a request to its answer.", ("route",)),
    Family("trajops_unexpected_errors", "Requests to `/v1` and health routes that failed for a reason nobody foresaw."),
    Family("trajops_predictions", "Answered predictions. Model `baseline`: the variant's own model failed, or it stands in.", ARM),
    _histogram("trajops_prediction_seconds", "From a decoded query to its prediction, before it is recorded.", ARM),
    Family("trajops_prediction_errors", "Predictions that this model failed to give; the baseline answered under the same variant.", ARM),
    Family("trajops_model_failures", "How often a model failed and the baseline answered; a turn that fails as a whole is one.", MODEL),
    Family("trajops_bulk_predictions", "Answered trajectories that named no agent.", ("model", "version", "door")),
    Family("trajops_observations", "Positions stored."),
    Family("trajops_overloads", "Predictions refused because they would have waited too long."),
    _gauge("trajops_waiting_predictions", "sum", "Predictions that wait for their turn."),
    _histogram("trajops_turn_predictions", "Predictions forecast and recorded together.", bounds=BATCH_SIZES),
    Family("trajops_spool_errors", "Answers withheld because they could not be recorded."),
    Family("trajops_spool_written_bytes", "Bytes written to the spool.", ("table",)),
    _histogram("trajops_spool_write_seconds", "One write to the spool; answers wait for it.", ("table",)),
    Family("trajops_spool_failed_writes", "Writes to the spool that failed.", ("table",)),
    _histogram("trajops_spool_sync_seconds", "Forcing a segment to the device; no answer waits for it."),
    Family("trajops_spool_failed_syncs", "Segments that could not be forced to the device."),
    _gauge("trajops_spool_pending_bytes", None, "Bytes in the spool: not in the lake yet, or for less than about a minute."),
    _gauge("trajops_spool_pending_segments", None, "Segments in the spool, open ones included."),
    _gauge("trajops_spool_oldest_seconds", None, "Since the oldest closed segment was written; beyond some minutes nothing is compacted."),
    _gauge("trajops_epoch", "min", "Routing epoch that answers, in the process that is furthest behind."),
    _gauge("trajops_newest_epoch", "max", "Newest routing epoch that any process knows, whether it answers already or not."),
    _gauge("trajops_warm_models", "min", "Model versions kept warm, in the process with the fewest."),
    _gauge("trajops_warm_model_bytes", "max", "Artefacts of the versions kept warm, in the process with the most."),
    Family("trajops_model_loads", "Loads of model versions that ended; outcome `warm` or `failed`.", (*MODEL, "outcome")),
    _histogram("trajops_model_load_seconds", "One load of a model version that became warm.", bounds=LOADS_S),
    Family("trajops_forecast_cache_hits", "Forecasts that a version remembered; it has a cache where that pays.", MODEL),
    Family("trajops_forecast_cache_misses", "Forecasts that a version with a cache did not remember.", MODEL),
    Family("trajops_model_evictions", "Model versions unloaded because others needed their place, or nobody asked for them."),
    Family("trajops_credential_lookups", "Credentials that were looked up; outcome `hit`: it was remembered.", ("outcome",)),
    _gauge("trajops_remembered_credentials", "max", "Credentials remembered, in the process with the most."),
    Family("trajops_rate_limited_requests", "Requests refused because their client had used up its limit."),
    Family("trajops_rate_limited_predictions", "Predictions and posts of observations that those requests asked for."),
    _gauge("trajops_limited_clients", "max", "Clients with a token bucket, in the process with the most."),
    _gauge("trajops_shared_quota_up", "min", "Whether quotas are shared by all processes; only where they are meant to be."),
    _gauge("trajops_buffered_agents", "sum", "Agents in the track buffers; one that several processes know counts in each."),
    _gauge("trajops_shared_tracks_up", "min", "Whether tracks are shared by all processes; only where they are meant to be."),
    Family("trajops_shared_tracks_dropped", "Positions that the other processes never heard of."),
    Family("trajops_shared_tracks_alone", "Agents asked for by id and answered from what the process knew itself."),
    Family("trajops_track_evictions", "Agents dropped from a full track buffer before their time."),
    _gauge("trajops_api_processes", "sum", "Processes that serve."),
    _gauge("trajops_ready_processes", "sum", "Processes that can answer and are not about to end."),
    _gauge("trajops_draining_processes", "sum", "Processes that are about to end, and say so."),
    _gauge("trajops_stand_in_processes", "sum", "Processes in which somebody stands in for a version that cannot be loaded."),
    Family("trajops_process_starts", "Processes that began to serve."),
    Family("trajops_process_cpu_seconds", "Processor time of the processes, user and system."),
    _gauge("trajops_process_resident_memory_bytes", "sum", "Resident memory; what processes share counts in each."),
    Family("trajops_unsent_spans", "Spans that the collector has not taken, and that were dropped."),
    Family("trajops_metrics_failed_snapshots", "Snapshots of the metrics that could not be written; sums lag behind meanwhile."),
)
BY_NAME = {family.name: family for family in FAMILIES}
_COMBINE: dict[str, Combine] = {family.key: family.combine for family in FAMILIES if family.combine is not None}


class Exposition:
    """The metrics of all processes, for whoever asks one of them.

    Args:
        folder: where the processes of this machine leave their numbers.
        meters: what this one counts.
        sources: what its parts count, and how they stand.
    """

    def __init__(self, folder: Path, meters: Meters, sources: Sources) -> None:
        self._meters, self._sources = meters, sources
        self._slot = MetricsSlot(folder, self._read)

    def open(self) -> None:
        """Begin to tell the others."""
        self._slot.open()

    def close(self) -> None:
        """Leave the last numbers to the others."""
        self._slot.close()

    def processes(self) -> Sequence[Mapping[str, float]]:
        """How things stand in each process by name of the gauge, the own one first; only gauges without labels."""
        names = {family.key: family.name for family in FAMILIES if family.kind == "gauge" and not family.labels}
        found = []
        for one in self._slot.everybody():
            gauges = {names[key]: number for key, rows in one.gauges.items() if key in names for [number] in rows.values()}
            if gauges:
                found.append(gauges)
        return found

    def text(self) -> bytes:
        """Everything in the Prometheus text format; blocks for some milliseconds."""
        everybody = self._slot.everybody()
        counts = added(one.counts for one in everybody)
        gauges = combined([one.gauges for one in everybody], _COMBINE)
        return generate_latest(_Families(counts | gauges | _keyed(self._sources.common_gauges())))

    def _read(self) -> Snapshot:
        own = {"trajops_process_starts": alone(1), "trajops_metrics_failed_snapshots": alone(self._slot.failures)}
        counts = _keyed(added([self._meters.counts(), self._sources.counts(), own]))
        return Snapshot(counts, _keyed(self._sources.gauges() | {"trajops_api_processes": alone(1)}))


class _Families(Collector):
    """Numbers as prometheus-client takes them."""

    def __init__(self, numbers: Counts) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        for family in FAMILIES:
            yield _FORMS[family.kind](family, self._numbers)


def _counter(family: Family, numbers: Counts) -> Metric:
    metric = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, [count] in numbers.get(family.key, {}).items():
        metric.add_metric(labels, count)
    return metric


def _gauge_metric(family: Family, numbers: Counts) -> Metric:
    metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, [value] in numbers.get(family.key, {}).items():
        metric.add_metric(labels, value)
    return metric


def _histogram_metric(family: Family, numbers: Counts) -> Metric:
    metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    ends = [*map(str, family.bounds), "+Inf"]
    for labels, [*counts, total] in numbers.get(family.key, {}).items():
        metric.add_metric(labels, list(zip(ends, accumulate(counts), strict=True)), total)
    return metric


_FORMS: dict[str, Callable[[Family, Counts], Metric]] = {
    "counter": _counter,
    "gauge": _gauge_metric,
    "histogram": _histogram_metric,
}


def _keyed(named: Counts) -> Counts:
    return {BY_NAME[name].key: rows for name, rows in named.items()}
