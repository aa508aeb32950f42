"""The truth join: later observations score earlier predictions, by time, again and again until they are complete.

Where an agent was is known from the rows of `observations` and from the histories inside predictions of the same scene and
agent. Of several positions for one time the first received counts. An outcome is written when its truth is better than before:
for more steps, or for as many with less interpolated over, when a late observation falls between two earlier ones. So a second
run over the same data writes nothing; readers take the outcome with the best truth (`data.lake.schema.BEST_OUTCOME`).

`run` follows the answers that somebody was given and leaves backfilled predictions alone: who backfills has the whole truth at
hand and writes outcomes himself, of the predictions that are worth it. `score_range` takes predictions of any source.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.lake import samples as sampling
from data.lake.outcome_lines import IDENTITY, outcome_lines
from data.lake.reader import LakeReader
from data.lake.samples import AGENT, IS_HISTORY, OBSERVATIONS
from data.lake.schema import BEST_OUTCOME
from data.lake.spool import Spool
from trajops.clock import SystemClock
from trajops.metrics import MISS_THRESHOLD_M
from trajops.ports import Clock
from trajops.trajectories import DEFAULT_WINDOW, BoolArray, FloatArray
from trajops.truth import Samples, Scores, Truth, positions_at, score
from trajops.windows import TIME_TOLERANCE_S

# Rows are stamped before they are written; one may appear this much later than its stamp says.
SLACK_NS = 5 * 10**9
# After this the memory is built anew from the lake: for stragglers, and for what another worker has scored meanwhile.
MEMORY_NS = 60 * 10**9
# Positions received this long before a prediction can be truth for it, if the prediction arrived late.
BEFORE_NS = 30 * 10**9
CHUNK_ROWS = 25_000
# Steps scored of a prediction whose own numbers cannot be.
_UNSCORABLE = np.iinfo(np.int64).max
RANGE_ROWS = 200_000

_NUMBERS = ("dt_s", "history_m", "weights", "mean_m", "cov_m2")
_PREDICTIONS = f"""
    SELECT {", ".join((*IDENTITY, *_NUMBERS))}, {AGENT}, 0::BIGINT AS steps, 0.0::DOUBLE AS interpolated_s
    FROM predictions WHERE {IS_HISTORY} AND {{condition}}
"""  # noqa: S608 - names of our own schema
_PREDICTIONS_WITH_STEPS = f"""
    , known AS (SELECT prediction_id, steps_scored, interpolated_s FROM outcomes {BEST_OUTCOME})
    SELECT {", ".join(f"p.{name}" for name in (*IDENTITY, *_NUMBERS))}, {AGENT.replace("(", "(p.").replace(", ", ", p.")},
        coalesce(k.steps_scored, 0)::BIGINT AS steps, coalesce(k.interpolated_s, 0.0) AS interpolated_s
    FROM predictions p LEFT JOIN known k ON k.prediction_id = p.prediction_id WHERE {IS_HISTORY} AND {{condition}}
"""  # noqa: S608 - names of our own schema

_IS_ANSWER = "source NOT IN ('backfill', 'probe')"  # Nobody moves where a probe asks.
_ANY_OUTCOME = "SELECT 1 FROM outcomes LIMIT 1"


class End(NamedTuple):
    """What became of a prediction: its truth is `complete`, `partial`, `none`, or its own numbers are `unscorable`."""

    model_version: int
    variant: str
    truth: str


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
        truth_wait_s: how long after its horizon a prediction waits for truth, by the server's clock; seconds.
        truth_gap_s: widest gap between two positions that is interpolated over, seconds.
        miss_threshold_m: see `trajops.truth.score`.
        coverage_level: nominal probability of the ellipse.
        clock: time of scoring.
    """

    def __init__(
        self,
        lake: LakeReader,
        spool: Spool,
        *,
        truth_wait_s: float = 120.0,
        truth_gap_s: float = 1.0,
        miss_threshold_m: float = MISS_THRESHOLD_M,
        coverage_level: float = 0.9,
        clock: Clock | None = None,
    ) -> None:
        self._lake = lake
        self._spool = spool
        self._wait_ns = round((truth_wait_s + DEFAULT_WINDOW.horizon_s) * 1e9)
        self._gap_s = truth_gap_s
        self._miss_threshold_m = miss_threshold_m
        self._level = coverage_level
        self._clock: Clock = clock or SystemClock()
        self._memory: _Memory | None = None
        self._ends: Counter[End] = Counter()

    def take_ends(self) -> Mapping[End, int]:
        """How many predictions `run` has ceased to wait for since this was last asked, by what became of them."""
        ends, self._ends = self._ends, Counter()
        return ends

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
        floor_ns = now_ns - self._wait_ns
        if memory is None or not memory.read_ns <= now_ns < memory.built_ns + MEMORY_NS:
            if memory is not None:
                self._let_go(memory, floor_ns)
            memory, news = self._rebuilt(floor_ns, now_ns), None
        else:
            news = self._follow(memory, now_ns)
        pending = self._let_go(memory, floor_ns)
        touched = np.ones(len(pending), bool) if news is None else self._is_touched(pending, news)
        pending, completed, scored = self._score(pending, touched, memory.samples)
        # What cannot be scored is kept to its end, so that it is counted once, whenever the memory is built anew.
        is_open = _is_open(pending) | (sampling.column(pending, "steps") == _UNSCORABLE)
        memory.pending = _only(pending, is_open)
        self._count(_only(pending, ~is_open))
        self._memory = memory
        return {"candidates": len(pending), "scored": scored, "completed": completed}

    def score_range(self, since_ns: int, until_ns: int) -> dict[str, int]:
        """Score the predictions received in a time range, whatever their age or source: after an outage, or a backfill without outcomes.

        Returns:
            As `run`.

        Raises:
            Unavailable: if the lake cannot be read or the spool not written; repeat it then.
        """
        total = {"candidates": 0, "scored": 0, "completed": 0}
        self._memory = None
        # Asked once: what the first slices write would have to be read again and again by the later ones.
        is_begun = self._lake.read(("outcomes",), _has_outcomes, since_ns=since_ns, until_ns=until_ns)
        tables, load = (("predictions", "outcomes"), _candidates) if is_begun else (("predictions",), _unscored)
        samples, known_ns = Samples.empty(), 0
        for start_ns, end_ns in self._slices(since_ns, until_ns):
            rows = self._lake.read(tables, load, since_ns=start_ns, until_ns=end_ns)
            # What the slice before has read is not read again.
            samples = samples.select(samples.received_ns >= start_ns - BEFORE_NS)
            first_ns, known_ns = max(known_ns, start_ns - BEFORE_NS), end_ns + self._wait_ns
            fresh = self._lake.read(("predictions", "observations"), _all_samples, since_ns=first_ns, until_ns=known_ns)
            samples = Samples.concatenate([samples, fresh]).settled()
            pending = _only(rows, _is_open(rows))
            _, completed, scored = self._score(pending, np.ones(len(pending), bool), samples)
            total["candidates"] += len(pending)
            total["scored"] += scored
            total["completed"] += completed
        return total

    def _let_go(self, memory: _Memory, floor_ns: int) -> pa.Table:
        """Wait no more for what was received before; returns what is waited for."""
        is_waiting = sampling.column(memory.pending, "received_ns") >= floor_ns
        self._count(_only(memory.pending, ~is_waiting))
        return _only(memory.pending, is_waiting)

    def _count(self, ended: pa.Table) -> None:
        steps, horizon = sampling.column(ended, "steps"), _horizon_steps(ended)
        truth = np.select([steps > horizon, steps == horizon, steps > 0], ["unscorable", "complete", "partial"], "none")
        keys = zip(ended["model_version"].to_pylist(), ended["variant"].to_pylist(), truth.tolist(), strict=True)
        self._ends.update(itertools.starmap(End, keys))

    def _rebuilt(self, floor_ns: int, now_ns: int) -> _Memory:
        rows, samples = self._load(floor_ns - BEFORE_NS, None, with_outcomes=True)
        is_candidate = (sampling.column(rows, "received_ns") >= floor_ns) & _is_open(rows)
        return _Memory(now_ns, now_ns, rows.filter(pa.array(is_candidate)), samples, set(rows["prediction_id"].to_pylist()))

    def _follow(self, memory: _Memory, now_ns: int) -> Samples:
        """Read what has come since the last run; returns the oldest new sample of each agent, by agent."""
        rows, fresh = self._load(memory.read_ns - SLACK_NS, None, with_outcomes=False)
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
        end_s = observed_at_s + dt_s * _horizon_steps(pending) + self._gap_s
        touched: NDArray[np.bool_] = (news.agents[place] == agents) & (news.times_s[place] <= end_s + TIME_TOLERANCE_S)
        return touched

    def _load(self, since_ns: int, until_ns: int | None, *, with_outcomes: bool) -> tuple[pa.Table, Samples]:
        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[pa.Table, pa.Table]:
            query = _PREDICTIONS_WITH_STEPS if with_outcomes else _PREDICTIONS
            predictions = sampling.arrow(cursor, prefix + query.format(condition=_IS_ANSWER))
            return predictions, sampling.arrow(cursor, prefix + OBSERVATIONS.format(condition="true"))

        tables = ("predictions", "observations", "outcomes") if with_outcomes else ("predictions", "observations")
        rows, observations = self._lake.read(tables, work, since_ns=since_ns, until_ns=until_ns)
        samples = Samples.concatenate([sampling.from_histories(rows), sampling.from_observations(observations)])
        return rows, samples.settled()

    def _score(self, pending: pa.Table, touched: NDArray[np.bool_], samples: Samples) -> tuple[pa.Table, int, int]:
        """Write outcomes where truth is better than before.

        Returns:
            The rows with what is scored now (`_UNSCORABLE` where nothing can ever be), outcomes completed, outcomes written.
        """
        steps = sampling.column(pending, "steps").astype(np.int64)
        interpolated_s = sampling.column(pending, "interpolated_s").copy()
        agents, observed_at_s, dt_s = (sampling.column(pending, name) for name in ("agent", "observed_at_s", "dt_s"))
        completed = scored = 0
        identity = pending.select((*IDENTITY, "dt_s"))
        for (history_length, modes, mean_length, cov_length), rows in sampling.by_length(
            pending, "history_m", "weights", "mean_m", "cov_m2"
        ):
            chosen = rows.to_numpy()
            if history_length < 4 or not modes or not mean_length or mean_length % (2 * modes) or cov_length * 2 != mean_length * 3:
                steps[chosen] = _UNSCORABLE  # no prediction that could be scored
                continue
            group = pending if len(chosen) == len(pending) else pending.take(rows)
            lengths = {"history_m": history_length, "weights": modes, "mean_m": mean_length, "cov_m2": cov_length}
            numbers = {name: sampling.stored_lists(group, name, length) for name, length in lengths.items()}
            place = np.empty(len(pending), np.int64)  # of a row in its group
            place[chosen] = np.arange(len(chosen))
            chosen = chosen[touched[chosen]]
            # Agent by agent, so that each chunk looks at its own part of the samples only.
            chosen = chosen[np.argsort(agents[chosen], kind="stable")]
            for start in range(0, len(chosen), CHUNK_ROWS):
                part = chosen[start : start + CHUNK_ROWS]
                times_s = observed_at_s[part, None] + dt_s[part, None] * np.arange(1, mean_length // (2 * modes) + 1)
                truth = positions_at(samples, agents[part], times_s, max_gap_s=self._gap_s)
                known, gap_s = np.isfinite(truth.positions_m[..., 0]).sum(axis=1), truth.gap_s.sum(axis=1)
                # An observation at a step's very time takes away a gap of twice the tolerance; rounding moves it by microseconds.
                is_closer = (known == steps[part]) & (gap_s < interpolated_s[part] - TIME_TOLERANCE_S)
                is_better = (known > steps[part]) | is_closer
                if not is_better.any():
                    continue
                part, gap_s = part[is_better], gap_s[is_better]
                result = self._write(
                    identity.take(pa.array(part)),
                    {name: values[place[part]].astype(np.float64, copy=False) for name, values in numbers.items()},
                    Truth(*(values[is_better] for values in truth)),
                )
                steps[part] = np.where(result.is_usable, result.steps_scored, _UNSCORABLE)
                interpolated_s[part] = np.where(result.is_usable, gap_s, 0.0)
                scored += int(result.is_usable.sum())
                completed += int(result.known.all(axis=1).sum())
        for name, values in (("steps", steps), ("interpolated_s", interpolated_s)):
            pending = pending.set_column(pending.schema.get_field_index(name), name, pa.array(values))
        return pending, completed, scored

    def _write(self, rows: pa.Table, numbers: Mapping[str, FloatArray], truth: Truth) -> Scores:
        """Score rows of one shape and write their outcomes.

        Args:
            rows: columns `IDENTITY` and `dt_s`.
            numbers: columns of lists, (N, length).
            truth: where the agents were.
        """
        count, horizon = truth.gap_s.shape
        weights = numbers["weights"]
        modes = weights.shape[1]
        result = score(
            numbers["history_m"].reshape(count, -1, 2),
            numbers["mean_m"].reshape(count, modes, horizon, 2),
            numbers["cov_m2"].reshape(count, modes, horizon, 3),
            weights,
            truth.positions_m,
            dt_s=sampling.column(rows, "dt_s"),
            miss_threshold_m=self._miss_threshold_m,
            level=self._level,
        )
        delay_s = (truth.received_ns.max(axis=1) - sampling.column(rows, "received_ns")) / 1e9
        with self._lake.cursor() as cursor:
            lines = b"".join(outcome_lines(cursor, rows, result, delay_s, truth.gap_s.sum(axis=1), self._clock.now_ns()))
        self._spool.write_lines("outcomes", lines)
        return result

    def _slices(self, since_ns: int, until_ns: int) -> list[tuple[int, int]]:
        """The range in parts of bounded rows."""
        minute_ns = 60 * 10**9
        query = "SELECT received_ns // $minute AS minute, count(*) FROM predictions GROUP BY minute ORDER BY minute"

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[Any]:
            return cursor.execute(prefix + query, {"minute": minute_ns}).fetchall()

        slices: list[tuple[int, int]] = []
        rows = RANGE_ROWS
        for minute, count in self._lake.read(("predictions",), work, since_ns=since_ns, until_ns=until_ns):
            start_ns, end_ns = max(since_ns, minute * minute_ns), min(until_ns, (minute + 1) * minute_ns)
            is_far = bool(slices) and start_ns - slices[-1][1] > self._wait_ns
            if rows + count > RANGE_ROWS or is_far:
                slices.append((start_ns, end_ns))
                rows = 0
            slices[-1] = (slices[-1][0], end_ns)
            rows += count
        return slices


def _candidates(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
    """Predictions with the steps that were scored so far."""
    return sampling.arrow(cursor, prefix + _PREDICTIONS_WITH_STEPS.format(condition="true"))


def _unscored(cursor: duckdb.DuckDBPyConnection, prefix: str) -> pa.Table:
    """Predictions, where none of them has been scored."""
    return sampling.arrow(cursor, prefix + _PREDICTIONS.format(condition="true"))


def _has_outcomes(cursor: duckdb.DuckDBPyConnection, prefix: str) -> bool:
    return bool(cursor.execute(prefix + _ANY_OUTCOME).fetchall())


def _all_samples(cursor: duckdb.DuckDBPyConnection, prefix: str) -> Samples:
    return sampling.samples_of(cursor, prefix, sampling.SAMPLES.format(condition="true"))


def _only(rows: pa.Table, wanted: BoolArray) -> pa.Table:
    """Rows where a mask is true; the table itself where it is so everywhere."""
    return rows if wanted.all() else rows.filter(pa.array(wanted))


def _horizon_steps(rows: pa.Table) -> NDArray[np.int64]:
    """(N,) predicted steps of each row."""
    modes = np.maximum(pc.fill_null(pc.list_value_length(rows["weights"]), 0).to_numpy(), 1)
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(rows["mean_m"]), 0).to_numpy().astype(np.int64)
    steps: NDArray[np.int64] = lengths // (2 * modes)
    return steps


def _is_open(rows: pa.Table) -> NDArray[np.bool_]:
    """(N,) whether better truth is possible: for more steps, or nearer to the steps' times."""
    is_open: NDArray[np.bool_] = (sampling.column(rows, "steps") < _horizon_steps(rows)) | (sampling.column(rows, "interpolated_s") > 0)
    return is_open
