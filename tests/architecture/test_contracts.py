"""The floors of the house hold, and the check that says so can fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("trajops", "data", "api", "workers", "console")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the import contracts on the packages in `folder`."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", "--config", folder / "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages into which a breach can be planted."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static", "*.parquet"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold_and_planted_breaches_are_caught(copy: Path) -> None:
    clean = lint(copy)
    assert clean.returncode == 0, clean.stdout + clean.stderr

    breaches = {
        "trajops/metrics.py": ("import fastapi", "The core is pure"),
        "data/lake/schema.py": ("import api.main", "Doors stand on storage, storage on the core"),
        "console/charts.py": ("import data.sql.tables", "The console knows the client and the wire models only"),
        "trajops/client/retries.py": ("import numpy", "The client is thin: wire models and a transport"),
        "trajops/truth.py": ("import trajops.client", "The core and the API do without the client"),
        "workers/wiring.py": ("import mlflow", "MLflow is imported in one place"),
        "api/main.py": ("import apscheduler", "APScheduler is imported in one place"),
        "api/turn.py": ("import opentelemetry.trace", "OpenTelemetry is imported in one place"),
    }
    for file, (line, _) in breaches.items():
        path = copy / file
        path.write_text(path.read_text() + f"\n{line}\n")
    broken = lint(copy)
    assert broken.returncode == 1
    for _, contract in breaches.values():
        assert f"{contract} BROKEN" in broken.stdout


def test_every_package_is_held_to_the_contracts() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "deploy", "docs"}
    assert packages == set(PACKAGES)
