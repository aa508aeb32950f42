"""The bodies of the Open Inference Protocol v2: JSON, and JSON followed by raw tensors (its binary tensor extension).

One model signature: `history` FP32 (N, 8, 2) → `mean` FP32 (N, K, 12, 2), `covariance` FP32 (N, K, 12, 2, 2), `weights` FP32 (N, K),
and `is_baseline` BOOL (N), true where the model failed and constant velocity answered.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from trajops.errors import InvalidInput, ShapeError
from trajops.services.bulk import BulkForecast
from trajops.trajectories import DEFAULT_WINDOW, FloatArray

HEADER_LENGTH = b"inference-header-content-length"
INPUT = "history"
OUTPUTS = {"mean": "FP32", "covariance": "FP32", "weights": "FP32", "is_baseline": "BOOL"}
DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_T_OBS, _T_PRED = DEFAULT_WINDOW.t_obs, DEFAULT_WINDOW.t_pred
SHAPES: dict[str, list[int]] = {
    INPUT: [-1, _T_OBS, 2],
    "mean": [-1, -1, _T_PRED, 2],
    "covariance": [-1, -1, _T_PRED, 2, 2],
    "weights": [-1, -1],
    "is_baseline": [-1],
}

Parameters = dict[str, str | int | float | bool]

NO_DATA = msgspec.Raw(b"null")
# How much of what a client has sent is said back to it: inputs, and characters of a text.
_NAMED, _SHOWN_CHARACTERS = 5, 80


class InputTensor(msgspec.Struct, gc=False):
    """One tensor of a request; its numbers stand in `data`, or behind the JSON where `binary_data_size` says how many bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw = NO_DATA


class RequestedOutput(msgspec.Struct, gc=False):
    """One tensor that the client wants back; `binary_data` in its parameters asks for raw bytes."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, gc=False):
    """The JSON of an inference request. Fields that the protocol may gain are ignored."""

    inputs: list[InputTensor]
    id: str = ""
    outputs: list[RequestedOutput] = []
    parameters: Parameters = {}

    def wanted(self) -> dict[str, bool]:
        """Name of each wanted output, in order → whether as raw bytes.

        Raises:
            InvalidInput: if an output is not known, or wanted in a way that does not fit numbers.
        """
        raw_by_default = self.parameters.get("binary_data_output") is True
        wanted = {one.name: one.parameters.get("binary_data", raw_by_default) is True for one in self.outputs}
        unknown = ", ".join(wanted.keys() - OUTPUTS.keys())
        if unknown:
            raise InvalidInput(f"there is no output {unknown}; there are {', '.join(OUTPUTS)}")
        odd = {key for one in self.outputs for key in one.parameters} - {"binary_data"}
        if odd:
            raise InvalidInput(f"outputs take the parameter binary_data only, not {', '.join(sorted(odd))}")
        return wanted or dict.fromkeys(OUTPUTS, raw_by_default)


_decode = msgspec.json.Decoder(InferRequest).decode
_decode_flat = msgspec.json.Decoder(list[float]).decode
_decode_nested = msgspec.json.Decoder(list[list[tuple[float, float]]]).decode


def split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview]:
    """The JSON of a body, and the raw bytes behind it.

    Raises:
        InvalidInput: if the header does not fit the body.
    """
    if header_length is None:
        return body, memoryview(b"")
    if not header_length.isdigit() or int(header_length) > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length must be the length of the JSON, at most {len(body)}")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def read_request(content: bytes) -> InferRequest:
    """Decode the JSON of a request.

    Raises:
        InvalidInput: if it is not the JSON of an inference request.
    """
    try:
        return _decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"this is not an inference request: {error}") from error


def history_of(request: InferRequest, raw: memoryview) -> FloatArray:
    """The (N, 8, 2) positions of a request, not yet judged row by row; raw ones are not copied.

    Raises:
        InvalidInput: if there is not exactly the documented input.
    """
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT:
        names = ", ".join(_short(tensor.name) for tensor in request.inputs[:_NAMED])
        more = f" and {len(request.inputs) - _NAMED} more" if len(request.inputs) > _NAMED else ""
        raise InvalidInput(f"the only input is {INPUT!r}, not {names or 'none'}{more}")
    [tensor] = request.inputs
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidInput(f"{INPUT} must be of datatype {' or '.join(DTYPES)}, not {_short(tensor.datatype)}")
    shape = tuple(tensor.shape)
    if len(shape) != 3 or shape[0] < 1 or shape[1:] != (_T_OBS, 2):
        raise ShapeError(f"{INPUT} must have shape (N, {_T_OBS}, 2) with N ≥ 1, not {_short(str(shape))}")
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return _from_json(tensor.data, shape, dtype)
    expected = shape[0] * _T_OBS * 2 * dtype.itemsize
    if tensor.data != NO_DATA or size != expected or len(raw) != expected:
        raise ShapeError(f"{INPUT} of shape {shape} takes {expected} raw bytes; binary_data_size says {size}, and {len(raw)} came")
    history_m: FloatArray = np.frombuffer(raw, dtype=dtype).reshape(shape)
    return history_m


def _short(text: str) -> str:
    """What a client has sent, as far as it is said back."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _from_json(data: msgspec.Raw, shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    if data == NO_DATA:
        raise InvalidInput(f"{INPUT} needs `data`, or the parameter `binary_data_size` and raw bytes behind the JSON")
    count = shape[0] * _T_OBS * 2
    try:
        numbers = _decode_flat(data)
    except msgspec.MsgspecError:
        try:
            rows = _decode_nested(data)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the data of {INPUT} must be numbers in row-major order, flat or nested: {error}") from error
        if len(rows) != shape[0] or any(len(row) != _T_OBS for row in rows):
            raise ShapeError(f"the data of {INPUT} does not have its shape {shape}") from None
        numbers = [number for row in rows for point in row for number in point]
    if len(numbers) != count:
        raise ShapeError(f"{INPUT} of shape {shape} takes {count} numbers, not {len(numbers)}")
    with np.errstate(over="ignore"):  # judged with the other bad rows
        return np.fromiter(numbers, np.float64, count).astype(dtype, copy=False).reshape(shape)


def tensors(forecast: BulkForecast) -> Mapping[str, Any]:
    """The outputs by name."""
    return {
        "mean": forecast.mean_m,
        "covariance": forecast.covariance_m2,
        "weights": forecast.weights,
        "is_baseline": forecast.is_baseline,
    }


def described(outputs: Mapping[str, Any], wanted: Mapping[str, bool]) -> Sequence[dict[str, Any]]:
    """The entries of a response's `outputs`, without data: raw ones with their size in bytes."""
    return [
        {
            "name": name,
            "datatype": OUTPUTS[name],
            "shape": outputs[name].shape,
            **({"parameters": {"binary_data_size": outputs[name].nbytes}} if is_raw else {}),
        }
        for name, is_raw in wanted.items()
    ]
