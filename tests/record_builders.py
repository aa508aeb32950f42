"""Records of the stores with readable defaults, for the tests of every store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trajops.contracts.calibrations import CalibrationOut
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding, QualityKind
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.records import ModelVersion, User

AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
REF = ModelRef("trajectory", 1)
CHAMPION = RouteTable(epoch=1, champion=REF)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def version(number: int, **changes: Any) -> ModelVersion:
    base = ModelVersion("trajectory", number, "kalman", f"run{number}", {"val_ade_m": 0.5}, {"seed": "1"}, "d" * 64, AT)
    return replace(base, **changes)


def user(name: str) -> User:
    return User(f"id-{name}", name, "hash", "viewer", AT)


def calibration(number: int = 0, version_number: int = 1, state: Any = "proposed") -> CalibrationOut:
    return CalibrationOut(
        number=number,
        model_name="trajectory",
        model_version=version_number,
        state=state,
        factors=[1.25] * 12,
        made_at=AT,
        since=later(-60),
        until=AT,
        fitted_agents=80,
        holdout_agents=30,
        nominal_coverage=0.9,
        coverage_before=0.86,
        coverage_after=0.9,
        sentence="v1: narrow.",
        changed_at=AT,
        changed_by="worker",
    )


def drift_check(
    at: datetime,
    *,
    unit: bool = False,
    muted_until: datetime | None = None,
    bad: QualityKind | None = None,
    drifted: bool = False,
    is_judged: bool = True,
    window_s: float | None = 60.0,
    **changes: Any,
) -> DriftCheckOut:
    """A check that finds nothing wrong with the data, or another unit, or bad data; or that had too few agents to judge either."""
    figures = {"score": 3.3, "threshold": 2.0, "reference_mean": 1.0, "current_mean": 3.3, "kind": "input", "muted_until": muted_until}
    ratio = DriftColumn(column="speed_mps_ratio", method=UNIT_RULE, is_drifted=unit, window_s=window_s, **figures)
    speed = DriftColumn(column="speed_mps", method="psi", is_drifted=drifted, **figures)
    still = QualityFinding(kind="frozen", scene=None, verdict="ok", value=0.0, limit=0.1, sentence="None stand.", window_s=window_s)
    wrong = [] if bad is None else [still.model_copy(update={"kind": bad, "verdict": "bad", "value": 0.9, "sentence": "Bad."})]
    base = DriftCheckOut(
        check_id=f"c{at.timestamp():.3f}",
        at=at,
        verdict="drift" if unit or drifted else "stable",
        sentence="Drift." if unit or drifted else "Nothing.",
        reference_since=None,
        reference_until=None,
        current_since=at,
        current_until=at,
        reference_agents=9,
        current_agents=9,
        columns=[ratio, speed] if is_judged else [speed],
        has_report=False,
        quality=[*wrong, still] if is_judged else wrong,
    )
    return base.model_copy(update=changes)
