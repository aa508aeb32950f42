"""The manifest in SQL: which Parquet files make up the lake, and which spool segments are already in them.

Files and the segments they came from change in one transaction, so that each row is in the lake exactly once at any moment.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from data.sql.tables import lake_files, lake_rollups, lake_segments
from trajops.errors import Conflict, Unavailable


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file; `path` is relative to the lake's folder."""

    file_id: str
    table: str
    path: str
    day: str
    rows: int
    size_bytes: int
    min_received_ns: int
    max_received_ns: int


@dataclass(frozen=True, slots=True)
class Rollup:
    """One hour that is summed up; `path` is relative to the lake's folder, and one for all hours of a day.

    Attributes:
        hour: since the epoch.
        day: of the hour, UTC.
        path: of the file.
        definition: which sums they are.
        predictions: rows that were summed up.
        outcomes: rows that were summed up.
    """

    hour: int
    day: str
    path: str
    definition: int
    predictions: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The lake at one instant: live files, names of segments that must not be read any more, and rollups."""

    files: tuple[LakeFile, ...]
    segments: frozenset[str]
    rollups: tuple[Rollup, ...]


# Without a time of retirement a file is never deleted.
_IS_SET_ASIDE = (~lake_files.c.is_live, lake_files.c.retired_at.is_(None))


class Manifest:
    """Reads and changes the manifest.

    Args:
        engine: of the control state's database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(read_only=True)

    def contents(self, tables: Iterable[str]) -> Contents:
        """Live files and compacted segments of the tables, as one statement saw them.

        Raises:
            Unavailable: if the database does not answer.
        """
        names = list(tables)
        file = sa.select(
            lake_files.c.file_id,
            lake_files.c.lake_table,
            lake_files.c.path,
            lake_files.c.day,
            lake_files.c.rows,
            lake_files.c.bytes,
            lake_files.c.min_received_ns,
            lake_files.c.max_received_ns,
        ).where(lake_files.c.lake_table.in_(names), lake_files.c.is_live)
        segment = sa.select(
            sa.null(), lake_segments.c.lake_table, lake_segments.c.segment, sa.null(), lake_segments.c.rows, sa.null(), sa.null(), sa.null()
        ).where(lake_segments.c.lake_table.in_(names), ~lake_segments.c.is_deleted)
        rollup = sa.select(
            sa.null(),
            sa.null(),
            lake_rollups.c.path,
            lake_rollups.c.day,
            lake_rollups.c.predictions,
            lake_rollups.c.outcomes,
            lake_rollups.c.hour,
            lake_rollups.c.definition,
        )
        # One statement is one snapshot in every database; two could see a compaction between them.
        with self._translated(), self._reader.connect() as connection:
            rows = connection.execute(sa.union_all(file, segment, rollup)).all()
        return Contents(
            tuple(LakeFile(*row) for row in rows if row[0] is not None),
            frozenset(row[2] for row in rows if row[0] is None and row[1] is not None),
            tuple(Rollup(row[6], row[3], row[2], row[7], row[4], row[5]) for row in rows if row[1] is None),
        )

    def roll(self, day: str, rollups: Sequence[Rollup], before: str | None, at: datetime) -> None:
        """Put one file of rollups in the place of a day's former one.

        Args:
            day: of all of them.
            rollups: every hour of the file.
            before: path of the former file; None: there was none.
            at: now.

        Raises:
            Conflict: if somebody else has rolled the day up meanwhile; then nothing has changed.
            Unavailable: if the database does not answer.
        """
        with self._translated(), self._engine.begin() as connection:
            connection.execute(sa.delete(lake_rollups).where(lake_rollups.c.day == day, lake_rollups.c.path == (before or "")))
            # An hour that somebody else has written stands in the way of its key.
            connection.execute(
                sa.insert(lake_rollups),
                [{field: getattr(rollup, field) for field in Rollup.__slots__} | {"created_at": at} for rollup in rollups],
            )

    def known_segments(self) -> frozenset[str]:
        """Names of all segments ever compacted, as long as they are remembered; also of deleted ones."""
        with self._translated(), self._reader.connect() as connection:
            return frozenset(connection.execute(sa.select(lake_segments.c.segment)).scalars())

    def publish(self, table: str, files: Sequence[LakeFile], segments: dict[str, int], at: datetime) -> None:
        """Add files and the segments (name → rows) that are in them, if they come from segments.

        Raises:
            Conflict: if one of the segments is in the lake already; then nothing has changed.
            Unavailable: if the database does not answer.
        """
        with self._translated(), self._engine.begin() as connection:
            if segments:
                connection.execute(
                    sa.insert(lake_segments),
                    [
                        {"segment": name, "lake_table": table, "rows": rows, "compacted_at": at, "is_deleted": False}
                        for name, rows in segments.items()
                    ],
                )
            _insert(connection, files, at)

    def replace(self, new: LakeFile, old: Sequence[LakeFile], at: datetime) -> None:
        """Put one merged file in the place of several.

        Raises:
            Conflict: if one of them is not live any more; then nothing has changed.
            Unavailable: if the database does not answer.
        """
        with self._translated(), self._engine.begin() as connection:
            retired = connection.execute(
                sa.update(lake_files)
                .where(lake_files.c.file_id.in_([file.file_id for file in old]), lake_files.c.is_live)
                .values(is_live=False, retired_at=at)
            )
            if retired.rowcount != len(old):
                raise Conflict("somebody else has merged these files of the lake meanwhile; nothing needs to be done")
            _insert(connection, [new], at)

    def retire(self, before_ns: int, at: datetime) -> int:
        """Take files all of whose rows were received before a time out of the lake; how many.

        Raises:
            Unavailable: if the database does not answer.
        """
        with self._translated(), self._engine.begin() as connection:
            retired = connection.execute(
                sa.update(lake_files)
                .where(lake_files.c.is_live, lake_files.c.max_received_ns < before_ns)
                .values(is_live=False, retired_at=at)
            )
            return int(retired.rowcount)

    def set_aside(self, paths: Sequence[str]) -> None:
        """Take files whose content is broken out of the lake, and leave them on disk. Rollups are made anew, also for a file of hours.

        Raises:
            Unavailable: if the database does not answer.
        """
        is_one = (lake_files.c.path.in_(paths), lake_files.c.is_live)
        stems = [path.replace(".hours.", ".") for path in paths]
        with self._translated(), self._engine.begin() as connection:
            connection.execute(sa.update(lake_files).where(*is_one).values(is_live=False))
            connection.execute(sa.delete(lake_rollups).where(lake_rollups.c.path.in_(stems)))

    def put_back(self, path: str) -> None:
        """Take a file that was set aside into the lake again.

        Raises:
            Unavailable: if the database does not answer.
        """
        with self._translated(), self._engine.begin() as connection:
            connection.execute(sa.update(lake_files).where(lake_files.c.path == path, *_IS_SET_ASIDE).values(is_live=True))

    def broken(self) -> dict[str, int]:
        """Paths of the files that were set aside, and how many rows they had.

        Raises:
            Unavailable: if the database does not answer.
        """
        found = sa.select(lake_files.c.path, lake_files.c.rows).where(*_IS_SET_ASIDE).order_by(lake_files.c.path)
        with self._translated(), self._reader.connect() as connection:
            return {row.path: row.rows for row in connection.execute(found)}

    def deletable(self, before: datetime) -> tuple[list[str], list[tuple[str, str]]]:
        """Segments compacted, and files (id, path) retired, before a time, whose bytes are still on disk."""
        with self._translated(), self._reader.connect() as connection:
            segments = connection.execute(
                sa.select(lake_segments.c.segment).where(~lake_segments.c.is_deleted, lake_segments.c.compacted_at <= before)
            ).scalars()
            files = connection.execute(
                sa.select(lake_files.c.file_id, lake_files.c.path).where(~lake_files.c.is_live, lake_files.c.retired_at <= before)
            )
            return list(segments), [(row[0], row[1]) for row in files]

    def forget(self, segments: Sequence[str], file_ids: Sequence[str], before: datetime) -> None:
        """Note that segments and files are gone from disk, and drop the memory of segments compacted before a time."""
        with self._translated(), self._engine.begin() as connection:
            if segments:
                connection.execute(sa.update(lake_segments).where(lake_segments.c.segment.in_(segments)).values(is_deleted=True))
            if file_ids:
                connection.execute(sa.delete(lake_files).where(lake_files.c.file_id.in_(file_ids)))
            connection.execute(sa.delete(lake_segments).where(lake_segments.c.is_deleted, lake_segments.c.compacted_at <= before))

    def paths(self) -> frozenset[str]:
        """Paths of all files that the manifest knows, live or retired, also of rollups."""
        with self._translated(), self._reader.connect() as connection:
            return frozenset(connection.execute(sa.union_all(sa.select(lake_files.c.path), sa.select(lake_rollups.c.path))).scalars())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise Conflict("somebody else has done this meanwhile; nothing needs to be done") from error
        except (DBAPIError, PoolTimeout) as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise Unavailable(f"the lake's manifest cannot be used ({cause}); check TRAJOPS_DATABASE_URL and try again") from error


def _insert(connection: sa.Connection, files: Sequence[LakeFile], at: datetime) -> None:
    if files:
        connection.execute(
            sa.insert(lake_files),
            [
                {
                    "file_id": file.file_id,
                    "lake_table": file.table,
                    "path": file.path,
                    "day": file.day,
                    "rows": file.rows,
                    "bytes": file.size_bytes,
                    "min_received_ns": file.min_received_ns,
                    "max_received_ns": file.max_received_ns,
                    "is_live": True,
                    "created_at": at,
                }
                for file in files
            ],
        )
