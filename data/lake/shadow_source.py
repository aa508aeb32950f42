"""The answers that shadows are to be predicted beside, out of live spool and Parquet.

A shadow's row carries the time of receipt of its answer, so one look at a stretch of time finds the answers in it and what was predicted
beside them already: nothing is predicted twice, whoever looks again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import duckdb
import pyarrow as pa

from data.lake.queries import SERVED
from data.lake.reader import LakeReader
from trajops.deployments.routing import RouteTable, Units
from trajops.services.predict import BASELINE
from trajops.services.shadows import Answered, Beside, Wanted, answered_by
from trajops.trajectories import DEFAULT_WINDOW

_UNIT = ("scene_id", "agent_id", "client_id")
_TABLES = ("met", "pairs")
# Somebody who was put into an arm by hand is nobody to compare with, and a stand-in (epoch 0) takes part in no comparison.
_MET = f"""
    CREATE OR REPLACE TEMP TABLE met AS {{prefix}}
    SELECT {", ".join(Answered._fields)}, model_name, model_version, variant, experiment_id, shadow_of, source = 'shadow' AS is_shadow
    FROM predictions WHERE source = 'shadow' OR (
        list_contains($sources, source) AND variant <> 'override' AND epoch > 0 AND len(history_m) = $length
        AND prediction_id IS NOT NULL AND request_id IS NOT NULL AND observed_at_s IS NOT NULL AND dt_s IS NOT NULL
    )
"""  # noqa: S608 - names of our own schema
_UNITS = f"SELECT DISTINCT {', '.join(_UNIT)} FROM met WHERE NOT is_shadow"  # noqa: S608
_PAIRS = f"""
    CREATE OR REPLACE TEMP TABLE pairs AS
    SELECT {", ".join(f"met.{name}" for name in Answered._fields)}, wanted.number AS number
    FROM met JOIN enrolled USING ({", ".join(_UNIT)}) JOIN wanted ON wanted.number = enrolled.number
        ANTI JOIN (SELECT shadow_of, experiment_id, variant FROM met WHERE is_shadow) made
        ON made.shadow_of = met.prediction_id AND made.experiment_id = wanted.experiment_id AND made.variant = wanted.variant
    WHERE NOT met.is_shadow AND met.received_ns >= wanted.since_ns AND (
        (met.model_name = wanted.control_name AND met.model_version = wanted.control_version)
        OR (met.model_name = '{BASELINE.name}' AND list_contains(wanted.stood_for, coalesce(met.experiment_id, '') || '/' || met.variant))
    )
"""  # noqa: S608 - names of our own schema
_COUNT = "SELECT count(*) FROM pairs"
_NEWEST = f"""
    SELECT {", ".join(Answered._fields)}, number FROM pairs ORDER BY received_ns DESC, prediction_id, number LIMIT $most
"""  # noqa: S608 - names of our own schema


class Waiting(NamedTuple):
    """Predictions that nobody has made yet: the newest ones, and how many there are in all."""

    newest: list[Beside]
    total: int


class LakeShadows:
    """Finds what shadows have to predict.

    Args:
        lake: where predictions are read.
    """

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake

    def waiting(self, table: RouteTable, wanted: Sequence[Wanted], most: int, *, until_ns: int | None = None) -> Waiting:
        """The answers of a control, or of the baseline in its place, that a wanted treatment of these routes has not predicted yet.

        Args:
            table: says which units are enrolled.
            wanted: treatments of it, and from when on.
            most: most that are returned; of more the newest.
            until_ns: what was received later is not looked at; None: it is.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        if not wanted:
            return Waiting([], 0)
        numbers = {(one.experiment.experiment_id, one.arm.variant): number for number, one in enumerate(wanted)}

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Waiting:
            with _cleared(cursor):
                cursor.execute(_MET.format(prefix=prefix), {"sources": list(SERVED), "length": 2 * DEFAULT_WINDOW.t_obs})
                units = cursor.execute(_UNITS).fetchall()
                cursor.register("enrolled", _enrolled(table, units, numbers))
                cursor.register("wanted", _wanted(table, wanted))
                cursor.execute(_PAIRS)
                [(total,)] = cursor.execute(_COUNT).fetchall()
                rows = cursor.execute(_NEWEST, {"most": most}).fetchall() if most else []
                return Waiting([_beside(wanted[row[-1]], Answered(*row[:-1])) for row in rows], int(total))

        return self._lake.read(("predictions",), work, since_ns=min(one.since_ns for one in wanted), until_ns=until_ns)


def _beside(wanted: Wanted, answer: Answered) -> Beside:
    return Beside(answer, wanted.experiment.experiment_id, wanted.arm)


def _enrolled(table: RouteTable, units: Sequence[tuple[str, str, str]], numbers: dict[tuple[str, str], int]) -> pa.Table:
    """One row for each unit and each wanted treatment that predicts for it."""
    found = []
    for unit in units:
        if None in unit:
            continue  # a torn line
        for experiment, arm in table.shadows(Units(*unit)):
            number = numbers.get((experiment.experiment_id, arm.variant))
            if number is not None:
                found.append((*unit, number))
    columns = list(zip(*found, strict=True)) or [()] * 4
    return pa.table([*(pa.array(ids, pa.string()) for ids in columns[:3]), pa.array(columns[3], pa.int64())], names=[*_UNIT, "number"])


def _wanted(table: RouteTable, wanted: Sequence[Wanted]) -> pa.Table:
    controls = [one.experiment.arms[0].model for one in wanted]
    return pa.table(
        {
            "number": pa.array(range(len(wanted)), pa.int64()),
            "experiment_id": [one.experiment.experiment_id for one in wanted],
            "variant": [one.arm.variant for one in wanted],
            "since_ns": pa.array([one.since_ns for one in wanted], pa.int64()),
            "control_name": [control.name for control in controls],
            "control_version": pa.array([control.version for control in controls], pa.int64()),
            "stood_for": pa.array([answered_by(table, control) for control in controls], pa.list_(pa.string())),
        }
    )


@contextmanager
def _cleared(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Leave nothing on a cursor that others use after us."""
    try:
        yield
    finally:
        for name in ("enrolled", "wanted"):
            cursor.unregister(name)
        for name in _TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
