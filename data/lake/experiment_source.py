"""The figures of an experiment out of the lake: additive sums over units, which DuckDB makes, so that no row leaves it.

Predictions say who was answered in which arm, outcomes how well.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from data.lake import exposures
from data.lake.queries import SERVED
from data.lake.reader import LakeReader
from data.lake.slices import newest_since_ns
from trajops.clock import to_ns, utc
from trajops.contracts.experiments import ExperimentPlan, Metric
from trajops.experiments.figures import ArmFigures, Figures, TrafficFigures
from trajops.experiments.routed import UnitKind
from trajops.experiments.sums import ArmSums, PairSums

# Of traffic, so many of the newest predictions say enough.
TRAFFIC_ROWS = 1_000_000
_COUNTS = """
    SELECT arm, count(*), sum(predictions), sum(due), count(*) FILTER (has_failed), count(*) FILTER (is_slow) FROM (
        SELECT unit, arm, count(*) AS predictions, count(*) FILTER (is_due) AS due, bool_or(has_failed) AS has_failed,
            bool_or(is_slow) AS is_slow
        FROM exposed GROUP BY unit, arm
    ) GROUP BY arm
"""
_JOINED = "SELECT arm, count(*) FROM exposed SEMI JOIN scored USING (prediction_id) WHERE is_due GROUP BY arm"
_LATENCY = "SELECT arm, quantile_cont(latency_ms, [0.5, 0.95, 0.99]) FROM exposed GROUP BY arm"
_LABEL_DELAY = """
    SELECT arm, quantile_cont(known_ns - received_ns, 0.5) / 1e9 FROM exposed
        JOIN (SELECT prediction_id, min(scored_ns) AS known_ns FROM scored WHERE is_complete GROUP BY prediction_id) USING (prediction_id)
    GROUP BY arm
"""
_FIRST = "SELECT min(received_ns) FROM exposed"
_ANY_SERVED = "SELECT 1 FROM predictions WHERE list_contains($sources, source) LIMIT 1"
# A unit that asks again within so long does not come anew.
VISIT_NS = 180 * 10**9
# A unit that nobody follows is one and the same for so long.
STAY_NS = 1200 * 10**9
HOUR_NS = 3600 * 10**9
# Of answers that are old enough to have truth: visits since the newest outcome, or since units are enrolled, whichever is later, and their
# units and stays; and hour by hour visits before that, and how many of them got truth.
_WAITING = f"""
    WITH newest AS (SELECT max(scored_ns) AS newest_ns, greatest($enrolled_ns, newest_ns) AS begin_ns FROM scored), visited AS (
        SELECT unit, received_ns > (SELECT begin_ns FROM newest) AS is_after, min(received_ns) AS visited_ns,
            bool_or(prediction_id IN (SELECT prediction_id FROM scored)) AS has_truth
        FROM exposed WHERE is_due GROUP BY unit, is_after, received_ns // {VISIT_NS}
    )
    SELECT newest_ns, is_after, count(visited_ns), count(*) FILTER (has_truth), count(DISTINCT unit) FILTER (is_after),
        count(DISTINCT (unit, (visited_ns - begin_ns) // {STAY_NS})) FILTER (is_after)
    FROM newest LEFT JOIN visited ON newest_ns IS NOT NULL
    GROUP BY newest_ns, is_after, CASE WHEN NOT is_after THEN visited_ns // {HOUR_NS} END
    ORDER BY min(visited_ns)
"""  # noqa: S608 - numbers of our own


class LakeExperiments:
    """Implements `trajops.ports.ExperimentSource`.

    Args:
        lake: where predictions and outcomes are read.
    """

    def __init__(self, lake: LakeReader) -> None:
        self._lake = lake

    def figures(
        self,
        experiment_id: str,
        plan: ExperimentPlan,
        since: datetime,
        at: datetime,
        slow_ms: float,
        counted_since: datetime | None = None,
        enrolled_since: datetime | None = None,
    ) -> Figures:
        """Figures of the predictions received in [since, at), as far as truth has arrived.

        Live, predictions of served traffic in the arms of the plan count; who was put into one by hand is in none of them. A unit that was
        answered in several arms is counted as a jumper, and left out of everything else. In shadow, what a treatment predicted beside an
        answer counts with that answer, which is the control's as long as the control's version gave it, or the baseline in its place.

        A unit's value is the mean of the metric over its predictions whose whole horizon is known, and its covariate that of constant
        velocity's error over the same ones.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        variants, is_shadow = [arm.variant for arm in plan.arms], plan.is_beside

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> _Found:
            with exposures.cleared(cursor):
                jumpers = exposures.expose(cursor, prefix, experiment_id, plan, at, slow_ms, counted_since=counted_since)
                return _found(cursor, plan.metric, jumpers, has_pairs=is_shadow, enrolled_ns=to_ns(enrolled_since or since))

        found = self._lake.read(("predictions", "outcomes"), work, since_ns=to_ns(since), until_ns=to_ns(at))
        arms = tuple(found.arm(number, variant, is_paired=is_shadow and number > 1) for number, variant in enumerate(variants, 1))
        newest_at = None if found.newest_ns is None else utc(found.newest_ns)
        return Figures(at, arms, found.jumpers, newest_at, counted_since, enrolled_since, **found.waiting._asdict())

    def traffic(self, since: datetime, until: datetime, unit: UnitKind, metric: Metric, max_rows: int = TRAFFIC_ROWS) -> TrafficFigures:
        """Units of the served traffic received in [since, until), of whichever arm; of more than `max_rows` predictions the newest.

        In a lake that begins within the range the range begins with its first answer: what came in ten minutes is no day's traffic.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = to_ns(since), to_ns(until)
        begin_ns = newest_since_ns(self._lake, since_ns, until_ns, max_rows, "predictions")

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[_Found, int | None]:
            with exposures.cleared(cursor):
                exposures.expose_traffic(cursor, prefix, unit, until)
                [(first_ns,)] = cursor.execute(_FIRST).fetchall()
                return _found(cursor, metric, 0, has_pairs=False), first_ns

        found, first_ns = self._lake.read(("predictions", "outcomes"), work, since_ns=begin_ns, until_ns=until_ns)
        arm = found.arm(1, "")
        if begin_ns == since_ns and first_ns is not None and not self._is_older_than(since_ns):
            begin_ns = first_ns  # before that nobody could have come
        begin = since if begin_ns == since_ns else utc(begin_ns)
        return TrafficFigures(begin, until, arm.units, arm.predictions, arm.due, arm.joined, arm.sums)

    def _is_older_than(self, since_ns: int) -> bool:
        """Whether the lake has served traffic of before; what is in the spool alone has just come, and the probe is nobody's traffic."""
        if not any(file.min_received_ns < since_ns for file in self._lake.snapshot(("predictions",)).files):
            return False

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> bool:
            return bool(cursor.execute(prefix + _ANY_SERVED, {"sources": list(SERVED)}).fetchall())

        return self._lake.read(("predictions",), work, until_ns=since_ns)


class _Waiting(NamedTuple):
    """Fields of `Figures` that say who waits for truth."""

    overdue_units: int
    overdue_visits: int
    visits: int
    known_visits: int
    overdue_stays: int
    hours: tuple[tuple[int, int], ...]


class _Found(NamedTuple):
    """Rows of the queries, by number of the arm."""

    counts: Mapping[int, tuple[int, ...]]
    joined: Mapping[int, tuple[int, ...]]
    latency_ms: Mapping[int, tuple[Any, ...]]
    sums: Mapping[int, tuple[Any, ...]]
    pairs: Mapping[int, tuple[Any, ...]]
    label_delay_s: Mapping[int, tuple[Any, ...]]
    jumpers: int
    newest_ns: int | None
    waiting: _Waiting

    def arm(self, number: int, variant: str, *, is_paired: bool = False) -> ArmFigures:
        """Figures of one arm; nothing but zeros where nobody was answered in it."""
        units, predictions, due, failed, slow = map(int, self.counts.get(number, (0,) * 5))
        sums = self.sums.get(number, (0.0,) * 6 + (None,) * 4 + (0,))
        pairs = self.pairs.get(number, (0.0,) * 6 + (0,))
        [joined] = self.joined.get(number, (0,))
        [latency_ms] = self.latency_ms.get(number, (None,))
        [label_delay_s] = self.label_delay_s.get(number, (None,))
        return ArmFigures(
            variant=variant,
            units=units,
            sums=ArmSums(*map(float, sums[:6])),
            predictions=predictions,
            due=due,
            joined=joined,
            failed_units=failed,
            slow_units=slow,
            means=sums[6:10],
            latency_ms=(None, None, None) if latency_ms is None else tuple(latency_ms),
            pairs=PairSums(*map(float, pairs[:6])) if is_paired else None,
            units_since=int(pairs[6] if is_paired else sums[10]),
            label_delay_s=label_delay_s,
        )


def _found(cursor: duckdb.DuckDBPyConnection, metric: Metric, jumpers: int, *, has_pairs: bool, enrolled_ns: int = 0) -> _Found:
    def by_arm(query: str) -> dict[int, tuple[Any, ...]]:
        return {arm: tuple(row) for arm, *row in cursor.execute(query).fetchall()}

    newest_ns, waiting = _waiting(cursor.execute(_WAITING, {"enrolled_ns": enrolled_ns}).fetchall())
    sums, pairs = by_arm(exposures.arm_sums(metric)), by_arm(exposures.pair_sums(metric)) if has_pairs else {}
    counts, joined, latency_ms, label_delay_s = (by_arm(query) for query in (_COUNTS, _JOINED, _LATENCY, _LABEL_DELAY))
    return _Found(counts, joined, latency_ms, sums, pairs, label_delay_s, jumpers, newest_ns, waiting)


def _waiting(rows: Sequence[tuple[Any, ...]]) -> tuple[int | None, _Waiting]:
    """When the newest outcome was scored, and who waits for the next one; rows of `_WAITING`, of which there is always one."""
    visits, units, stays = next(((visits, units, stays) for _, is_after, visits, _, units, stays in rows if is_after), (0, 0, 0))
    hours = tuple((visits, known) for _, is_after, visits, known, *_ in rows if is_after is False)
    return rows[0][0], _Waiting(units, visits, sum(count for count, _ in hours), sum(known for _, known in hours), stays, hours)
