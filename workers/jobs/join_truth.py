"""Job `join_truth`: predictions are scored with the positions that were observed after them.

While the workers are away, predictions go on being made and observed. Those that can still be waited for when the workers are back are
followed as ever; those before them are made up for, a piece in each run, so that what happens now stays as live as it was. Where the
last success got to is on record with it. Those of a backfill come with their outcomes and are left alone (docs/decisions/0005).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from trajops.clock import to_ns
from trajops.contracts.jobs import JobRunOut
from trajops.ports import Clock

# A shorter time without a success is no outage: whoever waits for truth waits longer than that.
OUTAGE_NS = 60 * 10**9
# Predictions made up for in one run; some seconds.
MOST_ROWS = 400_000
# In the result of a run that has not made up for all: begin and end of what is left, server's clock.
LEFT = "left_ns"
# In the result of a run that scored nothing though predictions wait: since when it has been so, server's clock.
SILENT_SINCE = "silent_since_ns"


class TruthJoin(Protocol):
    """The part of `data.lake.truth` that the job needs."""

    def run(self, now_ns: int) -> Mapping[str, Any]:
        """Score what has truth by now; return counts."""
        ...

    def forget(self) -> None:
        """Wait no more for what came before."""
        ...


class MadeUp(Protocol):
    """The part of `data.lake.missed_truth.MadeUp` that the job needs."""

    @property
    def scored(self) -> int:
        """Outcomes written."""
        ...

    @property
    def until_ns(self) -> int:
        """What was received before is done."""
        ...


class MissedTruth(Protocol):
    """The part of `data.lake.missed_truth` that the job needs."""

    def score(self, since_ns: int, until_ns: int, most_rows: int) -> MadeUp:
        """Score what was received in a range."""
        ...


def join_truth(join: TruthJoin, missed: MissedTruth, last: JobRunOut | None, wait_ns: int, clock: Clock) -> dict[str, Any]:
    """Join once; idempotent, because of several outcomes of one prediction the one with the best truth counts.

    Args:
        join: of what is waited for.
        missed: of what is not any more.
        last: success of this job; None: there has never been one, and nothing was ever scored.
        wait_ns: how long a prediction is waited for.
        clock: server's.
    """
    now_ns = clock.now_ns()
    let_go_ns, floor_ns = 0 if last is None else to_ns(last.started_at) - wait_ns, now_ns - wait_ns
    since_ns, until_ns = (last.result.get(LEFT) if last else None) or (let_go_ns, let_go_ns)
    if floor_ns - let_go_ns > OUTAGE_NS:
        join.forget()
        until_ns = floor_ns
    result = dict(join.run(now_ns))
    if result["candidates"] and not result["scored"]:
        before_ns = None if last is None else last.result.get(SILENT_SINCE)
        result[SILENT_SINCE] = now_ns if before_ns is None else min(before_ns, now_ns)
    if since_ns < until_ns:
        made_up = missed.score(since_ns, until_ns, MOST_ROWS)
        result["made_up"] = made_up.scored
        if made_up.until_ns < until_ns:
            result[LEFT] = [made_up.until_ns, until_ns]
    return result
