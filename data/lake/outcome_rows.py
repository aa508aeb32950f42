"""Outcomes as rows of the lake, and as the lines of the spool."""

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trajops.trajectories import BoolArray, FloatArray
from trajops.truth import Scores

# What an outcome takes over from its prediction.
IDENTITY = (
    "prediction_id",
    "received_ns",
    "observed_at_s",
    "scene_id",
    "agent_id",
    "model_name",
    "model_version",
    "variant",
    "source",
    "calibration",
    "experiment_id",
    "shadow_of",
)


def outcome_rows(rows: pa.Table, scores: Scores, delay_s: FloatArray, interpolated_s: FloatArray, scored_ns: int) -> pa.Table:
    """Rows with the fields of `OutcomeEvent`, for the usable scores.

    Args:
        rows: columns `IDENTITY` of N predictions.
        scores: of them.
        delay_s: (N,) from the prediction to its last truth, seconds.
        interpolated_s: (N,) time that truth was interpolated over, seconds.
        scored_ns: server's clock.
    """
    keep = np.flatnonzero(scores.is_usable)
    known = scores.known[keep]
    identity = rows if len(keep) == len(rows) else rows.take(pa.array(keep))
    return pa.table(
        {name: identity[name] for name in IDENTITY}
        | {
            "scored_ns": pa.repeat(pa.scalar(scored_ns, pa.int64()), len(keep)),
            "steps_scored": pa.array(scores.steps_scored[keep]),
            "is_complete": pa.array(known.all(axis=1)),
            "ade_m": _rounded(scores.ade_m[keep]),
            "fde_m": _rounded(scores.fde_m[keep]),
            "is_miss": pa.array(scores.is_miss[keep], mask=~known[:, -1]),
            "nll": _rounded(scores.nll[keep]),
            "inside_share": _rounded(scores.inside_share[keep]),
            "cv_ade_m": _rounded(scores.cv_ade_m[keep]),
            "truth_delay_s": pa.array(delay_s[keep]),
            "step_error_m": _lists_of(np.round(scores.step_error_m[keep], 5), known),
            "step_nll": _lists_of(np.round(scores.step_nll[keep], 5), known),
            "step_inside": _lists_of(scores.step_inside[keep], known),
            "interpolated_s": pa.array(interpolated_s[keep]),
            "speed_mps": _rounded(scores.speed_mps[keep], 3),
            "expected_ade_m": _rounded(scores.expected_ade_m[keep], 4),
            "radius_m": _rounded(scores.radius_m[keep], 4),
            "step_distance2": _lists_of(np.round(scores.step_distance2[keep], 3), known),
        }
    )


def lines_of(connection: duckdb.DuckDBPyConnection, outcomes: pa.Table) -> Iterator[bytes]:
    """Rows as JSON lines.

    They are put together column by column in DuckDB: an object and its lists for each would take three times as long.

    Args:
        connection: on which that is done.
        outcomes: from `outcome_rows`.
    """
    connection.register("outcomes", outcomes)
    try:
        lines = connection.sql("SELECT to_json(o)::VARCHAR || chr(10) AS line FROM outcomes o").to_arrow_table()["line"]
    finally:
        connection.unregister("outcomes")
    for chunk in lines.cast(pa.large_string()).chunks:
        # The texts of an Arrow array lie one behind the other.
        _, offsets, text = chunk.buffers()
        first, last = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]].tolist()
        yield text.slice(first, last - first).to_pybytes()


def _rounded(values: FloatArray, digits: int = 6) -> pa.Array:
    """Values to a millionth, or to fewer digits, which is shorter to write; NaN becomes NULL."""
    return pa.array(np.round(values, digits), from_pandas=True)


def _lists_of(values: NDArray[Any], known: BoolArray) -> pa.ListArray:
    """(N, T) values as N lists, NULL where not known."""
    count, steps = values.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * steps), pa.array(values.ravel(), mask=~known.ravel()))
