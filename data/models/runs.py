"""Training runs over MLflow's REST API, without importing MLflow."""

import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from data.models.rest import MlflowRest
from trajops.clock import utc
from trajops.errors import Conflict, InvalidInput
from trajops.training_runs import COMMIT_TAG, STATUSES, Run, RunPage, RunQuery, RunStatus

API = "/api/2.0/mlflow"
MOST_EXPERIMENTS = 1000
MOST_FOLDERS = 20
MOST_BROKEN = 100
COMMIT = re.compile(r"[0-9a-fA-F]{7,40}")
RUN_ID = re.compile(r"[0-9a-f]{32}")
MODEL_FILE = "MLmodel"


class MlflowRuns:
    """Implements `trajops.training_runs.TrainingRuns` over all experiments of one MLflow server. Safe to use from several threads.

    Args:
        url: of the tracking server; credentials may stand in it.
        timeout_s: longest silence that is borne.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self._rest = MlflowRest(url, timeout_s=timeout_s)

    def search(self, query: RunQuery) -> RunPage:
        """Runs that were not deleted, newest first; see `trajops.training_runs.TrainingRuns`."""
        asked = {"filter": _filter(query), "max_results": query.limit, "order_by": ["attributes.start_time DESC"]}
        return self._search(asked | ({"page_token": query.page_token} if query.page_token else {}))

    def get(self, run_id: str) -> Run:
        """One run; see `trajops.training_runs.TrainingRuns`."""
        return _run(self._rest.json("GET", f"{API}/runs/get", params={"run_id": run_id})["run"])

    def model_source(self, run: Run) -> str | None:
        """Where the newest model of a run is: a logged model, or a folder of the run that holds one."""
        if run.model_ids:
            return f"models:/{run.model_ids[-1]}"
        logged = [entry.get("artifact_path") for entry in _history(run)]
        folders = [path for path in logged if path] or [path for path, is_folder in self._files(run.run_id) if is_folder][:MOST_FOLDERS]
        for folder in reversed(folders):
            if any(path == f"{folder}/{MODEL_FILE}" for path, _ in self._files(run.run_id, folder)):
                return f"{run.artifact_uri}/{folder}"
        return None

    def register(self, name: str, run: Run, source: str, tags: Mapping[str, str]) -> int:
        """Register a model of a run as the next version of `name`, and return its number."""
        with suppress(Conflict):
            self._rest.json("POST", f"{API}/registered-models/create", json={"name": name})
        body = {"name": name, "source": source, "run_id": run.run_id, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        if source.startswith("models:/"):
            body["model_id"] = source.removeprefix("models:/")
        return int(self._rest.json("POST", f"{API}/model-versions/create", json=body)["model_version"]["version"])

    def end_broken(self, tag: str, value: str) -> list[str]:
        """Mark runs with a tag as killed that still go on by the record, because whoever wrote them is gone; their ids.

        Raises:
            RegistryUnavailable: if the registry does not answer.
        """
        wanted = f"attributes.status = 'RUNNING' AND tags.`{tag}` = {_quoted(value)}"
        found = [run.run_id for run in self._search({"filter": wanted, "max_results": MOST_BROKEN}).runs]
        for run_id in found:
            self._rest.json(
                "POST", f"{API}/runs/update", json={"run_id": run_id, "status": "KILLED", "end_time": time.time_ns() // 1_000_000}
            )
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._rest.close()

    def _search(self, asked: Mapping[str, Any]) -> RunPage:
        found = self._rest.json("GET", f"{API}/experiments/search", params={"max_results": str(MOST_EXPERIMENTS)})
        experiments = [row["experiment_id"] for row in found.get("experiments", [])]
        if not experiments:
            return RunPage([], None)
        page = self._rest.json("POST", f"{API}/runs/search", json={"experiment_ids": experiments, **asked})
        return RunPage([_run(row) for row in page.get("runs", [])], page.get("next_page_token") or None)

    def _files(self, run_id: str, path: str = "") -> list[tuple[str, bool]]:
        params = {"run_id": run_id, **({"path": path} if path else {})}
        answer = self._rest.json("GET", f"{API}/artifacts/list", params=params)
        return [(file["path"], bool(file.get("is_dir"))) for file in answer.get("files", [])]


def _filter(query: RunQuery) -> str:
    wanted = [("params.family", query.family), ("params.dataset", query.dataset)]
    parts = [f"{name} = {_quoted(value)}" for name, value in wanted if value]
    if query.status:
        parts.append(f"attributes.status = '{query.status.upper()}'")
    if query.text:
        if RUN_ID.fullmatch(query.text):
            parts.append(f"attributes.run_id = '{query.text}'")
        elif COMMIT.fullmatch(query.text):
            parts.append(f"tags.`{COMMIT_TAG}` ILIKE '{query.text}%'")
        else:
            parts.append(f"attributes.run_name ILIKE {_quoted(f'%{query.text}%')}")
    return " AND ".join(parts)


def _quoted(value: str) -> str:
    """A text in a filter of MLflow, which knows no way to escape its own quotation marks."""
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise InvalidInput(f"MLflow cannot be asked for a text with both kinds of quotation marks: {value}; leave one of them out")


def _history(run: Run) -> list[dict[str, Any]]:
    """Models that clients before MLflow 3 logged into the run's folder."""
    try:
        rows = json.loads(run.tags.get("mlflow.log-model.history", "[]"))
    except ValueError:
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _run(row: Mapping[str, Any]) -> Run:
    info, data = row["info"], row.get("data", {})
    tags = {tag["key"]: tag.get("value", "") for tag in data.get("tags", [])}
    metrics = {metric["key"]: float(metric["value"]) for metric in data.get("metrics", []) if "value" in metric}
    run_id = info["run_id"]
    return Run(
        run_id=run_id,
        experiment_id=str(info["experiment_id"]),
        name=info.get("run_name") or tags.get("mlflow.runName") or run_id[:8],
        status=_status(info.get("status", "")),
        started_at=utc(int(info.get("start_time", 0)) * 1_000_000),
        ended_at=utc(int(info["end_time"]) * 1_000_000) if info.get("end_time") else None,
        params={param["key"]: param.get("value", "") for param in data.get("params", [])},
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        tags=tags,
        artifact_uri=info.get("artifact_uri", ""),
        model_ids=[model["model_id"] for model in row.get("outputs", {}).get("model_outputs", [])],
    )


def _status(said: str) -> RunStatus:
    return next((status for status in STATUSES if status == said.lower()), "running")
