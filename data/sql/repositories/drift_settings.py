"""What operators have chosen for the drift check."""

from sqlalchemy import Connection, insert, select, update

from data.sql.tables import drift_settings
from trajops.contracts.drift import DriftSettings

ONLY = 1


class SqlDriftSettings:
    """Implements `trajops.stores.DriftSettingsStore`, as one row."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self) -> DriftSettings:
        """What was chosen last; the defaults before."""
        found = self._connection.execute(select(drift_settings.c.settings)).scalar()
        return DriftSettings() if found is None else DriftSettings.model_validate(found)

    def put(self, settings: DriftSettings) -> None:
        """Write what is chosen now."""
        values = {"settings": settings.model_dump(mode="json")}
        if not self._connection.execute(update(drift_settings).values(values)).rowcount:
            self._connection.execute(insert(drift_settings).values(setting_id=ONLY, **values))
