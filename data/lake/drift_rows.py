"""One row per prediction with what drift is looked for in: input, prediction and performance."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.lake import samples
from data.lake.schema import BEST_OUTCOME
from trajops.trajectories import FloatArray

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

_PLAIN = ("received_ns", "observed_at_s", "agent_id", "scene_id", "model_version", "variant", "dt_s")
# Rows from which everything can be computed.
USABLE = (
    "p.dt_s > 0 AND len(p.weights) > 0 AND len(p.history_m) >= 6 AND len(p.history_m) % 2 = 0 AND len(p.mean_m) > 0 "
    "AND len(p.mean_m) % (2 * len(p.weights)) = 0 AND len(p.cov_m2) * 2 = len(p.mean_m) * 3"
)
_QUERY = f"""
    , best AS (
        SELECT prediction_id, ade_m, fde_m, inside_share, step_distance2 FROM outcomes WHERE is_complete {BEST_OUTCOME}
    )
    SELECT {", ".join(f"p.{name}" for name in _PLAIN)}, p.latency_ms::DOUBLE AS latency_ms, p.history_m,
        p.mean_m[:len(p.mean_m) // len(p.weights)] AS mean_m,
        p.cov_m2[len(p.cov_m2) // len(p.weights) - 2:len(p.cov_m2) // len(p.weights)] AS last_cov_m2,
        o.ade_m, o.fde_m, o.inside_share, coalesce(p.calibration, 0) AS calibration, o.step_distance2
    FROM predictions p LEFT JOIN best o ON o.prediction_id = p.prediction_id
    WHERE list_contains($sources, p.source) AND hash(p.scene_id, p.agent_id) % 10000 < $kept AND {USABLE}
        AND (p.received_ns // $window_ns) % $every = 0
"""  # noqa: S608 - names from above

COLUMNS = (
    *_PLAIN,
    "speed_mps",
    "speed_last_mps",
    "acceleration_mps2",
    "turn_rad",
    "heading_rad",
    "path_m",
    "jitter_m",
    "max_speed_mps",
    "max_acceleration_mps2",
    "x_m",
    "y_m",
    "predicted_speed_mps",
    "predicted_spread_m",
    "latency_ms",
    "ade_m",
    "fde_m",
    "inside_share",
)


class AsTrained(NamedTuple):
    """What takes the calibrations out of what was predicted, so that a calibration is no drift.

    Attributes:
        factors_of: (T,) what the calibration with a number multiplied the covariance of each step with; None: not known.
        within: squared Mahalanobis distance of the nominal ellipse.
    """

    factors_of: Callable[[int], FloatArray | None]
    within: float


def drift_table(
    lake: "LakeReader",
    since_ns: int,
    until_ns: int,
    sources: Sequence[str],
    agent_share: float = 1.0,
    *,
    window_ns: int = 1,
    every: int = 1,
    as_trained: "AsTrained | None" = None,
) -> pa.Table:
    """Rows of `COLUMNS`, sorted by time.

    Where not all are needed: of a share of the agents, always the same ones; or of every so many windows of a length, whole ones.

    `turn_rad` is the signed angle between the first and the last displacement of the history, `heading_rad` the direction of
    the last one (0 where it is nil), `jitter_m` what noise of that standard deviation in each axis would do to second differences,
    `x_m` and `y_m` the last position, `predicted_speed_mps` the mean displacement per second of the likeliest mode over the
    horizon, `predicted_spread_m` the root of half the trace of its covariance at the last step. The last three columns are
    NULL until the whole horizon is known.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    parameters: dict[str, Any] = {"sources": list(sources), "window_ns": window_ns, "every": every, "kept": round(1e4 * agent_share)}

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
        return samples.arrow(cursor, prefix + _QUERY, parameters)

    rows = lake.read(("predictions", "outcomes"), work, since_ns=since_ns, until_ns=until_ns)
    groups = samples.by_length(rows, "history_m", "mean_m")
    parts = [_described(rows.take(chosen), history, mean, as_trained) for (history, mean), chosen in groups]
    if not parts:
        parts = [_described(rows, 16, 24, as_trained)]
    return pa.concat_tables(parts).sort_by("received_ns")


def features(history_m: FloatArray, mean_m: FloatArray, dt_s: FloatArray) -> dict[str, FloatArray]:
    """What the shapes of N histories and predictions say.

    Args:
        history_m: (N, T_obs, 2) metres, T_obs ≥ 3.
        mean_m: (N, T, 2) likeliest mode, metres.
        dt_s: (N,) seconds.

    Returns:
        (N,) values by column name.
    """
    ahead_m = np.diff(np.concatenate([history_m[:, -1:], mean_m], axis=1), axis=1)
    speed_mps = np.hypot(ahead_m[..., 0], ahead_m[..., 1]).mean(axis=1) / dt_s
    return {**history_features(history_m, dt_s), "predicted_speed_mps": speed_mps}


def history_features(history_m: FloatArray, dt_s: FloatArray) -> dict[str, FloatArray]:
    """What the shapes of N histories say.

    Args:
        history_m: (N, T_obs, 2) metres, T_obs ≥ 3.
        dt_s: (N,) seconds.

    Returns:
        (N,) values by column name.
    """
    move_m = np.diff(history_m, axis=1)
    step_m = np.hypot(move_m[..., 0], move_m[..., 1])
    first, last = move_m[:, 0], move_m[:, -1]
    bend_m = np.diff(move_m, axis=1)
    bend2_m2 = (bend_m**2).sum(axis=-1)
    return {
        "speed_mps": step_m.mean(axis=1) / dt_s,
        "speed_last_mps": step_m[:, -1] / dt_s,
        "acceleration_mps2": (step_m[:, -1] - step_m[:, 0]) / dt_s / (dt_s * (step_m.shape[1] - 1)),
        "turn_rad": np.arctan2(first[:, 0] * last[:, 1] - first[:, 1] * last[:, 0], (first * last).sum(axis=1)),
        "heading_rad": np.arctan2(last[:, 1], last[:, 0]),
        "path_m": step_m.sum(axis=1),
        # White noise σ in each axis gives a second difference a variance of 6 σ² in each axis.
        "jitter_m": np.sqrt(bend2_m2.mean(axis=1) / 12),
        "max_speed_mps": step_m.max(axis=1) / dt_s,
        "max_acceleration_mps2": np.sqrt(bend2_m2.max(axis=1)) / dt_s**2,
        "x_m": history_m[:, -1, 0],
        "y_m": history_m[:, -1, 1],
    }


def _uncalibrated(rows: pa.Table, columns: dict[str, pa.Array], steps: int, as_trained: AsTrained) -> dict[str, pa.Array]:
    """Spread and share inside the ellipse as they were without calibration; NaN where its factors are not known."""
    numbers, spread_m = samples.column(rows, "calibration"), columns["predicted_spread_m"].to_numpy(zero_copy_only=False).copy()
    inside = columns["inside_share"].to_numpy().astype(float)
    lengths = pc.fill_null(pc.list_value_length(rows["step_distance2"]), 0).to_numpy()
    for number in np.unique(numbers[numbers > 0]).tolist():
        mine = numbers == number
        factors = as_trained.factors_of(number)
        if factors is None or len(factors) != steps:
            spread_m[mine], inside[mine] = np.nan, np.nan
            continue
        spread_m[mine] /= np.sqrt(factors[-1])
        scored = np.flatnonzero(mine & np.isfinite(inside))
        known = scored[lengths[scored] == steps]
        inside[scored] = np.nan
        if len(known):
            distance2 = samples.lists(rows.take(pa.array(known)), "step_distance2", steps)
            inside[known] = (distance2 * factors <= as_trained.within).mean(axis=1)
    return {"predicted_spread_m": pa.array(spread_m), "inside_share": pa.array(inside, from_pandas=True)}


def _described(rows: pa.Table, history_length: int, mean_length: int, as_trained: AsTrained | None) -> pa.Table:
    history_m = samples.lists(rows, "history_m", history_length).reshape(len(rows), history_length // 2, 2)
    mean_m = samples.lists(rows, "mean_m", mean_length).reshape(len(rows), mean_length // 2, 2)
    last_cov_m2 = samples.lists(rows, "last_cov_m2", 3)
    columns = {name: rows[name] for name in (*_PLAIN, "latency_ms", "ade_m", "fde_m", "inside_share")}
    columns |= {name: pa.array(values) for name, values in features(history_m, mean_m, samples.column(rows, "dt_s")).items()}
    columns["predicted_spread_m"] = pa.array(np.sqrt((last_cov_m2[:, 0] + last_cov_m2[:, 2]) / 2))
    if as_trained is not None:
        columns |= _uncalibrated(rows, columns, mean_length // 2, as_trained)
    return pa.table({name: columns[name] for name in COLUMNS})
