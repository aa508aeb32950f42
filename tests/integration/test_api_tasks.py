"""Tasks over the API: files in, tasks asked for and ended, logs and results out, and who may."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.tasks.files import LOG
from tests.running_api import REASON, Api, running_api
from trajops.clock import SystemClock
from trajops.contracts.tasks import TaskOutcomeOut
from trajops.services.tasks import TaskRuns
from trajops.tasks.lifecycle import TaskState
from trajops.tasks.rules import TaskRules

CSV = b"agent,time,x,y\n" + b"".join(b"a,%.1f,%d,0\n" % (0.4 * step, step) for step in range(12))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path, max_upload_bytes=20_000_000, max_body_bytes=2_000_000) as running:
        running.register(1)
        yield running


def upload(api: Api, content: bytes = CSV, role: str = "operator", name: str = "match.csv") -> Any:
    return api.post(f"/v1/tasks/files?name={name}", content, role)


def start(api: Api, role: str = "operator", key: str = "", **changes: Any) -> Any:
    body = {"kind": "batch_predict", "file_id": upload(api).json()["file_id"], "model_version": 1, "reason": REASON} | changes
    return api.post("/v1/tasks", body, role, **({"Idempotency-Key": key} if key else {}))


def runs_of(api: Api) -> TaskRuns:
    return TaskRuns(api.parts.unit_of_work, TaskRules(), "w1", SystemClock())


def test_a_file_is_looked_into_and_the_same_content_has_one_id(api: Api) -> None:
    first, second = upload(api).json(), upload(api, name="again.csv").json()
    assert (first["name"], first["bytes"], first["rows"], first["agents"], first["scenes"]) == ("match.csv", len(CSV), 12, 1, 1)
    assert (second["file_id"], second["name"]) == (first["file_id"], "again.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"agent,time,x,y\na,0,1,1\na,0.4,east,1\n", "match.csv, row 2, column x: the value is 'east'"),
        (b"agent,time,x\na,0,1\n", "match.csv"),
        (b"\x00\xff\xfe", "match.csv is neither Parquet nor UTF-8 text"),
        (b"", "the file is empty"),
    ],
)
def test_what_is_no_tracks_is_refused_at_once_and_leaves_nothing_behind(api: Api, content: bytes, words: str) -> None:
    refused = upload(api, content)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert words in refused.json()["detail"]
    assert str(api.parts.settings.tasks_dir) not in refused.json()["detail"]
    assert list((api.parts.settings.tasks_dir / "uploads").iterdir()) == []


def test_a_file_may_be_larger_than_a_body_and_not_larger_than_the_setting(api: Api) -> None:
    rows = 200_000
    content = b"agent,time,x,y\n" + b"".join(b"%d,%.1f,1,1\n" % (row // 12, 0.4 * (row % 12)) for row in range(rows))
    assert len(content) > api.parts.settings.max_body_bytes
    assert upload(api, content).json()["rows"] == rows
    too_large = upload(api, b"x" * 20_000_001)
    assert (too_large.status_code, too_large.json()["code"]) == (413, "too_large")
    assert len(list((api.parts.settings.tasks_dir / "uploads").iterdir())) == 2


def test_a_task_is_started_once_listed_and_cancelled(api: Api) -> None:
    started = start(api, key="k1")
    assert started.status_code == 200, started.text
    task = started.json()["task"]
    assert (task["state"], task["file"]["name"], task["model_version"], task["by"]) == ("queued", "match.csv", 1, task["by"])
    assert start(api, key="k1").json() == started.json()
    found = api.get("/v1/tasks").json()
    assert ([one["task_id"] for one in found["tasks"]], found["queued"], found["running"]) == ([task["task_id"]], 1, 0)
    assert api.get(f"/v1/tasks/{task['task_id']}").json() == task
    body = {"expected_version": task["version"], "reason": REASON}
    cancelled = api.post(f"/v1/tasks/{task['task_id']}/cancel", body, "operator").json()
    assert (cancelled["task"]["state"], cancelled["task"]["cancelled"]["reason"]) == ("cancelled", REASON)
    again = api.post(f"/v1/tasks/{task['task_id']}/cancel", body, "operator")
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")
    [ended, begun] = api.get("/v1/audit", subject=f"task/{task['task_id']}").json()["entries"]
    assert (begun["action"], ended["action"]) == ("task.started", "task.cancelled")
    assert (begun["audit_id"], ended["audit_id"]) == (started.json()["audit_id"], cancelled["audit_id"])


def test_viewers_read_and_operators_change(api: Api) -> None:
    assert upload(api, role="viewer").status_code == 403
    assert start(api, role="viewer").status_code == 403
    task = start(api).json()["task"]
    path = f"/v1/tasks/{task['task_id']}"
    assert api.post(f"{path}/cancel", {"expected_version": 1, "reason": REASON}, "viewer").status_code == 403
    for read in ("/v1/tasks", path, f"{path}/log"):
        assert api.get(read).status_code == 200
    assert api.client.get("/v1/tasks").status_code == 401
    assert api.client.post("/v1/tasks/files", content=CSV).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"file_id": "0" * 32}, 404),
        ({"model_version": 9}, 404),
        ({"model_version": None}, 422),
        ({"kind": "train"}, 422),
        ({"file_id": None}, 422),
        ({"unknown": 1}, 422),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_is_queued(api: Api, changes: dict[str, Any], status: int) -> None:
    refused = start(api, **changes)
    assert refused.status_code == status, refused.text
    assert api.get("/v1/tasks").json()["tasks"] == []


def test_a_full_queue_refuses(api: Api) -> None:
    for _ in range(TaskRules().max_queued_per_person):
        assert start(api).status_code == 200
    refused = start(api)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "5 of your tasks wait" in refused.json()["detail"]


def test_log_and_result_are_served(api: Api) -> None:
    task_id = start(api).json()["task"]["task_id"]
    path = f"/v1/tasks/{task_id}"
    assert api.get(f"{path}/log").json() == {"lines": [], "is_cut": False}
    early = api.get(f"{path}/result")
    assert (early.status_code, "is not done yet" in early.json()["detail"]) == (404, True)
    runs, folder = runs_of(api), api.parts.task_files.of(task_id)
    runs.take()
    folder.mkdir(parents=True)
    (folder / LOG).write_text("".join(f"line {number}\n" for number in range(300)))
    (folder / "result.csv").write_bytes(b"0123456789")
    runs.finish(
        task_id,
        TaskState.DONE,
        outcome=TaskOutcomeOut(sentence="Done.", filename="result.csv", media_type="text/csv", bytes=10, rows=1),
    )
    log = api.get(f"{path}/log", lines=2).json()
    assert log == {"lines": ["line 298", "line 299"], "is_cut": True}
    result = api.get(f"{path}/result")
    assert (result.content, result.headers["content-type"].partition(";")[0]) == (b"0123456789", "text/csv")
    assert f'filename="batch_predict_{task_id[:8]}.csv"' in result.headers["content-disposition"]
    part = api.client.get(f"{path}/result", headers={**api.headers["viewer"], "Range": "bytes=4-6"})
    assert (part.status_code, part.content) == (206, b"456")
    (folder / "result.csv").unlink()
    gone = api.get(f"{path}/result")
    assert (gone.status_code, "must share" in gone.json()["detail"]) == (404, True)


def test_ids_lead_nowhere_else(api: Api) -> None:
    for path in ("/v1/tasks/..%2F..%2Ftrajops.db", "/v1/tasks/uploads/result", f"/v1/tasks/{'0' * 32}/log"):
        assert api.get(path).status_code in {404, 422}
    assert json.loads(api.get(f"/v1/tasks/{'0' * 32}").content)["code"] == "not_found"
