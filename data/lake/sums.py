"""Sums that add up: what a range's figures are made of, from rows or from rollups, in the same columns.

A row is one time bucket of one source, model version and variant. Means are sums over counts. Quantiles come from logarithmic bins
(`BINS_PER_E` to a factor of e: a value is within 1.6 % of its bin's middle). Distinct agents come from the smallest hashes of a
bucket (a k-minimum-values sketch, Bar-Yossef et al. 2002): exact where all are kept, elsewhere with a standard error of 9 %.
"""

import math
from collections.abc import Mapping

from data.lake.schema import BEST_OUTCOME
from trajops.trajectories import DEFAULT_WINDOW

BINS_PER_E = 32
# Values below this share one bin.
SMALLEST = 1e-3
# Hashes of agents that a bucket of a rollup keeps.
KEPT_AGENTS = 128

_STEPS = range(1, DEFAULT_WINDOW.t_pred + 1)
# Means are over predictions whose whole horizon is known.
MEANS = ("ade_m", "fde_m", "nll", "inside_share", "cv_ade_m")
TYPES = {
    "at_ns": "BIGINT",
    "source": "VARCHAR",
    "model_name": "VARCHAR",
    "model_version": "INTEGER",
    "variant": "VARCHAR",
    "predictions": "BIGINT",
    "due": "BIGINT",
    "due_scored": "BIGINT",
    "scored": "BIGINT",
    "complete": "BIGINT",
    "misses": "BIGINT",
    **dict.fromkeys(MEANS, "DOUBLE"),
    "step_error_m": "DOUBLE[]",
    "step_count": "BIGINT[]",
    "latency_bins": "MAP(INTEGER, BIGINT)",
    "ade_bins": "MAP(INTEGER, BIGINT)",
    "agents": "UBIGINT[]",
}


def _bins(name: str) -> str:
    return f"histogram(floor(ln(greatest({name}, {SMALLEST})) * {BINS_PER_E})::INTEGER)"


_OUTCOME = ("steps_scored", "is_complete", "is_miss", *MEANS, "step_error_m")
_AGENTS = "list(DISTINCT hash(p.scene_id, p.agent_id))"


def of_rows(*, is_kept_short: bool, condition: str = "true") -> str:
    """Query for the sums of `predictions` and `outcomes`, for a WITH clause that defines both.

    Parameters of the query: `origin` and `width` of the buckets, and `due`: predictions received up to then should have truth.

    Args:
        is_kept_short: keep a sketch of the agents, and not all.
        condition: on the predictions `p`.
    """
    agents = f"list_sort({_AGENTS})[:{KEPT_AGENTS}]" if is_kept_short else _AGENTS
    whole = "FILTER (o.is_complete)"
    figures = [
        "$origin + (p.received_ns - $origin) // $width * $width AS at_ns",
        "p.source, p.model_name, p.model_version, p.variant",
        "count(*) AS predictions",
        "count(*) FILTER (p.received_ns <= $due) AS due",
        "count(o.steps_scored) FILTER (p.received_ns <= $due) AS due_scored",
        "count(o.steps_scored) AS scored",
        f"count(*) {whole} AS complete",
        "count(*) FILTER (o.is_complete AND o.is_miss) AS misses",
        *(f"sum(o.{name}) {whole} AS {name}" for name in MEANS),
        f"[{', '.join(f'sum(o.step_error_m[{step}])' for step in _STEPS)}] AS step_error_m",
        f"[{', '.join(f'count(o.step_error_m[{step}])' for step in _STEPS)}] AS step_count",
        f"{_bins('p.latency_ms')} AS latency_bins",
        f"{_bins('o.ade_m')} {whole} AS ade_bins",
        f"{agents} AS agents",
    ]
    best = f"(SELECT prediction_id, {', '.join(_OUTCOME)} FROM outcomes {BEST_OUTCOME})"  # noqa: S608 - names of our own schema
    return (
        f"SELECT {', '.join(figures)} FROM predictions p LEFT JOIN {best} o ON o.prediction_id = p.prediction_id "  # noqa: S608
        f"WHERE {condition} GROUP BY at_ns, p.source, p.model_name, p.model_version, p.variant"
    )


def of_predictions(condition: str) -> str:
    """The same of `predictions` alone: latency by bucket."""
    return (
        f"SELECT $origin + (p.received_ns - $origin) // $width * $width AS at_ns, "  # noqa: S608
        f"{_bins('p.latency_ms')} AS latency_bins FROM predictions p WHERE {condition} GROUP BY at_ns"
    )


# Columns of a map of bins, a row for each bin.
UNNESTED = "unnest(map_keys({name})) AS number, unnest(map_values({name})) AS entries"


def unnested(name: str, by: str) -> str:
    """Query for the bins of `sums`, a row for each bin of each of its rows, beside some columns."""
    return f"SELECT {by}, {UNNESTED.format(name=name)} FROM sums"  # noqa: S608 - names of our own schema


def distinct_agents(by: str) -> str:
    """Query for the number of distinct agents of the rows of `sums`, by some columns.

    Below the smallest of the largest hashes that full sketches have kept, every hash is known: their number, over the share of all
    hashes that lie below it, is the number of agents.
    """
    return f"""
        SELECT {by}, CASE WHEN any_value(theta) IS NULL THEN count(DISTINCT hash)
            ELSE round(count(DISTINCT hash) / (any_value(theta) / 2.0^64)) END::BIGINT AS distinct_agents
        FROM (
            SELECT {by}, theta, unnest(CASE WHEN theta IS NULL THEN agents ELSE list_filter(agents, lambda hash: hash <= theta) END) AS hash
            FROM sums JOIN (
                SELECT {by}, min(agents[{KEPT_AGENTS}]) FILTER (len(agents) = {KEPT_AGENTS} AND is_rolled) AS theta FROM sums GROUP BY {by}
            ) USING ({by})
        ) GROUP BY {by}
    """  # noqa: S608 - names of our own schema


def quantile(bins: Mapping[int, int], share: float) -> float | None:
    """A quantile of binned values, with the values of a bin spread evenly over its logarithm.

    Args:
        bins: counts by bin.
        share: between 0 and 1.

    Returns:
        The value; None where there is none.
    """
    wanted, below = share * sum(bins.values()), 0
    for number in sorted(bins):
        if below + bins[number] >= wanted:
            inside = (wanted - below) / bins[number] if bins[number] > 1 else 0.5
            return math.exp((number + inside) / BINS_PER_E)
        below += bins[number]
    return None
