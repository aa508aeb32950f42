"""Verdicts on live performance."""

from sqlalchemy import Connection, and_, func, insert, select

from data.sql.tables import performance_checks
from trajops.contracts.performance import PerformanceCheckOut
from trajops.deployments.model_ref import ModelRef


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
        # The index alone says which these are; of the thousands before them, no body is read.
        newest = (
            select(table.model_name, table.model_version, func.max(table.at).label("at"))
            .group_by(table.model_name, table.model_version)
            .subquery()
        )
        is_newest = and_(newest.c.model_name == table.model_name, newest.c.model_version == table.model_version, newest.c.at == table.at)
        found = select(table.body).join(newest, is_newest).order_by(table.model_name, table.model_version.desc(), table.check_id.desc())
        checks = [PerformanceCheckOut.model_validate(body) for body in self._connection.execute(found).scalars()]
        return list({(check.model_name, check.model_version): check for check in checks}.values())

    def history(self, ref: ModelRef | None = None, limit: int = 50) -> list[PerformanceCheckOut]:
        """Newest first; of one version, where it is given."""
        table = performance_checks.c
        found = select(table.body).order_by(table.at.desc(), table.check_id).limit(limit)
        if ref is not None:
            found = found.where(table.model_name == ref.name, table.model_version == ref.version)
        return [PerformanceCheckOut.model_validate(body) for body in self._connection.execute(found).scalars()]
