"""The bodies of MLflow's scoring protocol, as far as they make sense for one tensor `history` of shape (N, 8, 2).

Taken are `inputs` (the tensor, or `{"history": tensor}`), `instances` (rows, or objects with `history`), `dataframe_records` (such
objects) and `dataframe_split` (a column `history` of nested lists, or 16 columns of numbers: x and y of each position, oldest first);
in `params`, `model_version`.
"""

from typing import Literal

import msgspec
import numpy as np

from api.nested_rows import Rows, read_rows
from api.request_body import too_many
from trajops.errors import InvalidInput, ShapeError
from trajops.services.bulk import Asked
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

_T_OBS = DEFAULT_WINDOW.t_obs
_NUMBERS = _T_OBS * 2
FORMS = ("inputs", "instances", "dataframe_records", "dataframe_split")


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    history: msgspec.Raw


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    model_version: int | Literal["champion", "challenger", "previous_champion"] | None = None


class _Split(msgspec.Struct):
    columns: list[str | int]
    data: list[list[msgspec.Raw]]


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    inputs: msgspec.Raw = msgspec.Raw()
    instances: msgspec.Raw = msgspec.Raw()
    dataframe_records: msgspec.Raw = msgspec.Raw()
    dataframe_split: msgspec.Raw = msgspec.Raw()
    params: _Params | None = None


def read(content: bytes, most_rows: int) -> tuple[Asked | None, FloatArray]:
    """The version that an invocation asks for, and its (N, 8, 2) positions in metres.

    Raises:
        InvalidInput: if it is not an invocation, or a trajectory in it is malformed.
        TooLarge: if it has more than `most_rows`; they are counted before they are judged one by one.
    """
    try:
        invocation = msgspec.json.decode(content, type=_Invocation)
        given = [(form, raw) for form in FORMS if (raw := getattr(invocation, form))]
        if len(given) != 1:
            raise InvalidInput(f"an invocation has exactly one of {', '.join(FORMS)}")
        [(form, raw)] = given
        rows = _split(raw, most_rows) if form == "dataframe_split" else _tensor(raw, most_rows)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"this is not an invocation: {error}") from error
    if rows.errors:
        row, why = next(iter(rows.errors.items()))
        raise InvalidInput(f"row {row} (counted from 0): {why}; {len(rows.errors)} of {len(rows.history_m)} rows are malformed")
    if not len(rows.history_m):
        raise ShapeError("there must be at least one trajectory")
    return (None if invocation.params is None else invocation.params.model_version), rows.history_m


def _tensor(raw: msgspec.Raw, most_rows: int) -> Rows:
    """A tensor, an object that names it, or a list of objects that each name a row of it."""
    text = bytes(raw).lstrip()
    if text[:1] == b"{":
        return read_rows(msgspec.json.decode(text, type=_Named).history, most_rows)
    if text[1:].lstrip()[:1] == b"{":
        return _joined([one.history for one in msgspec.json.decode(text, type=list[_Named])], most_rows)
    return read_rows(text, most_rows)


def _split(raw: msgspec.Raw, most_rows: int) -> Rows:
    frame = msgspec.json.decode(raw, type=_Split)
    if len(frame.data) > most_rows:
        raise too_many(len(frame.data), most_rows)
    width = len(frame.columns)
    if any(len(row) != width for row in frame.data):
        raise ShapeError(f"every row of dataframe_split must have {width} cells, one for each column")
    if frame.columns == ["history"]:
        return _joined([row[0] for row in frame.data], most_rows)
    if width != _NUMBERS:
        raise ShapeError(f"dataframe_split must have the column history, or {_NUMBERS} columns of numbers, not {width}")
    numbers = msgspec.json.decode(msgspec.json.encode(frame.data), type=list[list[float]])
    return Rows(np.array(numbers, dtype=np.float64).reshape(-1, _T_OBS, 2), {})


def _joined(rows: list[msgspec.Raw], most_rows: int) -> Rows:
    if len(rows) > most_rows:
        raise too_many(len(rows), most_rows)
    return read_rows(b"[" + b",".join(map(bytes, rows)) + b"]", most_rows)
