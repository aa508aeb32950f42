"""MLflow's scoring protocol, as MLflow's own client speaks it and as its text says."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.broken_forecasters import FailsOnSome
from tests.builders import a_history, some_histories
from tests.served_api import Served, served_api
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import FloatArray

# MLflow says this of its own functions, when its client is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_api(tmp_path_factory.mktemp("var"), max_batch=2_000, max_body_bytes=1_000_000) as served:
        served.api.parts.loader.models[3] = FailsOnSome
        served.api.promote(1)
        yield served


@pytest.fixture
def client(served: Served) -> Any:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    return ScoringServerClient(f"any:{served.key}@127.0.0.1", served.port)


def check(predictions: dict[str, Any], histories: FloatArray) -> None:
    """Compare with what the champion says."""
    expected = ConstantVelocity().forecast(np.asarray(histories, np.float64))
    np.testing.assert_allclose(np.array(predictions["mean"]), expected.mean_m, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(np.array(predictions["covariance"]), expected.covariance_m2, rtol=1e-6)
    assert predictions["weights"] == [[1.0]] * len(histories)
    assert predictions["is_baseline"] == [False] * len(histories)


def test_the_server_is_awaited_and_tells_its_version(served: Served, client: Any) -> None:
    import trajops

    client.wait_server_ready(timeout=5)
    assert client.get_version() == trajops.__version__
    assert served.api.client.get("/ping").status_code == 200
    assert served.api.client.get("/version").status_code == 401


@pytest.mark.parametrize("rows", [1, 5, 1_200], ids=["one", "some", "by-workers"])
def test_arrays(client: Any, rows: int) -> None:
    histories = some_histories(rows)
    answer = client.invoke(histories)
    check(answer["predictions"], histories)
    assert (answer["model_name"], answer["model_version"], answer["baseline_rows"]) == ("trajectory", 1, 0)
    assert len(answer.get_predictions()) == rows


def test_data_frames(client: Any) -> None:
    histories = some_histories(3)
    nested = client.invoke(pd.DataFrame({"history": histories.tolist()}, index=[7, 8, 9]))
    flat = client.invoke(pd.DataFrame(histories.reshape(3, 16)))
    check(nested["predictions"], histories)
    check(flat["predictions"], histories)


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_the_same_array_in_each_form(served: Served, form: str) -> None:
    histories = some_histories(3)
    rows = histories.tolist()
    named = {"history": rows} if form == "inputs" else [{"history": row} for row in rows]
    for body in ({form: rows}, {form: named}, {"dataframe_records": [{"history": row} for row in rows]}):
        answer = served.api.post("/invocations", body)
        assert answer.status_code == 200, answer.text
        check(answer.json()["predictions"], histories)


def test_a_version_can_be_asked_for_and_failures_are_told(client: Any) -> None:
    histories = some_histories(4)
    histories[2, -1, 0] = 200.0
    answer = client.invoke(histories, params={"model_version": 3})
    assert (answer["model_version"], answer["baseline_rows"]) == (3, 1)
    assert answer["predictions"]["is_baseline"] == [False, False, True, False]
    with pytest.raises(Exception, match="RESOURCE_DOES_NOT_EXIST"):
        client.invoke(histories, params={"model_version": 404})


HISTORY = a_history()[0].tolist()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"nonsense", "not an invocation"),
        ({}, "exactly one of"),
        ({"inputs": [HISTORY], "instances": [HISTORY]}, "exactly one of"),
        ({"inputs": []}, "at least one"),
        ({"inputs": 5}, "must be a list"),
        ({"inputs": [HISTORY, HISTORY[:7]]}, "row 1"),
        ({"inputs": [HISTORY, [["1", 2.0], *HISTORY[1:]]]}, "row 1"),
        ({"inputs": [HISTORY, [[1e9, 2.0], *HISTORY[1:]]]}, "in row 1"),
        ({"inputs": {"other": [HISTORY]}}, "not an invocation"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, "16 columns"),
        ({"dataframe_split": {"columns": ["history"], "data": [[HISTORY, 1]]}}, "1 cells"),
        ({"inputs": [HISTORY], "params": {"temperature": 1}}, "not an invocation"),
        (json.dumps({"inputs": [HISTORY]}).replace("0.0", "NaN", 1).encode(), "not an invocation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_a_400_in_the_form_of_the_protocol(served: Served, body: Any, sentence: str) -> None:
    answer = served.api.post("/invocations", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert sentence in answer.json()["message"]


def test_other_refusals(served: Served, client: Any) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    with pytest.raises(Exception, match=r"401.*UNAUTHENTICATED"):
        ScoringServerClient("127.0.0.1", served.port).invoke(some_histories(1))
    with pytest.raises(Exception, match=r"413.*REQUEST_LIMIT_EXCEEDED.*2000 trajectories"):
        client.invoke(some_histories(2_001).round(1))
    with pytest.raises(Exception, match=r"413.*REQUEST_LIMIT_EXCEEDED.*bytes"):
        client.invoke(some_histories(6_000))
    for form in ({"inputs": [[]] * 2_001}, {"dataframe_split": {"columns": ["history"], "data": [[1]] * 2_001}}):
        counted = served.api.post("/invocations", form)
        assert (counted.status_code, "2000 trajectories" in counted.text) == (413, True), "counted before any is judged"
    csv = served.api.post("/invocations", b"history\n1", **{"Content-Type": "text/csv"})
    assert csv.status_code == 400


def test_not_ready_without_a_model(tmp_path: Any) -> None:
    with served_api(tmp_path) as empty:
        assert empty.api.client.get("/ping").status_code == 503
        answer = empty.api.post("/invocations", {"inputs": [HISTORY]})
        assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
