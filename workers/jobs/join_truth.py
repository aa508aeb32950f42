"""Job `join_truth`: predictions are scored with the positions that were observed after them.

Those of a backfill are not: they come with their outcomes (docs/decisions/0005).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from trajops.ports import Clock


class TruthJoin(Protocol):
    """The part of `data.lake.truth` that the job needs."""

    def run(self, now_ns: int) -> Mapping[str, Any]:
        """Score what has truth by now; return counts."""
        ...


def join_truth(join: TruthJoin, clock: Clock) -> dict[str, Any]:
    """Join once; idempotent, because of several outcomes of one prediction the one with the best truth counts."""
    return dict(join.run(clock.now_ns()))
