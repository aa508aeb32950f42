"""Where an API process reads the newest route table."""

from data.sql.engine import Database
from trajops.deployments.routing import RouteTable


class SqlRouteSource:
    """Implements `trajops.ports.RouteSource`; an absent database raises Unavailable, so that the caller keeps the last good table."""

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
