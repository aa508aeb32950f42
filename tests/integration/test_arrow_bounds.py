"""What an Arrow stream may take: bounded before it is unpacked, whatever its messages say."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from api.arrow_batch import read_stream
from api.request_body import too_many
from tests.running_api import Api, running_api
from trajops.errors import InvalidInput, TooLarge

ARROW = "application/vnd.apache.arrow.stream"
ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_batch=3_000, max_body_bytes=MB) as api:
        api.promote(1)
        yield api


def history(rows: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 16, np.float32)), 16)


def stream(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


def read(body: bytes, max_bytes: int = MB, most_rows: int = 3_000) -> Any:
    def refuse(rows: int) -> None:
        if rows > most_rows:
            raise too_many(rows, most_rows)

    return read_stream(body, max_bytes, refuse)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_columns_are_read(api: Api, compression: str) -> None:
    table = pa.table({"history": history(600), "agent_id": pa.array([f"c{n % 7}" for n in range(600)]).dictionary_encode()})
    plain, small = stream(table), stream(table, compression=compression)
    assert len(small) < len(plain) / 5
    batch, history_m = read(small)
    expected, expected_m = read(plain)
    assert batch == expected
    np.testing.assert_array_equal(history_m, expected_m)
    assert api.post("/batch_predict", small, **{"Content-Type": ARROW}).status_code == 200


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("where", ["column", "dictionary"])
def test_what_unpacks_to_too_much_is_413_and_never_unpacked(api: Api, compression: str, where: str) -> None:
    size = 64 * MB
    bomb = pa.array(["a" * size])
    table = pa.table({"history": history(1), "agent_id": bomb if where == "column" else bomb.dictionary_encode()})
    body = stream(table, compression=compression)
    assert len(body) < MB
    del bomb, table
    peak = pa.default_memory_pool().max_memory()
    held = [pa.allocate_buffer(max(0, peak - pa.total_allocated_bytes()))]  # whatever is allocated from here on is a new peak
    with pytest.raises(TooLarge, match=f"unpack to more than {MB} bytes"):
        read(body)
    assert pa.default_memory_pool().max_memory() - peak < MB
    answer = api.post("/batch_predict", body, **{"Content-Type": ARROW})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "TRAJOPS_MAX_BODY_BYTES" in answer.json()["detail"]
    assert pa.default_memory_pool().max_memory() - peak < MB
    pa.ipc.open_stream(body).read_all()  # that it would have been unpacked is no fancy
    assert pa.default_memory_pool().max_memory() - peak > size
    held.clear()


def test_a_length_that_lies_is_believed(api: Api) -> None:
    body = bytearray(stream(pa.table({"history": history(600)}), compression="zstd"))
    at = body.index((600 * 64).to_bytes(8, "little"))
    body[at : at + 8] = (2**40).to_bytes(8, "little")
    assert api.post("/batch_predict", bytes(body), **{"Content-Type": ARROW}).status_code == 413


def test_rows_are_counted_before_they_are_read() -> None:
    with pytest.raises(TooLarge, match="at most 3000 trajectories"):
        read(stream(pa.table({"history": history(2 * MB)}), compression="zstd"), max_bytes=10**12)
    with pytest.raises(TooLarge, match="not 3100"):
        read(stream(pa.table({"history": history(5_000)}), rows=100))


def test_the_old_format_is_refused_because_its_compression_is_another() -> None:
    with pytest.raises(InvalidInput, match="metadata version V5"):
        read(stream(pa.table({"history": history(1)}), metadata_version=pa.ipc.MetadataVersion.V4))


def test_messages_without_rows_are_bounded() -> None:
    sink = pa.BufferOutputStream()
    empty = pa.table({"history": history(1)}).slice(0, 0)
    with pa.ipc.new_stream(sink, empty.schema) as writer:
        for _ in range(100):
            writer.write_batch(pa.record_batch({"history": history(1)}).slice(0, 0))
    with pytest.raises(InvalidInput, match="only 0 rows yet"):
        read(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("agent_id", pa.nulls(1)),
        ("agent_id", pa.array(["a"], pa.string_view())),
        ("agent_id", pa.array([["a"]])),
        ("observed_at_s", pa.array(["now"])),
        ("observed_at_s", pa.array([0], pa.timestamp("s"))),
        ("history", pa.array([[None] * 16], pa.list_(pa.null()))),
        ("history", pa.array([[1] * 16], pa.list_(pa.int32()))),
        ("history", pa.array([[[[1.0]]]])),
        ("history", pa.array([[[1.0, 2.0, 3.0]] * 8], pa.list_(pa.list_(pa.float32(), 3)))),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type),
)
def test_a_type_that_is_not_asked_for_is_refused_by_its_name(name: str, column: pa.Array) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(stream(pa.table({"history": history(1)} | {name: column})))
    [field] = refused.value.details["fields"]
    assert (field.field, field.value) == (f"body.{name}", str(column.type))
    assert "this must be" in field.message


def test_a_long_name_in_a_dictionary_is_not_written_out_for_each_row() -> None:
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), ["a" * 900_000])
    with pytest.raises(InvalidInput, match="900000 bytes"):
        read(stream(pa.table({"history": history(3_000), "agent_id": names})), max_bytes=10 * MB)


def test_history_in_free_lists_spoils_its_rows_only() -> None:
    good = np.arange(16.0).reshape(8, 2).tolist()
    rows = [good, None, good[:7], [*good[:7], [1.0]], [*good[:7], None], good]
    batch, history_m = read(stream(pa.table({"history": pa.array(rows, pa.list_(pa.list_(pa.float64())))})))
    assert sorted(batch.errors) == [1, 2, 3, 4]
    assert "no history" in batch.errors[1]
    assert "8 positions, not 7" in batch.errors[2]
    assert "is no pair" in batch.errors[3]
    assert "is no pair" in batch.errors[4]
    np.testing.assert_array_equal(history_m[[0, 5]], [good, good])
    flat = pa.array([[*range(16)], [*range(14)]], pa.list_(pa.float32()))
    batch, history_m = read(stream(pa.table({"history": flat})))
    assert batch.errors == {1: "a trajectory has 16 numbers, not 14"}
    np.testing.assert_array_equal(history_m[0], np.arange(16).reshape(8, 2))


@pytest.mark.parametrize("value", ["9" * 5_000, "0", "-1", "", "1.5", "neu\xff"])
def test_a_version_that_is_none_is_named(api: Api, value: str) -> None:
    table = pa.table({"history": history(1)}).replace_schema_metadata({b"model_version": value.encode("latin-1")})
    answer = api.post("/batch_predict", stream(table), **{"Content-Type": ARROW})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"body.model_version"}


def test_damaged_streams_end_in_a_refusal_and_take_little(tmp_path: Path) -> None:
    """In a process of its own: the reader is native code, and what ends it must not end the tests."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.integration.arrow_fuzz", "7"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    assert found["refused"] > 10_000
    assert found["read"] > 1_000  # a fuzz that never gets through the first check tests nothing behind it
    assert found["slowest_s"] < 5
    assert found["grown_mb"] < 300
