"""A small API that answers with contract models, so that the console can be tried without the real one."""

import json
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from console_alerts_stub import Refused, StubAlerts
from pydantic import BaseModel

from trajops.contracts.alerts import NotificationOut, SilenceOut
from trajops.contracts.answers import AnswerOut
from trajops.contracts.audit import AuditOut, AuditPage
from trajops.contracts.availability import AvailabilityOut, AvailabilityPoint, BurnAlarmOut, BurnOut
from trajops.contracts.calibrations import CalibrationChangeOut, CalibrationOut, CalibrationsOut
from trajops.contracts.deployments import ChangeOut, DeploymentOut, DeploymentsOut, ModelRefOut, RouteHistoryOut, RouteOut
from trajops.contracts.drift import (
    DOMAIN_COLUMN,
    DOMAIN_METHOD,
    DriftCheckOut,
    DriftColumn,
    DriftOut,
    DriftReportOut,
    DriftScene,
    DriftScore,
    QualityFinding,
    of_scene,
)
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, JobsOut
from trajops.contracts.models import AdoptionOut, ModelsOut, ModelVersionOut
from trajops.contracts.performance import (
    EstimateOut,
    EstimatePoint,
    FigureOut,
    PerformanceCheckOut,
    PerformanceChecksOut,
    PerformanceOut,
    PerformancePoint,
    PerformanceRow,
    SliceOut,
    SlicesOut,
    VersionEstimateOut,
)
from trajops.contracts.predictions import AgentOut, AgentsOut, Mode, OutcomeOut, PredictionOut, PredictOut, RecentPredictions
from trajops.contracts.session import Me, TokenOut
from trajops.contracts.status import Liveness, ProcessOut, Readiness, ServiceOut, StatusOut, TrafficPoint

DT = 0.4
MATCH = {"data_fingerprint": "sha256:9f1c"}
TRACKS = {
    **{v: {**MATCH, "dataset": "match first half"} for v in (1, 2, 3)},
    4: MATCH,  # adopted
    5: {"data_fingerprint": "sha256:77aa", "dataset": "my_tracks.csv"},
}
USERS = {"ada": ("operator", "correct horse"), "vera": ("viewer", "battery staple")}


def ref(version: int | None) -> ModelRefOut | None:
    return None if version is None else ModelRefOut(model_name="trajectory", model_version=version)


class StubApi:
    """State of a plausible product; set `is_empty` for one that has just been installed, `delay_s` for one that answers late."""

    def __init__(self, *, is_empty: bool = False) -> None:
        self.is_empty = is_empty
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        self.reads: list[tuple[str, str, dict[str, str]]] = []
        self.conflict_next = False
        self.delay_s = 0.0
        self.ended: set[str] = set()
        self.adoptions: list[AdoptionOut] = []
        self.drift_verdict = "drift"
        self.performance_verdict = "degraded"
        self.paused: set[str] = set()
        self.started = datetime.now(UTC)
        self.alerts = StubAlerts(self.started, is_empty=is_empty)
        self.history: list[RouteOut] = []
        self.calibrated: list[CalibrationOut] = [] if is_empty else [self.calibration(2, 2, "applied"), self.calibration(3, 3, "proposed")]
        self.states: dict[int, str] = {} if is_empty else {1: "retired", 2: "live", 3: "canary", 4: "staged", 5: "registered"}
        self.versions: dict[int, int] = dict.fromkeys(self.states, 3)
        self.audit: list[AuditOut] = []
        if not is_empty:
            for epoch, minutes, champion, challenger, previous, coverage, reason in (
                (1, 170, 1, None, None, 0.0, "first model of the demo"),
                (2, 95, 2, None, 1, 0.0, "better FDE on the held-out half"),
                (3, 40, 2, 3, 1, 0.2, "compare the boosted family on a fifth of the agents"),
            ):
                self.route(champion, challenger, previous, coverage, reason, at=self.started - timedelta(minutes=minutes), epoch=epoch)

    def route(self, champion, challenger, previous, coverage, reason, *, at=None, epoch=None, actor="ada") -> None:
        self.history.insert(
            0,
            RouteOut(
                epoch=epoch or self.current.epoch + 1,
                champion=ref(champion),
                challenger=ref(challenger),
                previous=ref(previous),
                coverage=coverage,
                changed_at=at or datetime.now(UTC),
                actor=actor,
                reason=reason,
            ),
        )
        self.audit.insert(
            0,
            AuditOut(
                audit_id=f"aud-{len(self.audit) + 1:04d}",
                at=at or datetime.now(UTC),
                actor=actor,
                action="deployment.promote" if challenger is None else "deployment.canary",
                subject=f"trajectory/{challenger or champion}",
                reason=reason,
                before={},
                after={},
            ),
        )

    @property
    def current(self) -> RouteOut:
        if self.history:
            return self.history[0]
        return RouteOut(epoch=1, champion=None, challenger=None, previous=None, coverage=0.0, changed_at=None, actor=None, reason=None)

    # What it answers

    def models(self, **_: Any) -> ModelsOut:
        families = {1: "constant_velocity", 2: "kalman", 3: "gaussian_mlp", 4: "gradient_boosting", 5: "gaussian_mlp"}
        return ModelsOut(
            model_name="trajectory",
            adoptions=self.adoptions,
            versions=[
                ModelVersionOut(
                    model_name="trajectory",
                    model_version=v,
                    family=families[v],
                    run_id=f"run{v}",
                    run_url=f"http://127.0.0.1:5000/#/experiments/1/runs/run{v}",
                    created_at=self.started - timedelta(hours=5 - v / 2),
                    aliases=["champion"] if self.current.champion and self.current.champion.model_version == v else [],
                    metrics={
                        "val_ade_m": 0.62 - 0.045 * v,
                        "val_fde_m": 1.31 - 0.09 * v,
                        "val_miss_rate": 0.19 - 0.02 * v,
                        "val_nll": 2.4 - 0.2 * v,
                        "val_coverage_90": 0.86 + 0.012 * v,
                        "val_latency_ms": 0.08 + 0.06 * v,
                    },
                    params={**TRACKS[v], "git_commit": "f67ad56d0c"},
                    deployment_id=None if s == "registered" else f"dep-{v}",
                    state=s,
                    version=None if s == "registered" else self.versions[v],
                    is_warm=s in {"live", "canary", "staged"},
                )
                for v, s in sorted(self.states.items(), reverse=True)
            ],
        )

    def rows(self) -> list[PerformanceRow]:
        if self.is_empty:
            return []

        def row(version, variant, n, ade, cov):
            return PerformanceRow(
                model_version=version,
                variant=variant,
                predictions=n,
                scored=int(n * 0.96),
                complete=int(n * 0.9),
                agents=n // 40,
                join_rate=0.981,
                ade_m=ade,
                fde_m=ade * 2.1,
                miss_rate=ade / 4.2,
                nll=1.9 + ade,
                coverage=cov,
                cv_ade_m=0.61,
                latency_p50_ms=1.4,
                latency_p95_ms=3.9,
            )

        return [row(2, "champion", 48211, 0.534, 0.884), row(2, "control", 6120, 0.531, 0.886), row(3, "treatment", 6044, 0.487, 0.897)]

    def performance(self, since: str | None = None, until: str | None = None, **_: Any) -> PerformanceOut:
        end = datetime.fromisoformat(until) if until else datetime.now(UTC)
        begin = datetime.fromisoformat(since) if since else end - timedelta(hours=1)
        series = (
            []
            if self.is_empty
            else [
                PerformancePoint(
                    at=begin + (end - begin) * i / 60,
                    model_version=v,
                    predictions=800,
                    scored=780,
                    ade_m=base + 0.05 * math.sin(i / 5 + v),
                    fde_m=2 * base + 0.1 * math.sin(i / 5 + v),
                    coverage=0.89 + 0.02 * math.sin(i / 7 + v),
                )
                for i in range(61)
                for v, base in ((2, 0.53), (3, 0.48))
                if v == 2 or i > 20
            ]
        )
        steps = {} if self.is_empty else {"2": [0.07 * (k + 1) for k in range(12)], "3": [0.063 * (k + 1) for k in range(12)]}
        return PerformanceOut(
            since=begin,
            until=end,
            nominal_coverage=0.9,
            rows=self.rows(),
            series=series,
            step_error_m=steps,
            last_outcome_at=None if self.is_empty else end,
        )

    def figures(self, version: int, scale: float, verdict: str) -> list[FigureOut]:
        def figure(metric, mean, margin, validation, judged):
            return FigureOut(
                metric=metric,
                mean=mean,
                low=mean - margin,
                high=mean + margin,
                validation=validation,
                champion_validation=validation,
                verdict=judged,
            )

        return [
            figure("ade_m", 0.53 * scale, 0.04, 0.41, verdict),
            figure("fde_m", 1.12 * scale, 0.09, 0.95, "as_validated"),
            figure("miss_rate", min(0.9, 0.12 * scale), 0.02, 0.11, "as_validated"),
            figure("nll", 1.9 + scale / 5, 0.2, 2.0, "as_validated"),
            figure("coverage", 0.9 if version == 3 else 0.865, 0.012, 0.9, "as_validated"),
            figure("radius_m", 1.1 * scale, 0.05, None, None),
        ]

    def slices(self, by: str = "model_version", since: str | None = None, until: str | None = None, **_: Any) -> SlicesOut:
        end = datetime.fromisoformat(until) if until else datetime.now(UTC)
        values = {
            "model_version": ["v{v}"],
            "variant": ["champion"],
            "scene": ["second_half", "training_ground"],
            "speed_band": ["standing", "walking", "running"],
            "step": [str(step) for step in range(1, 13)],
            "calibration": ["0", "{v}"],
        }[by]
        found = (
            []
            if self.is_empty
            else [
                SliceOut(
                    value=value.format(v=version),
                    model_version=version,
                    predictions=4120 // (place + 1),
                    agents=143 // (place + 1),
                    verdict=self.performance_verdict if version == 2 else "as_validated",
                    figures=self.figures(version, (place + 1) / 4 if by == "step" else 1 + place / 3, self.performance_verdict),
                )
                for version in (2, 3)
                for place, value in enumerate(values)
            ]
        )
        return SlicesOut(
            by=by,
            since=end - timedelta(hours=1),
            until=end,
            nominal_coverage=0.9,
            confidence=0.95,
            champion=None if self.is_empty else 2,
            sentence="Live traffic has no prediction with truth for the whole horizon in this range."
            if self.is_empty
            else "Champion v2 is not as validated: ADE 0.53 m (0.49 m to 0.57 m), 0.41 m at validation.",
            slices=found,
        )

    def estimate(self, since: str | None = None, until: str | None = None, **_: Any) -> EstimateOut:
        end = datetime.fromisoformat(until) if until else datetime.now(UTC)
        begin = datetime.fromisoformat(since) if since else end - timedelta(hours=1)

        def point(i):
            estimated = None if i == 0 else 0.52 + 0.05 * math.sin(i / 2)
            return EstimatePoint(
                at=begin + (end - begin) * i / 12,
                predictions=340,
                scored=0 if i == 11 else 330,
                estimated_ade_m=estimated,
                low=estimated and estimated - 0.06,
                high=estimated and estimated + 0.06,
                observed_ade_m=None if i == 11 else 0.53 + 0.05 * math.sin(i / 2 + 0.2),
                last_known_ade_m=None if i == 0 else 0.47,
            )

        version = VersionEstimateOut(
            model_version=2,
            unscored=352,
            estimated_ade_m=0.55,
            low=0.49,
            high=0.61,
            validation_ade_m=0.41,
            mean_error_m=0.021,
            last_known_error_m=0.064,
            points=[point(i) for i in range(12)],
        )
        return EstimateOut(since=begin, until=end, versions=[] if self.is_empty else [version])

    def checks(self, **_: Any) -> PerformanceChecksOut:
        if self.is_empty:
            return PerformanceChecksOut(latest=[], history=[])
        now = datetime.now(UTC)
        check = PerformanceCheckOut(
            check_id="check-1",
            at=now - timedelta(seconds=21),
            model_name="trajectory",
            model_version=2,
            since=now - timedelta(minutes=15),
            until=now,
            verdict=self.performance_verdict,
            sentence="v2 is not as validated, confirmed: ADE 0.53 m (0.49 m to 0.57 m), 0.41 m at validation.",
            flagged=["ade_m"],
            confirmed=["ade_m"],
            predictions=4120,
            agents=143,
            ade_ratio=1.29,
            ade_ratio_low=1.2,
            ade_ratio_high=1.39,
            estimated_ade_m=0.55,
            figures=self.figures(2, 1.0, "degraded"),
        )
        return PerformanceChecksOut(latest=[check], history=[check])

    def calibration(self, number: int, version: int, state: str) -> CalibrationOut:
        at = self.started - timedelta(minutes=9)
        return CalibrationOut(
            number=number,
            model_name="trajectory",
            model_version=version,
            state=state,
            factors=[1.1 + 0.02 * step for step in range(12)],
            made_at=at,
            since=at - timedelta(hours=2),
            until=at,
            fitted_agents=412,
            holdout_agents=187,
            nominal_coverage=0.9,
            coverage_before=0.869,
            coverage_after=0.902,
            sentence=f"v{version}: 86.9 % of the newest truth lay inside the 90 % ellipses, 90.2 % would with the new factors.",
            changed_at=at,
            changed_by="worker:recalibrate",
        )

    def recalibrated(self, path: str, body: dict[str, Any]) -> CalibrationChangeOut:
        number, action = int(path.split("/")[3]), path.split("/")[4]
        place = next(i for i, one in enumerate(self.calibrated) if one.number == number)
        if self.calibrated[place].state != body["expected_state"]:
            raise Refused(409, "stale_version", f"calibration {number} is {self.calibrated[place].state}; read it again and repeat")
        state = "applied" if action == "apply" else "reverted"
        self.calibrated[place] = self.calibrated[place].model_copy(update={"state": state, "changed_by": "ada"})
        return CalibrationChangeOut(calibration=self.calibrated[place], audit_id="aud-0042")

    def jobs(self, **_: Any) -> JobsOut:
        if self.is_empty:
            return JobsOut(jobs=[])
        now = datetime.now(UTC)

        def job(name, description, every, state, result, error=None, late=False):
            run = JobRunOut(
                run_id=f"{name}-1",
                job=name,
                state=state,
                holder="workers-1",
                started_at=now - timedelta(seconds=every / 3),
                finished_at=now,
                duration_s=0.31,
                result=result,
                error=error,
            )
            out = JobOut(job=name, description=description, every_s=every, last_run=run, last_success_at=now, is_late=late)
            if name not in self.paused:
                return out.model_copy(update={"next_due_at": now + timedelta(seconds=2 * every / 3)})
            return out.model_copy(update={"paused_at": now, "paused_by": "ada", "pause_reason": "the disk is nearly full"})

        return JobsOut(
            jobs=[
                job("compact_lake", "Spool segments to Parquet", 10, "succeeded", {"segments": 3, "rows": 4120}),
                job("join_truth", "Scores predictions", 5, "succeeded", {"scored": 811, "completed": 790}),
                job("check_drift", "Compares windows", 300, "failed", {}, "the reference window is empty; run the backfill first"),
                job("reconcile_aliases", "Repairs MLflow aliases", 60, "succeeded", {"repaired": 0}, late=True),
            ]
        )

    def job_runs(self, name: str) -> JobRunsOut:
        found = next((job for job in self.jobs().jobs if job.job == name), None)
        if found is None:
            raise Refused(404, "not_found", f"there is no job {name!r}")
        assert found.last_run is not None
        runs = [
            found.last_run.model_copy(
                update={"run_id": f"{name}-{i}", "started_at": found.last_run.started_at - timedelta(seconds=i * found.every_s)}
            )
            for i in range(12)
        ]
        share = 0.0 if found.last_run.state == "failed" else 1.0
        return JobRunsOut(job=found, holder=None, runs=runs, success_share=share, duration_p50_s=0.31, duration_p95_s=0.31)

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
            route=self.current,
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
            else [ProcessOut(epoch=self.current.epoch, newest_epoch=self.current.epoch, is_ready=True, has_stand_in=False)] * 2,
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
            performance=self.rows(),
            changes=self.audit[:10],
            jobs=self.jobs().jobs,
            drift_verdict=None if self.is_empty else self.drift_verdict,
        )

    def forecast(self, history, version=2, prediction_id="pred-1", agent="player-07", scene="second_half") -> PredictOut:
        (x0, y0), (x1, y1) = history[-2], history[-1]
        vx, vy = x1 - x0, y1 - y0
        modes = []
        for weight, bend in ((0.62, 0.06 * version), (0.27, -0.12), (0.11, 0.32)):
            points = [
                (
                    x1 + vx * k * math.cos(bend * k / 4) - vy * k * math.sin(bend * k / 4),
                    y1 + vy * k * math.cos(bend * k / 4) + vx * k * math.sin(bend * k / 4),
                )
                for k in range(1, 13)
            ]
            modes.append(Mode(weight=weight, positions=points, covariance=[(0.02 * k, 0.006 * k, 0.012 * k) for k in range(1, 13)]))
        return PredictOut(
            prediction_id=prediction_id,
            agent_id=agent,
            scene_id=scene,
            observed_at_s=1000.0,
            dt_s=DT,
            model_name="trajectory",
            model_version=version,
            variant="champion" if version == 2 else "direct",
            epoch=self.current.epoch,
            modes=modes,
            model_ms=0.21,
        )

    def remembered(self, i: int) -> PredictionOut:
        history = [(10.0 + 0.5 * k + i, 20.0 + 0.02 * k * k) for k in range(8)]
        made = self.forecast(history, prediction_id=f"01JD8Z5K{i:018d}", agent=f"player-{i % 4 + 7:02d}")
        seen = 0 if i < 4 else min(12, 3 * (i - 3))
        truth = [(p[0] + 0.05 * k, p[1] - 0.03 * k) if k < seen else None for k, p in enumerate(made.modes[0].positions)]
        outcome = (
            None
            if not seen
            else OutcomeOut(
                steps_scored=seen,
                is_complete=seen == 12,
                ade_m=0.41,
                fde_m=0.83 if seen == 12 else None,
                is_miss=False if seen == 12 else None,
                nll=1.72,
                inside_share=0.92,
                truth_delay_s=0.6,
                step_error_m=[0.07 * (k + 1) if k < seen else None for k in range(12)],
            )
        )
        return PredictionOut(
            prediction=made, received_at=datetime.now(UTC) - timedelta(seconds=i), history=history, truth=truth, outcome=outcome
        )

    def predictions(self, agent_id: str | None = None, limit: str = "50", **_: Any) -> RecentPredictions:
        all_ = [] if self.is_empty else [self.remembered(i) for i in range(24)]
        return RecentPredictions(predictions=[p for p in all_ if agent_id in {None, p.prediction.agent_id}][: int(limit)])

    def check(self, i: int) -> DriftCheckOut:
        now = datetime.now(UTC)
        names = ("speed_mps", "acceleration_mps2", "dt_s_ratio", "path_m", "predicted_spread_m", "ade_m")
        columns = [
            DriftColumn(
                column=n,
                kind="performance" if n == "ade_m" else "prediction" if n.startswith("predicted") else "input",
                method="wasserstein",
                score=0.04 + 0.025 * k * (1.2 - i / 20),
                threshold=0.1,
                is_drifted=0.04 + 0.025 * k * (1.2 - i / 20) >= 0.1,
                reference_mean=2.1 + k,
                current_mean=2.3 + k,
                bins=[float(b) for b in range(11)] if i == 0 else [],
                reference_share=[0.02, 0.1, 0.2, 0.25, 0.18, 0.1, 0.07, 0.04, 0.03, 0.01] if i == 0 else [],
                current_share=[0.01, 0.05, 0.14, 0.22, 0.22, 0.15, 0.1, 0.06, 0.03, 0.02] if i == 0 else [],
            )
            for k, n in enumerate(names)
        ]
        columns.append(
            DriftColumn(
                column=DOMAIN_COLUMN,
                kind="multivariate",
                method=DOMAIN_METHOD,
                score=0.52,
                threshold=0.55,
                is_drifted=False,
                reference_mean=None,
                current_mean=None,
                scores=[DriftScore(method=DOMAIN_METHOD, window_s=300, score=0.52, threshold=0.55, is_drifted=False)],
                carriers=["path_m", "speed_mps × dt_s", "speed_mps²"],
            )
        )
        verdict = self.drift_verdict if i < 5 else "stable"
        little = verdict == "insufficient_data"
        return DriftCheckOut(
            check_id=f"check-{20 - i}",
            at=now - timedelta(minutes=3 * i + 1),
            verdict=verdict,
            sentence="Too few agents: 12 of the 200 that a comparison needs."
            if little
            else f"{sum(c.is_drifted for c in columns)} of {len(columns)} columns drifted.",
            reference_since=now - timedelta(hours=6),
            reference_until=now - timedelta(hours=3),
            current_since=now - timedelta(minutes=31),
            current_until=now - timedelta(minutes=1),
            reference_agents=1840,
            current_agents=12 if little else 312,
            columns=[] if little else columns,
            has_report=i == 3,  # few checks have one
            scenes=[]
            if little
            else [
                DriftScene(scene="north hall", agents=210, verdict=verdict, sentence="The hall has changed.", columns=columns[:2]),
                DriftScene(scene="square", agents=102, verdict="stable", sentence="The square is as it was.", columns=columns[:1]),
            ],
            quality=[
                QualityFinding(
                    kind="frame", scene="north hall", verdict="bad", value=3.2, limit=1.0, sentence="Positions look as if sent in feet."
                ),
                QualityFinding(kind="frozen", scene=None, verdict="ok", value=0.0, limit=0.1, sentence="0.0% did not move."),
            ],
        )

    def drift(self, scene: str | None = None, **_: Any) -> DriftOut:
        if self.is_empty:
            return DriftOut(latest=None, history=[])
        found = [self.check(i) if scene is None else of_scene(self.check(i), scene) for i in range(20)]
        report = DriftReportOut(check_id="check-17", at=self.check(3).at, verdict=self.check(3).verdict)
        return DriftOut(latest=found[0], history=found, last_report=report)

    # What it changes

    def changed(self, version: int, after: str, body: dict[str, Any], route: tuple[Any, ...] | None) -> ChangeOut:
        if self.conflict_next:
            self.conflict_next = False
            self.states |= {2: "retired", 3: "staged", 4: "live"}
            self.versions |= dict.fromkeys((2, 3, 4), 4)
            self.route(4, None, 2, 0.0, "boosted model wins everywhere", actor="ben")
            raise Refused(409, "stale_version", "deployment dep-3 has version 4, not 3: somebody changed it; read it again and repeat")
        self.states[version] = after
        self.versions[version] = self.versions.get(version, 0) + 1
        if route is not None:
            self.route(*route, body["reason"])
        else:
            self.audit.insert(
                0,
                AuditOut(
                    audit_id=f"aud-{len(self.audit) + 1:04d}",
                    at=datetime.now(UTC),
                    actor="ada",
                    action="deployment.stage",
                    subject=f"trajectory/{version}",
                    reason=body["reason"],
                    before={},
                    after={},
                ),
            )
        return ChangeOut(deployment=self.deployment(version), route=self.current, audit_id=self.audit[0].audit_id)

    def deployment(self, version: int) -> DeploymentOut:
        return DeploymentOut(
            deployment_id=f"dep-{version}",
            model_name="trajectory",
            model_version=version,
            state=self.states[version],
            version=self.versions[version],
            created_at=self.started,
            updated_at=datetime.now(UTC),
        )

    def change(self, path: str, body: dict[str, Any]) -> ChangeOut:
        now = self.current
        champion = now.champion.model_version if now.champion else None
        if path == "/v1/deployments":
            return self.changed(body["model_version"], "staged", body, None)
        if path == "/v1/routes/rollback":
            if now.previous is None:
                raise Refused(409, "conflict", "there is no previous champion")
            back = now.previous.model_version
            self.states[champion] = "rolled_back"
            return self.changed(back, "live", body, (back, None, champion, 0.0))
        version = int(path.split("/")[3].removeprefix("dep-"))
        if path.endswith("/canary"):
            return self.changed(version, "canary", body, (champion, version, now.previous and now.previous.model_version, body["coverage"]))
        if path.endswith("/canary/pause"):
            return self.changed(version, "paused", body, (champion, version, now.previous and now.previous.model_version, 0.0))
        if path.endswith("/canary/stop"):
            return self.changed(version, "staged", body, (champion, None, now.previous and now.previous.model_version, 0.0))
        made = self.changed(version, "live", body, (version, None, champion, 0.0))
        if champion is not None:
            self.states[champion] = "retired"
        return made

    def answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> BaseModel | str:
        """The contract model or text for one call."""
        self.calls.append((method, path, headers, body))
        if path in self.open_routes():
            return self.open_routes()[path](body)
        username = headers.get("authorization", "").removeprefix("Bearer token-")
        if username not in USERS or username in self.ended:
            raise Refused(401, "unauthenticated", "the token is missing, wrong or expired")
        if path == "/v1/me":
            return Me(username=username, role=USERS[username][0], environment="demo")
        self.reads.append((method, path, query))
        return self.post(path, body, username) if method == "POST" else self.read(path, query)

    def open_routes(self) -> dict[str, Callable[[Any], BaseModel | str]]:
        warm = Readiness(status="ready", epoch=self.current.epoch, warm=["trajectory/2"], missing=[], detail="all routed models are warm")
        return {
            "/healthz": lambda _: Liveness(status="alive"),
            "/readyz": lambda _: warm,
            "/metrics": lambda _: "trajops_predictions_total 1\n",
            "/v1/token": self.sign_in,
        }

    def sign_in(self, body: dict[str, str]) -> TokenOut:
        role, password = USERS.get(body["username"], ("", None))
        if password is None or body["password"] != password:
            raise Refused(401, "unauthenticated", "name or password is wrong")
        until = datetime.now(UTC) + timedelta(hours=8)
        return TokenOut(access_token=f"token-{body['username']}", expires_at=until, username=body["username"], role=role)

    def post(self, path: str, body: Any, username: str) -> BaseModel:
        if path == "/predict":
            return self.forecast(body["history"], body.get("model_version") or 2, "pred-direct", body["agent_id"], body["scene_id"])
        if USERS[username][0] == "viewer":
            raise Refused(403, "forbidden", "a viewer may not change what is served")
        if path.startswith("/v1/alerts/"):
            made = self.alerts.post(path, body, username)
            self.note(path, body, username, made)
            return made
        if path.startswith("/v1/answers/"):
            decided = self.alerts.decide(path, body, username)
            self.note(path, body, username, decided)
            return decided
        if path.startswith("/v1/calibrations/"):
            return self.recalibrated(path, body)
        if path.startswith("/v1/jobs/"):
            _, _, _, name, action = path.split("/")
            found = next(job for job in self.jobs().jobs if job.job == name)
            if action == "run":
                return found.last_run
            self.paused = (self.paused - {name}) | ({name} if action == "pause" else set())
            return next(job for job in self.jobs().jobs if job.job == name)
        return self.change(path, body)

    def note(self, path: str, body: dict[str, Any], username: str, made: BaseModel) -> None:
        """Audit a change about alerts."""
        if isinstance(made, SilenceOut):
            subject = f"silence/{made.silence_id}"
        elif isinstance(made, AnswerOut):
            subject = f"alert/{made.alert_id}"
        else:
            subject = f"receiver/{made.receiver}" if isinstance(made, NotificationOut) else f"alert/{path.split('/')[3]}"
        entry = {"at": datetime.now(UTC), "actor": username, "subject": subject, "reason": body["reason"], "before": {}, "after": {}}
        action = f"{'answer' if isinstance(made, AnswerOut) else 'alert'}.{path.rsplit('/', 1)[1]}"
        self.audit.insert(0, AuditOut.model_validate({**entry, "audit_id": f"aud-{len(self.audit) + 1:04d}", "action": action}))

    def read(self, path: str, query: dict[str, str]) -> BaseModel | str:
        if path.startswith("/v1/alerts"):
            return self.alerts.read(path, query)
        if path.endswith("/report"):
            return "<html><head><script>document.title='drawn'</script></head><body><h1>Report</h1></body></html>"
        if path.startswith("/v1/jobs/"):
            return self.job_runs(path.split("/")[3])
        if path.startswith("/v1/predictions/"):
            wanted = path.rsplit("/", 1)[1]
            found = [p for p in self.predictions().predictions if p.prediction.prediction_id == wanted]
            if not found:
                raise Refused(404, "not_found", f"there is no prediction {wanted}")
            return found[0]
        agent = AgentOut(scene_id="s", agent_id="a", observed_at_s=1.0, observations=8, is_ready=True)
        deployed = [v for v, s in self.states.items() if s != "registered"]
        readers: dict[str, Callable[..., BaseModel]] = {
            "/v1/models": self.models,
            "/v1/routes": lambda **_: RouteHistoryOut(current=self.current, history=self.history),
            "/v1/deployments": lambda **_: DeploymentsOut(deployments=[self.deployment(v) for v in deployed]),
            "/v1/audit": lambda subject=None, **_: AuditPage(entries=[e for e in self.audit if subject in {None, e.subject}]),
            "/v1/performance": self.performance,
            "/v1/performance/slices": self.slices,
            "/v1/performance/estimate": self.estimate,
            "/v1/performance/checks": self.checks,
            "/v1/calibrations": lambda **_: CalibrationsOut(calibrations=self.calibrated),
            "/v1/predictions": self.predictions,
            "/v1/agents": lambda **_: AgentsOut(agents=[agent]),
            "/v1/drift": self.drift,
            "/v1/jobs": self.jobs,
            "/v1/answers": self.alerts.answered,
            "/v1/availability": self.availability,
            "/v1/status": self.status,
        }
        if path not in readers:
            raise Refused(404, "not_found", f"no route {path}")
        return readers[path](**query)


class StubServer:
    """Serves a StubApi on a free loopback port; a context manager."""

    def __init__(self, api: StubApi, port: int = 0) -> None:
        self.api = api

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # one call a connection: a closed server answers nobody

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.handle_call()

            def do_POST(self) -> None:
                self.handle_call()

            def handle_call(self) -> None:
                url = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(api.delay_s)
                try:
                    answer = api.answer(
                        self.command,
                        url.path,
                        {k: v[0] for k, v in parse_qs(url.query).items()},
                        {k.lower(): v for k, v in self.headers.items()},
                        json.loads(raw) if raw else None,
                    )
                    status = 200
                except Refused as refused:
                    answer, status = refused.problem, refused.problem.status
                content = answer if isinstance(answer, str) else answer.model_dump_json()
                data = content.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "StubServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
