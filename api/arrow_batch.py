"""`/batch_predict` as an Arrow IPC stream in and out. Only this and `api.arrow_bounds` import pyarrow: the API's start does without it.

In: a column `history` of 8 × [x, y] (fixed-size lists of 16 numbers, or nested; float32 or float64), and as in the columns of JSON
`agent_id`, `scene_id`, `observed_at_s`; `model_version` and `source` stand in the schema's metadata. Out: one row a trajectory, with
`positions` as K × 12 × [x, y] and `covariance` as K × 12 × [xx, xy, yy], flat in fixed-size lists; K, `dt_s` and the epoch stand in
the schema's metadata. A row that has an error has no forecast. What is read is bounded before it is unpacked, and what is written
leaves a record batch at a time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from api import arrow_bounds
from api.batch_bodies import Batch, refusal, refused
from api.batch_pieces import Columns, widened
from api.nested_rows import Rows
from trajops.contracts.predictions import BatchColumnsIn
from trajops.errors import InvalidInput, ShapeError, TrajOpsError
from trajops.services.bulk import BulkForecast, Choice
from trajops.services.predict import BASELINE
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

_T_OBS, _T_PRED = DEFAULT_WINDOW.t_obs, DEFAULT_WINDOW.t_pred
_NUMBERS = _T_OBS * 2
_NAMED = {"model_name": pa.utf8(), "model_version": pa.int32(), "variant": pa.utf8(), "prediction_id": pa.utf8()}
# A name has 128 characters.
_LONGEST_NAME = 4 * 128
_WANTED = f"{_T_OBS} × [x, y] in each row: fixed-size lists of {_NUMBERS} floats, or lists of {_T_OBS} lists of 2"
_TEXT = "a column of utf8 strings"
_OF_THE_STREAM = ("model_version", "source")


def read_stream(body: bytes, max_bytes: int, refuse_rows: Callable[[int], None]) -> tuple[Batch, FloatArray]:
    """What a stream asks for, and its (N, 8, 2) positions in metres.

    Args:
        body: the stream.
        max_bytes: most bytes that its compressed buffers may unpack to, together.
        refuse_rows: called with the rows counted so far; raises where they are too many.

    Raises:
        InvalidInput: if it is not such a stream.
        TooLarge: if it unpacks to more than `max_bytes`, or as `refuse_rows` raises.
    """
    try:
        arrow_bounds.check(body, max_bytes, refuse_rows)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            _check_columns(reader.schema)
            table = reader.read_all()
            table.validate(full=True)  # offsets of a damaged stream may point anywhere
    except TrajOpsError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"the body is not an Arrow IPC stream: {error}; {_advice(body)}") from error
    if not table.num_rows:
        raise refused("history", "there must be at least one trajectory, and the stream has no row", 0, ShapeError)
    rows = _history(table.column("history").combine_chunks())
    said = table.schema.metadata or {}
    fields: dict[str, Any] = {name: _values(name, table.column(name)) for name in table.column_names if name != "history"}
    fields |= {name: _parameter(said[name.encode()]) for name in _OF_THE_STREAM if name.encode() in said}
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


def _advice(body: bytes) -> str:
    if body.startswith(b"ARROW1"):
        return "it is an Arrow file; write a stream instead (pyarrow.ipc.new_stream)"
    if body.lstrip()[:1] == b"{":
        return "it looks like JSON; send it with Content-Type application/json"
    return "write it with pyarrow.ipc.new_stream or its like, and send it whole"


class Writer:
    """Writes an answer a record batch at a time; the first one brings the schema with it.

    Args:
        modes: of every row; those that have fewer are filled up with zeros of weight zero.
        epoch: the routing epoch that the schema names.
    """

    def __init__(self, modes: int, epoch: int | None) -> None:
        said = {"modes": modes, "steps": _T_PRED, "dt_s": DEFAULT_WINDOW.dt_s, "epoch": epoch}
        self._metadata = {name: orjson.dumps(value) for name, value in said.items()}
        self.modes = modes
        self._sink = _Sink()
        self._stream: Any = None

    def anonymous(self, choice: Choice, forecast: BulkForecast, errors: Mapping[int, TrajOpsError]) -> bytes:
        """Rows that name no agent; errors by their row of these."""
        rows, modes = forecast.weights.shape
        is_bad = np.zeros(rows, dtype=np.bool_)
        is_bad[list(errors)] = True
        version = np.where(forecast.is_baseline, BASELINE.version, choice.model.version).astype(np.int32)
        named = {
            "model_name": _named([choice.model.name, BASELINE.name], forecast.is_baseline, is_bad),
            "model_version": pa.array(version, mask=is_bad),
            "variant": _named([choice.assignment.variant], np.zeros(rows, dtype=np.bool_), is_bad),
            "prediction_id": pa.nulls(rows, pa.utf8()),
        }
        covariance_m2 = forecast.covariance_m2.reshape(rows, modes, _T_PRED, 4)[..., [0, 1, 3]]
        arrays = {"weights": forecast.weights, "positions": forecast.mean_m, "covariance": covariance_m2}
        return self._written(named, arrays, is_bad, errors)

    def named(self, columns: Columns) -> bytes:
        """Rows that name an agent, each of them recorded."""
        named = {name: pa.array(columns.named[name], kind) for name, kind in _NAMED.items()}
        errors = {row - columns.first: error for row, error in columns.errors.items()}
        return self._written(named, columns.arrays, columns.modes == 0, errors)

    def end(self) -> bytes:
        """What ends the stream."""
        self._stream.close()
        return self._sink.taken()

    def _written(
        self, named: Mapping[str, pa.Array], arrays: Mapping[str, FloatArray], is_bad: Any, errors: Mapping[int, TrajOpsError]
    ) -> bytes:
        rows = len(is_bad)
        mask = pa.array(is_bad) if is_bad.any() else None
        lists = {name: _lists(widened(array, self.modes), mask) for name, array in arrays.items()}
        texts = {"error_code": pa.nulls(rows, pa.utf8()), "error": pa.nulls(rows, pa.utf8())}
        if errors:
            texts["error_code"] = pa.array([errors[row].code if row in errors else None for row in range(rows)], pa.utf8())
            texts["error"] = pa.array([errors[row].message if row in errors else None for row in range(rows)], pa.utf8())
        batch = pa.record_batch({**named, **lists, **texts}, metadata=self._metadata)
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self._sink, batch.schema)
        self._stream.write_batch(batch)
        return self._sink.taken()


class _Sink:
    """A file for Arrow to write into, from which what is there can be taken."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, part: Any) -> int:
        content = bytes(part)
        self._parts.append(content)
        self._size += len(content)
        return len(content)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is kept back."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _lists(array: FloatArray, mask: pa.Array | None) -> pa.Array:
    """(N, …) numbers as one fixed-size list a row, single precision."""
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(len(array), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1], mask=mask)


def _named(names: list[str], index: Any, is_bad: Any) -> pa.Array:
    """One of a few names for each row."""
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int8), mask=is_bad), names)


def _parameter(value: bytes) -> int | str:
    return int(value) if value.isdigit() and len(value) <= 10 else value.decode("utf-8", "replace")


def _check_columns(schema: pa.Schema) -> None:
    """Refuse columns that nobody asks for, and types whose values may take far more than their bytes (nulls, views, …)."""
    names = schema.names
    if "history" not in names:
        raise refused("history", f"the stream has no column history; add it as {_WANTED}")
    for name in names:
        kind = schema.field(names.index(name)).type
        if names.count(name) > 1:
            raise refused(name, f"the stream has {names.count(name)} columns of this name; leave one")
        if name in _OF_THE_STREAM:
            raise refused(name, "this is one for all rows; put it into the metadata of the schema", str(kind))
        if name not in _KINDS:
            raise refused(name, f"there is no such column; remove it, or correct its name: there are {', '.join(_KINDS)}", str(kind))
        fits, wanted = _KINDS[name]
        if not fits(kind):
            raise refused(name, f"this must be {wanted}; cast it", str(kind), ShapeError if name == "history" else InvalidInput)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _is_history(kind: pa.DataType) -> bool:
    """Lists of 16 floats, or of 8 lists of 2; lists of free length may have the wrong one in some rows."""
    sizes = []
    while _is_list(kind):
        sizes.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    wanted = {1: (_NUMBERS,), 2: (_T_OBS, 2)}.get(len(sizes), ())
    fits = bool(sizes) and len(sizes) == len(wanted) and all(size in {None, right} for size, right in zip(sizes, wanted, strict=True))
    return fits and bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


_KINDS: Mapping[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "history": (_is_history, _WANTED),
    "agent_id": (_is_text, _TEXT),
    "scene_id": (_is_text, _TEXT),
    "observed_at_s": (_is_number, "a column of numbers, seconds since the epoch"),
}


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column as a list. A dictionary's value is written out for each row: none may be longer than a name."""
    if pa.types.is_dictionary(column.type):
        for chunk in column.chunks:
            longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
            if longest > _LONGEST_NAME:
                raise refused(name, f"a name has at most 128 characters, and one of these has {longest} bytes")
    values: list[Any] = column.to_pylist()
    return values


def _history(column: pa.Array) -> Rows:
    """Positions of each row. Where a row has too few or too many, or none, it has zeros and an error."""
    flat = column
    if _is_list(column.type.value_type) and column.flatten().null_count:
        return _free(column)
    while pa.types.is_fixed_size_list(flat.type):
        size = flat.type.list_size
        flat = flat.values.slice(flat.offset * size, len(flat) * size)
    if _is_list(flat.type):
        return _free(column)
    history_m: FloatArray = flat.to_numpy(zero_copy_only=False).reshape(-1, _T_OBS, 2)
    missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) if column.null_count else ()
    return Rows(history_m, {int(row): _NONE for row in missing})


_NONE = f"the row has no history; give {_T_OBS} positions, or leave the row out"


def _free(column: pa.Array) -> Rows:
    """Lists of free length, none of them turned into objects: a body of some megabytes may hold millions."""
    is_flat = not _is_list(column.type.value_type)
    lengths, wanted = _lengths(column), _NUMBERS if is_flat else _T_OBS
    errors = {int(row): _NONE if lengths[row] < 0 else _wrong(lengths[row], is_flat) for row in np.flatnonzero(lengths != wanted)}
    good = np.flatnonzero(lengths == wanted)
    inner = column.take(pa.array(good)).flatten()
    if not is_flat:
        pairs = _lengths(inner).reshape(-1, _T_OBS)
        is_good = (pairs == 2).all(axis=1)
        errors |= {int(row): f"a trajectory is {_T_OBS} pairs [x, y], and a position of this one is no pair" for row in good[~is_good]}
        inner = inner.filter(pa.array(np.repeat(is_good, _T_OBS))).flatten()
        good = good[is_good]
    history_m = np.zeros((len(column), _T_OBS, 2))
    history_m[good] = inner.to_numpy(zero_copy_only=False).reshape(-1, _T_OBS, 2)
    return Rows(history_m, errors)


def _lengths(lists: pa.Array) -> Any:
    """(N,) the length of each list; −1 where there is none."""
    return pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)


def _wrong(length: int, is_flat: bool) -> str:
    return f"a trajectory has {_NUMBERS} numbers, not {length}" if is_flat else f"a trajectory has {_T_OBS} positions, not {length}"
