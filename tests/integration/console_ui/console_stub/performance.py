"""Figures of the stub API against validation, its estimates and its calibrations."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from trajops.contracts.calibrations import CalibrationChangeOut, CalibrationOut, CalibrationsOut
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


class StubPerformance:
    """A champion that is worse than it was validated; empty for a product that has just been installed."""

    def __init__(self, started: datetime, *, is_empty: bool) -> None:
        self.started = started
        self.is_empty = is_empty
        self.verdict = "degraded"
        self.quiet_since: datetime | None = None  # no truth has come after it
        self.calibrated: list[CalibrationOut] = [] if is_empty else [self.calibration(2, 2, "applied"), self.calibration(3, 3, "proposed")]

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
        is_empty = self.is_empty or (self.quiet_since is not None and begin > self.quiet_since)
        series = (
            []
            if is_empty
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
        steps = {} if is_empty else {"2": [0.07 * (k + 1) for k in range(12)], "3": [0.063 * (k + 1) for k in range(12)]}
        return PerformanceOut(
            since=begin,
            until=end,
            nominal_coverage=0.9,
            rows=[] if is_empty else self.rows(),
            series=series,
            step_error_m=steps,
            last_outcome_at=None if self.is_empty else self.quiet_since or end,
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
                    verdict=self.verdict if version == 2 else "as_validated",
                    figures=self.figures(version, (place + 1) / 4 if by == "step" else 1 + place / 3, self.verdict),
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
            verdict=self.verdict,
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

    def calibrations(self, **_: Any) -> CalibrationsOut:
        return CalibrationsOut(calibrations=self.calibrated)

    def recalibrated(self, path: str, body: dict[str, Any]) -> CalibrationChangeOut:
        number, action = int(path.split("/")[3]), path.split("/")[4]
        place = next(i for i, one in enumerate(self.calibrated) if one.number == number)
        if self.calibrated[place].state != body["expected_state"]:
            raise Refused(409, "stale_version", f"calibration {number} is {self.calibrated[place].state}; read it again and repeat")
        state = "applied" if action == "apply" else "reverted"
        self.calibrated[place] = self.calibrated[place].model_copy(update={"state": state, "changed_by": "ada"})
        return CalibrationChangeOut(calibration=self.calibrated[place], audit_id="aud-0042")
