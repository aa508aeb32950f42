"""What the JSON workers do: bytes to arrays, and arrays to bytes. `python -m api.json_tasks FD` is such a worker.

A task takes `meta` (what msgpack can carry) and buffers, and gives the same. Arrays travel as their bytes.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import numpy as np
import orjson

from api import batch_bodies, mlflow_scoring, oip
from trajops.errors import TrajOpsError
from trajops.trajectories import FloatArray

Buffer = bytes | bytearray | memoryview
Outcome = tuple[Any, Sequence[Buffer]]
Task = Callable[[Any, Sequence[Buffer]], Outcome]
_NICENESS = 5
_NUMPY = orjson.OPT_SERIALIZE_NUMPY

logger = logging.getLogger(__name__)


class Reply(msgspec.Struct, gc=False):
    """How a task ended: what it gives and how many buffers follow, or the code, the sentence and the fields of its error."""

    meta: Any = None
    parts: int = 0
    error: str | None = None
    message: str = ""
    fields: list[dict[str, Any]] = []


def packed(array: FloatArray) -> tuple[dict[str, Any], memoryview]:
    """An array as meta and buffer."""
    whole = np.ascontiguousarray(array)
    return {"dtype": whole.dtype.str, "shape": whole.shape}, whole.data.cast("B") if whole.size else memoryview(b"")


def unpacked(meta: dict[str, Any], buffer: Buffer) -> FloatArray:
    """The array that `packed` took apart; not to be written to."""
    array: FloatArray = np.frombuffer(buffer, dtype=meta["dtype"]).reshape(meta["shape"])
    return array


def read_oip(_meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """The JSON of an inference request, in which the numbers stand → the request without them, and the array."""
    request = oip.read_request(bytes(buffers[0]))
    meta, history = packed(oip.history_of(request, memoryview(b"")))
    request.inputs = []
    return {"request": msgspec.to_builtins(request), "history": meta}, [history]


def read_mlflow(meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """The JSON of an invocation of at most `most_rows` → the version it asks for, and the array."""
    version, history_m = mlflow_scoring.read(bytes(buffers[0]), meta["most_rows"])
    described, history = packed(history_m)
    return {"version": version, "history": described}, [history]


def read_batch(meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """The JSON of a batch, as items or as columns, of at most `most_rows` → what it asks for, and the array."""
    asked, history_m = batch_bodies.read(bytes(buffers[0]), meta["most_rows"])
    described, history = packed(history_m)
    return {"batch": msgspec.to_builtins(asked), "history": described}, [history]


def numbers(meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """An array → its numbers in row-major order, with commas between them and without brackets."""
    return None, [orjson.dumps(unpacked(meta, buffers[0]).ravel(), option=_NUMPY)[1:-1]]


def nested(meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """An array → its rows as nested lists, with commas between them and without the outer brackets.

    Numbers are rounded to `decimals`, and the rows of `without` are null. `modes` says of how many modes each row consists: none, and it
    is null.
    """
    array = unpacked(meta, buffers[0])
    if "decimals" in meta:
        array = array.round(meta["decimals"])
    without, modes = meta.get("without"), meta.get("modes")
    if modes:
        return None, [orjson.dumps([row[:count] or None for row, count in zip(array.tolist(), modes, strict=True)])[1:-1]]
    if not without:
        return None, [orjson.dumps(array, option=_NUMPY)[1:-1]]
    rows = array.tolist()
    for row in without:
        rows[row] = None
    return None, [orjson.dumps(rows)[1:-1]]


TASKS: dict[str, Task] = {"read_oip": read_oip, "read_mlflow": read_mlflow, "read_batch": read_batch, "numbers": numbers, "nested": nested}


def run(task: str, meta: Any, buffers: Sequence[Buffer]) -> Outcome:
    """Do one task here."""
    return TASKS[task](meta, buffers)


def _answer(message: bytes, connection: "Connection[Any, Any]") -> tuple[Reply, Sequence[Buffer]]:
    task, meta, count = msgspec.msgpack.decode(message)
    buffers = [connection.recv_bytes() for _ in range(count)]
    try:
        given, parts = run(task, meta, buffers)
    except TrajOpsError as error:
        fields = [field.model_dump() for field in error.details.get("fields", ())]
        return Reply(error=error.code, message=error.message, fields=fields), ()
    except Exception as error:
        logger.exception("the task %s failed", task)
        return Reply(error="internal", message=f"{type(error).__name__}: {error}"), ()
    return Reply(given, len(parts)), parts


def main(fd: int) -> None:
    """Answer until the other end is closed, giving way to the process that answers predictions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the API ends its workers itself
    os.nice(_NICENESS)
    connection: Connection[Any, Any] = Connection(fd)
    with connection:
        while True:
            try:
                reply, parts = _answer(connection.recv_bytes(), connection)
                connection.send_bytes(msgspec.msgpack.encode(reply))
                for part in parts:
                    connection.send_bytes(part)
            except (EOFError, OSError):
                return


if __name__ == "__main__":
    main(int(sys.argv[1]))
