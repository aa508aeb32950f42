"""`/batch_predict` as an Arrow IPC stream: read by pyarrow itself."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.broken_forecasters import FailsOnSome
from tests.builders import CLOCK_S, some_histories
from tests.running_api import Api, recorded, running_api
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import FloatArray

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("var"), max_batch=3_000) as api:
        api.parts.loader.models[3] = FailsOnSome  # type: ignore[attr-defined]
        api.promote(1)
        yield api


def flat(histories: FloatArray, **options: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(histories.ravel()), 16, **options)


def sent(table: pa.Table, **metadata: str) -> bytes:
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(metadata)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return sink.getvalue().to_pybytes()


def ask(api: Api, body: bytes) -> pa.Table:
    answer = api.post("/batch_predict", body, **{"Content-Type": ARROW})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW
    return pa.ipc.open_stream(answer.content).read_all()


def numbers(table: pa.Table, name: str, *shape: int) -> FloatArray:
    found: FloatArray = np.array(table.column(name).to_pylist(), dtype=float).reshape(-1, *shape)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 2_999])
def test_rows_without_agents(api: Api, rows: int, dtype: type) -> None:
    histories = some_histories(rows).astype(dtype)
    before = len(recorded(api))
    table = ask(api, sent(pa.table({"history": flat(histories)})))
    expected = ConstantVelocity().forecast(histories.astype(float))
    np.testing.assert_allclose(numbers(table, "positions", 1, 12, 2), expected.mean_m, rtol=1e-5, atol=1e-5)
    covariance = expected.covariance_m2.reshape(rows, 1, 12, 4)[..., [0, 1, 3]]
    np.testing.assert_allclose(numbers(table, "covariance", 1, 12, 3), covariance, rtol=1e-6)
    assert set(table.column("model_name").to_pylist()) == {"trajectory"}
    assert set(table.column("model_version").to_pylist()) == {1}
    assert table.column("error").null_count == rows
    assert table.schema.metadata == {b"modes": b"1", b"steps": b"12", b"dt_s": b"0.4", b"epoch": b"1"}
    assert len(recorded(api)) == before


def test_bad_rows_are_errors_of_their_own_and_failing_ones_the_baselines(api: Api) -> None:
    api.post("/predict", {"agent_id": "warm", "history": [[0, 0]] * 8, "model_version": 3})
    histories = some_histories(6)
    histories[1, 2, 0], histories[4, 0, 0], histories[5, -1, 0] = np.nan, -2e7, 200.0
    mask = pa.array([False, False, True, False, False, False])
    table = ask(api, sent(pa.table({"history": flat(histories, mask=mask)}), model_version="3"))
    assert table.column("error_code").to_pylist() == [None, "invalid_input", "invalid_input", None, "invalid_input", None]
    assert [row is None for row in table.column("positions").to_pylist()] == [False, True, True, False, True, False]
    assert table.column("model_name").to_pylist() == ["trajectory", None, None, "trajectory", None, "baseline"]
    assert table.column("model_version").to_pylist() == [3, None, None, 3, None, 0]


def test_nested_and_free_lists_are_read_too(api: Api) -> None:
    histories = some_histories(3)
    points = pa.FixedSizeListArray.from_arrays(pa.array(histories.ravel()), 2)
    nested = ask(api, sent(pa.table({"history": pa.FixedSizeListArray.from_arrays(points, 8)})))
    free = ask(api, sent(pa.table({"history": pa.array([*histories.tolist(), histories[0, :7].tolist()])})))
    assert nested.column("positions").to_pylist() == free.column("positions").to_pylist()[:3]
    assert "8 positions, not 7" in free.column("error").to_pylist()[3]


def test_a_sliced_column_is_read_from_its_offset(api: Api) -> None:
    histories = some_histories(5)
    whole = ask(api, sent(pa.table({"history": flat(histories)})))
    part = ask(api, sent(pa.table({"history": flat(histories)}).slice(2, 2)))
    assert part.column("positions").to_pylist() == whole.column("positions").to_pylist()[2:4]


def test_rows_with_agents_are_recorded(api: Api) -> None:
    histories = some_histories(130)
    names = [f"arrow{n}" for n in range(130)]
    table = ask(api, sent(pa.table({"history": flat(histories), "agent_id": names, "observed_at_s": [CLOCK_S] * 130}), source="replay"))
    events = [event for event in recorded(api) if event["agent_id"].startswith("arrow")]
    assert [event["prediction_id"] for event in events] == table.column("prediction_id").to_pylist()
    assert {(event["source"], event["observed_at_s"], event["scene_id"]) for event in events} == {("replay", CLOCK_S, "default")}
    np.testing.assert_allclose(numbers(table, "positions", 24)[7], events[7]["mean_m"], atol=1e-4)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"nonsense", "not an Arrow IPC stream"),
        (b"", "not an Arrow IPC stream"),
        (sent(pa.table({"other": [1]})), "no column history"),
        (sent(pa.table({"history": flat(some_histories(1))}).slice(0, 0)), "at least one"),
        (sent(pa.table({"history": [1.0, 2.0]})), "8 × [x, y]"),
        (sent(pa.table({"history": pa.FixedSizeListArray.from_arrays(pa.array([1.0] * 14), 14)})), "8 × [x, y]"),
        (sent(pa.table({"history": flat(some_histories(1)), "agent_id": [""]})), "body.agent_id.0"),
        (sent(pa.table({"history": flat(some_histories(1)), "colour": ["red"]})), "body.colour"),
        (sent(pa.table({"history": flat(some_histories(1))}), model_version="newest"), "body.model_version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_such_stream_is_a_problem(api: Api, body: bytes, says: str) -> None:
    answer = api.post("/batch_predict", body, **{"Content-Type": ARROW})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert says in answer.text


def test_damaged_streams_never_break_the_server(api: Api) -> None:
    whole = sent(pa.table({"history": flat(some_histories(20)), "agent_id": [f"d{n}" for n in range(20)]}))
    rng = np.random.default_rng(0)
    for _ in range(60):
        body = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        body[rng.integers(0, len(body))] ^= 1 << int(rng.integers(0, 8))
        assert api.post("/batch_predict", bytes(body), **{"Content-Type": ARROW}).status_code in {200, 422}


def test_too_many_rows_are_413(api: Api) -> None:
    answer = api.post("/batch_predict", sent(pa.table({"history": flat(some_histories(3_001))})), **{"Content-Type": ARROW})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
