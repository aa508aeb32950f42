"""Reads thousands of damaged Arrow streams as `/batch_predict` does, and says what that took; a process of its own, because the
reader is native code: `python -m tests.integration.arrow_fuzz SEED`.

Prints one JSON object: how many streams were read and how many refused, the slowest of them, and by how much the process has grown.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from api.arrow_batch import read_stream
from api.request_body import too_many
from trajops.errors import TrajOpsError

MAX_ROWS, MAX_BYTES = 1_000, 1_000_000
# What a hostile length may say.
WORDS = [word.to_bytes(8, "little", signed=True) for word in (-1, -2, 0, 1, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))]


def streams() -> list[bytes]:
    """Small streams of every form that is read."""
    rng = np.random.default_rng(0)
    rows, found = 6, []
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=rows * 16).astype(np.float32)), 16)
    free = pa.array(rng.normal(size=(rows, 8, 2)).tolist())
    names = pa.array([f"agent{n}" for n in range(rows)])
    tables = [
        pa.table({"history": flat}),
        pa.table({"history": flat, "agent_id": names, "observed_at_s": [1.0] * rows}).replace_schema_metadata({"source": "replay"}),
        pa.table({"history": free, "agent_id": names.dictionary_encode(), "scene_id": pa.array(["s"] * rows, pa.large_utf8())}),
    ]
    for table in tables:
        for compression in (None, "lz4", "zstd"):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
                writer.write_table(table, max_chunksize=4)
            found.append(sink.getvalue().to_pybytes())
    return found


def damaged(whole: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Cut at each offset, a bit turned over in each byte, and a hostile word over each aligned one."""
    for end in range(len(whole)):
        yield whole[:end]
    for at in range(len(whole)):
        body = bytearray(whole)
        body[at] ^= 1 << int(rng.integers(8))
        yield bytes(body)
    for at in range(0, len(whole) - 8, 4):
        body = bytearray(whole)
        body[at : at + 8] = WORDS[int(rng.integers(len(WORDS)))]
        yield bytes(body)


def main(number: int) -> None:
    """Read them all; anything but a refusal on purpose ends the process."""
    counts, slowest_s = {"read": 0, "refused": 0}, 0.0

    def refuse(rows: int) -> None:
        if rows > MAX_ROWS:
            raise too_many(rows, MAX_ROWS)

    def attempt(body: bytes) -> None:
        nonlocal slowest_s
        started_s = time.thread_time()
        try:
            batch, history_m = read_stream(body, MAX_BYTES, refuse)
            assert history_m.shape == (batch.rows, 8, 2)
            counts["read"] += 1
        except TrajOpsError:
            counts["refused"] += 1
        slowest_s = max(slowest_s, time.thread_time() - started_s)

    wholes = streams()
    for whole in wholes:
        attempt(whole)
    assert counts == {"read": len(wholes), "refused": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rng = np.random.default_rng(number)
    for whole in wholes:
        for body in damaged(whole, rng):
            attempt(body)

    changes = st.lists(st.tuples(st.integers(0, 2**16), st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(WORDS))), max_size=6)

    @seed(number)
    @settings(max_examples=1_500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(wholes), changes, st.binary(max_size=64))
    def attempt_changed(whole: bytes, changed: list[tuple[int, bytes]], behind: bytes) -> None:
        body = bytearray(whole)
        for at, content in changed:
            first = at % len(whole)
            body[first : first + len(content)] = content
        attempt(bytes(body) + behind)

    attempt_changed()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({**counts, "slowest_s": slowest_s, "grown_mb": grown_mb}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
