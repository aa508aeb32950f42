"""What is wrong with the machine is said in one sentence that tells what to do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.demo_process import ROOT, Demo

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("service", ["API", "CONSOLE", "MLFLOW", "WORKERS"])
def test_a_port_in_use_is_named_with_the_setting_that_mends_it(tmp_path: Path, service: str) -> None:
    demo = Demo(tmp_path / "var")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", demo.ports[service]))
        taken.listen()
        result = demo.run("--headless", "--until-healthy")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"port {demo.ports[service]}" in result.stderr
    assert f"TRAJOPS_{service}_PORT=" in result.stderr


def test_two_services_on_one_port_are_named(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "var")
    demo.ports["API"] = demo.ports["MLFLOW"]
    result = demo.run("--headless", "--until-healthy")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"port {demo.ports['API']} is given to mlflow and to api alike" in result.stderr
    assert "TRAJOPS_API_PORT=" in result.stderr


@pytest.mark.parametrize("module", ["deploy.demo", "api", "workers", "workers.training", "console"])
@pytest.mark.parametrize("port", ["abc", "80000"])
def test_a_port_that_is_none_is_named_by_every_door(tmp_path: Path, module: str, port: str) -> None:
    environment = {**os.environ, "TRAJOPS_API_PORT": port, "TRAJOPS_VAR_DIR": str(tmp_path / "var")}
    command = [sys.executable, "-m", module]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert f"TRAJOPS_API_PORT={port}" in result.stderr


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = Demo(tmp_path / "file" / "var").run("--headless", "--until-healthy")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "cannot be written" in result.stderr
    assert "TRAJOPS_VAR_DIR" in result.stderr


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.demo import preflight
    from trajops.errors import EnvironmentProblem

    monkeypatch.setattr(preflight, "FREE_BYTES", 2**60)
    with pytest.raises(EnvironmentProblem, match="MiB are free"):
        preflight.check_folder(tmp_path)
