"""Predictions of the lake are scored with samples, wherever truth is better than it was before."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.lake import samples as sampling
from data.lake.outcome_rows import IDENTITY, outcome_rows
from data.lake.samples import AGENT, IS_HISTORY
from data.lake.schema import BEST_OUTCOME
from trajops.metrics import MISS_THRESHOLD_M
from trajops.ports import Clock
from trajops.trajectories import DEFAULT_WINDOW, BoolArray
from trajops.truth import Samples, Scores, Truth, positions_at, score
from trajops.windows import TIME_TOLERANCE_S

CHUNK_ROWS = 25_000
# Steps scored of a prediction whose own numbers cannot be.
UNSCORABLE = np.iinfo(np.int64).max
# Positions received this long before a prediction can be truth for it, if the prediction arrived late.
BEFORE_NS = 30 * 10**9
# Nobody moves where a probe asks, and a backfill brings its outcomes. What a shadow predicted is scored as any answer.
IS_AWAITED = "source NOT IN ('backfill', 'probe')"

_NUMBERS = ("dt_s", "history_m", "weights", "mean_m", "cov_m2")
PREDICTIONS = f"""
    SELECT {", ".join((*IDENTITY, *_NUMBERS))}, {AGENT}, 0::BIGINT AS steps, 0.0::DOUBLE AS interpolated_s
    FROM predictions WHERE {IS_HISTORY} AND {IS_AWAITED}
"""  # noqa: S608 - names of our own schema
PREDICTIONS_WITH_STEPS = f"""
    , known AS (SELECT prediction_id, steps_scored, interpolated_s FROM outcomes {BEST_OUTCOME})
    SELECT {", ".join(f"p.{name}" for name in (*IDENTITY, *_NUMBERS))}, {AGENT.replace("(", "(p.").replace(", ", ", p.")},
        coalesce(k.steps_scored, 0)::BIGINT AS steps, coalesce(k.interpolated_s, 0.0) AS interpolated_s
    FROM predictions p LEFT JOIN known k ON k.prediction_id = p.prediction_id WHERE {IS_HISTORY} AND {IS_AWAITED}
"""  # noqa: S608 - names of our own schema


class End(NamedTuple):
    """What became of a prediction: its truth is `complete`, `partial`, `none`, or its own numbers are `unscorable`."""

    model_version: int
    variant: str
    truth: str


@dataclass(frozen=True, slots=True)
class TruthRules:
    """How truth is looked for, and what it is held against.

    Attributes:
        wait_s: how long after its horizon a prediction waits for truth, by the server's clock; seconds.
        gap_s: widest gap between two positions that is interpolated over, seconds.
        miss_threshold_m: see `trajops.truth.score`.
        level: nominal probability of the ellipse.
    """

    wait_s: float = 120.0
    gap_s: float = 1.0
    miss_threshold_m: float = MISS_THRESHOLD_M
    level: float = 0.9

    @property
    def wait_ns(self) -> int:
        """From the receipt of a prediction until nothing is waited for any more."""
        return round((self.wait_s + DEFAULT_WINDOW.horizon_s) * 1e9)


class Scored(NamedTuple):
    """What a look at some predictions came to.

    Attributes:
        rows: the predictions with what is scored now (`UNSCORABLE` where nothing can ever be).
        completed: outcomes with truth for every step.
        written: outcomes in all.
    """

    rows: pa.Table
    completed: int
    written: int


class Scorer:
    """Scores predictions, and hands outcomes on.

    Args:
        rules: of truth.
        clock: time of scoring.
        write: takes outcomes (`outcome_rows`); raises if they cannot be kept.
    """

    def __init__(self, rules: TruthRules, clock: Clock, write: Callable[[pa.Table], None]) -> None:
        self._rules = rules
        self._clock = clock
        self._write = write

    def score(self, pending: pa.Table, touched: NDArray[np.bool_], samples: Samples) -> Scored:
        """Write outcomes where truth is better than before.

        Args:
            pending: N rows of `PREDICTIONS` or `PREDICTIONS_WITH_STEPS`.
            touched: (N,) whether to look.
            samples: where the agents were.

        Raises:
            Unavailable: if outcomes cannot be written.
        """
        steps = sampling.column(pending, "steps").astype(np.int64)
        interpolated_s = sampling.column(pending, "interpolated_s").copy()
        completed = written = 0
        for (history_length, modes, mean_length, cov_length), rows in sampling.by_length(
            pending, "history_m", "weights", "mean_m", "cov_m2"
        ):
            chosen = rows.to_numpy()
            if history_length < 4 or not modes or not mean_length or mean_length % (2 * modes) or cov_length * 2 != mean_length * 3:
                steps[chosen] = UNSCORABLE  # no prediction that could be scored
                continue
            group = pending if len(chosen) == len(pending) else pending.take(rows)
            lengths = {"history_m": history_length, "weights": modes, "mean_m": mean_length, "cov_m2": cov_length}
            numbers = {name: sampling.stored_lists(group, name, length) for name, length in lengths.items()}
            place = np.flatnonzero(touched[chosen])  # in the group
            truth = self._truth(samples, group, place, mean_length // (2 * modes))
            known, gap_s = np.isfinite(truth.positions_m[..., 0]).sum(axis=1), truth.gap_s.sum(axis=1)
            # An observation at a step's very time takes away a gap of twice the tolerance; rounding moves it by microseconds.
            is_closer = (known == steps[chosen[place]]) & (gap_s < interpolated_s[chosen[place]] - TIME_TOLERANCE_S)
            is_better = np.flatnonzero((known > steps[chosen[place]]) | is_closer)
            for start in range(0, len(is_better), CHUNK_ROWS):
                part = is_better[start : start + CHUNK_ROWS]
                result = self._compare(group, numbers, _span(place[part]), truth.select(_span(part)))
                row = chosen[place[part]]
                steps[row] = np.where(result.is_usable, result.steps_scored, UNSCORABLE)
                interpolated_s[row] = np.where(result.is_usable, gap_s[part], 0.0)
                written += int(result.is_usable.sum())
                completed += int(result.known.all(axis=1).sum())
        for name, values in (("steps", steps), ("interpolated_s", interpolated_s)):
            pending = pending.set_column(pending.schema.get_field_index(name), name, pa.array(values))
        return Scored(pending, completed, written)

    def _truth(self, samples: Samples, group: pa.Table, place: NDArray[np.intp], steps: int) -> Truth:
        """Where the agents of some rows were at the predicted times, in the order of the rows."""
        agents, observed_at_s, dt_s = (sampling.column(group, name)[place] for name in ("agent", "observed_at_s", "dt_s"))
        shape = (len(place), steps)
        truth = Truth(np.empty((*shape, 2)), np.empty(shape, np.int64), np.empty(shape))
        # Agent by agent, so that each chunk looks at its own part of the samples only.
        by_agent = np.argsort(agents, kind="stable")
        for start in range(0, len(place), CHUNK_ROWS):
            part = by_agent[start : start + CHUNK_ROWS]
            times_s = observed_at_s[part, None] + dt_s[part, None] * np.arange(1, steps + 1)
            for whole, values in zip(truth, positions_at(samples, agents[part], times_s, max_gap_s=self._rules.gap_s), strict=True):
                whole[part] = values
        return truth

    def _compare(
        self, group: pa.Table, numbers: Mapping[str, NDArray[np.floating[Any]]], place: NDArray[np.intp] | slice, truth: Truth
    ) -> Scores:
        """Score rows of one shape and write their outcomes.

        Args:
            group: rows with the columns `IDENTITY` and `dt_s`.
            numbers: its columns of lists, (N, length).
            place: which of its rows.
            truth: where their agents were.
        """
        count, horizon = truth.gap_s.shape
        rows = group.select((*IDENTITY, "dt_s"))
        rows = rows.slice(place.start, count) if isinstance(place, slice) else rows.take(pa.array(place))
        chosen = {name: values[place].astype(np.float64, copy=False) for name, values in numbers.items()}
        modes = chosen["weights"].shape[1]
        result = score(
            chosen["history_m"].reshape(count, -1, 2),
            chosen["mean_m"].reshape(count, modes, horizon, 2),
            chosen["cov_m2"].reshape(count, modes, horizon, 3),
            chosen["weights"],
            truth.positions_m,
            dt_s=sampling.column(rows, "dt_s"),
            miss_threshold_m=self._rules.miss_threshold_m,
            level=self._rules.level,
        )
        delay_s = (truth.received_ns.max(axis=1) - sampling.column(rows, "received_ns")) / 1e9
        self._write(outcome_rows(rows, result, delay_s, truth.gap_s.sum(axis=1), self._clock.now_ns()))
        return result


def _span(numbers: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Ascending row numbers as a slice, which copies nothing, where none is left out."""
    first, last = int(numbers[0]), int(numbers[-1])
    return slice(first, last + 1) if last - first + 1 == len(numbers) else numbers


def only(rows: pa.Table, wanted: BoolArray) -> pa.Table:
    """Rows where a mask is true; the table itself where it is so everywhere."""
    return rows if wanted.all() else rows.filter(pa.array(wanted))


def horizon_steps(rows: pa.Table) -> NDArray[np.int64]:
    """(N,) predicted steps of each row."""
    modes = np.maximum(pc.fill_null(pc.list_value_length(rows["weights"]), 0).to_numpy(), 1)
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(rows["mean_m"]), 0).to_numpy().astype(np.int64)
    steps: NDArray[np.int64] = lengths // (2 * modes)
    return steps


def is_open(rows: pa.Table) -> NDArray[np.bool_]:
    """(N,) whether better truth is possible: for more steps, or nearer to the steps' times."""
    better: NDArray[np.bool_] = (sampling.column(rows, "steps") < horizon_steps(rows)) | (sampling.column(rows, "interpolated_s") > 0)
    return better


def ends_of(rows: pa.Table) -> Counter[End]:
    """How many predictions, of those that nothing is waited for any more, ended how."""
    steps, horizon = sampling.column(rows, "steps"), horizon_steps(rows)
    truth = np.select([steps > horizon, steps == horizon, steps > 0], ["unscorable", "complete", "partial"], "none")
    table = pa.table({"model_version": rows["model_version"], "variant": rows["variant"], "truth": pa.array(truth)})
    found = table.group_by(table.column_names).aggregate([([], "count_all")]).to_pylist()
    return Counter({End(one["model_version"], one["variant"], one["truth"]): one["count_all"] for one in found})
