"""Budgets hold the value and the details that they name; the table keeps what was not run here."""

import importlib.util
import json
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Measurement, budgets, judge
from docs.generate import benchmark_table


@pytest.mark.parametrize(
    ("value", "p99_ms", "ok"),
    [(0.95, 80.0, True), (0.85, 80.0, False), (0.95, 120.0, False)],
    ids=["holds", "value missed", "limit missed"],
)
def test_a_budget_bounds_value_and_details(monkeypatch: pytest.MonkeyPatch, value: float, p99_ms: float, ok: bool) -> None:
    budget = {"unit": "ratio", "at_least": 0.9, "limits": {"p99_ms": {"at_most": 100}}}
    monkeypatch.setattr(record, "budgets", lambda: {"some": budget})
    found = judge("some", Measurement(value, {"p99_ms": p99_ms}), load=2.5)
    assert found.machine.endswith("load 2.5")
    assert found.ok is ok
    assert found.budget == "≥ 0.9 and p99_ms ≤ 100"


def test_each_budget_has_a_benchmark_and_a_bound() -> None:
    for name, budget in budgets().items():
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None
        assert budget["what"]
        assert budget.keys() & {"at_least", "at_most"}
        assert all(limit.keys() <= {"at_least", "at_most"} for limit in budget.get("limits", {}).values())


def test_the_table_tells_the_budgets_that_are_in_force() -> None:
    """A budget that was changed asks for another run, or nobody knows whether it holds."""
    rows = [line.split(" | ") for line in Path("docs/benchmarks.md").read_text().splitlines() if line.startswith("| `")]
    told = {row[0].strip("| `"): row[2] for row in rows}
    assert told == {name: judge(name, Measurement(0.0, defaultdict(float)), load=0.0).budget for name in budgets()}


def test_the_table_takes_new_records_and_keeps_other_rows(tmp_path: Path) -> None:
    before = benchmark_table(tmp_path, "| `b` | old |\n| `c` | kept |\n")
    assert "| `b` | old |" in before
    new = {"name": "b", "value": 1.234, "unit": "s", "budget": "≤ 2", "ok": True, "date": "2026-01-02T00:00:00", "machine": "m"}
    (tmp_path / "b.json").write_text(json.dumps(new))
    rows = [line for line in benchmark_table(tmp_path, before).splitlines() if line.startswith("| `")]
    assert rows == ["| `b` | 1.23 s | ≤ 2 | holds | 2026-01-02 | m |", "| `c` | kept |"]
