"""E-processes for counts: evidence that may be looked at after every unit, and stopped on.

Under the null hypothesis an e-process ever exceeds 1/α with a probability of α at most (Ville 1939). Each is a likelihood ratio of a
mixture against the null: for several arms after M. Lindon and A. Malek, "Anytime-valid inference for multinomial count data" (NeurIPS
2022), for the share of a guardrail with a mixture over one side, after H. Robbins, "Statistical methods related to the law of the
iterated logarithm" (1970).
"""

from collections.abc import Sequence
from math import lgamma, log
from typing import Any

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy
from scipy.stats import beta

from trajops.experiments.sums import Figures

# How near to the expected shares a mismatch is looked for: as if so many units had been seen. A lost twentieth of an arm is near.
CONCENTRATION = 1_000.0
# The sum of 1 / (n ln² n) over all n from 2 on.
_SUM = 2.10974


def log_mismatch(counts: Sequence[Figures], weights: Sequence[float], concentration: float = CONCENTRATION) -> Any:
    """Logarithm of the evidence that units do not fall into arms as the weights say (sample-ratio mismatch).

    Args:
        counts: units of each arm.
        weights: their expected shares.
        concentration: of the Dirichlet mixture.
    """
    total = sum(counts)
    shares = np.asarray(weights, float) / sum(weights)
    prior = concentration * shares
    log_marginal = gammaln(concentration) - gammaln(total + concentration)
    for count, alpha, share in zip(counts, prior, shares, strict=True):
        log_marginal = log_marginal + gammaln(count + alpha) - gammaln(alpha) - xlogy(count, share)
    return log_marginal


def log_harm(harmed_control: Figures, harmed_treatment: Figures, weights: tuple[float, float], tolerance: float = 1.0) -> Any:
    """Logarithm of the evidence that a unit of the treatment comes to harm more than `tolerance` times as often as one of the control.

    Of the units that came to harm, the arm of each is as random as its assignment where both arms harm alike, however the rate changes
    in time. So the number among them that are of the treatment is binomial; the mixture is over all shares above that of the null.

    Args:
        harmed_control: units of the control with at least one failure.
        harmed_treatment: of the treatment.
        weights: expected shares of units, control and treatment.
        tolerance: ratio of rates that is still no harm.
    """
    null = weights[1] * tolerance / (weights[0] + weights[1] * tolerance)
    # A wide mixture: harm is seldom a little one, and is to be seen in a few units.
    prior_b, prior_a = 2.0 * null, 2.0 * (1 - null)
    posterior_b, posterior_a = prior_b + np.asarray(harmed_treatment, float), prior_a + np.asarray(harmed_control, float)
    log_ratio = betaln(posterior_b, posterior_a) - betaln(prior_b, prior_a)
    log_ratio = log_ratio + beta.logsf(null, posterior_b, posterior_a) - beta.logsf(null, prior_b, prior_a)
    return log_ratio - xlogy(harmed_treatment, null) - xlog1py(harmed_control, -null)


def log_run(run: int, trials: int, missing: int) -> float:
    """Logarithm of the probability that chance puts so many of the trials that miss at the end, one after the other.

    It is that of a random order of the trials, (missing choose run) / (trials choose run): the share of trials that miss need not be known,
    and is not guessed.

    Args:
        run: trials at the end, all of which miss.
        trials: of all, these among them.
        missing: of all that miss, these among them.
    """
    return lgamma(missing + 1) - lgamma(missing - run + 1) - lgamma(trials + 1) + lgamma(trials - run + 1)


def log_level(alpha: float, trials: int) -> float:
    """Logarithm of the part of `alpha` that is spent after so many trials: of however many there will be, the parts add up to it.

    A run may end with each trial, so each has a part, of 1 / (n ln² n): a union bound that holds however long it goes on and however often
    somebody looks.
    """
    n = max(trials, 1) + 1
    return log(alpha / _SUM) - log(n) - 2 * log(log(n))


def is_proved(log_evidence: Figures, alpha: float) -> Any:
    """Whether evidence suffices at level `alpha`."""
    return log_evidence >= -np.log(alpha)
