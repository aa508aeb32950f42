"""The truth join: later observations score earlier predictions, by time, again and again until they are complete.

Where an agent was is known from the rows of `observations` and from the histories inside predictions of the same scene and
agent. Of several positions for one time the first received counts. An outcome is written when its truth is better than before:
for more steps, or for as many with less interpolated over, when a late observation falls between two earlier ones. So a second
run over the same data writes nothing; readers take the outcome with the best truth (`data.lake.schema.BEST_OUTCOME`).

The answers that somebody was given are followed, and backfilled predictions left alone: who backfills has the whole truth at hand
and writes outcomes himself, of the predictions that are worth it. What nobody followed in time is `data.lake.missed_truth`'s.
"""

from collections import Counter
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.lake import samples as sampling
from data.lake.outcome_rows import lines_of
from data.lake.reader import LakeReader
from data.lake.samples import OBSERVATIONS
from data.lake.scoring import (
    BEFORE_NS,
    PREDICTIONS,
    PREDICTIONS_WITH_STEPS,
    UNSCORABLE,
    End,
    Scorer,
    TruthRules,
    ends_of,
    horizon_steps,
    is_open,
    only,
)
from data.lake.spool import Spool
from trajops.clock import SystemClock
from trajops.ports import Clock
from trajops.truth import Samples
from trajops.windows import TIME_TOLERANCE_S

# Rows are stamped before they are written; one may appear this much later than its stamp says.
SLACK_NS = 5 * 10**9
# After this the memory is built anew from the lake: for stragglers, and for what another worker has scored meanwhile.
MEMORY_NS = 60 * 10**9


def look_back_ns(rules: TruthRules) -> int:
    """How long ago an answer may have been received for a prediction that is written beside it now to be followed still.

    One that appears late is found when the memory is built anew, and must be waited for then; of a short wait, half.
    """
    return max(rules.wait_ns - MEMORY_NS - SLACK_NS, rules.wait_ns // 2)


@dataclass(slots=True)
class _Memory:
    """What the join remembers between two runs, so that each reads only what is new."""

    built_ns: int
    read_ns: int
    pending: pa.Table
    samples: Samples
    seen: set[str] = field(default_factory=set)


class TruthJoin:
    """Scores predictions as truth arrives. Use one at a time (a lease); a second one only writes outcomes twice.

    Args:
        lake: where predictions, observations and outcomes are read.
        spool: where outcomes are written.
        rules: how truth is looked for.
        clock: time of scoring.
    """

    def __init__(self, lake: LakeReader, spool: Spool, rules: TruthRules | None = None, clock: Clock | None = None) -> None:
        self._lake = lake
        self._spool = spool
        self._rules = rules or TruthRules()
        self._clock: Clock = clock or SystemClock()
        self._scorer = Scorer(self._rules, self._clock, self._write)
        self._memory: _Memory | None = None
        self._ends: Counter[End] = Counter()

    def take_ends(self) -> Counter[End]:
        """How many predictions `run` has ceased to wait for since this was last asked, by what became of them."""
        ends, self._ends = self._ends, Counter()
        return ends

    def forget(self) -> None:
        """Leave what was waited for to somebody else; the next run begins with what can still be waited for."""
        self._memory = None

    def run(self, now_ns: int | None = None) -> dict[str, int]:
        """Score what can be scored better than before, of the answered predictions that still wait for truth.

        Args:
            now_ns: server's clock; default: now.

        Returns:
            Counts of `candidates` that waited, outcomes written (`scored`), and among them `completed` ones.

        Raises:
            Unavailable: if the lake cannot be read or the spool not written; the next run repeats what is missing.
        """
        now_ns = self._clock.now_ns() if now_ns is None else now_ns
        memory, self._memory = self._memory, None  # forgotten if anything fails
        floor_ns = now_ns - self._rules.wait_ns
        if memory is None or not memory.read_ns <= now_ns < memory.built_ns + MEMORY_NS:
            if memory is not None:
                self._let_go(memory, floor_ns)
            memory, news = self._rebuilt(floor_ns, now_ns), None
        else:
            news = self._follow(memory, now_ns)
        pending = self._let_go(memory, floor_ns)
        touched = np.ones(len(pending), bool) if news is None else self._is_touched(pending, news)
        scored = self._scorer.score(pending, touched, memory.samples)
        # What cannot be scored is kept to its end, so that it is counted once, whenever the memory is built anew.
        is_kept = is_open(scored.rows) | (sampling.column(scored.rows, "steps") == UNSCORABLE)
        memory.pending = only(scored.rows, is_kept)
        self._ends += ends_of(only(scored.rows, ~is_kept))
        self._memory = memory
        return {"candidates": len(pending), "scored": scored.written, "completed": scored.completed}

    def _write(self, outcomes: pa.Table) -> None:
        with self._lake.cursor() as cursor:
            lines = b"".join(lines_of(cursor, outcomes))
        self._spool.write_lines("outcomes", lines)

    def _let_go(self, memory: _Memory, floor_ns: int) -> pa.Table:
        """Wait no more for what was received before; returns what is waited for."""
        is_waiting = sampling.column(memory.pending, "received_ns") >= floor_ns
        self._ends += ends_of(only(memory.pending, ~is_waiting))
        return only(memory.pending, is_waiting)

    def _rebuilt(self, floor_ns: int, now_ns: int) -> _Memory:
        rows, samples = self._load(floor_ns - BEFORE_NS, with_outcomes=True)
        is_candidate = (sampling.column(rows, "received_ns") >= floor_ns) & is_open(rows)
        return _Memory(now_ns, now_ns, rows.filter(pa.array(is_candidate)), samples, set(rows["prediction_id"].to_pylist()))

    def _follow(self, memory: _Memory, now_ns: int) -> Samples:
        """Read what has come since the last run; returns the oldest new sample of each agent, by agent."""
        rows, fresh = self._load(memory.read_ns - SLACK_NS, with_outcomes=False)
        is_new = np.fromiter((name not in memory.seen for name in rows["prediction_id"].to_pylist()), bool, len(rows))
        rows = rows.filter(pa.array(is_new))
        memory.seen.update(rows["prediction_id"].to_pylist())
        memory.pending = pa.concat_tables([memory.pending, rows])
        memory.samples = Samples.concatenate([memory.samples, fresh]).settled()
        memory.read_ns = now_ns
        return fresh.select(np.unique(fresh.agents, return_index=True)[1])  # settled: sorted by agent and time

    def _is_touched(self, pending: pa.Table, news: Samples) -> NDArray[np.bool_]:
        """(N,) whether new samples can say anything about a prediction: they are of its agent, and not all after its horizon."""
        agents, observed_at_s, dt_s = (sampling.column(pending, name) for name in ("agent", "observed_at_s", "dt_s"))
        if not len(news):
            return np.zeros(len(pending), bool)
        place = np.minimum(np.searchsorted(news.agents, agents), len(news) - 1)
        end_s = observed_at_s + dt_s * horizon_steps(pending) + self._rules.gap_s
        touched: NDArray[np.bool_] = (news.agents[place] == agents) & (news.times_s[place] <= end_s + TIME_TOLERANCE_S)
        return touched

    def _load(self, since_ns: int, *, with_outcomes: bool) -> tuple[pa.Table, Samples]:
        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[pa.Table, pa.Table]:
            predictions = sampling.arrow(cursor, prefix + (PREDICTIONS_WITH_STEPS if with_outcomes else PREDICTIONS))
            return predictions, sampling.arrow(cursor, prefix + OBSERVATIONS.format(condition="true"))

        tables = ("predictions", "observations", "outcomes") if with_outcomes else ("predictions", "observations")
        rows, observations = self._lake.read(tables, work, since_ns=since_ns)
        samples = Samples.concatenate([sampling.from_histories(rows), sampling.from_observations(observations)])
        return rows, samples.settled()
