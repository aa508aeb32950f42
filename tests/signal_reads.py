"""Signals of alert rules as a test reads them from the control state."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.stubs import MemoryDatabase
from trajops.alerts.signals import Signal
from trajops.configs import load
from trajops.objectives import Objectives
from workers.signals import SignalReader, signal_names

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
OBJECTIVES = load(Path("configs/objectives.yaml"), Objectives)


def later(seconds: float) -> datetime:
    """So many seconds after `AT`."""
    return AT + timedelta(seconds=seconds)


def read(
    database: MemoryDatabase, at: datetime = AT, broken: tuple[str, ...] = (), quarantined: tuple[str, ...] = ()
) -> dict[str, list[Signal]]:
    """Signals by name."""
    found: dict[str, list[Signal]] = {}
    for signal in SignalReader(database.unit_of_work, lambda: list(broken), lambda: list(quarantined), lambda: OBJECTIVES).read(at):
        found.setdefault(signal.name, []).append(signal)
    assert found.keys() <= signal_names()
    return found
