"""The examples of docs/clients.md are run: the shell's by bash and curl, Python's by Python, against a real API."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.running_api import PASSWORD, REASON
from tests.served_api import served_api

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/clients.md"
# What curl must not say in vain: each of these stands in an example.
ROUTES = ("/v1/token", "/v1/keys", "/predict", "/observations", "/v1/predictions/", "/batch_predict", "/v2/models/", "/invocations")


class Block(NamedTuple):
    """A fenced block of the document."""

    language: str
    code: str


def blocks() -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the examples find the API, and as whom they call it."""
    with served_api(Path(tmp_path_factory.mktemp("api"))) as served:
        served.api.promote(1)
        served.api.register(2)
        served.api.parts.identity.create_user("ada", PASSWORD, "admin", actor="test", reason=REASON)
        given = {"TRAJOPS_API_URL": f"http://127.0.0.1:{served.port}", "NAME": "ada", "PASSWORD": PASSWORD, "KEY": served.key}
        own_python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**os.environ, **given, "PATH": own_python, "PYTHONPATH": str(DOCUMENT.parents[1]), "no_proxy": "127.0.0.1"}


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_examples_run(environment: dict[str, str], tmp_path: Path) -> None:
    examples = [block.code for block in blocks() if block.language == "python"]
    assert len(examples) == 4
    said = run([sys.executable, "-W", "error", "-c", "\n".join(examples)], environment, tmp_path)
    assert "in 4.8 s at (9.5, 1.9" in said
    assert "admin" in said
    assert said.count("champion") == 20
    assert "1000 ['model_name'" in said


def test_curl_examples_run_and_answer_as_shown(environment: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is missing")
        pytest.skip("curl is missing")
    found = blocks()
    examples = [(block.code, after) for block, after in zip(found, [*found[1:], Block("", "")], strict=True) if block.language == "sh"]
    assert all(any(route in code for code, _ in examples) for route in ROUTES)
    script = ["set -euo pipefail", *(f"{{ {code}\n}} > {number}.out" for number, (code, _) in enumerate(examples))]
    without_key = {name: value for name, value in environment.items() if name != "KEY"}
    run(["bash", "-c", "\n".join(script)], without_key, tmp_path)
    compared = 0
    for number, (code, after) in enumerate(examples):
        said = (tmp_path / f"{number}.out").read_text()
        if after.language == "json":
            assert_shown(json.loads(after.code), json.loads(said), code)
            compared += 1
        elif "Idempotency-Key" in code:
            first, second = said.split()
            assert first == second
        elif "arrows" in code:
            assert said == "1000\n"
    assert compared == 8
    assert json.loads((tmp_path / "status.json").read_text())["verdict"]


def assert_shown(shown: Any, real: Any, where: str) -> None:
    """What the document shows is there, in that form; numbers differ from run to run, and so do texts that are left open."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), where
        assert shown.keys() <= real.keys(), f"{shown.keys() - real.keys()} is not in the answer to {where}"
        for name, value in shown.items():
            assert_shown(value, real[name], f"{name} of {where}")
    elif isinstance(shown, list):
        assert isinstance(real, list), where
        assert len(shown) <= len(real), where
        for one, other in zip(shown, real, strict=False):
            assert_shown(one, other, where)
    elif isinstance(shown, float):
        assert isinstance(real, float | int), where
        if not isinstance(real, bool) and abs(shown) < 1e6 and "position" in where:
            assert real == pytest.approx(shown, abs=1e-3), where
    elif shown is None or isinstance(shown, int):
        assert type(real) is type(shown), where
    else:
        assert shown in {"…", real}, f"{real} in the place of {shown} in {where}"


def test_an_example_that_fails_is_noticed(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(["bash", "-c", "set -euo pipefail\n{ curl -sS http://127.0.0.1:9/\n} > 0.out"], environment, tmp_path)
    with pytest.raises(AssertionError, match="is not in the answer"):
        assert_shown({"a": 1, "c": 2}, {"a": 3}, "x")
