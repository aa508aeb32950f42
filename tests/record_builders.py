"""Records of the stores with readable defaults, for the tests of every store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trajops.contracts.calibrations import CalibrationOut
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding, QualityKind
from trajops.contracts.validations import CheckOut, MeasuredOut, RankedOut, ValidationAskedOut, ValidationOut
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


def check(name: Any = "latency", state: Any = "passed", measured: float = 0.1) -> CheckOut:
    figure = MeasuredOut(name="the 99th percentile", unit="ms", measured=measured, at_most=20.0, is_within=state == "passed")
    sentence = "One forecast takes 0.1 ms." if state == "passed" else f"the 99th percentile is {measured:g} ms, allowed at most 20 ms"
    return CheckOut(check=name, state=state, sentence=sentence, figures=[figure])


def validation(version_number: int = 1, second: float = 0.0, *checks: CheckOut, **changes: Any) -> ValidationOut:
    """One that has passed, unless a check is given that has not."""
    found = list(checks) or [check("signature"), check("latency")]
    failed = [one.check for one in found if one.state == "failed"]
    given: dict[str, Any] = {
        "validation_id": f"v{version_number}-{second:g}",
        "model_name": "trajectory",
        "model_version": version_number,
        "at": later(second),
        "is_passed": not failed,
        "sentence": f"{len(failed)} of {len(found)} checks failed." if failed else f"{len(found)} of {len(found)} checks passed.",
        "cause": "training",
        "by": "workers.training",
        "dataset": "a match",
        "data_fingerprint": "f" * 64,
        "windows": 2212,
        "agents": 172,
        "machine": "a machine, Python 3.11",
        "duration_s": 0.4,
        "checks": found,
        "ranking": [ranked()],
    }
    return ValidationOut(**{**given, **changes})


def ranked(rank: int | None = 1, family: str = "kalman", points: float | None = 0.0) -> RankedOut:
    figures = {"ade_m": 0.5, "nll": 1.0, "coverage_90": 0.9, "latency_ms": 0.1, "latency_p99_ms": 0.2, "size_mb": 0.1}
    return RankedOut(
        rank=rank, family=family, points=points, parts={"ade": 0.0}, figures=figures, sentence="Behind in no figure that counts."
    )


def asked(version_number: int = 1, second: float = 0.0, by: str = "ada") -> ValidationAskedOut:
    return ValidationAskedOut(model_name="trajectory", model_version=version_number, asked_at=later(second), by=by, job="validate_versions")


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
    ratio = DriftColumn(
        **{**figures, "score": 3.3 if unit else 1.1}, column="speed_mps_ratio", method=UNIT_RULE, is_drifted=unit, window_s=window_s
    )
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
