"""Remembered predictions as the API shows them: with what happened since."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from data.lake.samples import SAMPLES, samples_of
from data.lake.schema import BEST_OUTCOME
from trajops.clock import utc
from trajops.contracts.predictions import Mode, OutcomeOut, PredictionOut, PredictOut
from trajops.truth import Samples, positions_at

if TYPE_CHECKING:
    from data.lake.reader import LakeReader

COLUMNS = (
    "prediction_id",
    "received_ns",
    "observed_at_s",
    "scene_id",
    "agent_id",
    "model_name",
    "model_version",
    "variant",
    "epoch",
    "dt_s",
    "history_m",
    "weights",
    "mean_m",
    "cov_m2",
    "latency_ms",
    "request_id",
)
# Truth for a drawn chart is looked for this long around the prediction, by the server's clock, and over such gaps.
BEFORE_NS, AFTER_NS, MAX_GAP_S = 30 * 10**9, 300 * 10**9, 1.0

_OUTCOMES = f"""
    SELECT prediction_id, {", ".join(OutcomeOut.model_fields)} FROM outcomes WHERE list_contains($prediction_ids, prediction_id)
    {BEST_OUTCOME}
"""  # noqa: S608 - names of a wire model
# What a row raises that nobody should have written: of the wrong shape, with a NULL in it, or out of range.
_UNREADABLE = (ValueError, TypeError, OverflowError)

_log = logging.getLogger(__name__)


def with_truth(lake: "LakeReader", rows: Sequence[dict[str, Any]]) -> list[PredictionOut]:
    """Add outcome and observed positions to rows of `COLUMNS`. A row that cannot be shown is left out, and the log names it.

    Raises:
        Unavailable: if the lake cannot be read.
    """
    if not rows:
        return []
    keys = sorted({(row["scene_id"], row["agent_id"]) for row in rows})
    times_ns = [row["received_ns"] for row in rows]

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[dict[str, OutcomeOut], Samples, list[int]]:
        found = cursor.execute(prefix + _OUTCOMES, {"prediction_ids": [row["prediction_id"] for row in rows]}).fetchall()
        outcomes = {row[0]: outcome for row in found if (outcome := _outcome(row)) is not None}
        wanted = {"scenes": [key[0] for key in keys], "agents": [key[1] for key in keys]}
        samples = samples_of(cursor, prefix, SAMPLES.format(condition="scene_id IN $scenes AND agent_id IN $agents"), wanted)
        hashes = cursor.execute("SELECT hash(s, a) FROM (SELECT unnest($scenes) AS s, unnest($agents) AS a)", wanted).fetchall()
        return outcomes, samples, [row[0] for row in hashes]

    outcomes, samples, hashes = lake.read(
        ("predictions", "observations", "outcomes"), work, since_ns=min(times_ns) - BEFORE_NS, until_ns=max(times_ns) + AFTER_NS
    )
    agents = dict(zip(keys, hashes, strict=True))
    shown = []
    for row in rows:
        try:
            shown.append(_shown(row, outcomes.get(row["prediction_id"]), samples, agents[row["scene_id"], row["agent_id"]]))
        except _UNREADABLE as error:
            _log.error("prediction %s is left out, because its row in the lake cannot be read: %s", row["prediction_id"], error)
    return shown


def _outcome(row: tuple[Any, ...]) -> OutcomeOut | None:
    """An outcome from its id and columns; None where it cannot be read."""
    try:
        return OutcomeOut(**dict(zip(OutcomeOut.model_fields, row[1:], strict=True)))
    except _UNREADABLE as error:
        _log.error("the outcome of prediction %s is left out, because its row in the lake cannot be read: %s", row[0], error)
        return None


def _shown(row: dict[str, Any], outcome: OutcomeOut | None, samples: Samples, agent: int) -> PredictionOut:
    modes = len(row["weights"])
    mean_m = np.reshape(row["mean_m"], (modes, -1, 2))
    cov_m2 = np.reshape(row["cov_m2"], (modes, -1, 3))
    times_s = row["observed_at_s"] + row["dt_s"] * np.arange(1, mean_m.shape[1] + 1)
    truth_m = positions_at(samples, np.array([agent], np.uint64), times_s[None], max_gap_s=MAX_GAP_S).positions_m
    return PredictionOut(
        prediction=PredictOut(
            **{name: row[name] for name in COLUMNS if name in PredictOut.model_fields},
            modes=[
                Mode(weight=weight, positions=[tuple(p) for p in positions.tolist()], covariance=[tuple(c) for c in covariance.tolist()])
                for weight, positions, covariance in zip(row["weights"], mean_m, cov_m2, strict=True)
            ],
            model_ms=row["latency_ms"],
        ),
        received_at=utc(row["received_ns"]),
        history=[tuple(p) for p in np.reshape(row["history_m"], (-1, 2)).tolist()],
        truth=[tuple(p) if np.isfinite(p).all() else None for p in truth_m[0].tolist()],
        outcome=outcome,
        request_id=row["request_id"] or None,
    )
