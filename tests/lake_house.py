"""Spool, lake and manifest of one test, with a clock that the test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.lake import schema
from data.lake.compactor import Compactor
from data.lake.manifest import LakeFile, Manifest
from data.lake.queries import Lake
from data.lake.rollups import Rollups
from data.lake.spool import Spool
from data.sql.engine import Database
from data.sql.tables import metadata
from tests.builders import CLOCK_NS, a_prediction_event
from trajops.clock import utc
from trajops.telemetry import PredictionEvent

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
START = utc(CLOCK_NS)
PLAIN_HOUR_NS = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC


@dataclass
class HandClock:
    """A clock that a test sets."""

    ns: int = CLOCK_NS

    def now_ns(self) -> int:
        return self.ns


@dataclass
class House:
    """Spool, lake and manifest of one test."""

    folder: Path
    database: Database
    clock: HandClock
    spool: Spool
    lake: Lake
    keep_days: float | None = None

    @property
    def compactor(self) -> Compactor:
        return Compactor(self.folder / "lake", self.folder / "spool", self.database.engine, clock=self.clock, keep_days=self.keep_days)

    @property
    def rollups(self) -> Rollups:
        return Rollups(self.folder / "lake", self.database.engine, clock=self.clock)

    def write(self, *events: Any, table: str = "predictions", close: bool = True) -> None:
        self.spool.write(table, events)
        if close:
            self.spool.close()

    def compact(self) -> dict[str, int]:
        self.spool.close()
        return self.compactor.run()

    def ids(self) -> list[str]:
        """Prediction ids in the lake, with repetitions."""
        return sorted(
            self.lake.read(
                ("predictions",), lambda cursor, p: [r[0] for r in cursor.execute(p + "SELECT prediction_id FROM predictions").fetchall()]
            )
        )

    def files(self) -> list[LakeFile]:
        return sorted(Manifest(self.database.engine).contents(schema.COLUMNS).files, key=lambda file: file.min_received_ns)

    def segments(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "spool").glob("*.ndjson*"))

    def scalar(self, statement: Any) -> Any:
        with self.database.engine.connect() as connection:
            return connection.execute(statement).scalar()


@contextmanager
def a_house(folder: Path, database_url: str | None = None) -> Iterator[House]:
    """An empty one; its manifest is in a file unless a database is given."""
    database = Database(database_url or f"sqlite:///{folder / 'control.db'}")
    metadata.create_all(database.engine)
    clock = HandClock(CLOCK_NS + 600 * 10**9)
    lake = Lake(folder / "lake", folder / "spool", database.engine)
    with Spool(folder / "spool", rotate_s=1e6, sync_s=3600, clock=clock) as spool:
        yield House(folder, database, clock, spool, lake)
    lake.close()
    database.close()


def some(count: int, start: int = 0, **changes: Any) -> list[PredictionEvent]:
    """Predictions of five agents, a millisecond apart."""
    return [
        a_prediction_event(f"p{n:04d}", received_ns=CLOCK_NS + n * 10**6, agent_id=f"a{n % 5}", **changes)
        for n in range(start, start + count)
    ]


def ids(count: int) -> list[str]:
    """Of the first predictions of `some`."""
    return [f"p{n:04d}" for n in range(count)]
