"""What the clients do about tasks in several calls, or with other bodies than JSON."""

from pathlib import Path
from typing import Any

import pytest

from tests.both_clients import KINDS, Kind, a_client
from tests.faulty_server import answer, faulty_server
from tests.task_builders import FILE, a_task
from tests.task_calls import ID
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.tasks import TaskOutcomeOut
from trajops.errors import InvalidInput
from trajops.tasks.lifecycle import TaskState

OUTCOME = TaskOutcomeOut(sentence="Done.", filename="result.csv", media_type="text/csv", bytes=10)


def task(state: TaskState, **changes: Any) -> dict[str, Any]:
    return a_task(ID, state=state, **changes).model_dump(mode="json")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_tracks_are_sent_as_they_are(kind: Kind) -> None:
    body = {"file_id": FILE, "name": "my match.csv", "bytes": 3}
    with faulty_server(answer(200, body)) as server, a_client(kind, server.url, "t") as client:
        assert client.upload_tracks(b"a,b", "my match.csv").file_id == FILE
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/v1/tasks/files?name=my+match.csv")
    assert request.headers["content-type"] == "application/octet-stream"


def test_a_task_is_waited_for_and_not_longer_than_asked(kind: Kind) -> None:
    answers = [answer(200, task(state)) for state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.DONE)]
    with faulty_server(*answers) as server, a_client(kind, server.url, "t") as client:
        assert client.wait_for_task(ID, every_s=0.01).state is TaskState.DONE
    with (
        faulty_server(*[answer(200, task(TaskState.RUNNING))] * 2) as server,
        a_client(kind, server.url, "t") as client,
        pytest.raises(ApiUnavailable, match="is not over after"),
    ):
        client.wait_for_task(ID, timeout_s=-1)


def test_a_result_is_saved_part_by_part_and_whole_or_not_at_all(kind: Kind, tmp_path: Path) -> None:
    done, path = answer(200, task(TaskState.DONE, outcome=OUTCOME)), tmp_path / "result.csv"
    with faulty_server(done, answer(206, b"012345"), answer(206, b"6789")) as server, a_client(kind, server.url, "t") as client:
        assert client.save_result(ID, path) == 10
    assert [request.headers.get("range") for request in server.received] == [None, "bytes=0-4194303", "bytes=6-4194309"]
    assert path.read_bytes() == b"0123456789"
    path.unlink()
    gone = answer(404, {"type": "x", "title": "x", "status": 404, "code": "not_found", "detail": "gone", "request_id": None, "errors": []})
    with (
        faulty_server(done, answer(206, b"012345"), gone) as server,
        a_client(kind, server.url, "t") as client,
        pytest.raises(ApiProblem, match="gone"),
    ):
        client.save_result(ID, path)
    assert list(tmp_path.iterdir()) == []
    with (
        faulty_server(answer(200, task(TaskState.FAILED))) as server,
        a_client(kind, server.url, "t") as client,
        pytest.raises(InvalidInput, match="has no result to save"),
    ):
        client.save_result(ID, path)
