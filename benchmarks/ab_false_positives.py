"""A/A experiments, looked at a hundred times while agents come in: how often any look finds a difference that is not there.

Beside the sequence stand the usual tests in the same harness, as negative controls: Welch's at every look, which is what people do, and
at the last look only, which is what it is made for. Guardrails and the check of the split run over A/A agents too.
"""

import numpy as np

from benchmarks.ab_simulation import AGENTS, LOOKS, MIN_HARMED_UNITS, MIN_UNITS, batches, evenly, is_enough, welch
from benchmarks.record import Measurement
from trajops.experiments.evidence import is_proved, log_harm, log_mismatch
from trajops.experiments.statistics import compare, tuning

EXPERIMENTS, SEED = 1_000, 5
ALPHA, SRM_ALPHA = 0.05, 0.01
# Of agents, at least one error; both arms alike.
HARMED = 0.03


def run(experiments: int = EXPERIMENTS, seed: int = SEED) -> Measurement:
    """Look at each a hundred times."""
    looks, rho, rng = evenly(), tuning(), np.random.default_rng(seed + 1)
    ever = dict.fromkeys(("sequence", "misses_truth", "harm", "peeking_t_test", "one_look_t_test", "srm", "guardrail"), 0)
    for batch in batches(seed, experiments):
        control, treatment = batch.arms(looks)
        enough = is_enough(control, treatment)
        estimate = compare(control, treatment)
        low, high = estimate.interval(rho)
        p_values = welch(control, treatment)
        # A tenth better: the interval is to hold this too.
        low_10, high_10 = compare(*batch.with_effect(-0.1).arms(looks)).interval(rho)
        harmed = rng.random(batch.error_m.shape) < HARMED
        failing = [np.cumsum(harmed & mine, axis=1)[:, np.asarray(looks) - 1] for mine in (~batch.is_treated, batch.is_treated)]
        counts = (np.asarray(control.units), np.asarray(treatment.units))
        found = {
            "sequence": ((low > 0) | (high < 0)) & enough,
            "misses_truth": ((low_10 > -0.1) | (high_10 < -0.1)) & enough,
            "harm": (estimate.at_least(rho) > 0) & is_enough(control, treatment, MIN_HARMED_UNITS),
            "peeking_t_test": (p_values < ALPHA) & enough,
            "one_look_t_test": p_values[:, -1:] < ALPHA,
            "srm": is_proved(log_mismatch(counts, (0.5, 0.5)), SRM_ALPHA),
            "guardrail": is_proved(log_harm(failing[0], failing[1], (0.5, 0.5)), ALPHA),
        }
        for name, is_found in found.items():
            ever[name] += int(is_found.any(axis=1).sum())
    shares = {name: count / experiments for name, count in ever.items()}
    details = {"experiments": experiments, "looks": LOOKS, "agents": AGENTS, "min_units": MIN_UNITS, **shares}
    return Measurement(shares["sequence"], details)
