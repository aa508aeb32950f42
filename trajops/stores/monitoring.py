"""What is seen of traffic and predictions: verdicts, calibrations, probes."""

from datetime import datetime
from typing import Protocol

from trajops.contracts.calibrations import CalibrationOut, CalibrationState
from trajops.contracts.drift import DriftCheckOut, DriftReportOut, DriftSettings
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.model_ref import ModelRef
from trajops.objectives import Minutes


class DriftSettingsStore(Protocol):
    """What operators have chosen for the drift check."""

    def get(self) -> DriftSettings:
        """What was chosen last; the defaults before."""
        ...

    def put(self, settings: DriftSettings) -> None:
        """Write what is chosen now."""
        ...


class DriftCheckStore(Protocol):
    """Verdicts on drift."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        ...

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        ...

    def history(self, limit: int = 50, scene: str | None = None) -> list[DriftCheckOut]:
        """Newest first, without histograms; of scenes only the columns that drifted, and all columns of the one that is named."""
        ...

    def spread(self, since: datetime, most: int, scene: str | None = None) -> list[DriftCheckOut]:
        """Those of this time on as in `history`; of more than `most` the worst of each part of the time, see `worst_of_parts`."""
        ...

    def suspicious(self, since: datetime) -> list[DriftCheckOut]:
        """Those of this time on that said drift, found bad data, or another unit, muted or not; newest first, with that alone."""
        ...

    def last_report(self) -> DriftReportOut | None:
        """Newest check with a full report."""
        ...

    def report_path(self, check_id: str) -> str:
        """Where the full report lies.

        Raises:
            NotFound: if there is no such check, or it has no report.
        """
        ...


class PerformanceCheckStore(Protocol):
    """Verdicts on live performance."""

    def add(self, check: PerformanceCheckOut) -> None:
        """Write one check."""
        ...

    def latest(self) -> list[PerformanceCheckOut]:
        """Newest check of each version, newest version first."""
        ...

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given."""
        ...


class CalibrationStore(Protocol):
    """Factors for the covariances of served versions, numbered in the order in which they were made."""

    def add(self, calibration: CalibrationOut) -> CalibrationOut:
        """Write one under the next number, which is returned; the given number is not looked at."""
        ...

    def get(self, number: int) -> CalibrationOut:
        """One calibration.

        Raises:
            NotFound: if there is none with that number.
        """
        ...

    def newest(self, limit: int = 50, ref: ModelRef | None = None) -> list[CalibrationOut]:
        """Newest first; of one version, where it is given."""
        ...

    def standing(self, ref: ModelRef, *, for_change: bool = False) -> list[CalibrationOut]:
        """Those of one version that nothing has superseded: proposed, applied, reverted; the last changed first.

        With `for_change`, nobody else changes them until the transaction is over.
        """
        ...

    def in_force(self) -> list[CalibrationOut]:
        """Those that are applied."""
        ...

    def move(self, number: int, expected: CalibrationState, state: CalibrationState, at: datetime, actor: str) -> CalibrationOut:
        """Write the state, if it still is the expected one.

        Raises:
            NotFound: if there is none with that number.
            StaleVersion: if its state is another; `present_state` in the details.
        """
        ...


class ProbeStore(Protocol):
    """What probes found, by minutes. Minutes are whole ones since the epoch; ranges hold their begin and not their end."""

    def add(self, at: datetime, *, is_good: bool, latency_ms: float | None, failure: str | None) -> None:
        """Count one probe in its minute.

        Args:
            at: when it was sent.
            is_good: whether it was answered well.
            latency_ms: time to the answer; None where nobody answered.
            failure: why it was not good; of several in a minute the last is kept.
        """
        ...

    def summed(self, begin: int, end: int, *, least: int = 1) -> Minutes:
        """What the probes of a range add up to; in a minute that has fewer probes than `least`, those that it lacks count as good."""
        ...

    def buckets(self, begin: int, end: int, width: int, *, least: int = 1) -> dict[int, Minutes]:
        """The same for each bucket of `width` minutes that has any, by its first minute; `begin` is the first of the first bucket."""
        ...

    def first_minute(self) -> int | None:
        """Minute of the oldest probe on record."""
        ...

    def last_probe_at(self) -> datetime | None:
        """When the newest probe was sent."""
        ...

    def last_failure(self) -> tuple[datetime, str] | None:
        """Minute and cause of the newest probe that was not good."""
        ...
