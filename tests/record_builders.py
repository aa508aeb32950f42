"""Records of the stores with readable defaults, for the tests of every store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trajops.contracts.calibrations import CalibrationOut
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
