"""What was found for a few rows: as JSON items, or as columns of names and numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from trajops.errors import TrajOpsError
from trajops.services.predict import Answer
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

Found = Answer | TrajOpsError
NAMES = ("model_name", "model_version", "variant", "prediction_id")
_SHAPES = {"weights": (), "positions": (DEFAULT_WINDOW.t_pred, 2), "covariance": (DEFAULT_WINDOW.t_pred, 3)}


class Columns(NamedTuple):
    """A few rows that name an agent.

    Attributes:
        first: which row of the batch they begin with.
        named: `NAMES` → one entry a row, None where it has an error.
        arrays: `weights` (N, K), `positions` (N, K, 12, 2) metres, `covariance` (N, K, 12, 3) square metres; zeros where there is none.
        modes: (N,) how many of the K each row has; 0 where it has an error.
        errors: by row of the batch.
        epoch: the newest among them.
    """

    first: int
    named: Mapping[str, list[Any]]
    arrays: Mapping[str, FloatArray]
    modes: Any
    errors: Mapping[int, TrajOpsError]
    epoch: int | None


def items(_first: int, found: Sequence[Found]) -> bytes:
    """Entries of `BatchPredictOut.items`, with commas between them."""
    return orjson.dumps([_item(one) for one in found])[1:-1]


def columns(first: int, found: Sequence[Found]) -> Columns:
    """A few rows as columns. Numbers are kept as arrays: as text, or as the objects they come in, they take a multiple."""
    events = [one.event if isinstance(one, Answer) else None for one in found]
    modes = np.array([0 if event is None else len(event.weights) for event in events])
    most = max(1, int(modes.max()))
    arrays: dict[str, FloatArray] = {name: np.zeros((len(found), most, *shape)) for name, shape in _SHAPES.items()}
    for count in set(modes.tolist()) - {0}:
        rows = np.flatnonzero(modes == count)
        answered = [event for event in events if event is not None and len(event.weights) == count]
        for name, flat in (
            ("weights", [event.weights for event in answered]),
            ("positions", [event.mean_m for event in answered]),
            ("covariance", [event.cov_m2 for event in answered]),
        ):
            arrays[name][rows, :count] = np.array(flat).reshape(len(rows), count, *_SHAPES[name])
    named = {name: [event and getattr(event, name) for event in events] for name in NAMES}
    errors = {first + row: one for row, one in enumerate(found) if isinstance(one, TrajOpsError)}
    return Columns(first, named, arrays, modes, errors, max((event.epoch for event in events if event is not None), default=None))


def joined(parts: Sequence[Columns]) -> Columns:
    """Rows that follow one another as one."""
    most = max(part.arrays["weights"].shape[1] for part in parts)
    return Columns(
        parts[0].first,
        {name: [value for part in parts for value in part.named[name]] for name in NAMES},
        {name: np.concatenate([widened(part.arrays[name], most) for part in parts]) for name in _SHAPES},
        np.concatenate([part.modes for part in parts]),
        {row: error for part in parts for row, error in part.errors.items()},
        newest(parts),
    )


def newest(parts: Sequence[Columns]) -> int | None:
    """The newest epoch among them; None where nothing was answered."""
    return max((part.epoch for part in parts if part.epoch is not None), default=None)


def widened(array: FloatArray, modes: int) -> FloatArray:
    """(N, K, …) filled up with zeros to so many modes."""
    return array if array.shape[1] == modes else np.pad(array, [(0, 0), (0, modes - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])


def row_errors(errors: Mapping[int, TrajOpsError]) -> list[dict[str, Any]]:
    """Entries of `BatchRowError`."""
    return [{"row": row, "error_code": error.code, "error": error.message} for row, error in sorted(errors.items())]


def _item(result: Found) -> dict[str, Any]:
    """A result as `BatchItemOut`."""
    if isinstance(result, Answer):
        return {"prediction": result.body, "error_code": None, "error": None}
    return {"prediction": None, "error_code": result.code, "error": result.message}
