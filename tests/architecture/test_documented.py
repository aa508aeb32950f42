"""What is public is documented: modules, settings, error codes, routes."""

import ast
import inspect
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.experiment_builders import a_plan
from trajops import errors
from trajops.client import TrajOpsClient
from trajops.client.call import Call
from trajops.client.retries import Retry
from trajops.contracts.predictions import ObservationIn, PredictIn
from trajops.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("trajops", "data", "api", "workers", "console", "benchmarks", "deploy")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "versions" not in path.parts)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_has_a_docstring(module: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / module).read_text()))


def test_no_module_has_an_empty_name() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [module for module in MODULES if module.stem in vague] == []


def test_every_setting_is_documented() -> None:
    reference = (ROOT / "docs/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`TRAJOPS_{name.upper()}`" in reference


def every_error(root: type[errors.TrajOpsError]) -> set[type[errors.TrajOpsError]]:
    """An error and all that derive from it."""
    return {root}.union(*(every_error(child) for child in root.__subclasses__()))


def test_every_error_code_is_documented_and_unique() -> None:
    reference = (ROOT / "docs/errors.md").read_text()
    codes = [error.code for error in every_error(errors.TrajOpsError)]
    assert len(codes) == len(set(codes))
    for code in codes:
        assert f"`{code}`" in reference


def test_committed_openapi_equals_the_generated_one() -> None:
    from api.openapi import document

    committed = json.loads((ROOT / "docs/openapi.json").read_text())
    assert committed == json.loads(document()), "run `make docs`"


def test_committed_comparison_equals_the_generated_one() -> None:
    from docs.generate import PEERS_RECORD, peers_page

    assert (ROOT / "docs/peers.md").read_text() == peers_page(json.loads(PEERS_RECORD.read_text())), "run `make docs`"


def test_committed_page_of_the_runbook_equals_the_generated_one() -> None:
    from docs.generate import RUNBOOK_PAGE, runbook_page

    assert RUNBOOK_PAGE.read_text() == runbook_page((ROOT / "docs/runbook.md").read_text()), "run `make docs`"


# Doors for the clients of other protocols, who bring their own: tritonclient and MLflow's are what their tests use.
# Alertmanager posts to its webhook itself.
FOREIGN_TAGS = {"open inference protocol", "mlflow scoring", "alertmanager webhook"}

# What sends other methods' calls, again and again.
IN_SEVERAL_CALLS = {"wait_for_task", "save_result"}


def test_every_public_route_has_a_client_method_with_all_that_it_takes() -> None:
    sent: dict[tuple[str, str], list[Call[Any]]] = defaultdict(list)

    class Recorder(TrajOpsClient):
        """Notes calls instead of sending them."""

        def send(self, call: Call[Any]) -> Any:
            sent[(call.method.lower(), re.sub(r"(?<=/)(ID|4711)(?=/|$)", "{}", call.path))].append(call)

    samples: dict[str, Any] = {
        "limit": 1,
        "expected_version": 1,
        "expected_epoch": 1,
        "model_version": 4711,  # a number wherever it is sent
        "coverage": 0.5,
        "reason": "a reason of length",
        "number": "ID",
        "expected_state": "proposed",
    }
    samples |= {"model_a": 1, "model_b": 2, "plan": a_plan(), "variant": "treatment", "is_stopped": True, "share": 0.05}
    samples |= {"body": PredictIn(agent_id="a"), "items": [PredictIn(agent_id="a")], "role": "viewer", "password": "p", "overlap_s": 60.0}
    samples |= {
        "observations": [ObservationIn(agent_id="a", observed_at_s=1.0, position=(0.0, 0.0))],
        "table": pa.table({"history": [0.0]}),
        "content": b"agent,time,x,y",
    }
    for name, method in inspect.getmembers(Recorder("http://127.0.0.1:1"), inspect.ismethod):
        if not name.startswith("_") and name not in {"send", "close", "within", *IN_SEVERAL_CALLS}:
            parameters = inspect.signature(method).parameters.values()
            method(**{p.name: samples.get(p.name, "ID") for p in parameters if p.default is p.empty})

    paths = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    foreign = {path for path, operations in paths.items() if all(FOREIGN_TAGS & set(one["tags"]) for one in operations.values())}
    doors = {"/invocations", "/ping", "/health", "/version", "/v1/alerts/alertmanager"}
    assert foreign == {path for path in paths if path.startswith("/v2")} | doors
    routes = {
        (method, re.sub(r"{\w+}", "{}", path)): operation
        for path, operations in paths.items()
        if path not in foreign
        for method, operation in operations.items()
    }
    assert routes.keys() == sent.keys()
    for route, operation in routes.items():
        takes = {(p["in"], p["name"]) for p in operation.get("parameters", ())}
        bodies = operation.get("requestBody", {}).get("content", {})
        for call in sent[route]:
            assert {name for place, name in takes if place == "query"} == call.query.keys(), route
            assert (("header", "Idempotency-Key") in takes) == (call.retry is Retry.KEYED), route
            assert call.content is None or call.content_type in bodies, route
            assert call.accept in {kind.partition(";")[0] for kind in operation["responses"]["200"]["content"]}, route
        assert {call.content_type for call in sent[route] if call.content is not None} == bodies.keys(), route
