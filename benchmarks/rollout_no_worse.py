"""Versions that are as much worse as the margin of `quick` allows, or about as good: who is let through, and after how many agents.

Both ways to show accuracy are tried over the same agents: by pairs, as a shadow does, and by halves of the traffic, as a canary does.
Beside them stands a paired test that is looked at as often and pays nothing for that, as a negative control.

A version may also be worse for a few agents alone, and much so. Where it is else like the champion, the differences of the others say
nothing of them, and no interval does before the first of them comes: what then gets through is told, by how many agents were waited for.
"""

from pathlib import Path

import numpy as np
from scipy.stats import norm

from benchmarks.ab_simulation import batches, first_look, is_enough, paired
from benchmarks.record import Measurement
from trajops import configs
from trajops.experiments.statistics import compare, compare_pairs, tuning
from trajops.experiments.sums import PairSums
from trajops.rollouts.lifecycle import Stage
from trajops.rollouts.rules import RolloutPolicy, RolloutRules
from trajops.services.rollout_steps import stage_plan
from trajops.trajectories import FloatArray

ROLLOUTS, SEED, AGENTS, EVERY = 1_000, 8, 4_000, 20
POLICY = "quick"
POWER = 0.8
# One agent in twenty is forecast worse by twenty margins; for the others both versions differ by a twentieth.
FEW, OWN, WAITED_FOR = 0.05, 0.05, (20, 50, 100)


def run(rollouts: int = ROLLOUTS, seed: int = SEED) -> Measurement:
    """Roll out both kinds of versions."""
    policy = configs.load(Path("configs/rollouts.yaml"), RolloutRules).policy(POLICY)
    assert policy is not None
    worse, as_good = (_let_through(policy, change, rollouts, seed) for change in (policy.margin, 0.0))
    details = {
        "rollouts": rollouts,
        "policy": policy.name,
        "margin": policy.margin,
        "looks": AGENTS // EVERY,
        **{f"{way}_lets_worse_through": float(np.mean(np.isfinite(found))) for way, found in worse.items()},
        **{f"{way}_agents_for_80_percent": float(np.quantile(found, POWER, method="higher")) for way, found in as_good.items()},
        **{f"{way}_median_agents": float(np.median(found)) for way, found in as_good.items()},
        **{f"worse_for_few_let_through_from_{least}_agents": share for least, share in _worse_for_few(policy, rollouts, seed).items()},
    }
    return Measurement(details["shadow_lets_worse_through"], details)


def _let_through(policy: RolloutPolicy, change: float, rollouts: int, seed: int) -> dict[str, FloatArray]:
    """(R,) agents after which a version that is worse by `change` is let through, way by way; infinite where it never is."""
    margin = policy.margin
    plans = {stage: stage_plan(policy, stage, 1, 2) for stage in (Stage.SHADOW, Stage.CANARY)}
    looks, rng = list(range(EVERY, AGENTS + 1, EVERY)), np.random.default_rng(seed + 1)
    found: dict[str, list[FloatArray]] = {"shadow": [], "canary": [], "peeking_paired_test": []}
    for batch in batches(seed, rollouts, AGENTS, size=50):
        plan = plans[Stage.SHADOW]
        pairs = compare_pairs(paired(batch, rng, change, looks))
        least = plan.stop.min_units if policy.shadow is None else max(plan.stop.min_units, policy.shadow.min_units)
        is_time = np.asarray(looks) >= least
        high = pairs.interval(tuning(plan.tuned_units, plan.alpha), plan.alpha)[1]
        found["shadow"].append(first_look((high < margin) & is_time, looks))
        peeked = np.expm1(pairs.centre + norm.ppf(1 - plan.alpha) * np.sqrt(pairs.variance / pairs.units))
        found["peeking_paired_test"].append(first_look((peeked < margin) & is_time, looks))
        plan = plans[Stage.CANARY]
        arms = batch.with_effect(change).arms(looks)
        high = compare(*arms).interval(tuning(plan.tuned_units, plan.alpha), plan.alpha)[1]
        found["canary"].append(first_look((high < margin) & is_enough(*arms, plan.stop.min_units), looks))
    return {way: np.concatenate(parts) for way, parts in found.items()}


def _worse_for_few(policy: RolloutPolicy, rollouts: int, seed: int) -> dict[int, float]:
    """Share of the shadows that let a version through which is worse by the margin, all of it by a few agents; by units waited for."""
    plan, rng = stage_plan(policy, Stage.SHADOW, 1, 2), np.random.default_rng(seed + 2)
    looks = list(range(EVERY, AGENTS + 1, EVERY))
    a = rng.lognormal(0.0, 0.6, (rollouts, AGENTS))
    b = a * np.exp(rng.normal(0.0, OWN, a.shape)) * np.where(rng.random(a.shape) < FEW, 1 + policy.margin / FEW, 1.0)
    sums = (np.cumsum(one, axis=1)[:, np.asarray(looks) - 1] for one in (np.ones_like(a), a, b, a * a, b * b, a * b))
    found = compare_pairs(PairSums(*sums))
    high, harm = found.interval(tuning(plan.tuned_units, plan.alpha), plan.alpha)[1], found.at_least(tuning(plan.tuned_units, plan.alpha))
    worse = first_look((harm > 0) & (np.asarray(looks) >= plan.stop.min_harmed_units), looks)
    return {least: float(np.mean(first_look((high < policy.margin) & (np.asarray(looks) >= least), looks) < worse)) for least in WAITED_FOR}
