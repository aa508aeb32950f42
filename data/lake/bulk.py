"""Many rows at once: they go into the lake as files, past the spool, which would have them written, read and written again."""

from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from data.lake import parquet
from data.lake.manifest import Manifest
from data.lake.schema import arrow_schema
from trajops.clock import utc
from trajops.errors import Unavailable
from trajops.ports import Clock


class BulkWriter:
    """Writes files of the lake.

    Args:
        lake_dir: folder of the Parquet files.
        engine: database of the manifest.
        clock: time of publication.
    """

    def __init__(self, lake_dir: Path, engine: sa.Engine, clock: Clock) -> None:
        self._lake_dir = lake_dir
        self._manifest = Manifest(engine)
        self._clock = clock

    def write(self, table: str, rows: pa.Table) -> None:
        """Write rows, one file an hour; readers see all of them from one moment on.

        Args:
            table: of the lake.
            rows: with all columns of the table, in any order.

        Raises:
            Unavailable: if lake or manifest cannot be written; then none of the rows is in the lake.
        """
        if not len(rows):
            return
        schema = arrow_schema(table)
        try:
            files = parquet.write_hours(self._lake_dir, table, rows.select(schema.names).cast(schema))
        except OSError as error:
            raise Unavailable(
                f"the lake in {self._lake_dir} cannot be written ({error}); free space, or give this user the right to write there"
            ) from error
        self._manifest.publish(table, files, {}, utc(self._clock.now_ns()))
