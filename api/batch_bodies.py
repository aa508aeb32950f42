"""The JSON of `/batch_predict`, as items or as columns, read into one form: columns of names beside one array of positions."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.fast_bodies import FastBatch, FastColumns, FastPredict, decoder
from api.nested_rows import read_rows
from api.request_body import too_many
from trajops.contracts.predictions import BatchColumnsIn, BatchPredictIn, PredictIn
from trajops.contracts.problems import FieldProblem
from trajops.errors import InvalidInput, ShapeError
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

Version = int | str | None
_T_OBS = DEFAULT_WINDOW.t_obs
FIELDS_SHOWN = 20
# Fields that the error of one item tells of.
_ITEM_FIELDS = 3
# An Arrow stream, and an Arrow file.
_ARROW_BEGINNINGS = (b"\xff\xff\xff\xff", b"ARROW1")
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_Value = TypeVar("_Value")

_decode_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_batch = msgspec.json.Decoder(FastBatch).decode
_decode_columns = decoder(FastColumns)
_decode_item = decoder(FastPredict)


class Batch(msgspec.Struct):
    """What a batch asks for; lists have one entry a row, other values hold for all rows.

    Attributes:
        rows: their number.
        is_columns: whether the answer has the form of columns.
        agent_id: None: the rows name no agent.
        unseen: rows without positions of their own, which the track buffer must know.
        errors: why a row cannot be used.
    """

    rows: int
    is_columns: bool
    agent_id: list[str] | None
    scene_id: str | list[str]
    observed_at_s: float | list[float | None] | None
    model_version: Version | list[Version]
    source: str | list[str]
    unseen: list[int]
    errors: dict[int, str]


def at(value: "_Value | list[_Value]", row: int) -> _Value:
    """The value of one row."""
    return cast("_Value", value[row] if isinstance(value, list) else value)


def read(content: bytes, most_rows: int) -> tuple[Batch, FloatArray]:
    """What a body asks for, and its (N, 8, 2) positions in metres: zeros where a row has none that can be used.

    Raises:
        TooLarge: if it has more than `most_rows`; they are counted before they are judged one by one.
        InvalidInput: if it is not a batch (`fields` in the details).
        ShapeError: if its columns differ in length.
    """
    if content.startswith(_ARROW_BEGINNINGS):
        raise refused("", "this looks like Arrow; send it as a stream with Content-Type application/vnd.apache.arrow.stream")
    keys: dict[str, msgspec.Raw] | None = None
    try:
        keys = _decode_keys(content)
    except _REFUSALS:
        content = _with_nulls(content)
        with suppress(*_REFUSALS):
            keys = _decode_keys(content)
    if keys is None:  # no object: the documented model says what it is instead
        return _items(content, most_rows)
    if "history" in keys and "items" in keys:
        raise refused("items", "items (one object a trajectory) and history (one list a field) are two forms of a batch; send one of them")
    if "history" not in keys and "items" not in keys:
        only = f"only {_named(keys)}" if keys else "neither"
        raise refused("items", f"a batch has items (one object a trajectory) or history (one list a field), and this has {only}")
    return _columns(content, keys["history"], most_rows) if "history" in keys else _items(content, most_rows)


def _named(keys: Iterable[str]) -> str:
    text = ", ".join(keys)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _with_nulls(content: bytes) -> bytes:
    """The body with null for NaN and infinity, which are no JSON and yet are sent: they shall spoil only their own row."""
    try:
        return orjson.dumps(from_json(content))
    except (ValueError, TypeError):
        return content


def _columns(content: bytes, history: msgspec.Raw, most_rows: int) -> tuple[Batch, FloatArray]:
    columns: FastColumns | BatchColumnsIn
    try:
        columns = cast("FastColumns", _decode_columns(content))
    except _REFUSALS:
        columns = _documented(BatchColumnsIn, content)
    rows = read_rows(history, most_rows)
    count = len(rows.history_m)
    if not count:
        raise refused("history", "history must have at least one trajectory; add one", "[]", ShapeError)
    for name in ("agent_id", "scene_id", "observed_at_s"):
        column = getattr(columns, name)
        if isinstance(column, list) and len(column) != count:
            message = f"{name} has {len(column)} entries and history has {count}; give one for each trajectory"
            raise refused(name, message, len(column), ShapeError)
    batch = Batch(
        rows=count,
        is_columns=True,
        agent_id=columns.agent_id,
        scene_id=columns.scene_id,
        observed_at_s=cast("Any", columns.observed_at_s),
        model_version=columns.model_version,
        source=columns.source,
        unseen=[],
        errors=dict(rows.errors),
    )
    return batch, rows.history_m


def _items(content: bytes, most_rows: int) -> tuple[Batch, FloatArray]:
    items: list[Any]
    try:
        items = _decode_batch(content).items
    except _REFUSALS:
        items = _documented(BatchPredictIn, content).items
    count = len(items)
    if count > most_rows:
        raise too_many(count, most_rows)
    errors: dict[int, str] = {}
    nothing = FastPredict("-")
    queries: list[FastPredict | PredictIn] = []
    for row, item in enumerate(items):
        try:
            queries.append(item if isinstance(item, PredictIn) else _item(cast("msgspec.Raw", item)))
        except InvalidInput as error:
            errors[row] = error.message
            queries.append(nothing)
    history_m = np.zeros((count, _T_OBS, 2))
    seen = [row for row, query in enumerate(queries) if query.history is not None]
    if seen:
        history_m[seen] = [queries[row].history for row in seen]
    unseen = [row for row, query in enumerate(queries) if query.history is None and row not in errors]
    batch = Batch(
        rows=count,
        is_columns=False,
        agent_id=[query.agent_id for query in queries],
        scene_id=_shared([query.scene_id for query in queries]),
        observed_at_s=_shared([query.observed_at_s for query in queries]),
        model_version=_shared([query.model_version for query in queries]),
        source=_shared([query.source for query in queries]),
        unseen=unseen,
        errors=errors,
    )
    return batch, history_m


def _shared(values: list[_Value]) -> "_Value | list[_Value]":
    """One value where all rows have the same, as they mostly do: a list of ten thousand costs the process that answers a millisecond."""
    first = values[0]
    return first if all(value == first for value in values) else values


def _item(raw: msgspec.Raw) -> FastPredict | PredictIn:
    with suppress(*_REFUSALS):
        return cast("FastPredict", _decode_item(raw))
    try:
        return PredictIn.model_validate_json(bytes(raw))
    except ValidationError as error:
        fields = _fields(error)
        more = f"; and {len(fields) - _ITEM_FIELDS} more" if len(fields) > _ITEM_FIELDS else ""
        told = [f"{found.field}: {found.message}{'' if found.value is None else f' (it is {found.value!r})'}" for found in fields]
        raise InvalidInput("; ".join(told[:_ITEM_FIELDS]) + more) from error


_Model = TypeVar("_Model", bound=BaseModel)


def _documented(model: type[_Model], content: bytes) -> _Model:
    """What the documented model says of a body that the fast one refuses: it has the last word."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> InvalidInput:
    """The refusal of a whole body, its first fields named: the others of ten thousand rows will not say more."""
    fields = _fields(error, "body")
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return InvalidInput(f"{fields[0].field}: {fields[0].message}{more}", fields=fields[:FIELDS_SHOWN])


def refused(field: str, message: str, value: Any = None, kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """The refusal of a body for one of its fields."""
    path = f"body.{field}" if field else "body"
    return kind(f"{path}: {message}", fields=[FieldProblem(field=path, message=message, value=value)])


def _fields(error: ValidationError, *prefix: str) -> list[Any]:
    from api.errors import field_problems  # noqa: PLC0415 - brings FastAPI, which a worker process needs for nothing else

    return field_problems({**one, "loc": (*prefix, *one["loc"])} for one in error.errors(include_url=False))
