"""Verdicts on live performance."""

from sqlalchemy import Connection, func, insert, select

from data.sql.tables import performance_checks
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.routing import ModelRef


class SqlPerformanceChecks:
    """Implements `trajops.ports.PerformanceCheckStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, check: PerformanceCheckOut) -> None:
        """Write one check."""
        row = check.model_dump(include={"check_id", "at", "model_name", "model_version", "verdict"})
        self._connection.execute(insert(performance_checks), {**row, "body": check.model_dump(mode="json")})

    def latest(self) -> list[PerformanceCheckOut]:
        """Newest check of each version, newest version first."""
        table = performance_checks.c
        place = func.row_number().over(partition_by=(table.model_name, table.model_version), order_by=(table.at.desc(), table.check_id))
        ranked = select(table.body, table.model_name, table.model_version, place.label("place")).subquery()
        found = select(ranked.c.body).where(ranked.c.place == 1).order_by(ranked.c.model_name, ranked.c.model_version.desc())
        return [PerformanceCheckOut.model_validate(body) for body in self._connection.execute(found).scalars()]

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given."""
        table = performance_checks.c
        found = select(table.body).order_by(table.at.desc(), table.check_id).limit(limit)
        if ref is not None:
            found = found.where(table.model_name == ref.name, table.model_version == ref.version)
        return [PerformanceCheckOut.model_validate(body) for body in self._connection.execute(found).scalars()]
