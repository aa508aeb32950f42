"""One benchmark's result as a JSON record, and the judgement against its budget."""

import json
import os
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path("var/bench")
BUDGETS = Path(__file__).with_name("budgets.toml")


@dataclass(frozen=True)
class Measurement:
    """What a benchmark module's `run()` returns: the judged value, and all that explains it."""

    value: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What is written to `var/bench/NAME.json`."""

    name: str
    value: float
    unit: str
    budget: str
    ok: bool
    details: Mapping[str, Any]
    date: str
    machine: str

    def save(self) -> Path:
        """Write the record and return its path."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        return path


def budgets() -> dict[str, dict[str, Any]]:
    """All budgets by benchmark name."""
    return tomllib.loads(BUDGETS.read_text())


def judge(name: str, measurement: Measurement, load: float) -> Record:
    """Hold a measurement against its budget; `load` is the machine's load average when it began: who else wanted the cores."""
    budget = budgets()[name]
    bounds, ok = _held(measurement.value, budget)
    for key, limit in budget.get("limits", {}).items():
        more, holds = _held(measurement.details[key], limit)
        bounds += [f"{key} {bound}" for bound in more]
        ok = ok and holds
    return Record(
        name=name,
        value=measurement.value,
        unit=budget["unit"],
        budget=" and ".join(bounds),
        ok=ok,
        details=measurement.details,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{os.cpu_count()} × {platform.machine()}, Python {platform.python_version()}, load {load:.1f}",
    )


def _held(value: float, bounds: Mapping[str, Any]) -> tuple[list[str], bool]:
    """What was asked of a figure, in words, and whether it keeps to it."""
    words, ok = [], True
    if "at_least" in bounds:
        words.append(f"≥ {bounds['at_least']:g}")
        ok = ok and value >= bounds["at_least"]
    if "at_most" in bounds:
        words.append(f"≤ {bounds['at_most']:g}")
        ok = ok and value <= bounds["at_most"]
    return words, ok
