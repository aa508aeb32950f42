"""One bulk of trajectories in each format that is measured, and a client that sends it again and again.

`python -m benchmarks.batch_bodies PORT KEY FORMAT` does so until it is ended; each answer is read to its end.
"""

import http.client
import itertools
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

ROWS = 10_000


class Bulk(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


def walks(rows: int = ROWS) -> np.ndarray:
    """(N, 8, 2) float32 walks in centimetres, as a tracker reports them."""
    steps = np.random.default_rng(0).normal(scale=0.5, size=(rows, 8, 2))
    return (np.cumsum(steps, axis=1) + np.random.default_rng(1).uniform(-50, 50, (rows, 1, 2))).round(2).astype(np.float32)


def oip_binary() -> Bulk:
    """Raw FP32 in and out."""
    raw = walks().tobytes()
    tensor = {"name": "history", "shape": [ROWS, 8, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Bulk("/v2/models/trajectory/infer", {"Inference-Header-Content-Length": str(len(head))}, head + raw)


def oip_json() -> Bulk:
    """Flat `data` in and out."""
    data = walks().astype(float).round(2).ravel().tolist()
    tensor = {"name": "history", "shape": [ROWS, 8, 2], "datatype": "FP32", "data": data}
    return Bulk("/v2/models/trajectory/infer", {"Content-Type": "application/json"}, json.dumps({"inputs": [tensor]}).encode())


def columns_json() -> Bulk:
    """Columnar `/batch_predict`: nested lists in and out."""
    history = walks().astype(float).round(2).tolist()
    return Bulk("/batch_predict", {"Content-Type": "application/json"}, json.dumps({"history": history}).encode())


def arrow() -> Bulk:
    """`/batch_predict` as an Arrow IPC stream."""
    return _arrow(history=_flat())


def items_named() -> Bulk:
    """`/batch_predict` as items, each of which is recorded."""
    history = walks().astype(float).round(2).tolist()
    items = [{"agent_id": name, "history": row} for name, row in zip(_names(), history, strict=True)]
    return Bulk("/batch_predict", {"Content-Type": "application/json"}, json.dumps({"items": items}).encode())


def columns_named() -> Bulk:
    """Columns with agents."""
    body = {"history": walks().astype(float).round(2).tolist(), "agent_id": _names()}
    return Bulk("/batch_predict", {"Content-Type": "application/json"}, json.dumps(body).encode())


def arrow_named() -> Bulk:
    """Arrow with agents."""
    return _arrow(history=_flat(), agent_id=pa.array(_names()))


def _names() -> list[str]:
    return [f"agent{number}" for number in range(ROWS)]


def _flat() -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(walks().ravel()), 16)


def _arrow(**columns: pa.Array) -> Bulk:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Bulk("/batch_predict", {"Content-Type": "application/vnd.apache.arrow.stream"}, sink.getvalue().to_pybytes())


FORMATS: dict[str, Callable[[], Bulk]] = {
    "oip_binary": oip_binary,
    "arrow": arrow,
    "oip_json": oip_json,
    "columns_json": columns_json,
}
# Rows that name an agent: what they cost is assigning, recording and remembering, not their format.
NAMED: dict[str, Callable[[], Bulk]] = {
    "items_named": items_named,
    "columns_named": columns_named,
    "arrow_named": arrow_named,
}


def send(connection: http.client.HTTPConnection, bulk: Bulk, key: str) -> int:
    """Send once and read the answer; its length in bytes."""
    connection.request("POST", bulk.path, bulk.body, {**bulk.headers, "Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{bulk.path} answered {answer.status}: {content[:300].decode(errors='replace')}")
    return len(content)


def main(port: int, key: str, name: str) -> None:
    """Send until the end."""
    bulk = (FORMATS | NAMED)[name]()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in itertools.count():
        send(connection, bulk, key)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
