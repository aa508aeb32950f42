"""The columns of the lake's tables, once for DuckDB and Arrow, with a version in each file.

Columns may be added at the end of a table and must then allow NULL: older files are read with NULL in them. Changing or
removing one needs a new table. Positions are DOUBLE, because a float32 resolves only half a metre at the northings of a
projected map; what is relative or statistical is FLOAT.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 4
VERSION_KEY = b"trajops.schema_version"

COLUMNS: dict[str, dict[str, str]] = {
    "predictions": {
        "prediction_id": "VARCHAR",
        "received_ns": "BIGINT",
        "observed_at_s": "DOUBLE",
        "scene_id": "VARCHAR",
        "agent_id": "VARCHAR",
        "client_id": "VARCHAR",
        "request_id": "VARCHAR",
        "model_name": "VARCHAR",
        "model_version": "INTEGER",
        "variant": "VARCHAR",
        "epoch": "BIGINT",
        "dt_s": "DOUBLE",
        "history_m": "DOUBLE[]",
        "weights": "FLOAT[]",
        "mean_m": "DOUBLE[]",
        "cov_m2": "FLOAT[]",
        "latency_ms": "FLOAT",
        "source": "VARCHAR",
        "experiment_id": "VARCHAR",
        "calibration": "INTEGER",
        "shadow_of": "VARCHAR",
    },
    "observations": {
        "received_ns": "BIGINT",
        "observed_at_s": "DOUBLE",
        "scene_id": "VARCHAR",
        "agent_id": "VARCHAR",
        "x_m": "DOUBLE",
        "y_m": "DOUBLE",
        "source": "VARCHAR",
    },
    "outcomes": {
        "prediction_id": "VARCHAR",
        "scored_ns": "BIGINT",
        "received_ns": "BIGINT",
        "observed_at_s": "DOUBLE",
        "scene_id": "VARCHAR",
        "agent_id": "VARCHAR",
        "model_name": "VARCHAR",
        "model_version": "INTEGER",
        "variant": "VARCHAR",
        "source": "VARCHAR",
        "steps_scored": "INTEGER",
        "is_complete": "BOOLEAN",
        "ade_m": "DOUBLE",
        "fde_m": "DOUBLE",
        "is_miss": "BOOLEAN",
        "nll": "DOUBLE",
        "inside_share": "DOUBLE",
        "cv_ade_m": "DOUBLE",
        "truth_delay_s": "DOUBLE",
        "step_error_m": "FLOAT[]",
        "step_nll": "FLOAT[]",
        "step_inside": "BOOLEAN[]",
        "interpolated_s": "DOUBLE",
        "calibration": "INTEGER",
        "speed_mps": "FLOAT",
        "expected_ade_m": "FLOAT",
        "radius_m": "FLOAT",
        "step_distance2": "FLOAT[]",
        "experiment_id": "VARCHAR",
        "shadow_of": "VARCHAR",
    },
}
NULLABLE: dict[str, frozenset[str]] = {
    "predictions": frozenset({"experiment_id", "calibration", "shadow_of"}),
    "observations": frozenset(),
    "outcomes": frozenset(
        {
            "fde_m",
            "is_miss",
            "interpolated_s",
            "calibration",
            "speed_mps",
            "expected_ade_m",
            "radius_m",
            "step_distance2",
            "experiment_id",
            "shadow_of",
        }
    ),
}

# Of several outcomes of one prediction, the one with the best truth: what the truth join improves on is what readers show. The
# time of scoring decides between equals only, because clocks of two workers differ; the error settles what is left.
BEST_OUTCOME = """
    QUALIFY row_number() OVER (
        PARTITION BY prediction_id ORDER BY steps_scored DESC, interpolated_s ASC NULLS LAST, scored_ns DESC, ade_m ASC NULLS LAST
    ) = 1
"""


def required(table: str) -> list[str]:
    """Columns of a table that no row may lack."""
    return [name for name in COLUMNS[table] if name not in NULLABLE[table]]


@cache
def arrow_schema(table: str) -> "pa.Schema":
    """The table's Arrow schema, with the schema version in its metadata."""
    import pyarrow as pa  # noqa: PLC0415 - a process that only writes the spool starts without it

    types = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "FLOAT": pa.float32(),
        "BOOLEAN": pa.bool_(),
    }

    def arrow_type(sql_type: str) -> "pa.DataType":
        return pa.list_(arrow_type(sql_type.removesuffix("[]"))) if sql_type.endswith("[]") else types[sql_type]

    # Nullability is checked when rows are compacted; a nullable file schema keeps files of all versions unifiable.
    fields = [pa.field(name, arrow_type(sql_type)) for name, sql_type in COLUMNS[table].items()]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()})
