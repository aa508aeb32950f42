"""Verdicts on drift."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, insert, or_, select

from data.sql.tables import drift_checks
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftReportOut, without_histograms
from trajops.drift.doubt import is_suspicious
from trajops.drift.thinning import worst_of_parts
from trajops.errors import NotFound


class SqlDriftChecks:
    """Implements `trajops.ports.DriftCheckStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, check: DriftCheckOut, report_path: str | None = None) -> None:
        """Write one check, with the path of its full report where there is one."""
        nested = {"columns", "scenes", "quality"}
        row = check.model_dump(exclude={"has_report", *nested}) | check.model_dump(mode="json", include=nested)
        self._connection.execute(insert(drift_checks), {**row, "report_path": report_path})

    def latest(self) -> DriftCheckOut | None:
        """Newest check in full."""
        return next(iter(self._newest(1)), None)

    def history(self, limit: int = 50, scene: str | None = None) -> list[DriftCheckOut]:
        """Newest first, without histograms; of scenes only the columns that drifted, and all columns of the one that is named."""
        return [without_histograms(check, scene) for check in self._newest(limit, scene, is_short=True)]

    def spread(self, since: datetime, most: int, scene: str | None = None) -> list[DriftCheckOut]:
        """Those of this time on as in `history`; of more than `most` the worst of each part of the time."""
        table = drift_checks.c
        # Days of checks are many; of most of them only these few columns are read.
        found = select(table.check_id, table.at, table.verdict, table.report_path.is_not(None).label("has_report"))
        rows = [dict(row) for row in self._connection.execute(found.where(table.at >= since)).mappings()]
        heads = [(row.pop("has_report"), row) for row in rows]
        kept = worst_of_parts([(DriftReportOut.model_construct(**row), has_report) for has_report, row in heads], most)
        wanted = select(drift_checks).where(table.check_id.in_(kept)).order_by(table.at.desc(), table.check_id)
        return [without_histograms(check, scene) for check in self._checks(wanted, scene, is_short=True)]

    def suspicious(self, since: datetime) -> list[DriftCheckOut]:
        """Those of this time on that said drift, found bad data, or another unit, muted or not; newest first, with that alone."""
        table = drift_checks.c
        columns = cast(table["columns"], Text)
        # Of a day of checks, only the few that may matter are read and validated.
        may_matter = or_(
            table.verdict == "drift",
            cast(table.quality, Text).like('%"bad"%'),
            columns.like(f'%"{UNIT_RULE}"%') & columns.like('%"is_drifted": true%'),
        )
        wanted = [column for column in table if column.name != "scenes"]
        found = select(*wanted).where(table.at >= since, may_matter).order_by(table.at.desc(), table.check_id)
        rows = [dict(row) | {"scenes": []} for row in self._connection.execute(found).mappings()]
        for row in rows:  # before they are validated, which takes the time
            row["columns"] = [column for column in row["columns"] if column["method"] == UNIT_RULE]
            row["quality"] = [one for one in row["quality"] or () if one["verdict"] == "bad"]
        return [check for check in map(_check, rows) if is_suspicious(check)]

    def last_report(self) -> DriftReportOut | None:
        """Newest check with a full report."""
        table = drift_checks.c
        found = select(table.check_id, table.at, table.verdict).where(table.report_path.is_not(None))
        row = self._connection.execute(found.order_by(table.at.desc(), table.check_id).limit(1)).mappings().first()
        return None if row is None else DriftReportOut(**row)

    def report_path(self, check_id: str) -> str:
        """Where the full report lies; NotFound if there is no such check, or it has no report."""
        found = select(drift_checks.c.report_path).where(drift_checks.c.check_id == check_id)
        path: str | None = self._connection.execute(found).scalar()
        if path is None:
            raise NotFound(f"the drift check {check_id!r} has no report; open one that GET /v1/drift marks with has_report")
        return path

    def _newest(self, limit: int, scene: str | None = None, *, is_short: bool = False) -> list[DriftCheckOut]:
        found = select(drift_checks).order_by(drift_checks.c.at.desc(), drift_checks.c.check_id).limit(limit)
        return self._checks(found, scene, is_short=is_short)

    def _checks(self, found: Select[Any], scene: str | None, *, is_short: bool) -> list[DriftCheckOut]:
        rows = [dict(row) for row in self._connection.execute(found).mappings()]
        if is_short:  # before they are validated, which takes the time
            for row in rows:
                for one in row["scenes"] or ():
                    one["columns"] = [column for column in one["columns"] if column["is_drifted"] or one["scene"] == scene]
        return [_check(row) for row in rows]


def _check(row: dict[str, Any]) -> DriftCheckOut:
    has_report = row.pop("report_path") is not None
    scenes, quality = row.pop("scenes") or [], row.pop("quality") or []
    return DriftCheckOut(**row, scenes=scenes, quality=quality, has_report=has_report)
