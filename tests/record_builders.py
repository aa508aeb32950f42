"""Records of the stores with readable defaults, for the tests of every store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trajops.deployments.routing import ModelRef, RouteTable
from trajops.records import ModelVersion, User

AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
REF = ModelRef("trajectory", 1)
CHAMPION = RouteTable(epoch=1, champion=REF)


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def version(number: int, **changes: Any) -> ModelVersion:
    base = ModelVersion("trajectory", number, "kalman", f"run{number}", {"val_ade_m": 0.5}, {"seed": "1"}, "d" * 64, AT)
    return replace(base, **changes)


def user(name: str) -> User:
    return User(f"id-{name}", name, "hash", "viewer", AT)
