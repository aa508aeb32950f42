"""Rollups: each hour that is over is summed up once, so that a month is answered without reading its rows.

Two files a day, one with a bucket for each hour and one with a bucket for each five minutes: the first for months, the second for
days and for the ends of a range. An hour counts as summed up as long as the manifest's files hold as many rows of it as
were summed: a late outcome that is compacted makes its hour stale, readers take its rows again, and the next run sums it up anew.
An hour whose rows were deleted by retention keeps its sums. Two runs at once do no harm: the second one's file is thrown away.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import sqlalchemy as sa

from data.lake import broken, duck, sums
from data.lake.manifest import Contents, LakeFile, Manifest, Rollup
from data.lake.parquet import HOUR_NS, hour_of
from data.sql.tables import new_id
from trajops.clock import SystemClock, utc
from trajops.errors import Conflict, Unavailable
from trajops.ports import Clock

# Raise it when the sums change: all hours are then summed up anew.
DEFINITION = 1
BUCKET_NS = 300 * 10**9
TABLES = ("predictions", "outcomes")
# So long after its end an hour is summed up: most truth has arrived by then, and what comes later makes it stale.
SETTLED_NS = 180 * 10**9
FOLDER = "rollups"
_EVER_NS = 2**62

_log = logging.getLogger(__name__)


Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Covered:
    """What of a range rollups can answer.

    Attributes:
        ranges: (begin, end) nanoseconds, in order, none touching the next.
        hours: those of them that are answered by hours.
        buckets: the others, answered by five minutes.
        paths: files of five minutes, relative to the lake's folder; `hours_path` tells those of hours.
    """

    ranges: tuple[Range, ...] = ()
    hours: tuple[Range, ...] = ()
    buckets: tuple[Range, ...] = ()
    paths: tuple[str, ...] = ()


def hours_path(path: str) -> str:
    """The file of hours beside a file of five minutes."""
    return path.removesuffix(".parquet") + ".hours.parquet"


def covered(contents: Contents, since_ns: int, until_ns: int, *, by_hours: bool) -> Covered:
    """Whole buckets of a time range in hours that are summed up with all their rows.

    Args:
        contents: of the tables that are summed up.
        since_ns: begin of the range.
        until_ns: its end.
        by_hours: take whole hours together.
    """
    first_ns, last_ns = -(-since_ns // BUCKET_NS) * BUCKET_NS, until_ns // BUCKET_NS * BUCKET_NS
    rows = _rows_by_hour(contents.files)
    ranges: list[tuple[int, int]] = []
    paths = []
    stale = set(rows) - {rollup.hour for rollup in contents.rollups if _is_fresh(rollup, rows)}
    for rollup in sorted(contents.rollups, key=lambda one: one.hour):
        begin_ns, end_ns = max(first_ns, rollup.hour * HOUR_NS), min(last_ns, (rollup.hour + 1) * HOUR_NS)
        if rollup.hour in stale or begin_ns >= end_ns or rollup.definition != DEFINITION:
            continue
        paths.append(rollup.path)
        # Hours in between that have no rows at all are covered too.
        if ranges and stale.isdisjoint(range(ranges[-1][1] // HOUR_NS, rollup.hour)):
            ranges[-1] = (ranges[-1][0], end_ns)
        else:
            ranges.append((begin_ns, end_ns))
    whole, parts = [], []
    for begin_ns, end_ns in ranges:
        first, last = (-(-begin_ns // HOUR_NS) * HOUR_NS, end_ns // HOUR_NS * HOUR_NS) if by_hours else (end_ns, end_ns)
        if first < last:
            whole.append((first, last))
            parts += [(begin_ns, first), (last, end_ns)]
        else:
            parts.append((begin_ns, end_ns))
    return Covered(tuple(ranges), tuple(whole), tuple((a, b) for a, b in parts if a < b), tuple(dict.fromkeys(paths)))


def first_stale_ns(contents: Contents) -> int:
    """Begin of the first hour that has rows and is not summed up with all of them; a time far away if there is none."""
    rows = _rows_by_hour(contents.files)
    stale = set(rows) - {rollup.hour for rollup in contents.rollups if _is_fresh(rollup, rows)}
    return min(stale) * HOUR_NS if stale else _EVER_NS


class Rollups:
    """Keeps the rollups up to date.

    Args:
        lake_dir: folder of the Parquet files.
        engine: database of the manifest.
        clock: tells when an hour is over.
        threads: of DuckDB.
        memory: of DuckDB.
    """

    def __init__(self, lake_dir: Path, engine: sa.Engine, *, clock: Clock | None = None, threads: int = 2, memory: str = "1GB") -> None:
        self._lake_dir = lake_dir
        self._manifest = Manifest(engine)
        self._clock: Clock = clock or SystemClock()
        self._threads, self._memory = threads, memory

    def run(self) -> dict[str, int]:
        """Sum up every hour that is over and is not summed up with all its rows.

        Returns:
            Counts of `rolled` hours, and of `days` whose file was written.

        Raises:
            Unavailable: if the lake or its manifest cannot be read or written; the next run repeats what is missing.
        """
        contents = self._manifest.contents(TABLES)
        rows = _rows_by_hour(contents.files)
        known = {rollup.hour: rollup for rollup in contents.rollups}
        is_over = self._clock.now_ns() - SETTLED_NS
        stale: dict[str, list[int]] = defaultdict(list)
        for hour in sorted(rows):
            if (hour + 1) * HOUR_NS <= is_over and not (hour in known and _is_fresh(known[hour], rows)):
                stale[_day(hour)].append(hour)
        report = {"rolled": 0, "days": 0}
        for day, hours in stale.items():
            try:
                self._roll(day, hours, contents, rows)
            except Conflict as error:
                _log.info("%s", error)
                continue
            except broken.FAULTS as error:
                files = [file.path for file in contents.files if file.day == day]
                if broken.set_aside(self._lake_dir, self._manifest, [*files, *_paths(contents, day)]):
                    continue  # its rows have changed; the next run sums up those that are left
                raise Unavailable(
                    f"{day} of the lake cannot be summed up ({error}); check {self._lake_dir} and the space on its disk"
                ) from error
            report["rolled"] += len(hours)
            report["days"] += 1
        return report

    def _roll(self, day: str, hours: Sequence[int], contents: Contents, rows: dict[int, dict[str, int]]) -> None:
        kept = [rollup for rollup in contents.rollups if rollup.day == day and rollup.hour not in hours and rollup.definition == DEFINITION]
        before = next((rollup.path for rollup in contents.rollups if rollup.day == day), None)
        path = Path(FOLDER) / f"{day}-{new_id()}.parquet"
        self._write(path, hours, contents.files, kept)
        rolled = [Rollup(hour, day, str(path), DEFINITION, rows[hour]["predictions"], rows[hour]["outcomes"]) for hour in hours]
        moved = [Rollup(one.hour, day, str(path), DEFINITION, one.predictions, one.outcomes) for one in kept]
        try:
            self._manifest.roll(day, [*moved, *rolled], before, utc(self._clock.now_ns()))
        except Conflict:
            for written in (str(path), hours_path(str(path))):
                (self._lake_dir / written).unlink(missing_ok=True)
            raise

    def _write(self, path: Path, hours: Sequence[int], files: Iterable[LakeFile], kept: Sequence[Rollup]) -> None:
        (self._lake_dir / path).parent.mkdir(parents=True, exist_ok=True)
        by_hour = defaultdict(list)
        for file in files:
            by_hour[hour_of(file)].append(file)
        with duck.connect(threads=self._threads, memory=self._memory, scratch=self._lake_dir / ".scratch") as connection:
            for width_ns, name in ((BUCKET_NS, _same), (HOUR_NS, hours_path)):
                connection.execute(f"CREATE OR REPLACE TABLE sums ({', '.join(f'{name} {kind}' for name, kind in sums.TYPES.items())})")
                for hour in hours:
                    self._sum_up(connection, by_hour[hour], width_ns)
                for former in {one.path for one in kept}:
                    held = ", ".join(str(one.hour) for one in kept if one.path == former)
                    source = duck.read_parquet([self._lake_dir / name(former)])
                    connection.execute(f"INSERT INTO sums BY NAME SELECT * FROM {source} WHERE at_ns // {HOUR_NS} IN ({held})")  # noqa: S608
                self._save(connection, self._lake_dir / name(str(path)))

    def _sum_up(self, connection: duckdb.DuckDBPyConnection, files: Sequence[LakeFile], width_ns: int) -> None:
        tables = []
        for table in TABLES:
            paths = [self._lake_dir / file.path for file in files if file.table == table]
            tables.append(f"{table} AS NOT MATERIALIZED ({duck.relation(table, paths, [], None, None)})")
        query = f"INSERT INTO sums BY NAME WITH {', '.join(tables)} {sums.of_rows(is_kept_short=True)}"
        connection.execute(query, {"origin": 0, "width": width_ns, "due": _EVER_NS})

    @staticmethod
    def _save(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
        connection.execute(f"COPY (SELECT * FROM sums ORDER BY at_ns) TO {duck.literal(str(target))} (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608
        for place, flags in ((target, os.O_RDONLY), (target.parent, os.O_RDONLY | os.O_DIRECTORY)):
            fd = os.open(place, flags)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _same(path: str) -> str:
    return path


def _paths(contents: Contents, day: str) -> list[str]:
    paths = {rollup.path for rollup in contents.rollups if rollup.day == day}
    return [*paths, *map(hours_path, paths)]


def _rows_by_hour(files: Iterable[LakeFile]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(TABLES, 0))
    for file in files:
        if file.table in TABLES:
            found[hour_of(file)][file.table] += file.rows
    return dict(found)


def _is_fresh(rollup: Rollup, rows: dict[int, dict[str, int]]) -> bool:
    """Whether it holds all rows that the manifest's files hold of its hour; they are merged, but never exchanged.

    Retention deletes predictions and outcomes of an hour together: if outcomes alone are there, they came too late for its sums.
    """
    there = rows.get(rollup.hour)
    if rollup.definition != DEFINITION:
        return False
    if there is None or (rollup.predictions and not there["predictions"]):
        return True
    return there == {"predictions": rollup.predictions, "outcomes": rollup.outcomes}


def _day(hour: int) -> str:
    return f"{utc(hour * HOUR_NS):%Y-%m-%d}"
