"""An experiment taken apart by scene, speed, client or step: the same additive sums over units, slice by slice."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb

from data.lake import exposures
from data.lake.reader import LakeReader
from data.lake.slices import band_of, newest_since_ns
from trajops.clock import to_ns, utc
from trajops.contracts.experiments import ExperimentPlan, ExperimentSliceBy
from trajops.experiments.slices import SHARES, ErrorSpread, Slice, Slices, UnitErrors
from trajops.experiments.sums import ArmSums, PairSums
from trajops.performance.rules import SpeedBand
from trajops.trajectories import DEFAULT_WINDOW

# Somebody waits for the answer. A step costs as much as a figure, so that by step a quarter as many rows are read.
MAX_ROWS = 1_000_000
MOST_SLICES = 20

_VALUES = """
    SELECT exposed.unit, arm, {slice} AS slice, y, x
    FROM exposed JOIN best ON best.prediction_id = exposed.prediction_id
"""
# Displacement has a value at each step, whatever the metric; the covariate is that of the whole horizon.
_STEPS = f"""
    SELECT exposed.unit, arm, unnest(range(1, {DEFAULT_WINDOW.t_pred + 1})) AS slice, unnest(step_error_m) AS y, x
    FROM exposed JOIN best ON best.prediction_id = exposed.prediction_id WHERE len(step_error_m) = {DEFAULT_WINDOW.t_pred}
"""  # noqa: S608 - names of our own schema
_BOTH = """
    FROM exposed
        JOIN best ON best.prediction_id = exposed.prediction_id
        JOIN best control ON control.prediction_id = exposed.shadow_of
"""
_PAIRED_VALUES = f"SELECT exposed.unit, arm, {{slice}} AS slice, control.y AS a, best.y AS b {_BOTH}"
_PAIRED_STEPS = f"""
    SELECT exposed.unit, arm, unnest(range(1, {DEFAULT_WINDOW.t_pred + 1})) AS slice, unnest(control.step_error_m) AS a,
        unnest(best.step_error_m) AS b
    {_BOTH} WHERE len(best.step_error_m) = {DEFAULT_WINDOW.t_pred} AND len(control.step_error_m) = {DEFAULT_WINDOW.t_pred}
"""
_SUMS = "count(*) AS units, sum(y), sum(y * y), sum(x), sum(x * x), sum(x * y)"
_UNIT_MEANS = "avg(y) AS y, avg(x) AS x"
_PAIR_SUMS = "count(*) AS units, sum(a), sum(b), sum(a * a), sum(b * b), sum(a * b)"
_PAIR_MEANS = "avg(a) AS a, avg(b) AS b"
_SUMMED = """
    , rows AS ({rows}), summed AS (
        SELECT slice, arm, {sums} FROM (SELECT unit, arm, slice, {means} FROM rows WHERE slice IS NOT NULL GROUP BY unit, arm, slice)
        GROUP BY slice, arm
    ), largest AS (
        SELECT slice, sum(units) AS size, count(*) OVER () AS slices FROM summed GROUP BY slice ORDER BY size DESC, slice LIMIT {most}
    )
    SELECT slice::VARCHAR, slices, summed.* EXCLUDE slice FROM summed JOIN largest USING (slice) ORDER BY size DESC, slice, arm
"""

_SPREAD = f"""
    SELECT arm, count(*), quantile_cont(y, {list(SHARES)})
    FROM (SELECT unit, arm, avg(y) AS y FROM exposed JOIN best USING (prediction_id) GROUP BY unit, arm)
    GROUP BY arm
"""  # noqa: S608 - numbers of our own


class LakeExperimentSlices:
    """Implements `trajops.ports.ExperimentSliceSource`.

    Args:
        lake: where predictions and outcomes are read.
        max_rows: most predictions that are read; of more the newest.
    """

    def __init__(self, lake: LakeReader, max_rows: int = MAX_ROWS) -> None:
        self._lake = lake
        self._max_rows = max_rows

    def slices(
        self,
        experiment_id: str,
        plan: ExperimentPlan,
        since: datetime,
        at: datetime,
        by: ExperimentSliceBy,
        bands: Sequence[SpeedBand],
    ) -> Slices:
        """Sums of the predictions received in [since, at), as `LakeExperiments.figures` counts them, slice by slice.

        A unit's value in a slice is the mean over its predictions there. Of scenes and clients those with most units are told.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = to_ns(since), to_ns(at)
        most_rows = self._max_rows // 4 if by == "step" else self._max_rows
        begin_ns = newest_since_ns(self._lake, since_ns, until_ns, most_rows, "predictions")
        is_shadow = plan.is_beside
        of_scored = {"scene": ", scene_id", "speed_band": ", speed_mps", "step": ", step_error_m", "client": ""}[by]
        of_exposed = ", client_id" if by == "client" else ""
        query = exposures.best("ade_m" if by == "step" else plan.metric) + _query(by, bands, is_shadow=is_shadow)

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[tuple[Any, ...]]:
            with exposures.cleared(cursor):
                exposures.expose(cursor, prefix, experiment_id, plan, at, float("inf"), of_exposed=of_exposed, of_scored=of_scored)
                return cursor.execute(query).fetchall()

        rows = self._lake.read(("predictions", "outcomes"), work, since_ns=begin_ns, until_ns=until_ns)
        found: dict[str, dict[int, tuple[float, ...]]] = {}
        for value, _, arm, *sums in rows:
            found.setdefault(value, {})[arm] = tuple(map(float, sums))
        total = rows[0][1] if rows else 0
        names = dict(enumerate((arm.variant for arm in plan.arms), 1))
        made = [_slice(value, found[value], names, is_shadow=is_shadow) for value in _ordered(by, bands, list(found))]
        return Slices(since if begin_ns == since_ns else utc(begin_ns), made, int(total) - len(found))

    def errors(self, experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime) -> ErrorSpread:
        """Quantiles of the mean error of each unit, by the metric of the plan, over what `LakeExperiments.figures` counts.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        since_ns, until_ns = to_ns(since), to_ns(at)
        begin_ns = newest_since_ns(self._lake, since_ns, until_ns, self._max_rows, "predictions")

        def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> list[tuple[int, int, list[float]]]:
            with exposures.cleared(cursor):
                exposures.expose(cursor, prefix, experiment_id, plan, at, float("inf"))
                return cursor.execute(exposures.best(plan.metric) + _SPREAD).fetchall()

        rows = self._lake.read(("predictions", "outcomes"), work, since_ns=begin_ns, until_ns=until_ns)
        arms = {plan.arms[arm - 1].variant: UnitErrors(units, errors) for arm, units, errors in rows}
        return ErrorSpread(since if begin_ns == since_ns else utc(begin_ns), arms)


def _query(by: ExperimentSliceBy, bands: Sequence[SpeedBand], *, is_shadow: bool) -> str:
    if by == "step":
        rows = _PAIRED_STEPS if is_shadow else _STEPS
    else:
        value = {"scene": "best.scene_id", "speed_band": band_of(bands, "best.speed_mps"), "client": "exposed.client_id"}[by]
        rows = (_PAIRED_VALUES if is_shadow else _VALUES).format(slice=value)
    sums, means = (_PAIR_SUMS, _PAIR_MEANS) if is_shadow else (_SUMS, _UNIT_MEANS)
    return _SUMMED.format(rows=rows, sums=sums, means=means, most=MOST_SLICES)


def _ordered(by: ExperimentSliceBy, bands: Sequence[SpeedBand], values: list[str]) -> list[str]:
    if by == "step":
        return sorted(values, key=int)
    if by == "speed_band":
        return [band.band for band in bands if band.band in values]
    return values


def _slice(value: str, sums: Mapping[int, tuple[float, ...]], names: Mapping[int, str], *, is_shadow: bool) -> Slice:
    if is_shadow:
        return Slice(value, {}, {names[arm]: PairSums(*of) for arm, of in sums.items()})
    return Slice(value, {names[arm]: ArmSums(*of) for arm, of in sums.items()}, {})
