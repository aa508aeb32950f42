"""The Open Inference Protocol v2, as tritonclient[http] speaks it and as its text says."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.broken_forecasters import FailsOnSome
from tests.builders import some_histories
from tests.served_api import Served, served_api
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.kalman import Kalman, KalmanNoise
from trajops.trajectories import FloatArray, Forecast

MAX_ROWS = 3_000


class Raises(FailsOnSome):
    def forecast(self, history_m: FloatArray) -> Forecast:
        raise RuntimeError("broken")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_api(tmp_path_factory.mktemp("var"), max_batch=MAX_ROWS, max_body_bytes=2_000_000) as served:
        models = served.api.parts.loader.models
        models[2] = lambda: Kalman(KalmanNoise(0.5, 0.01, 4.0))
        models[3] = FailsOnSome
        models[4] = Raises
        served.api.promote(1)
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield client


def asked(histories: FloatArray, *, is_raw: bool, datatype: str = "FP32") -> list[triton.InferInput]:
    tensor = triton.InferInput("history", list(histories.shape), datatype)
    tensor.set_data_from_numpy(histories, binary_data=is_raw)
    return [tensor]


def wanted(*names: str, is_raw: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=is_raw) for name in names]


def test_health_needs_no_credential_and_the_rest_does(served: Served, client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    for call in (
        client.get_server_metadata,
        lambda: client.get_model_metadata("trajectory"),
        lambda: client.infer("trajectory", asked(some_histories(1), is_raw=True)),
    ):
        with pytest.raises(InferenceServerException, match="credential") as refused:
            call()
        assert refused.value.status() == "401"


def test_metadata_says_what_infer_takes_and_gives(served: Served, client: triton.InferenceServerClient) -> None:
    headers = served.headers
    server = client.get_server_metadata(headers=headers)
    assert (server["name"], server["extensions"]) == ("trajops", ["binary_tensor_data"])
    model = client.get_model_metadata("trajectory", headers=headers)
    assert "1" in model["versions"]
    assert model["inputs"] == [{"name": "history", "datatype": "FP32", "shape": [-1, 8, 2]}]
    answer = client.infer("trajectory", asked(some_histories(5), is_raw=True), headers=headers)
    for output in model["outputs"]:
        array = answer.as_numpy(output["name"])
        assert [-1 if axis == -1 else size for axis, size in zip(output["shape"], array.shape, strict=True)] == output["shape"]
        assert str(array.dtype) == {"FP32": "float32", "BOOL": "bool"}[output["datatype"]]
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        client.get_model_metadata("other", headers=headers)


@pytest.mark.parametrize("rows", [1, 3, 1_500], ids=["one", "some", "by-workers"])
@pytest.mark.parametrize("raw_in", [True, False], ids=["raw-in", "json-in"])
@pytest.mark.parametrize("raw_out", [True, False, None], ids=["raw-out", "json-out", "default-out"])
def test_every_way_in_and_out_gives_the_forecast_of_the_model(
    served: Served, client: triton.InferenceServerClient, rows: int, raw_in: bool, raw_out: bool | None
) -> None:
    histories = some_histories(rows)
    names = ("weights", "mean", "covariance", "is_baseline")
    outputs = None if raw_out is None else wanted(*names, is_raw=raw_out)
    answer = client.infer("trajectory", asked(histories, is_raw=raw_in), outputs=outputs, request_id="mine", headers=served.headers)
    expected = ConstantVelocity().forecast(histories.astype(np.float64))
    np.testing.assert_allclose(answer.as_numpy("mean"), expected.mean_m, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(answer.as_numpy("covariance"), expected.covariance_m2, rtol=1e-6)
    assert (answer.as_numpy("weights") == 1).all()
    assert not answer.as_numpy("is_baseline").any()
    said = answer.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("trajectory", "1", "mine")
    assert said["parameters"] == {"epoch": 1, "variant": "champion", "baseline_rows": 0}


def test_only_the_wanted_outputs_come_and_may_be_mixed(served: Served, client: triton.InferenceServerClient) -> None:
    outputs = wanted("mean", is_raw=False) + wanted("weights", is_raw=True)
    answer = client.infer("trajectory", asked(some_histories(4), is_raw=True), outputs=outputs, headers=served.headers)
    assert [one["name"] for one in answer.get_response()["outputs"]] == ["mean", "weights"]
    assert answer.as_numpy("mean").shape == (4, 1, 12, 2)
    assert answer.as_numpy("weights").tolist() == [[1.0]] * 4
    with pytest.raises(InferenceServerException, match="there is no output nonsense"):
        client.infer("trajectory", asked(some_histories(1), is_raw=True), outputs=wanted("nonsense", is_raw=True), headers=served.headers)


def test_double_precision_and_compressed_bodies(served: Served, client: triton.InferenceServerClient) -> None:
    histories = some_histories(2).astype(np.float64) + 5e5
    for algorithm in ("gzip", "deflate"):
        answer = client.infer(
            "trajectory",
            asked(histories, is_raw=True, datatype="FP64"),
            headers=served.headers,
            request_compression_algorithm=algorithm,
        )
        np.testing.assert_allclose(answer.as_numpy("mean"), ConstantVelocity().forecast(histories).mean_m, rtol=1e-7)


def test_a_version_is_loaded_when_it_is_asked_for(served: Served, client: triton.InferenceServerClient) -> None:
    headers = served.headers
    histories = some_histories(70)
    assert client.is_model_ready("trajectory", headers=headers)
    assert not client.is_model_ready("trajectory", "2", headers=headers)
    answer = client.infer("trajectory", asked(histories, is_raw=True), model_version="2", headers=headers)
    assert answer.get_response()["model_version"] == "2"
    assert answer.get_response()["parameters"]["variant"] == "direct"
    expected = Kalman(KalmanNoise(0.5, 0.01, 4.0)).forecast(histories.astype(np.float64))
    np.testing.assert_allclose(answer.as_numpy("mean"), expected.mean_m, rtol=1e-5, atol=1e-5)
    assert client.is_model_ready("trajectory", "2", headers=headers)
    assert client.is_model_ready("trajectory", "champion", headers=headers)
    for version, status, sentence in (("404", "404", "404"), ("challenger", "404", "alias"), ("x", "400", "version")):
        with pytest.raises(InferenceServerException, match=sentence) as refused:
            client.infer("trajectory", asked(histories, is_raw=True), model_version=version, headers=headers)
        assert refused.value.status() == status


def test_a_failing_model_is_replaced_row_by_row_and_the_answer_says_so(served: Served, client: triton.InferenceServerClient) -> None:
    histories = some_histories(1_100)
    histories[[3, 1_050], -1, 0] = 200.0
    headers = served.headers
    answer = client.infer("trajectory", asked(histories, is_raw=True), model_version="3", headers=headers)
    assert np.flatnonzero(answer.as_numpy("is_baseline")).tolist() == [3, 1_050]
    assert answer.get_response()["parameters"]["baseline_rows"] == 2
    expected = ConstantVelocity().forecast(histories.astype(np.float64))
    np.testing.assert_allclose(answer.as_numpy("mean")[:, 0], expected.mean_m[:, 0], rtol=1e-6, atol=1e-4)
    assert answer.as_numpy("weights")[[2, 3]].tolist() == [[0.75, 0.25], [1.0, 0.0]]
    all_failed = client.infer("trajectory", asked(histories, is_raw=True), model_version="4", headers=headers)
    assert all_failed.as_numpy("is_baseline").all()
    assert all_failed.as_numpy("mean").shape == (1_100, 1, 12, 2)


@pytest.mark.parametrize(("rows", "bad"), [(3, [1]), (2_000, [0, 1_999])], ids=["inline", "in-a-thread"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -2e7])
def test_a_bad_row_refuses_the_tensor_and_is_named(
    served: Served, client: triton.InferenceServerClient, rows: int, bad: list[int], number: float
) -> None:
    histories = some_histories(rows)
    histories[bad, 3, 1] = number
    with pytest.raises(InferenceServerException, match=rf"in row {', '.join(map(str, bad))} ") as refused:
        client.infer("trajectory", asked(histories, is_raw=True), headers=served.headers)
    assert refused.value.status() == "400"


def test_too_much_is_413_in_rows_and_in_bytes(served: Served, client: triton.InferenceServerClient) -> None:
    for rows, sentence in ((MAX_ROWS + 1, f"at most|{MAX_ROWS} trajectories"), (40_000, "larger than 2000000 bytes")):
        with pytest.raises(InferenceServerException, match=sentence) as refused:
            client.infer("trajectory", asked(some_histories(rows), is_raw=True), headers=served.headers)
        assert refused.value.status() == "413"
    with pytest.raises(InferenceServerException, match="larger than 2000000 bytes"):
        client.infer(
            "trajectory",
            asked(np.zeros((40_000, 8, 2), np.float32), is_raw=True),
            headers=served.headers,
            request_compression_algorithm="gzip",
        )


def spoilt(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "history", "shape": [1, 8, 2], "datatype": "FP32", "data": [0.0] * 16}
    return {"inputs": [tensor | changes]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"nonsense", "not an inference request"),
        (b"[]", "not an inference request"),
        ({"inputs": []}, "the only input"),
        (spoilt(name="x"), "the only input"),
        (spoilt(datatype="INT64"), "datatype"),
        (spoilt(shape=[1, 7, 2]), "shape"),
        (spoilt(shape=[0, 8, 2], data=[]), "shape"),
        (spoilt(shape=[2, 8, 2]), "32 numbers, not 16"),
        (spoilt(data=[[[0.0, 0.0]] * 7]), "does not have its shape"),
        (spoilt(data=["0"] * 16), "must be numbers"),
        (spoilt(data=[True] * 16), "must be numbers"),
        (spoilt(data=None), "needs `data`"),
        (spoilt(parameters={"binary_data_size": 64}), "raw bytes"),
        (json.dumps(spoilt()).replace("0.0,", "NaN,", 1).encode(), "not an inference request"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_a_400_in_the_form_of_the_protocol(served: Served, body: Any, sentence: str) -> None:
    answer = served.api.post("/v2/models/trajectory/infer", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("length", ["x", "-1", "100000"])
def test_a_wrong_header_length_is_refused(served: Served, length: str) -> None:
    answer = served.api.post("/v2/models/trajectory/infer", spoilt(), **{"Inference-Header-Content-Length": length})
    assert (answer.status_code, "Inference-Header-Content-Length" in answer.json()["error"]) == (400, True)


def test_nested_data_and_numbers_too_large_for_single_precision(served: Served) -> None:
    nested = [[[0.5 * n, 1.0] for n in range(8)]]
    out = served.api.post("/v2/models/trajectory/infer", spoilt(data=nested)).json()
    mean = next(one for one in out["outputs"] if one["name"] == "mean")
    assert mean["data"][:4] == [4.0, 1.0, 4.5, 1.0]
    refused = served.api.post("/v2/models/trajectory/infer", spoilt(data=[1e300, *[0.0] * 15]))
    assert (refused.status_code, "row 0" in refused.json()["error"]) == (400, True)


def test_raw_bytes_stand_in_the_order_of_the_outputs(served: Served) -> None:
    content = json.dumps(spoilt(data=list(map(float, range(16)))) | {"parameters": {"binary_data_output": True}}).encode()
    answer = served.api.post("/v2/models/trajectory/infer", content)
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.content[:length])
    sizes = [one["parameters"]["binary_data_size"] for one in head["outputs"]]
    assert [one["name"] for one in head["outputs"]] == ["mean", "covariance", "weights", "is_baseline"]
    assert len(answer.content) == length + sum(sizes)
    assert struct.unpack_from("<2f", answer.content, length) == (16.0, 17.0)


def test_nothing_is_remembered_and_everything_is_counted(served: Served, client: triton.InferenceServerClient) -> None:
    def count() -> float:
        line = 'trajops_bulk_predictions_total{door="oip",model="trajectory",version="1"} '
        lines = served.api.client.get("/metrics").text.splitlines()
        return next((float(one.removeprefix(line)) for one in lines if one.startswith(line)), 0.0)

    before = count()
    client.infer("trajectory", asked(some_histories(7), is_raw=True), headers=served.headers)
    assert count() == before + 7
    assert not list(served.api.parts.spool.folder.glob("predictions.*"))


def test_ready_is_false_without_a_model(tmp_path: Any) -> None:
    with served_api(tmp_path) as empty, triton.InferenceServerClient(f"127.0.0.1:{empty.port}") as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("trajectory", headers=empty.headers)
        with pytest.raises(InferenceServerException, match="no model has been deployed") as refused:
            client.infer("trajectory", asked(some_histories(1), is_raw=True), headers=empty.headers)
        assert refused.value.status() == "503"


def test_a_large_json_answer_streams_and_a_small_or_raw_one_tells_its_length(served: Served) -> None:
    def headers(rows: int, **more: Any) -> Any:
        histories = some_histories(rows).ravel().astype(float).round(3).tolist()
        return served.api.post("/v2/models/trajectory/infer", spoilt(shape=[rows, 8, 2], data=histories) | more).headers

    assert "content-length" in headers(2)
    assert "content-length" in headers(2_000, parameters={"binary_data_output": True})
    assert headers(2_000).get("transfer-encoding") == "chunked"


def test_without_worker_processes_large_json_is_read_on_a_thread(tmp_path: Any) -> None:
    with served_api(tmp_path, json_workers=0) as alone:
        alone.api.promote(1)
        histories = some_histories(2_000).astype(float).round(3)
        out = alone.api.post("/v2/models/trajectory/infer", spoilt(shape=[2_000, 8, 2], data=histories.tolist())).json()
        mean = next(one["data"] for one in out["outputs"] if one["name"] == "mean")
        np.testing.assert_allclose(np.reshape(mean, (2_000, 1, 12, 2)), ConstantVelocity().forecast(histories).mean_m, rtol=1e-4, atol=1e-3)
        assert not alone.api.parts.json_workers._workers
