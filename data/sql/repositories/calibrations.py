"""Factors for the covariances of served versions."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from data.sql.tables import calibrations
from trajops.contracts.calibrations import CalibrationOut, CalibrationState
from trajops.deployments.model_ref import ModelRef
from trajops.errors import NotFound, StaleVersion


class SqlCalibrations:
    """Implements `trajops.ports.CalibrationStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, calibration: CalibrationOut) -> CalibrationOut:
        """Write one under the next number."""
        row = calibration.model_dump(exclude={"number"})
        number: int = self._connection.execute(insert(calibrations).values(**row).returning(calibrations.c.number)).scalar_one()
        return calibration.model_copy(update={"number": number})

    def get(self, number: int) -> CalibrationOut:
        """One calibration; NotFound if there is none with that number."""
        row = self._connection.execute(select(calibrations).where(calibrations.c.number == number)).mappings().first()
        if row is None:
            raise NotFound(f"there is no calibration {number}; list them with GET /v1/calibrations")
        return CalibrationOut(**row)

    def newest(self, limit: int = 50, ref: ModelRef | None = None) -> list[CalibrationOut]:
        """Newest first; of one version, where it is given."""
        found = select(calibrations).order_by(calibrations.c.number.desc()).limit(limit)
        if ref is not None:
            found = found.where(calibrations.c.model_name == ref.name, calibrations.c.model_version == ref.version)
        return [CalibrationOut(**row) for row in self._connection.execute(found).mappings()]

    def standing(self, ref: ModelRef, *, for_change: bool = False) -> list[CalibrationOut]:
        """Those of one version that nothing has superseded, the last changed first."""
        is_mine = (calibrations.c.model_name == ref.name, calibrations.c.model_version == ref.version)
        found = select(calibrations).where(*is_mine, calibrations.c.state != "superseded")
        newest = found.order_by(calibrations.c.changed_at.desc(), calibrations.c.number.desc())
        if for_change:
            newest = newest.with_for_update()
        return [CalibrationOut(**row) for row in self._connection.execute(newest).mappings()]

    def in_force(self) -> list[CalibrationOut]:
        """Those that are applied."""
        found = select(calibrations).where(calibrations.c.state == "applied").order_by(calibrations.c.number)
        return [CalibrationOut(**row) for row in self._connection.execute(found).mappings()]

    def move(self, number: int, expected: CalibrationState, state: CalibrationState, at: datetime, actor: str) -> CalibrationOut:
        """Write the state where it is the expected one; StaleVersion or NotFound otherwise."""
        change = (
            update(calibrations)
            .where(calibrations.c.number == number, calibrations.c.state == expected)
            .values(state=state, changed_at=at, changed_by=actor)
            .returning(calibrations)
        )
        row = self._connection.execute(change).mappings().first()
        if row is None:
            present = self.get(number).state
            raise StaleVersion(
                f"calibration {number} is {present}, not {expected}: somebody changed it; read it again and repeat", present_state=present
            )
        return CalibrationOut(**row)
