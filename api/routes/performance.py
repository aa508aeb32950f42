"""Live performance beside validation, and the calibrations that put intervals right."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.ranges import range_of
from api.wiring import Parts
from trajops.contracts.calibrations import CalibrationChangeIn, CalibrationChangeOut, CalibrationsOut
from trajops.contracts.performance import EstimateOut, PerformanceChecksOut, SliceBy, SlicesOut
from trajops.contracts.wire import Time

router = APIRouter(prefix="/v1", tags=["performance"])

Since = Annotated[Time | None, Query(description="Begin of the range, at most a day before its end. Left out: an hour before.")]
Until = Annotated[Time | None, Query(description="End of the range. Left out: now.")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/performance/slices", summary="Live accuracy taken apart", responses=READS)
def slices(
    parts: PartsOf,
    _client: Reader,
    by: Annotated[SliceBy, Query(description="What the figures are taken apart by, within each version.")] = "model_version",
    since: Since = None,
    until: Until = None,
) -> SlicesOut:
    """Error, likelihood, coverage and sharpness with intervals over agents, beside the figures of validation."""
    return parts.cached_longer.get(("slices", by, since, until), lambda: parts.performance.slices(*range_of(parts.clock, since, until), by))


@router.get("/performance/estimate", summary="Accuracy before truth", responses=READS)
def estimate(parts: PartsOf, _client: Reader, since: Since = None, until: Until = None) -> EstimateOut:
    """The error of predictions whose truth is still missing, and how such estimates came out before."""
    return parts.cached_longer.get(("estimate", since, until), lambda: parts.performance.estimate(*range_of(parts.clock, since, until)))


@router.get("/performance/checks", summary="Verdicts on live accuracy", responses=READS)
def checks(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> PerformanceChecksOut:
    """The newest check of each version, and the checks before, newest first."""

    def read() -> PerformanceChecksOut:
        with parts.unit_of_work(read_only=True) as uow:
            return PerformanceChecksOut(latest=uow.performance_checks.latest(), history=uow.performance_checks.history(limit=limit))

    return parts.cached.get(("performance checks", limit), read)


@router.get("/calibrations", summary="Calibrations", responses=READS)
def calibrations(parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> CalibrationsOut:
    """Calibrations of served versions, newest first, with coverage before and after on truth that they were not fitted on."""
    return parts.cached.get(("calibrations", limit), lambda: parts.calibrations.newest(limit))


@router.post("/calibrations/{number}/apply", summary="Apply a calibration", responses=CHANGES)
def apply_calibration(
    number: Number, body: CalibrationChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> CalibrationChangeOut:
    """Put a proposed or reverted calibration into force; every API process serves with it within a second."""
    done = parts.calibrations.apply(number, body.expected_state, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _changed(parts, done)


@router.post("/calibrations/{number}/revert", summary="Revert a calibration", responses=CHANGES)
def revert_calibration(
    number: Number, body: CalibrationChangeIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> CalibrationChangeOut:
    """Take a calibration out: its version is served as trained, and new ones are only proposed until somebody applies one."""
    done = parts.calibrations.revert(number, body.expected_state, actor=client.client_id, reason=body.reason, idempotency_key=key)
    return _changed(parts, done)


def _changed(parts: Parts, done: CalibrationChangeOut) -> CalibrationChangeOut:
    parts.host.wake()
    parts.cached.clear()
    return done
