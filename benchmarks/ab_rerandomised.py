"""One recorded replay, assigned anew a thousand times: what would have been decided, had the hash had another seed.

A paired shadow knows what both models said to each agent, so any assignment can be played back over real outcomes. Each has a seed of its
own through the product's hash; the sums are those of the product's SQL, and each look is judged by its verdict, until one decides.
Beside it stands Welch's test on the very same sums.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.ab_simulation import MIN_UNITS, is_enough, welch
from data.lake import duck, exposures, samples
from data.lake.queries import Lake
from trajops.clock import SystemClock, now, to_ns
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan
from trajops.deployments.model_ref import ModelRef
from trajops.experiments.decisions import Decision, decision
from trajops.experiments.evidence import is_proved, log_mismatch
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.routed import canary
from trajops.experiments.statistics import compare, tuning
from trajops.experiments.sums import ArmSums
from trajops.experiments.verdict import SRM_ALPHA, judge
from trajops.trajectories import BoolArray, FloatArray

BATCH = 100
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
# Rows that appear late have their truth when the join looks at everything anew, once a minute.
LATE_S = 90.0
CONTROL, TREATMENT = "control", "treatment"
_MODEL = ModelRef("trajectory", 1)
_BOTH_KNOWN = """
    SELECT unit_id, received_ns, shadow_of AS control, prediction_id AS treatment FROM exposed
    WHERE arm = 2 AND prediction_id IN (SELECT prediction_id FROM scored WHERE is_complete)
        AND shadow_of IN (SELECT prediction_id FROM scored WHERE is_complete)
"""
# Sums are additive: those of the agents between two looks are added up, and each agent is summed once.
_ASSIGNED = """
    CREATE OR REPLACE TEMP TABLE exposed AS
    SELECT CASE WHEN is_treated THEN {treatment} ELSE {control} END AS prediction_id, place AS unit, part AS arm, false AS is_recent
    FROM recorded JOIN assigned USING (place)
"""


@dataclass(frozen=True)
class Recorded:
    """What both models said to U agents, in the order of their coming, and how it came out.

    Attributes:
        unit_ids: U names, as assignment hashes them.
        after_s: (U,) when each came, since the first.
        pairs: predictions, with columns `place` of the agent, `control` and `treatment`.
        outcomes: rows of `scored`, see `data.lake.exposures`.
    """

    unit_ids: tuple[str, ...]
    after_s: FloatArray
    pairs: pa.Table
    outcomes: pa.Table


def record(lake: Lake, shadow: ExperimentOut, units: int) -> Recorded:
    """The first agents of a shadow for whom both models' errors are known; truth that is late is waited for.

    Raises:
        RuntimeError: if there are fewer.
    """
    until_s = time.monotonic() + LATE_S
    while (found := _recorded(lake, shadow, units)) is None:
        if time.monotonic() > until_s:
            raise RuntimeError(f"the shadow has paired fewer than {units} agents")
        time.sleep(5.0)
    return found


def _recorded(lake: Lake, shadow: ExperimentOut, units: int) -> Recorded | None:
    at = now(SystemClock())

    def work(cursor: duckdb.DuckDBPyConnection, prefix: str) -> tuple[pa.Table, pa.Table]:
        with exposures.cleared(cursor):
            more = ", scene_id || '/' || agent_id AS unit_id, received_ns"
            exposures.expose(cursor, prefix, shadow.experiment_id, shadow.plan, at, float("inf"), of_exposed=more)
            return samples.arrow(cursor, _BOTH_KNOWN), samples.arrow(cursor, "FROM scored")

    since = shadow.started_at or shadow.created_at
    pairs, outcomes = lake.read(("predictions", "outcomes"), work, since_ns=to_ns(since), until_ns=to_ns(at))
    names, received_ns = np.asarray(pairs["unit_id"].to_pylist()), pairs["received_ns"].to_numpy()
    unit_ids, number = np.unique(names, return_inverse=True)
    if len(unit_ids) < units:
        return None
    first_ns = np.full(len(unit_ids), np.iinfo(np.int64).max)
    np.minimum.at(first_ns, number, received_ns)
    order = np.argsort(first_ns, kind="stable")[:units]
    place = np.full(len(unit_ids), -1)
    place[order] = np.arange(units)
    kept = pairs.append_column("place", pa.array(place[number])).filter(pa.array(place[number] >= 0))
    after_s = (first_ns[order] - first_ns[order[0]]) / 1e9
    return Recorded(tuple(unit_ids[order].tolist()), after_s, kept.select(["place", CONTROL, TREATMENT]), outcomes)


class Replayed(NamedTuple):
    """R experiments over the same agents.

    Attributes:
        looks: L numbers of agents.
        control: (R, L) sums of the control after so many.
        treatment: of the treatment.
        decided: of each experiment the first decision, and the look at which it was made.
    """

    looks: Sequence[int]
    control: ArmSums
    treatment: ArmSums
    decided: list[tuple[Decision, int]]

    def share(self, *kinds: str) -> int:
        """How many ended with one of these."""
        return sum(found.kind in kinds for found, _ in self.decided)

    def agents(self, kind: str) -> FloatArray:
        """Agents at the decision, of those that ended so."""
        return np.array([self.looks[look] for found, look in self.decided if found.kind == kind], float)

    def peeking(self) -> int:
        """How many Welch's test at every look would have ended with a difference."""
        p_values = welch(self.control, self.treatment)
        return int(((p_values < 0.05) & is_enough(self.control, self.treatment, MIN_UNITS)).any(axis=1).sum())

    def one_look(self) -> int:
        """The same, looking once, at the end."""
        return int((welch(self.control, self.treatment)[:, -1] < 0.05).sum())

    def misses(self, change: float) -> int:
        """In how many the sequence ever leaves out a change."""
        low, high = compare(self.control, self.treatment).interval(tuning())
        is_missed = ((low > change) | (high < change)) & is_enough(self.control, self.treatment, MIN_UNITS)
        return int(is_missed.any(axis=1).sum())


def true_change(recorded: Recorded) -> float:
    """Relative change of the mean over the recorded agents, each answered by both models."""
    with duck.connect() as connection:
        connection.register("recorded", recorded.pairs)
        connection.register("scored", recorded.outcomes)
        arms = " UNION ALL ".join(
            f"SELECT {name} AS prediction_id, place AS unit, {arm} AS arm, false AS is_recent FROM recorded"
            for arm, name in enumerate((CONTROL, TREATMENT))
        )
        connection.execute(f"CREATE TEMP VIEW exposed AS {arms}")
        found = connection.execute(exposures.arm_sums("ade_m")).fetchnumpy()
    control, treatment = (float(found["y"][found["arm"] == arm][0] / found["units"][found["arm"] == arm][0]) for arm in (0, 1))
    return treatment / control - 1


def rerandomised(recorded: Recorded, plan: ExperimentPlan, replications: int, looks: Sequence[int], *, arms: tuple[str, str]) -> Replayed:
    """Assign the recorded agents anew, again and again, and judge at each look until one decides.

    Args:
        recorded: agents.
        plan: of two arms.
        replications: how often.
        looks: after how many agents.
        arms: what the control and the treatment answer: columns of `recorded.pairs`; twice the same is an A/A experiment.
    """
    seeds = [range(first, min(first + BATCH, replications)) for first in range(0, replications, BATCH)]
    with duck.connect(memory="2GB") as connection:
        connection.register("outcomes", recorded.outcomes)
        connection.execute("CREATE TEMP TABLE scored AS SELECT * FROM outcomes")
        connection.register("recorded", recorded.pairs)
        values = np.concatenate([_sums(connection, recorded.unit_ids, some, looks, arms) for some in seeds])  # (R, 2, L, 6)
    control, treatment = (ArmSums(*np.moveaxis(values[:, arm], -1, 0)) for arm in (0, 1))
    after_s = recorded.after_s[np.asarray(looks) - 1]
    may_decide = _may_decide(plan, control, treatment)
    decided = [_decided(plan, values[number], after_s, may_decide[number]) for number in range(replications)]
    return Replayed(looks, control, treatment, decided)


def _may_decide(plan: ExperimentPlan, control: ArmSums, treatment: ArmSums) -> BoolArray:
    """(R, L) looks that something may follow from: zero is left out, harm or another split is proved, or it is the last."""
    estimate, rho = compare(control, treatment), tuning(plan.tuned_units, plan.alpha)
    low, high = estimate.interval(rho, plan.alpha)
    split = log_mismatch((control.units, treatment.units), tuple(arm.weight for arm in plan.arms))
    found: BoolArray = (low > 0) | (high < plan.margin) | (estimate.at_least(rho, plan.alpha) > 0) | is_proved(split, SRM_ALPHA)
    found[:, -1] = True
    return found


def _sums(
    connection: duckdb.DuckDBPyConnection, unit_ids: Sequence[str], seeds: range, looks: Sequence[int], arms: tuple[str, str]
) -> FloatArray:
    """(R, 2, L, 6) sums of both arms of some replications at each look."""
    is_treated = np.array([_is_treated(seed, unit_ids) for seed in seeds])
    replication, place = (axis.ravel() for axis in np.indices(is_treated.shape))
    shape = (len(seeds), 2, len(looks))
    look = np.searchsorted(looks, place, side="right")
    part = np.ravel_multi_index((replication, is_treated.ravel().astype(int), np.minimum(look, len(looks) - 1)), shape)
    is_seen = look < len(looks)
    columns = {"place": place, "is_treated": is_treated.ravel(), "part": part}
    connection.register("assigned", pa.table({name: values[is_seen] for name, values in columns.items()}))
    connection.execute(_ASSIGNED.format(control=arms[0], treatment=arms[1]))
    found = connection.execute(exposures.arm_sums("ade_m")).fetchnumpy()
    values = np.zeros((*shape, 6))
    values.reshape(-1, 6)[found["arm"]] = np.stack([found[name] for name in ("units", "y", "yy", "x", "xx", "xy")], axis=-1)
    return np.cumsum(values, axis=2)


def _is_treated(seed: int, unit_ids: Sequence[str]) -> list[bool]:
    routed = canary("replay", _MODEL, _MODEL, 1.0, f"replication-{seed}")
    return [(arm := routed.arm_of(unit)) is not None and arm.variant == TREATMENT for unit in unit_ids]


def _decided(plan: ExperimentPlan, values: FloatArray, after_s: FloatArray, may_decide: BoolArray) -> tuple[Decision, int]:
    """The first decision on (2, L, 6) sums, and its look; at the last look every experiment has come to its horizon."""
    verdict, looked = None, -1
    for look in np.flatnonzero(may_decide).tolist():
        at = STARTED + timedelta(seconds=float(after_s[look]))
        arms = tuple(_figures(name, one) for name, one in zip((CONTROL, TREATMENT), values[:, look], strict=True))
        verdict = judge(plan, Figures(at, arms, last_outcome_at=at), STARTED, (), verdict if looked == look - 1 else None)
        looked = look
        if (found := decision(plan, verdict)) is not None:
            return found, look
    return Decision("inconclusive"), len(after_s) - 1


def _figures(name: str, sums: FloatArray) -> ArmFigures:
    units = int(sums[0])
    return ArmFigures(name, units, ArmSums(*map(float, sums)), predictions=units, due=units, joined=units)
