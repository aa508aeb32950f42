"""Large batches over real sockets: they leave as they are made, and nobody answers for a client that has left."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from api.named_rows import SLICE, SLICES_A_PART
from api.request_body import Departure
from tests.broken_forecasters import FailsOnSome
from tests.builders import some_histories
from tests.running_api import recorded
from tests.served_api import Served, served_api
from trajops.deployments.model_ref import ModelRef
from trajops.experiments.routed import canary
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.services.bulk import BLOCK
from trajops.trajectories import FloatArray, Forecast

ROWS = 3_000
PART = SLICE * SLICES_A_PART
ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"
GATED, TWO_MODES = 2, 3


class Gated:
    """Constant velocity that counts its rows and, once so many have passed, waits for the gate."""

    family = "gated"
    window = ConstantVelocity().window

    def __init__(self) -> None:
        self.begin(10**9)

    def begin(self, opens_at: int) -> None:
        self.rows, self._opens_at = 0, opens_at
        self.reached, self.gate = threading.Event(), threading.Event()

    def forecast(self, history_m: FloatArray) -> Forecast:
        if len(history_m) > 1:  # one trajectory is how a model is asked for its modes
            self.rows += len(history_m)
            if self.rows >= self._opens_at:
                self.reached.set()
                assert self.gate.wait(20)
        return ConstantVelocity().forecast(history_m)


@pytest.fixture(scope="module")
def model() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Gated) -> Iterator[Served]:
    with served_api(tmp_path_factory.mktemp("var"), max_batch=10_000, epoch_poll_s=3_600) as served:  # routes change by hand
        served.api.parts.loader.models |= {GATED: lambda: model, TWO_MODES: FailsOnSome}  # type: ignore[attr-defined]
        served.api.promote(TWO_MODES)
        served.api.promote(GATED)
        yield served


def arrow_body(rows: int, name: str | None) -> bytes:
    columns: dict[str, Any] = {"history": pa.FixedSizeListArray.from_arrays(pa.array(some_histories(rows).ravel()), 16)}
    if name is not None:
        columns["agent_id"] = [f"{name}{n}" for n in range(rows)]
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def items_body(rows: int, name: str) -> bytes:
    history = some_histories(rows).astype(float).round(3).tolist()
    return json.dumps({"items": [{"agent_id": f"{name}{n}", "history": row} for n, row in enumerate(history)]}).encode()


def columns_body(rows: int, name: str) -> bytes:
    return json.dumps({"history": nested(rows), "agent_id": [f"{name}{n}" for n in range(rows)]}).encode()


def nested(rows: int) -> list[Any]:
    rounded: list[Any] = some_histories(rows).astype(float).round(3).tolist()
    return rounded


def oip_body(rows: int) -> bytes:
    tensor = {"name": "history", "shape": [rows, 8, 2], "datatype": "FP32", "data": nested(rows)}
    return json.dumps({"inputs": [tensor]}).encode()


class Form(NamedTuple):
    """One way to ask for many rows.

    Attributes:
        body: for so many rows.
        at_once: rows that are forecast in one go, if none are recorded.
    """

    body: Callable[[int], bytes]
    path: str = "/batch_predict"
    media_type: str = JSON
    at_once: int | None = None


FORMS = {
    "items": Form(lambda rows: items_body(rows, "left-items")),
    "columns": Form(lambda rows: columns_body(rows, "left-columns")),
    "arrow": Form(lambda rows: arrow_body(rows, "left-arrow"), media_type=ARROW),
    "anonymous-arrow": Form(lambda rows: arrow_body(rows, None), media_type=ARROW, at_once=2_048),
    "anonymous-columns": Form(lambda rows: json.dumps({"history": nested(rows)}).encode(), at_once=BLOCK),
    "oip": Form(oip_body, "/v2/models/trajectory/infer", at_once=BLOCK),
    "mlflow": Form(lambda rows: json.dumps({"inputs": {"history": nested(rows)}}).encode(), "/invocations", at_once=BLOCK),
}


Ask = Callable[[Form, int], http.client.HTTPConnection]


@pytest.fixture
def ask(served: Served) -> Iterator[Ask]:
    with ExitStack() as stack:

        def ask(form: Form, rows: int) -> http.client.HTTPConnection:
            connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)))
            connection.request("POST", form.path, form.body(rows), {**served.headers, "Content-Type": form.media_type})
            return connection

        yield ask


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_items_leave_while_later_ones_are_still_answered(ask: Ask, model: Gated) -> None:
    model.begin(PART + 1)
    connection = ask(Form(lambda rows: items_body(rows, "stream")), ROWS)
    answer = connection.getresponse()
    try:
        assert answer.read(10) == b'{"items":['
        assert not model.gate.is_set()
    finally:
        model.gate.set()
    items = json.loads(b'{"items":[' + answer.read())["items"]
    assert [item["prediction"]["agent_id"] for item in items] == [f"stream{n}" for n in range(ROWS)]


@pytest.mark.parametrize("name", ["agent", None])
def test_arrow_leaves_a_record_batch_at_a_time(ask: Ask, model: Gated, name: str | None) -> None:
    model.begin(2_048 + 1 if name is None else PART + 1)
    answer = ask(Form(lambda rows: arrow_body(rows, name), media_type=ARROW), ROWS).getresponse()
    try:
        assert answer.headers["content-type"] == ARROW
        reader = pa.ipc.open_stream(answer)
        first = reader.read_next_batch()
        assert not model.gate.is_set()
    finally:
        model.gate.set()
    table = pa.Table.from_batches([first, *reader])
    assert table.num_rows == ROWS
    expected = ConstantVelocity().forecast(some_histories(ROWS).astype(float))
    positions = np.array(table.column("positions").to_pylist()).reshape(expected.mean_m.shape)
    np.testing.assert_allclose(positions, expected.mean_m, atol=1e-3)
    assert table.schema.metadata[b"modes"] == b"1"
    assert table.column("error").null_count == ROWS


@pytest.fixture
def departures(monkeypatch: pytest.MonkeyPatch) -> list["Watched"]:
    made: list[Watched] = []

    class Kept(Watched):
        def __init__(self, receive: Any) -> None:
            super().__init__(receive)
            made.append(self)

    monkeypatch.setattr("api.bulk_endpoint.Departure", Kept)
    return made


class Watched(Departure):
    """One whose end can be waited for."""

    is_closed = False

    def has_heard(self) -> bool:
        return self._heard is not None and self._heard.done()

    def close(self) -> None:
        super().close()
        self.is_closed = True


@pytest.mark.parametrize("name", FORMS)
def test_a_client_that_hangs_up_is_not_answered_further(
    served: Served, ask: Ask, model: Gated, name: str, departures: list[Watched]
) -> None:
    form = FORMS[name]
    model.begin(PART + SLICE)
    connection = ask(form, 10_000)
    try:
        assert model.reached.wait(20)
        [departure] = departures
        assert not departure.has_heard()
        connection.close()
        wait_until(departure.has_heard)
    finally:
        model.gate.set()
    wait_until(lambda: departure.is_closed)
    # The slice that was being answered is finished, of rows without an agent the part or block; none is begun after it.
    assert model.rows == (form.at_once or PART + SLICE)
    events = [event for event in recorded(served.api) if event["agent_id"].startswith(f"left-{name}")]
    assert len(events) == (0 if form.at_once else model.rows)
    assert served.api.post("/predict", {"agent_id": "next", "history": [[0, 0]] * 8}).status_code == 200


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_who_stays_is_answered_to_the_end_and_may_go_on(served: Served, model: Gated, form: Form, departures: list[Watched]) -> None:
    """The watch takes nothing from the requests that follow on the same connection."""
    model.begin(10**9)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for _ in range(3):
        connection.request("POST", form.path, form.body(ROWS), {**served.headers, "Content-Type": form.media_type})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read()
    assert model.rows == 3 * ROWS
    assert len(departures) == 3
    assert all(departure.is_closed for departure in departures)
    connection.close()


def mixed(served: Served, monkeypatch: pytest.MonkeyPatch, coverage: float = 1.0) -> None:
    """Half of the agents get a challenger of two modes."""
    service = served.api.parts.service
    before = service.snapshot
    challenger = ModelRef("trajectory", TWO_MODES)
    assert before.table.champion is not None
    table = replace(before.table, experiments=(canary("e", before.table.champion, challenger, coverage, "s"),))
    monkeypatch.setattr(service, "snapshot", replace(before, table=table, models={**before.models, challenger: FailsOnSome()}))


def test_rows_of_models_with_different_modes_share_one_answer(
    served: Served, ask: Ask, model: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.begin(10**9)
    mixed(served, monkeypatch)
    rows = 700
    answer = ask(Form(lambda rows: columns_body(rows, "mixed")), rows).getresponse()
    columns = json.loads(answer.read())
    versions = columns["model_version"]
    assert set(versions) == {GATED, TWO_MODES}
    modes = [1 if version == GATED else 2 for version in versions]
    for name in ("weights", "positions", "covariance"):
        assert [len(row) for row in columns[name]] == modes
    table = pa.ipc.open_stream(ask(Form(lambda rows: arrow_body(rows, "mixed"), media_type=ARROW), rows).getresponse().read()).read_all()
    assert table.schema.metadata[b"modes"] == b"2"
    assert table.column("model_version").to_pylist() == versions
    weights = np.array(table.column("weights").to_pylist())
    assert (weights == [[1, 0] if count == 1 else [0.75, 0.25] for count in modes]).all()
    positions = np.array(table.column("positions").to_pylist()).reshape(rows, 2, 12, 2)
    for row, count in enumerate(modes):
        np.testing.assert_allclose(positions[row, :count], columns["positions"][row], atol=2e-2)  # JSON has millimetres
        assert not positions[row, count:].any()


def test_a_model_with_more_modes_that_comes_in_the_middle_has_no_place(
    served: Served, ask: Ask, model: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.begin(PART + 1)
    answer = ask(Form(lambda rows: arrow_body(rows, "late"), media_type=ARROW), ROWS).getresponse()
    assert model.reached.wait(20)
    mixed(served, monkeypatch)
    model.gate.set()
    table = pa.ipc.open_stream(answer.read()).read_all()
    assert table.schema.metadata[b"modes"] == b"1"
    codes = table.column("error_code").to_pylist()
    assert codes[:PART] == [None] * PART
    assert set(codes[PART:]) == {None, "unavailable"}
    ids = [one for one in table.column("prediction_id").to_pylist() if one is not None]
    late = [code is not None for code in codes]
    assert "send the row again" in table.column("error").to_pylist()[late.index(True)]
    assert ids == [event["prediction_id"] for event in recorded(served.api) if event["agent_id"].startswith("late")]
    assert len(ids) == ROWS - sum(late)
