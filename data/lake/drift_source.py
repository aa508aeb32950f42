"""The lake as the drift check sees it: Arrow tables become rows of numbers, with one code for each continuous track."""

from collections.abc import Sequence
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.lake.drift_rows import COLUMNS
from data.lake.queries import Lake
from trajops.clock import utc
from trajops.drift import Rows

_EXTENT = "SELECT count(*), min(received_ns) FROM predictions WHERE list_contains($sources, source)"
VALUES = tuple(name for name in COLUMNS if name not in {"received_ns", "agent_id", "scene_id", "model_version", "variant"})


class LakeDriftSource:
    """Implements `trajops.ports.DriftSource`."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def rows(self, since: datetime, until: datetime, sources: Sequence[str], max_rows: int | None = None) -> Rows:
        """Rows received in [since, until) from these sources; a larger answer is thinned by whole agents to about `max_rows`.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        if since >= until:
            return to_rows(self._lake.drift_rows(utc(0), utc(1000), ()))
        share = 1.0
        if max_rows is not None:
            count, _ = self._extent(since, until, sources)
            share = min(1.0, max_rows / max(1, count))
        return to_rows(self._lake.drift_rows(since, until, sources, share))

    def oldest(self, sources: Sequence[str]) -> datetime | None:
        """When the oldest row of these sources was received; None when there is none.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        _, oldest_ns = self._extent(None, None, sources)
        return None if oldest_ns is None else utc(oldest_ns)

    def _extent(self, since: datetime | None, until: datetime | None, sources: Sequence[str]) -> tuple[int, int | None]:
        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[int, int | None]:
            [(rows, oldest_ns)] = cursor.execute(prefix + _EXTENT, {"sources": list(sources)}).fetchall()
            return int(rows), oldest_ns

        return self._lake.read(("predictions",), work, since_ns=_ns(since), until_ns=_ns(until))


def to_rows(table: pa.Table) -> Rows:
    """A table of `data.lake.drift_rows` as numbers; what is NULL becomes NaN."""
    names = pc.binary_join_element_wise(table["scene_id"], table["agent_id"], "\0").combine_chunks()
    agents = pc.dictionary_encode(names).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    values = {name: table[name].to_numpy().astype(float) for name in VALUES}
    return Rows(table["received_ns"].to_numpy() / 1e9, agents, table["model_version"].to_numpy().astype(np.int64), values)


def _ns(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1e6) * 1000
