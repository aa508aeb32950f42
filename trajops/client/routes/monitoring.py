"""Performance, calibrations and drift."""

from datetime import datetime

from trajops.client.call import Call, at, described, get, iso, post, text
from trajops.client.retries import Retry
from trajops.contracts.calibrations import CalibrationChangeIn, CalibrationChangeOut, CalibrationsOut, CalibrationState
from trajops.contracts.drift import DriftOut, DriftSettings, MuteIn, ReferenceIn
from trajops.contracts.performance import EstimateOut, PerformanceChecksOut, PerformanceOut, SliceBy, SlicesOut


class MonitoringRoutes:
    """Performance, calibrations and drift."""

    @described
    def performance(self, since: datetime | None = None, until: datetime | None = None) -> Call[PerformanceOut]:
        """Live accuracy of a time range; aware times."""
        return get("/v1/performance", PerformanceOut, since=iso(since), until=iso(until))

    @described
    def performance_slices(
        self, by: SliceBy = "model_version", since: datetime | None = None, until: datetime | None = None
    ) -> Call[SlicesOut]:
        """Figures of a range of at most a day taken apart, with intervals over agents, beside those of validation."""
        return get("/v1/performance/slices", SlicesOut, by=by, since=iso(since), until=iso(until))

    @described
    def performance_estimate(self, since: datetime | None = None, until: datetime | None = None) -> Call[EstimateOut]:
        """The error of predictions whose truth is still missing, and how such estimates came out before."""
        return get("/v1/performance/estimate", EstimateOut, since=iso(since), until=iso(until))

    @described
    def performance_checks(self, limit: int = 50) -> Call[PerformanceChecksOut]:
        """The newest check of each version, and the checks before."""
        return get("/v1/performance/checks", PerformanceChecksOut, limit=limit)

    @described
    def calibrations(self, limit: int = 50) -> Call[CalibrationsOut]:
        """Calibrations of served versions, newest first."""
        return get("/v1/calibrations", CalibrationsOut, limit=limit)

    @described
    def apply_calibration(
        self, number: int, expected_state: CalibrationState, reason: str, *, idempotency_key: str | None = None
    ) -> Call[CalibrationChangeOut]:
        """Put a proposed or reverted calibration into force."""
        body = CalibrationChangeIn(expected_state=expected_state, reason=reason)
        return post(at("/v1/calibrations/{}/apply", str(number)), CalibrationChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def revert_calibration(
        self, number: int, expected_state: CalibrationState, reason: str, *, idempotency_key: str | None = None
    ) -> Call[CalibrationChangeOut]:
        """Take a calibration out, so that its version is served as trained."""
        body = CalibrationChangeIn(expected_state=expected_state, reason=reason)
        return post(at("/v1/calibrations/{}/revert", str(number)), CalibrationChangeOut, body, Retry.KEYED, idempotency_key)

    @described
    def drift(self, scene: str | None = None, since: datetime | None = None) -> Call[DriftOut]:
        """The newest drift check in full, and verdicts before it, the newest or spread over a time; as one scene saw them, if named."""
        return get("/v1/drift", DriftOut, scene=scene, since=iso(since))

    @described
    def choose_reference(self, body: ReferenceIn) -> Call[DriftSettings]:
        """Choose what traffic is compared with."""
        return post("/v1/drift/reference", DriftSettings, body, Retry.ONCE)

    @described
    def mute_column(self, column: str, body: MuteIn) -> Call[DriftSettings]:
        """Let a column raise no drift alarm for a while."""
        return post(at("/v1/drift/mutes/{}", column), DriftSettings, body, Retry.ONCE)

    @described
    def drift_report(self, check_id: str) -> Call[str]:
        """The full report of one drift check, as an HTML document."""
        return text(at("/v1/drift/{}/report", check_id), "text/html")
