"""When the truth join makes up for an outage, from where, and in which pieces."""

from collections import deque
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from data.stubs import SetClock
from trajops.clock import now
from trajops.contracts.jobs import JobRunOut
from workers.jobs.join_truth import LEFT, MOST_ROWS, SILENT_SINCE, join_truth

S = 10**9
WAIT_NS = 125 * S
CLOCK = SetClock()
NOW_NS = CLOCK.now_ns()
FLOOR_NS = NOW_NS - WAIT_NS


class Join:
    def __init__(self, candidates: int = 1, scored: int = 1) -> None:
        self.calls: list[str] = []
        self._counts = {"candidates": candidates, "scored": scored, "completed": scored}

    def run(self, now_ns: int) -> dict[str, int]:
        self.calls.append("run")
        return dict(self._counts)

    def forget(self) -> None:
        self.calls.append("forget")


class Missed:
    """Gets as far as it is told to."""

    def __init__(self, *until_ns: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._until_ns = deque(until_ns)

    def score(self, since_ns: int, until_ns: int, most_rows: int) -> Any:
        assert most_rows == MOST_ROWS
        self.asked.append((since_ns, until_ns))
        return SimpleNamespace(scored=7, until_ns=self._until_ns.popleft() if self._until_ns else until_ns)


def success(before_s: float, **result: Any) -> JobRunOut:
    at = now(CLOCK) - timedelta(seconds=before_s)
    return JobRunOut(
        run_id="r",
        job="join_truth",
        state="succeeded",
        holder="w",
        started_at=at,
        finished_at=at,
        duration_s=0.1,
        result=result,
        error=None,
    )


@pytest.mark.parametrize("before_s", [0, 2, 59])
def test_what_is_waited_for_is_all_there_is(before_s: float) -> None:
    join, missed = Join(), Missed()
    result = join_truth(join, missed, success(before_s), WAIT_NS, CLOCK)
    assert (join.calls, missed.asked) == (["run"], [])
    assert result == {"candidates": 1, "scored": 1, "completed": 1}


def test_after_an_outage_what_was_let_go_is_made_up_for_and_counted_by_nobody_else() -> None:
    join, missed = Join(), Missed()
    result = join_truth(join, missed, success(600), WAIT_NS, CLOCK)
    assert join.calls == ["forget", "run"]
    assert missed.asked == [(FLOOR_NS - 600 * S, FLOOR_NS)]
    assert (result["made_up"], LEFT in result) == (7, False)


def test_the_first_run_of_all_begins_at_the_beginning() -> None:
    missed = Missed()
    join_truth(Join(), missed, None, WAIT_NS, CLOCK)
    assert missed.asked == [(0, FLOOR_NS)]


def test_a_long_outage_is_made_up_for_in_pieces_while_what_is_live_is_followed() -> None:
    begin_ns, join = FLOOR_NS - 9_000 * S, Join()
    missed = Missed(begin_ns + 4_000 * S)
    first = join_truth(join, missed, success(9_000), WAIT_NS, CLOCK)
    assert first[LEFT] == [begin_ns + 4_000 * S, FLOOR_NS]
    again = join_truth(join, missed, success(2, **first), WAIT_NS, CLOCK)
    assert missed.asked == [(begin_ns, FLOOR_NS), (begin_ns + 4_000 * S, FLOOR_NS)]
    assert LEFT not in again
    assert join.calls == ["forget", "run", "run"], "what is waited for now is not forgotten again"


def test_an_outage_while_another_is_made_up_for_is_added_to_it() -> None:
    missed, left_ns = Missed(), [FLOOR_NS - 9_000 * S, FLOOR_NS - 5_000 * S]
    join_truth(Join(), missed, success(600, **{LEFT: left_ns}), WAIT_NS, CLOCK)
    assert missed.asked == [(left_ns[0], FLOOR_NS)]


def test_however_often_it_runs_it_is_known_since_when_nothing_was_scored() -> None:
    clock, last, silent_since = SetClock(), None, []
    for candidates, scored in [(5, 0)] * 600 + [(5, 1), (5, 0), (5, 0), (0, 0)]:
        clock.advance(0.5)
        result = join_truth(Join(candidates, scored), Missed(), last, WAIT_NS, clock)
        last = success(0, **result).model_copy(update={"started_at": now(clock)})
        silent_since.append(result.get(SILENT_SINCE))
    begin_ns = CLOCK.now_ns()
    assert silent_since == [begin_ns + S // 2] * 600 + [None] + [begin_ns + 301 * S] * 2 + [None]


def test_a_silence_does_not_begin_after_now_by_a_clock_that_was_put_back() -> None:
    last = success(0, **{SILENT_SINCE: NOW_NS + 3_600 * S})
    assert join_truth(Join(5, 0), Missed(), last, WAIT_NS, CLOCK)[SILENT_SINCE] == NOW_NS
