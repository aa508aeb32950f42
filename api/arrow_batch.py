"""`/batch_predict` as an Arrow IPC stream in and out. pyarrow is imported here, and here only; the API's start does without it.

In: a column `history` of 8 × [x, y] (fixed-size lists of 16 numbers, or nested; float32 or float64), and as in the columns of JSON
`agent_id`, `scene_id`, `observed_at_s`; `model_version` and `source` stand in the schema's metadata. Out: one row a trajectory, with
`positions` as K × 12 × [x, y] and `covariance` as K × 12 × [xx, xy, yy], flat in fixed-size lists; K, `dt_s` and the epoch stand in
the schema's metadata. A row that has an error has no forecast.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ValidationError

from api.batch_bodies import Batch, refusal
from api.nested_rows import Rows, read_rows
from trajops.contracts.predictions import BatchColumnsIn
from trajops.errors import InvalidInput, ShapeError, TrajOpsError
from trajops.services.bulk import BulkForecast, Choice
from trajops.services.predict import BASELINE, Answer
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

_T_OBS, _T_PRED = DEFAULT_WINDOW.t_obs, DEFAULT_WINDOW.t_pred
_NUMBERS = _T_OBS * 2
_NAMED = {"model_name": pa.utf8(), "model_version": pa.int32(), "variant": pa.utf8(), "prediction_id": pa.utf8()}
# Rows of one record batch of an answer.
_ROWS = 2_048


def read_stream(body: bytes) -> tuple[Batch, FloatArray]:
    """What a stream asks for, and its (N, 8, 2) positions in metres.

    Raises:
        InvalidInput: if it is not such a stream.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            table = reader.read_all()
            table.validate(full=True)  # offsets of a damaged stream may point anywhere
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"the body is not an Arrow IPC stream: {error}") from error
    if "history" not in table.column_names:
        raise InvalidInput("the stream has no column history")
    if not table.num_rows:
        raise ShapeError("history must have at least one trajectory")
    rows = _history(table.column("history").combine_chunks())
    said = table.schema.metadata or {}
    fields = {name: table.column(name).to_pylist() for name in table.column_names if name != "history"}
    fields |= {key.decode(): _parameter(value) for key, value in said.items() if key in {b"model_version", b"source"}}
    try:
        columns = BatchColumnsIn.model_validate({**fields, "history": [0]})
    except ValidationError as error:
        raise refusal(error) from error
    batch = Batch(
        rows=table.num_rows,
        is_columns=True,
        agent_id=columns.agent_id,
        scene_id=columns.scene_id,
        observed_at_s=columns.observed_at_s,  # type: ignore[arg-type]
        model_version=columns.model_version,
        source=columns.source,
        unseen=[],
        errors=dict(rows.errors),
    )
    return batch, rows.history_m


def written(choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]) -> memoryview:
    """The answer to rows that name no agent."""
    rows, modes = forecast.weights.shape
    is_bad = np.zeros(rows, dtype=np.bool_)
    is_bad[list(errors)] = True
    named = {
        "model_name": _named([choice.model.name, BASELINE.name], forecast.is_baseline, is_bad),
        "model_version": pa.array(np.where(forecast.is_baseline, BASELINE.version, choice.model.version).astype(np.int32), mask=is_bad),
        "variant": _named([choice.assignment.variant], np.zeros(rows, dtype=np.bool_), is_bad),
        "prediction_id": pa.nulls(rows, pa.utf8()),
    }
    covariance_m2 = forecast.covariance_m2.reshape(rows, modes, _T_PRED, 4)[..., [0, 1, 3]]
    arrays = {"weights": forecast.weights, "positions": forecast.mean_m, "covariance": covariance_m2}
    return _stream(named, arrays, is_bad, errors, modes, choice.epoch)


class Piece(NamedTuple):
    """A few rows that name an agent: names and numbers by column, modes filled up with zeros, and the errors by row."""

    named: Mapping[str, list[Any]]
    arrays: Mapping[str, FloatArray]
    errors: Mapping[int, TrajOpsError]
    epoch: int | None


def piece(first: int, found: Sequence[Answer | TrajOpsError]) -> Piece:
    """What was found for a few rows, as columns."""
    bodies: list[dict[str, Any] | None] = [one.body if isinstance(one, Answer) else None for one in found]
    modes = max((len(body["modes"]) for body in bodies if body is not None), default=1)
    shapes = {"weights": (), "positions": (_T_PRED, 2), "covariance": (_T_PRED, 3)}
    arrays: dict[str, FloatArray] = {name: np.zeros((len(found), modes, *shape), np.float32) for name, shape in shapes.items()}
    for row, body in enumerate(bodies):
        for number, mode in enumerate(body["modes"] if body is not None else ()):
            arrays["weights"][row, number] = mode["weight"]
            arrays["positions"][row, number] = mode["positions"]
            arrays["covariance"][row, number] = mode["covariance"]
    named = {name: [body and body[name] for body in bodies] for name in _NAMED}
    errors = {first + row: one for row, one in enumerate(found) if isinstance(one, TrajOpsError)}
    return Piece(named, arrays, errors, max((body["epoch"] for body in bodies if body is not None), default=None))


def written_pieces(pieces: Sequence[Piece]) -> memoryview:
    """The answer to rows that name an agent, each of them recorded."""
    modes = max(one.arrays["weights"].shape[1] for one in pieces)
    named = {name: pa.array([value for one in pieces for value in one.named[name]], kind) for name, kind in _NAMED.items()}
    arrays = {name: np.concatenate([_widened(one.arrays[name], modes) for one in pieces]) for name in pieces[0].arrays}
    errors = {row: error for one in pieces for row, error in one.errors.items()}
    epoch = max((one.epoch for one in pieces if one.epoch is not None), default=None)
    is_bad = named["model_name"].is_null().to_numpy(zero_copy_only=False)
    return _stream(named, arrays, is_bad, errors, modes, epoch)


def _widened(array: FloatArray, modes: int) -> FloatArray:
    return array if array.shape[1] == modes else np.pad(array, [(0, 0), (0, modes - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])


def _stream(
    named: Mapping[str, pa.Array],
    arrays: Mapping[str, FloatArray],
    is_bad: Any,
    errors: Mapping[int, TrajOpsError],
    modes: int,
    epoch: int | None,
) -> memoryview:
    rows = len(is_bad)
    mask = pa.array(is_bad) if is_bad.any() else None
    lists = {name: _lists(array, mask) for name, array in arrays.items()}
    texts = {"error_code": pa.nulls(rows, pa.utf8()), "error": pa.nulls(rows, pa.utf8())}
    if errors:
        texts["error_code"] = pa.array([errors[row].code if row in errors else None for row in range(rows)], pa.utf8())
        texts["error"] = pa.array([errors[row].message if row in errors else None for row in range(rows)], pa.utf8())
    said = {"modes": modes, "steps": _T_PRED, "dt_s": DEFAULT_WINDOW.dt_s, "epoch": epoch}
    table = pa.table({**named, **lists, **texts}, metadata={name: orjson.dumps(value) for name, value in said.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS)
    return memoryview(sink.getvalue())


def _lists(array: FloatArray, mask: pa.Array | None) -> pa.Array:
    """(N, …) numbers as one fixed-size list a row, single precision."""
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(len(array), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1], mask=mask)


def _named(names: list[str], index: Any, is_bad: Any) -> pa.Array:
    """One of a few names for each row."""
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int8), mask=is_bad), names)


def _parameter(value: bytes) -> int | str:
    return int(value) if value.isdigit() else value.decode("utf-8", "replace")


def _history(column: pa.Array) -> Rows:
    """Positions of each row; lists of free length are read one by one."""
    flat, width = column, 1
    while pa.types.is_fixed_size_list(flat.type):
        size = flat.type.list_size
        flat, width = flat.values.slice(flat.offset * size, len(flat) * size), width * size
    if pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type):
        return read_rows(orjson.dumps(column.to_pylist()))
    if width != _NUMBERS or not pa.types.is_floating(flat.type):
        raise ShapeError(f"history must hold {_T_OBS} × [x, y] in each row as fixed-size lists of floats, not {column.type}")
    history_m: FloatArray = flat.to_numpy(zero_copy_only=False).reshape(-1, _T_OBS, 2)
    missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) if column.null_count else ()
    return Rows(history_m, {int(row): "the row has no history" for row in missing})
