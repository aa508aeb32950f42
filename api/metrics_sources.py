"""What the parts of one API process count by themselves, and how they stand, as rows for the metrics."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.auth import Gate
from api.drain import Drain
from api.metrics_merge import Counts, alone
from api.model_host import ModelHost
from api.quota_sync import QuotaSync
from api.rate_limits import Limiter
from api.track_sync import TrackSync
from api.turn import Turn
from data.lake.backlog import backlog
from data.lake.spool import Spool
from trajops.deployments.model_ref import ModelRef
from trajops.forecasters.cached import CacheMeter
from trajops.services.predict import PredictService
from trajops.track_buffer import TrackBuffer

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts that are asked; from a thread of its own, once a second and at each scrape."""

    service: PredictService
    buffer: TrackBuffer
    host: ModelHost
    turn: Turn
    spool: Spool
    gate: Gate
    limiter: Limiter
    quota_sync: QuotaSync | None
    drain: Drain
    track_sync: TrackSync | None
    cache_meters: Mapping[ModelRef, CacheMeter]
    unsent_spans: Callable[[], int]

    def counts(self) -> Counts:
        """What only ever grows."""
        loads, gate, refused = self.host.loads, self.gate, self.limiter.refused
        tracks = self.track_sync
        caches = [((ref.name, str(ref.version)), meter) for ref, meter in list(self.cache_meters.items()) if meter.hits + meter.misses]
        tables = [((table,), meter) for table, meter in self.spool.meters.items()]
        return {
            "trajops_model_failures": {(ref.name, str(ref.version)): [count] for ref, count in self.service.failures.copy().items()},
            "trajops_prediction_errors": {
                (ref.name, str(ref.version), variant): [count] for (ref, variant), count in self.service.replaced.copy().items()
            },
            "trajops_spool_written_bytes": {key: [meter.written_bytes] for key, meter in tables},
            "trajops_spool_write_seconds": {key: meter.seconds.numbers() for key, meter in tables},
            "trajops_spool_failed_writes": {key: [meter.failures] for key, meter in tables},
            "trajops_spool_sync_seconds": {(): self.spool.sync_seconds.numbers()},
            "trajops_spool_failed_syncs": alone(self.spool.sync_failures),
            "trajops_model_loads": {(r.name, str(r.version), outcome): [n] for (r, outcome), n in loads.ended.copy().items()},
            "trajops_model_load_seconds": {(): loads.seconds.numbers()},
            "trajops_model_evictions": alone(self.host.evictions),
            "trajops_credential_lookups": {("hit",): [gate.hits], ("miss",): [gate.misses]},
            "trajops_rate_limited_requests": alone(refused.requests),
            "trajops_rate_limited_predictions": alone(refused.predictions),
            "trajops_track_evictions": alone(self.buffer.evictions),
            "trajops_process_cpu_seconds": alone(time.process_time()),
            "trajops_forecast_cache_hits": {key: [meter.hits] for key, meter in caches},
            "trajops_forecast_cache_misses": {key: [meter.misses] for key, meter in caches},
            "trajops_shared_tracks_dropped": alone(0 if tracks is None else tracks.dropped),
            "trajops_shared_tracks_alone": alone(0 if tracks is None else tracks.alone),
            "trajops_unsent_spans": alone(self.unsent_spans()),
        }

    def gauges(self) -> Counts:
        """How things stand in this process."""
        ready = self.host.readiness()
        gauges = {
            "trajops_waiting_predictions": self.turn.waiting,
            "trajops_epoch": self.host.epoch,
            "trajops_newest_epoch": self.host.newest_epoch,
            "trajops_warm_models": len(self.host.warm),
            "trajops_warm_model_bytes": self.host.warm_bytes,
            "trajops_remembered_credentials": len(self.gate),
            "trajops_limited_clients": len(self.limiter.buckets),
            "trajops_buffered_agents": len(self.buffer),
            "trajops_ready_processes": ready.status == "ready" and not self.drain.is_draining,
            "trajops_draining_processes": self.drain.is_draining,
            "trajops_stand_in_processes": ready.stand_in is not None,
            "trajops_process_resident_memory_bytes": _resident_bytes(),
        }
        if self.quota_sync is not None:
            gauges["trajops_shared_quota_up"] = self.quota_sync.is_up
        if self.track_sync is not None:
            gauges["trajops_shared_tracks_up"] = self.track_sync.is_up
        return {name: alone(float(value)) for name, value in gauges.items()}

    def common_gauges(self) -> Counts:
        """How things stand for all processes; read at a scrape only, because a folder is looked through."""
        left = backlog(self.spool.folder)
        return {
            "trajops_spool_pending_bytes": alone(left.size_bytes),
            "trajops_spool_pending_segments": alone(left.segments),
            "trajops_spool_oldest_seconds": alone(left.oldest_s),
        }


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * PAGE_BYTES
