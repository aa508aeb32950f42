"""Truth that nobody joined in time: after an outage of the workers, predictions are scored that are waited for no longer.

They go through the same scorer as those of `data.lake.truth`, a slice of bounded rows at a time, and their outcomes go into the lake
as files, past the spool. A second run over the same range writes nothing.
"""

from collections import Counter
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from data.lake import samples as sampling
from data.lake.bulk import BulkWriter
from data.lake.reader import LakeReader
from data.lake.scoring import (
    BEFORE_NS,
    IS_AWAITED,
    PREDICTIONS,
    PREDICTIONS_WITH_STEPS,
    End,
    Scored,
    Scorer,
    TruthRules,
    ends_of,
    is_open,
    only,
)
from trajops.errors import Unavailable
from trajops.ports import Clock
from trajops.truth import Samples

# Predictions of a slice, and rows that are read for it: where little is predicted, much may be observed.
SLICE_ROWS = 200_000
SLICE_SAMPLES = 1_000_000
_MINUTE_NS = 60 * 10**9
_ANY_OUTCOME = "SELECT 1 FROM outcomes LIMIT 1"
_MINUTES = f"""
    SELECT received_ns // {_MINUTE_NS} AS minute, sum(awaited)::BIGINT, count(*) FROM (
        SELECT received_ns, ({IS_AWAITED})::INTEGER AS awaited FROM predictions UNION ALL SELECT received_ns, 0 FROM observations
    ) GROUP BY minute ORDER BY minute
"""  # noqa: S608 - names and numbers of our own


class MadeUp(NamedTuple):
    """What was made up for.

    Attributes:
        candidates: predictions that could be scored better.
        scored: outcomes written.
        completed: among them those with truth for every step.
        until_ns: predictions received before are done.
    """

    candidates: int
    scored: int
    completed: int
    until_ns: int


class MissedTruth:
    """Scores what was received in a time range. Use one at a time, as the truth join.

    Args:
        lake: where predictions, observations and outcomes are read.
        files: where outcomes are written.
        rules: how truth is looked for.
        clock: time of scoring.
    """

    def __init__(self, lake: LakeReader, files: BulkWriter, rules: TruthRules, clock: Clock) -> None:
        self._lake = lake
        self._files = files
        self._rules = rules
        self._written: list[pa.Table] = []
        self._scorer = Scorer(rules, clock, self._written.append)
        self._ends: Counter[End] = Counter()

    def take_ends(self) -> Counter[End]:
        """How many predictions were scored, or could not be, since this was last asked, by what became of them."""
        ends, self._ends = self._ends, Counter()
        return ends

    def score(self, since_ns: int, until_ns: int, most_rows: int) -> MadeUp:
        """Score the answered predictions received in a range, oldest first.

        Args:
            since_ns: begin of the range, server's clock.
            until_ns: its end.
            most_rows: after so many the rest is left for another call.

        Returns:
            How far it got: to the end, to `most_rows`, or to a slice that cannot be scored, which raises if it is the first.

        Raises:
            Unavailable: if the lake cannot be read or written.
        """
        candidates = written = completed = 0
        samples, known_ns = Samples.empty(), 0
        rows_left = most_rows
        for number, (start_ns, end_ns, count) in enumerate(self._slices(since_ns, until_ns)):
            if rows_left <= 0:
                return MadeUp(candidates, written, completed, start_ns)
            rows_left -= count
            try:
                # What the slice before has read is not read again.
                samples, known_ns = self._known(samples, known_ns, start_ns, end_ns)
                scored = self._score(start_ns, end_ns, samples)
            except Unavailable:
                if not number:
                    raise
                # What is done was counted, and is not to be counted again: the next call begins here, and raises.
                return MadeUp(candidates, written, completed, start_ns)
            candidates += len(scored.rows)
            written += scored.written
            completed += scored.completed
            self._ends += ends_of(scored.rows)
        return MadeUp(candidates, written, completed, until_ns)

    def _known(self, before: Samples, known_ns: int, start_ns: int, end_ns: int) -> tuple[Samples, int]:
        """The samples that may be truth in a slice, and until when they were read; those before were read until `known_ns`."""
        before = before.select(before.received_ns >= start_ns - BEFORE_NS)
        first_ns, until_ns = max(known_ns, start_ns - BEFORE_NS), end_ns + self._rules.wait_ns
        fresh = self._lake.read(("predictions", "observations"), _all_samples, since_ns=first_ns, until_ns=until_ns)
        return Samples.concatenate([before, fresh]).settled(), until_ns

    def _score(self, start_ns: int, end_ns: int, samples: Samples) -> Scored:
        rows = self._candidates(start_ns, end_ns)
        pending = only(rows, is_open(rows))
        self._written.clear()
        scored = self._scorer.score(pending, np.ones(len(pending), bool), samples)
        if self._written:
            self._files.write("outcomes", pa.concat_tables(self._written))
        return scored

    def _candidates(self, since_ns: int, until_ns: int) -> pa.Table:
        is_begun = self._lake.read(("outcomes",), _has_outcomes, since_ns=since_ns, until_ns=until_ns)
        tables, query = (("predictions", "outcomes"), PREDICTIONS_WITH_STEPS) if is_begun else (("predictions",), PREDICTIONS)
        return self._lake.read(tables, lambda cursor, prefix: sampling.arrow(cursor, prefix + query), since_ns=since_ns, until_ns=until_ns)

    def _slices(self, since_ns: int, until_ns: int) -> list[tuple[int, int, int]]:
        """The range in parts of bounded rows: begin, end, rows."""

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[Any]:
            return cursor.execute(prefix + _MINUTES).fetchall()

        slices: list[tuple[int, int, int]] = []
        read = between = 0
        for minute, count, samples in self._lake.read(("predictions", "observations"), work, since_ns=since_ns, until_ns=until_ns):
            if not count:
                between += samples
                continue
            start_ns, end_ns = max(since_ns, minute * _MINUTE_NS), min(until_ns, (minute + 1) * _MINUTE_NS)
            read += between + samples
            is_near = bool(slices) and start_ns - slices[-1][1] <= self._rules.wait_ns
            if is_near and slices[-1][2] + count <= SLICE_ROWS and read <= SLICE_SAMPLES:
                slices[-1] = (slices[-1][0], end_ns, slices[-1][2] + count)
            else:
                slices.append((start_ns, end_ns, count))
                read = samples
            between = 0
        return slices


def _has_outcomes(cursor: duckdb.DuckDBPyConnection, prefix: str) -> bool:
    return bool(cursor.execute(prefix + _ANY_OUTCOME).fetchall())


def _all_samples(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Samples:
    return sampling.samples_of(cursor, prefix, sampling.SAMPLES.format(condition="true"))
