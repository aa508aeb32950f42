"""Job `roll_up`: hours that are over are summed up."""

from collections.abc import Mapping
from typing import Any, Protocol


class Rollups(Protocol):
    """The part of `data.lake.rollups` that the job needs."""

    def run(self) -> Mapping[str, Any]:
        """Sum up what is not; return counts."""
        ...


def roll_up(rollups: Rollups) -> dict[str, Any]:
    """Sum up once; idempotent, because an hour's sums are exchanged in one transaction of the manifest."""
    return dict(rollups.run())
