"""What the stub API says of itself: status, availability, health."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.drift import StubDrift
from console_stub.jobs import StubJobs
from console_stub.performance import StubPerformance
from console_stub.releases import StubReleases
from trajops.contracts.availability import AvailabilityOut, AvailabilityPoint, BurnAlarmOut, BurnOut
from trajops.contracts.status import ProcessOut, Readiness, ServiceOut, StatusOut, TrafficPoint


class StubServices:
    """A product that serves well, with a job that is late."""

    def __init__(self, releases: StubReleases, performance: StubPerformance, drift: StubDrift, jobs: StubJobs, *, is_empty: bool) -> None:
        self.releases = releases
        self.performance = performance
        self.drift = drift
        self.jobs = jobs
        self.is_empty = is_empty

    def availability(self, hours: str = "24", **_: Any) -> AvailabilityOut:
        now = datetime.now(UTC)
        bucket_s = 60 * max(1, int(hours) * 60 // 120)
        shares = [None if 40 <= i < 46 else 0.4 if i in {70, 71} else 1.0 for i in range(120)]
        series = [
            AvailabilityPoint(
                at=now - timedelta(seconds=bucket_s * (120 - i)),
                availability=share,
                known_share=0.0 if share is None else 1.0,
                slowest_ms=None if share is None else 9 + 3 * math.sin(i / 7),
            )
            for i, share in enumerate(shares)
        ]
        empty = self.is_empty
        return AvailabilityOut(
            at=now,
            verdict="unknown" if empty else "ok",
            sentence="Nobody has probed yet." if empty else "99.960 % of the probed minutes were good; 66 % of the error budget is left.",
            target=0.999,
            window_days=30,
            availability=None if empty else 0.9996,
            budget_left=None if empty else 0.66,
            allowed_min=43.1,
            bad_min=0.0 if empty else 14.4,
            known_min=0 if empty else 41_000,
            unknown_min=0 if empty else 72,
            burns=[
                BurnOut(window_s=length, rate=None if empty else 0.1 * i, certain_rate=0.1 * i, known_share=1.0)
                for i, length in enumerate((300, 1800, 3600, 21600, 259200, 2592000))
            ],
            alarms=[
                BurnAlarmOut(severity="critical", factor=14.4, long_s=3600, short_s=300, is_burning=False),
                BurnAlarmOut(severity="critical", factor=6, long_s=21600, short_s=1800, is_burning=False),
                BurnAlarmOut(severity="warning", factor=1, long_s=259200, short_s=21600, is_burning=False),
            ],
            last_probe_at=None if empty else now - timedelta(seconds=3),
            last_failure_at=None if empty else now - timedelta(hours=9),
            last_failure=None if empty else "http://127.0.0.1:8000/predict does not answer (ConnectError)",
            hours=int(hours),
            bucket_s=bucket_s,
            series=[] if empty else series,
        )

    def status(self, **_: Any) -> StatusOut:
        now = datetime.now(UTC)
        return StatusOut(
            at=now,
            verdict="unknown" if self.is_empty else "warn",
            sentence="Nothing is deployed yet." if self.is_empty else "Serving well; the last drift check failed and one job is late.",
            environment="demo",
            route=self.releases.current,
            services=[]
            if self.is_empty
            else [
                ServiceOut(service="api", health="ok", detail="1 process, p95 3.9 ms, 0 errors in 5 min"),
                ServiceOut(service="workers", health="warn", detail="1 of 4 jobs failed, 1 late"),
                ServiceOut(service="mlflow", health="ok", detail="answers in 12 ms"),
                ServiceOut(service="lake", health="bad", detail="last compaction 5 min ago"),
                ServiceOut(service="replay", health="unknown", detail="has not reported"),
            ],
            processes=[]
            if self.is_empty
            else [
                ProcessOut(epoch=self.releases.current.epoch, newest_epoch=self.releases.current.epoch, is_ready=True, has_stand_in=False)
            ]
            * 2,
            traffic=[]
            if self.is_empty
            else [
                TrafficPoint(
                    at=now - timedelta(minutes=60 - i),
                    predictions=int(780 + 120 * math.sin(i / 6)),
                    latency_p50_ms=1.4 + 0.2 * math.sin(i / 4),
                    latency_p95_ms=3.9 + 0.8 * math.sin(i / 5),
                )
                for i in range(60)
            ],
            performance=self.performance.rows(),
            changes=self.releases.audit[:10],
            jobs=self.jobs.jobs().jobs,
            drift_verdict=None if self.is_empty else self.drift.verdict,
        )

    def ready(self) -> Readiness:
        epoch = self.releases.current.epoch
        return Readiness(status="ready", epoch=epoch, warm=["trajectory/2"], missing=[], detail="all routed models are warm")
