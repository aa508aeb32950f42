"""Known positions in the lake: observations, and the histories inside predictions, as arrays."""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trajops.trajectories import FloatArray
from trajops.truth import Samples, history_samples

# `hash` numbers agents: two of a million agents share one of 2**64 numbers with a probability of 3e-8.
AGENT = "hash(scene_id, agent_id) AS agent"
IS_HISTORY = "dt_s > 0 AND len(history_m) >= 2 AND len(history_m) % 2 = 0"
HISTORIES = "SELECT " + AGENT + ", observed_at_s, dt_s, history_m, received_ns FROM predictions WHERE {condition} AND " + IS_HISTORY  # noqa: S608
OBSERVATIONS = "SELECT " + AGENT + ", observed_at_s, x_m, y_m, received_ns FROM observations WHERE {condition}"  # noqa: S608
SAMPLES = HISTORIES + ";" + OBSERVATIONS
_ONE_CHUNK = 10_000_000


def samples_of(cursor: duckdb.DuckDBPyConnection, prefix: str, queries: str, parameters: dict[str, Any] | None = None) -> Samples:
    """Samples found by `SAMPLES` with a condition.

    Args:
        cursor: of DuckDB.
        prefix: WITH clause that defines predictions and observations.
        queries: `SAMPLES`, formatted.
        parameters: of the condition.
    """
    histories, observations = (arrow(cursor, prefix + query, parameters) for query in queries.split(";"))
    return Samples.concatenate([from_histories(histories), from_observations(observations)])


def from_observations(rows: pa.Table) -> Samples:
    """Rows of `OBSERVATIONS` as samples."""
    positions_m = np.stack([column(rows, "x_m"), column(rows, "y_m")], axis=-1)
    return Samples(column(rows, "agent"), column(rows, "observed_at_s"), positions_m, column(rows, "received_ns"))


def from_histories(rows: pa.Table) -> Samples:
    """Rows of `HISTORIES` as samples."""
    parts = []
    for length, chosen in by_length(rows, "history_m"):
        part = rows if len(chosen) == len(rows) else rows.take(chosen)
        history_m = lists(part, "history_m", length).reshape(len(part), -1, 2)
        times_s, dt_s = column(part, "observed_at_s"), column(part, "dt_s")
        parts.append(history_samples(column(part, "agent"), times_s, dt_s, history_m, column(part, "received_ns")))
    return Samples.concatenate(parts)


def arrow(cursor: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    """Result of a query as one Arrow table."""
    found = cursor.sql(query, params=parameters) if parameters else cursor.sql(query)
    return found.to_arrow_table(batch_size=_ONE_CHUNK)  # whose columns of lists are arrays without a copy


def column(rows: pa.Table, name: str) -> Any:
    """A column without NULL as a numpy array."""
    return rows[name].to_numpy()


def lists(rows: pa.Table, name: str, length: int) -> FloatArray:
    """A column of lists of equal length as (N, length) floats; NULL in a list becomes NaN."""
    return stored_lists(rows, name, length).astype(np.float64, copy=False)


def stored_lists(rows: pa.Table, name: str, length: int) -> NDArray[np.floating[Any]]:
    """The same in the precision in which they are stored, without a copy where that can be."""
    flat = rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    result: NDArray[np.floating[Any]] = flat.reshape(len(rows), length)
    return result


def by_length(rows: pa.Table, *names: str) -> list[tuple[Any, pa.Array]]:
    """Row numbers grouped by the length of one list column, or by the lengths of several.

    Returns:
        Length (or tuple of lengths) and row numbers of each group.
    """
    if not len(rows):
        return []
    lengths = np.stack([pc.fill_null(pc.list_value_length(rows[name]), 0).to_numpy() for name in names], axis=-1)
    if (lengths == lengths[0]).all():  # nearly always, and sorting them would cost more than reading the columns
        kinds, group = lengths[:1], np.zeros(len(rows), np.int64)
    else:
        kinds, group = np.unique(lengths, axis=0, return_inverse=True)
    group = group.ravel()
    found = [(tuple(kind.tolist()), pa.array(np.flatnonzero(group == number))) for number, kind in enumerate(kinds)]
    return [(kind[0] if len(names) == 1 else kind, chosen) for kind, chosen in found]
