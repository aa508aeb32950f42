"""What is public is documented: modules, settings, error codes, routes."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

from trajops import errors
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


# Doors for the clients of other protocols, who bring their own: tritonclient and MLflow's are what their tests use.
FOREIGN_TAGS = {"open inference protocol", "mlflow scoring"}


def test_every_public_route_has_a_client_method(monkeypatch: pytest.MonkeyPatch) -> None:
    from console.client import TrajOpsClient

    sent: set[tuple[str, str]] = set()

    class Sent(Exception):
        """Stops a call once its address is known."""

    def record(self: TrajOpsClient, method: str, path: str, **_: object) -> None:
        sent.add((method.lower(), path))
        raise Sent

    monkeypatch.setattr(TrajOpsClient, "_send", record)
    client = TrajOpsClient("http://127.0.0.1:1")
    samples = {"limit": 1, "expected_version": 1, "expected_epoch": 1, "model_version": 1, "coverage": 0.5, "reason": "a reason of length"}
    samples |= {"body": PredictIn(agent_id="a"), "items": [PredictIn(agent_id="a")], "observations": [], "username": "u", "password": "p"}
    samples["observations"] = [ObservationIn(agent_id="a", observed_at_s=1.0, position=(0.0, 0.0))]
    samples["overlap_s"] = 60.0
    for name, method in inspect.getmembers(client, inspect.ismethod):
        if not name.startswith("_") and name != "close":
            parameters = inspect.signature(method).parameters.values()
            arguments = {p.name: samples.get(p.name, "ID") for p in parameters if p.default is p.empty}
            with pytest.raises(Sent):
                method(**arguments)

    paths = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    foreign = {path for path, operations in paths.items() if all(FOREIGN_TAGS & set(one["tags"]) for one in operations.values())}
    assert foreign == {path for path in paths if path.startswith("/v2")} | {"/invocations", "/ping", "/health", "/version"}
    routes = {(method, path) for path, operations in paths.items() for method in operations if path not in foreign}
    covered = {(verb, re.sub(r"(?<=/)ID(?=/|$)", "{}", path)) for verb, path in sent}
    assert {(verb, re.sub(r"{\w+}", "{}", path)) for verb, path in routes} - covered == set()
