"""Where an API process reads the newest route table, and the calibrations in force."""

from collections.abc import Mapping

from data.sql.engine import Database
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.ports import Calibrated


class SqlRouteSource:
    """Implements `trajops.ports.RouteSource` and `CalibrationSource`.

    An absent database raises Unavailable, so that the caller keeps what it has read last.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def epoch(self) -> int:
        """Newest epoch, by one look at the end of an index; 0 before the first deployment."""
        with self._database.unit_of_work(read_only=True) as uow:
            return uow.routes.epoch()

    def table(self) -> RouteTable:
        """Newest route table; an empty one with epoch 0 before the first deployment."""
        with self._database.unit_of_work(read_only=True) as uow:
            return uow.routes.table()

    def in_force(self) -> Mapping[ModelRef, Calibrated]:
        """Calibrations by version: a handful of rows, found by an index."""
        with self._database.unit_of_work(read_only=True) as uow:
            return {
                ModelRef(one.model_name, one.model_version): Calibrated(one.number, tuple(one.factors))
                for one in uow.calibrations.in_force()
            }
