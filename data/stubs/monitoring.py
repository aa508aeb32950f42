"""Verdicts, calibrations and probes in memory."""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce

from data.stubs.tables import Repository
from trajops.clock import utc
from trajops.contracts.calibrations import CalibrationOut, CalibrationState
from trajops.contracts.drift import DriftCheckOut, DriftReportOut, DriftSettings, without_histograms
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.model_ref import ModelRef
from trajops.drift.doubt import is_suspicious, on_units_and_quality
from trajops.drift.thinning import worst_of_parts
from trajops.errors import NotFound, StaleVersion
from trajops.objectives import Minutes, minute_of


class MemoryDriftSettings(Repository):
    """Implements `trajops.stores.DriftSettingsStore`."""

    def get(self) -> DriftSettings:
        """See the port."""
        return self._tables.drift_settings.get("only") or DriftSettings()

    def put(self, settings: DriftSettings) -> None:
        """See the port."""
        self._tables.drift_settings.put("only", settings)


class MemoryDriftChecks(Repository):
    """Implements `trajops.ports.DriftCheckStore`."""

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        known = check.model_copy(update={"has_report": report_path is not None})
        self._tables.drift_checks.put(check.check_id, (known, report_path))

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        return next(iter(self._newest()), None)

    def history(self, limit: int = 50, scene: str | None = None) -> list[DriftCheckOut]:
        """Newest first, without histograms; of scenes only the columns that drifted, and all columns of the one that is named."""
        return [without_histograms(check, scene) for check in self._newest()[:limit]]

    def spread(self, since: datetime, most: int, scene: str | None = None) -> list[DriftCheckOut]:
        """Those of this time on as in `history`; of more than `most` the worst of each part of the time."""
        found = {check.check_id: check for check in self._newest() if check.at >= since}
        heads = [(DriftReportOut(check_id=one.check_id, at=one.at, verdict=one.verdict), one.has_report) for one in found.values()]
        return [without_histograms(found[check_id], scene) for check_id in worst_of_parts(heads, most)]

    def suspicious(self, since: datetime) -> list[DriftCheckOut]:
        """Those of this time on that said drift, found bad data, or another unit, muted or not; newest first, with that alone."""
        return [on_units_and_quality(check) for check in self._newest() if check.at >= since and is_suspicious(check)]

    def last_report(self) -> DriftReportOut | None:
        """Newest check with a full report."""
        reported = (check for check in self._newest() if check.has_report)
        return next((DriftReportOut(check_id=check.check_id, at=check.at, verdict=check.verdict) for check in reported), None)

    def report_path(self, check_id: str) -> str:
        """Where the full report lies; NotFound if there is no such check, or it has no report."""
        found = self._tables.drift_checks.get(check_id)
        if found is None or found[1] is None:
            raise NotFound(f"the drift check {check_id!r} has no report")
        return found[1]

    def _newest(self) -> list[DriftCheckOut]:
        return sorted((check for check, _ in self._tables.drift_checks.rows()), key=lambda check: check.at, reverse=True)


class MemoryPerformanceChecks(Repository):
    """Implements `trajops.ports.PerformanceCheckStore`."""

    def add(self, check: PerformanceCheckOut) -> None:
        """Write one check."""
        self._tables.performance_checks.put(check.check_id, check)

    def latest(self) -> list[PerformanceCheckOut]:
        """Newest check of each version, newest version first."""
        newest = {(check.model_name, check.model_version): check for check in reversed(self.history(limit=-1))}
        return sorted(newest.values(), key=lambda check: (check.model_name, -check.model_version))

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given; a negative limit is none."""
        found = [one for one in self._tables.performance_checks.rows() if ref is None or ModelRef(one.model_name, one.model_version) == ref]
        ordered = sorted(found, key=lambda check: check.at, reverse=True)
        return ordered if limit < 0 else ordered[:limit]


class MemoryCalibrations(Repository):
    """Implements `trajops.ports.CalibrationStore`."""

    def add(self, calibration: CalibrationOut) -> CalibrationOut:
        """Write one under the next number."""
        number = 1 + max((known.number for known in self._tables.calibrations.rows()), default=0)
        added = calibration.model_copy(update={"number": number})
        self._tables.calibrations.put(number, added)
        return added

    def get(self, number: int) -> CalibrationOut:
        """One calibration; NotFound if there is none with that number."""
        found = self._tables.calibrations.get(number)
        if found is None:
            raise NotFound(f"there is no calibration {number}")
        return found

    def newest(self, limit: int = 50, ref: ModelRef | None = None) -> list[CalibrationOut]:
        """Newest first; of one version, where it is given."""
        found = [one for one in self._tables.calibrations.rows() if ref is None or ModelRef(one.model_name, one.model_version) == ref]
        return sorted(found, key=lambda one: -one.number)[:limit]

    def standing(self, ref: ModelRef, *, for_change: bool = False) -> list[CalibrationOut]:
        """Those of one version that nothing has superseded, the last changed first."""
        mine = [one for one in self._tables.calibrations.rows() if ModelRef(one.model_name, one.model_version) == ref]
        found = [one for one in mine if one.state != "superseded"]
        return sorted(found, key=lambda one: (one.changed_at, one.number), reverse=True)

    def in_force(self) -> list[CalibrationOut]:
        """Those that are applied."""
        return [one for one in self._tables.calibrations.rows() if one.state == "applied"]

    def move(self, number: int, expected: CalibrationState, state: CalibrationState, at: datetime, actor: str) -> CalibrationOut:
        """Write the state, if it still is the expected one; NotFound or StaleVersion otherwise."""
        present = self.get(number)
        if present.state != expected:
            raise StaleVersion(f"calibration {number} is {present.state}", present_state=present.state)
        moved = present.model_copy(update={"state": state, "changed_at": at, "changed_by": actor})
        self._tables.calibrations.put(number, moved)
        return moved


class MemoryProbes(Repository):
    """Implements `trajops.ports.ProbeStore`."""

    def add(self, at: datetime, *, is_good: bool, latency_ms: float | None, failure: str | None) -> None:
        """Count one probe in its minute."""
        minute = minute_of(at)
        self._tables.probes.put(minute, [*(self._tables.probes.get(minute) or []), (at, is_good, latency_ms, failure)])

    def summed(self, begin: int, end: int, *, least: int = 1) -> Minutes:
        """What the probes of a range add up to; in a minute that has fewer than `least`, those that it lacks count as good."""
        found = (_minutes(probes, least) for minute, probes in self._by_minute() if begin <= minute < end)
        return reduce(Minutes.joined, found, Minutes())

    def buckets(self, begin: int, end: int, width: int, *, least: int = 1) -> dict[int, Minutes]:
        """The same for each bucket of `width` minutes that has any, by its first minute."""
        found = {first: self.summed(first, min(end, first + width), least=least) for first in range(begin, end, width)}
        return {first: minutes for first, minutes in found.items() if minutes.known}

    def first_minute(self) -> int | None:
        """Minute of the oldest probe on record."""
        return min((minute for minute, _ in self._by_minute()), default=None)

    def last_probe_at(self) -> datetime | None:
        """When the newest probe was sent."""
        return max((probes[-1][0] for _, probes in self._by_minute()), default=None)

    def last_failure(self) -> tuple[datetime, str] | None:
        """Minute and cause of the newest probe that was not good."""
        for minute, probes in sorted(self._by_minute(), reverse=True):
            for _, _, _, failure in reversed(probes):
                if failure is not None:
                    return utc(minute * 60 * 10**9), failure
        return None

    def _by_minute(self) -> list[tuple[int, list[tuple[datetime, bool, float | None, str | None]]]]:
        return [(minute_of(probes[0][0]), probes) for probes in self._tables.probes.rows()]


def _minutes(probes: Sequence[tuple[datetime, bool, float | None, str | None]], least: int) -> Minutes:
    latencies = [latency_ms for _, _, latency_ms, _ in probes if latency_ms is not None]
    bad = sum(not is_good for _, is_good, _, _ in probes)
    return Minutes(1, bad / max(len(probes), least), len(probes), max(latencies, default=None))
