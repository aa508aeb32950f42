"""What was found for a few rows as pieces of JSON: items, or columns. Pieces are joined by commas."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from trajops.errors import TrajOpsError
from trajops.services.predict import Answer

Found = Answer | TrajOpsError
# Columns as they stand in `BatchColumnsOut` → the field of a mode, where they are made of modes.
COLUMNS = {
    "model_name": None,
    "model_version": None,
    "variant": None,
    "prediction_id": None,
    "weights": "weight",
    "positions": "positions",
    "covariance": "covariance",
}


class ColumnPieces(NamedTuple):
    """A few rows of every column, the entries of their errors, and the newest epoch among them."""

    columns: Mapping[str, bytes]
    errors: list[dict[str, Any]]
    epoch: int | None


def items(_first: int, found: Sequence[Found]) -> bytes:
    """Entries of `BatchPredictOut.items`."""
    return orjson.dumps([_item(one) for one in found])[1:-1]


def columns(first: int, found: Sequence[Found]) -> ColumnPieces:
    """Entries of each column of `BatchColumnsOut`."""
    bodies = [one.body if isinstance(one, Answer) else None for one in found]
    values = {
        name: [body and (body[name] if key is None else [mode[key] for mode in body["modes"]]) for body in bodies]
        for name, key in COLUMNS.items()
    }
    errors = {first + row: one for row, one in enumerate(found) if isinstance(one, TrajOpsError)}
    epoch = max((body["epoch"] for body in bodies if body is not None), default=None)
    return ColumnPieces({name: orjson.dumps(value)[1:-1] for name, value in values.items()}, row_errors(errors), epoch)


def row_errors(errors: Mapping[int, TrajOpsError]) -> list[dict[str, Any]]:
    """Entries of `BatchRowError`."""
    return [{"row": row, "error_code": error.code, "error": error.message} for row, error in sorted(errors.items())]


def _item(result: Found) -> dict[str, Any]:
    """A result as `BatchItemOut`."""
    if isinstance(result, Answer):
        return {"prediction": result.body, "error_code": None, "error": None}
    return {"prediction": None, "error_code": result.code, "error": result.message}
