"""How many agents it takes to find a difference that is there: an improvement, beside the calculator's promise, and harm."""

from typing import Any

import numpy as np

from benchmarks.ab_simulation import AGENTS, LOOKS, MIN_HARMED_UNITS, batches, evenly, first_look, is_enough, paired
from benchmarks.record import Measurement
from trajops.experiments.statistics import compare, compare_pairs, tuning, units_needed
from trajops.trajectories import FloatArray

EXPERIMENTS, SEED = 1_000, 6
POWER = 0.8
HARM = 0.5


def run(experiments: int = EXPERIMENTS, seed: int = SEED) -> Measurement:
    """Let each experiment run with each effect."""
    rho, rng = tuning(), np.random.default_rng(seed + 1)
    looks, early = evenly(), list(range(10, 601, 10))
    better: list[FloatArray] = []
    shadow: list[FloatArray] = []
    harmed: list[FloatArray] = []
    harmed_treated: list[FloatArray] = []
    variances: list[float] = []
    for batch in batches(seed, experiments):
        control, treatment = batch.with_effect(-0.1).arms(looks)
        estimate = compare(control, treatment)
        variances.append(float(np.mean(estimate.variance[:, -1])))
        better.append(first_look((estimate.interval(rho)[1] < 0) & is_enough(control, treatment), looks))
        shadow.append(first_look(compare_pairs(paired(batch, rng, -0.1, early)).interval(rho)[1] < 0, early))
        control, treatment = batch.with_effect(HARM).arms(early)
        is_harm = (compare(control, treatment).at_least(rho) > 0) & is_enough(control, treatment, MIN_HARMED_UNITS)
        harmed.append(first_look(is_harm, early))
        treated = np.asarray(treatment.units)
        harmed_treated.append(np.where(is_harm.any(axis=1), treated[np.arange(len(treated)), is_harm.argmax(axis=1)], np.inf))
    found = np.concatenate(better)
    share = float(np.mean(found <= AGENTS))
    promised = units_needed(-0.1, float(np.mean(variances)), rho, power=POWER)
    details: dict[str, Any] = {
        "experiments": experiments,
        "looks": LOOKS,
        "agents_for_80_percent": float(np.quantile(found, POWER, method="higher")),
        "calculator_agents": round(promised),
        "shadow_agents_for_80_percent": float(np.quantile(np.concatenate(shadow), POWER, method="higher")),
        "harm_median_agents": float(np.median(np.concatenate(harmed))),
        "harm_p90_agents": float(np.quantile(np.concatenate(harmed), 0.9)),
        "harm_median_treated_agents": float(np.median(np.concatenate(harmed_treated))),
        "harm_p90_treated_agents": float(np.quantile(np.concatenate(harmed_treated), 0.9)),
    }
    return Measurement(share, details)
