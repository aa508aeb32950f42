"""Trajectories as nested JSON lists: all at once where all are well formed, one by one where some are not."""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np

from api.request_body import too_many
from trajops.contracts.problems import FieldProblem
from trajops.errors import InvalidInput
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

Row = list[tuple[float, float]]
_T_OBS = DEFAULT_WINDOW.t_obs
_SHOWN_BYTES = 60

_decode = msgspec.json.Decoder(list[Row]).decode
_decode_loosely = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_row = msgspec.json.Decoder(Row).decode


class Rows(NamedTuple):
    """(N, t_obs, 2) positions in metres, and why a row cannot be used; a malformed row holds zeros.

    Positions that JSON can write and a scene cannot have are still in it: `trajops.services.bulk.bad_rows` finds them.
    """

    history_m: FloatArray
    errors: Mapping[int, str]


def read_rows(content: bytes | msgspec.Raw, most_rows: int | None = None) -> Rows:
    """Read `[[[x, y], …], …]`.

    Raises:
        InvalidInput: if it is not a list.
        TooLarge: if it has more than `most_rows`.
    """
    try:
        rows = _decode(content)
    except msgspec.MsgspecError:
        rows = []
    _check(len(rows), most_rows)
    if rows and set(map(len, rows)) == {_T_OBS}:
        return Rows(_array(rows), {})
    return _one_by_one(content, most_rows)


def _one_by_one(content: bytes | msgspec.Raw, most_rows: int | None) -> Rows:
    try:
        raw_rows = _decode_loosely(content)
    except msgspec.MsgspecError as error:
        message = f"history must be a list of trajectories, each of {_T_OBS} pairs [x, y]: {error}"
        raise InvalidInput(message, fields=[FieldProblem(field="body.history", message=message, value=_shown(content))]) from error
    _check(len(raw_rows), most_rows)
    rows: list[Row] = []
    errors: dict[int, str] = {}
    for index, raw in enumerate(raw_rows):
        try:
            row = _decode_row(raw)
            if len(row) != _T_OBS:
                errors[index] = f"a trajectory has {_T_OBS} positions, not {len(row)}; add or leave out the oldest"
        except msgspec.MsgspecError as error:
            errors[index] = (
                f"a trajectory is {_T_OBS} pairs [x, y] of numbers, and this is {_shown(raw)} ({error}); send numbers without quotes, and "
                "leave a trajectory out that has an unknown position"
            )
        rows.append([(0.0, 0.0)] * _T_OBS if index in errors else row)
    return Rows(_array(rows), errors)


def _shown(raw: bytes | msgspec.Raw) -> str:
    text = bytes(raw)[: _SHOWN_BYTES + 1].decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]}…"


def _check(rows: int, most_rows: int | None) -> None:
    if most_rows is not None and rows > most_rows:
        raise too_many(rows, most_rows)


def _array(rows: list[Row]) -> FloatArray:
    numbers = chain.from_iterable(chain.from_iterable(rows))
    return np.fromiter(numbers, np.float64, len(rows) * _T_OBS * 2).reshape(len(rows), _T_OBS, 2)
