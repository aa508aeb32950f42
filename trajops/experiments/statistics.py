"""How much better or worse a treatment is, with intervals that stay valid however often someone looks.

The effect is the relative change of the mean over units, `mean_B / mean_A - 1`. Its logarithm is asymptotically normal (delta method),
and the asymptotic confidence sequence of I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy and A. Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences" (2021, arXiv:2103.06476), holds at all numbers of units at once. The covariate takes out of the
variance what it explains (CUPED: A. Deng, Y. Xu, R. Kohavi, T. Walker, WSDM 2013).

All functions take numbers or arrays of one shape.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from trajops.errors import InvalidInput
from trajops.experiments.sums import ArmSums, Figures, PairSums

Scale = Literal["log", "ratio"]
ALPHA = 0.05
# The sequence is narrowest about here; it is valid everywhere.
TUNED_UNITS = 1_000.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A relative change that has been measured.

    Attributes:
        units: of all arms.
        centre: the effect; the logarithm of the ratio of means on the `log` scale, the relative change on the `ratio` scale.
        variance: of the centre, times `units`; NaN where too little is known.
        scale: of both.
    """

    units: Any
    centre: Any
    variance: Any
    scale: Scale = "log"

    @property
    def change(self) -> Any:
        """The relative change: -0.1 is 10 % lower."""
        return np.expm1(self.centre) if self.scale == "log" else self.centre

    def interval(self, rho: float, alpha: float = ALPHA) -> tuple[Any, Any]:
        """Ends of the two-sided sequence for the relative change at `1 - alpha`; without end where too little is known."""
        half = _endless(np.sqrt(self.variance) * half_width(self.units, rho, alpha))
        return self._relative(self.centre - half), self._relative(self.centre + half)

    def at_least(self, rho: float, alpha: float = ALPHA) -> Any:
        """Lower end of the one-sided sequence at `1 - alpha`."""
        return self._relative(self.centre - _endless(np.sqrt(self.variance) * one_sided_width(self.units, rho, alpha)))

    def at_most(self, rho: float, alpha: float = ALPHA) -> Any:
        """Upper end of the one-sided sequence at `1 - alpha`."""
        return self._relative(self.centre + _endless(np.sqrt(self.variance) * one_sided_width(self.units, rho, alpha)))

    def _relative(self, end: Any) -> Any:
        return np.expm1(end) if self.scale == "log" else end


def tuning(units: float = TUNED_UNITS, alpha: float = ALPHA) -> float:
    """The ρ with which the two-sided sequence is narrowest at so many units (eq. 161 there); fixed before an experiment begins."""
    return float(np.sqrt((-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / units))


def half_width(units: Figures, rho: float, alpha: float = ALPHA) -> Any:
    """Half the width of the two-sided sequence of a mean with variance 1 (eq. 9 there)."""
    seen = np.maximum(units, 1)
    grown = seen * rho**2 + 1
    return np.sqrt(2 * grown * np.log(np.sqrt(grown) / alpha)) / (seen * rho)


def one_sided_width(units: Figures, rho: float, alpha: float = ALPHA) -> Any:
    """How far the one-sided sequence of a mean with variance 1 is from it (appendix B there)."""
    seen = np.maximum(units, 1)
    grown = seen * rho**2 + 1
    return np.sqrt(2 * grown * np.log(1 + np.sqrt(grown) / (2 * alpha))) / (seen * rho)


def compare(control: ArmSums, treatment: ArmSums, *, scale: Scale = "log") -> Estimate:
    """The treatment's change of the mean, with what the covariate explains taken out.

    The slope is common to both arms, and means are moved to the covariate's common mean.
    """
    units = control.units + treatment.units
    with np.errstate(divide="ignore", invalid="ignore"):
        (yy_a, xx_a, xy_a), (yy_b, xx_b, xy_b) = control.spread(), treatment.spread()
        xx = xx_a + xx_b
        slope = np.where(xx > 0, (xy_a + xy_b) / np.where(xx > 0, xx, 1), 0.0)
        middle = (control.x + treatment.x) / np.maximum(units, 1)
        means, variances = [], []
        for arm, yy, xx_arm, xy_arm in ((control, yy_a, xx_a, xy_a), (treatment, yy_b, xx_b, xy_b)):
            means.append(arm.mean - slope * (arm.x / np.maximum(arm.units, 1) - middle))
            left = np.maximum(yy - 2 * slope * xy_arm + slope**2 * xx_arm, 0.0)
            variances.append(np.where(np.asarray(arm.units) > 1, left / np.maximum(arm.units - 1, 1), np.nan) / np.maximum(arm.units, 1))
        return _change(units, means[0], means[1], variances[0], variances[1], 0.0, scale)


def compare_pairs(pairs: PairSums, *, scale: Scale = "log") -> Estimate:
    """The treatment's change where both models answered for each unit."""
    n = np.asarray(pairs.units, float)[()]  # no pairs yet: nothing is known, and nothing raised
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(n > 1, (n - 1) * n, np.nan)
        variance_a, variance_b, covariance = (
            (pairs.aa - pairs.a**2 / n) / freedom,
            (pairs.bb - pairs.b**2 / n) / freedom,
            (pairs.ab - pairs.a * pairs.b / n) / freedom,
        )
        return _change(n, pairs.a / n, pairs.b / n, variance_a, variance_b, covariance, scale)


def _change(units: Any, mean_a: Any, mean_b: Any, variance_a: Any, variance_b: Any, covariance: Any, scale: Scale) -> Estimate:
    """Delta method; variances are those of the means."""
    ratio = mean_b / mean_a
    relative = variance_b / mean_b**2 + variance_a / mean_a**2 - 2 * covariance / (mean_a * mean_b)
    is_known = (mean_a > 0) & (mean_b > 0) & (relative >= 0)
    log = np.log(np.where(is_known, ratio, np.nan))
    spread = np.where(is_known, relative, np.nan) * units
    return (
        Estimate(units, log, spread)
        if scale == "log"
        else Estimate(units, np.where(is_known, ratio, np.nan) - 1, spread * ratio**2, "ratio")
    )


def _endless(half: Any) -> Any:
    return np.where(np.isfinite(half), half, np.inf)


# Planning


def units_needed(change: float, variance: float, rho: float, *, power: float = 0.8, alpha: float = ALPHA, margin: float = 0.0) -> float:
    """Units of all arms with which the interval lies beyond `margin` in a share `power` of experiments; infinite where that is never.

    Args:
        change: true relative change, for example -0.1.
        variance: of the log effect, times units, as `Estimate.variance`; of two equal arms, twice the sum of the squares of their
            coefficients of variation.
        rho: of the sequence.
        power: share.
        alpha: of the sequence.
        margin: relative change that is to be excluded; 0: any change.

    Raises:
        InvalidInput: if change or power make no sense.
    """
    if change <= -1 or not 0 < power < 1 or variance < 0:
        raise InvalidInput("a relative change is above -1, a power between 0 and 1, and a variance not negative")
    distance = abs(np.log1p(change) - np.log1p(margin))
    deviation, z = np.sqrt(variance), norm.ppf(power)

    def lacks(log_units: float) -> float:
        units = np.exp(log_units)
        return float(deviation * (half_width(units, rho, alpha) + z / np.sqrt(units)) - distance)

    most = np.log(1e12)
    if distance == 0 or lacks(most) > 0:
        return float("inf")
    return float(np.exp(brentq(lacks, 0.0, most))) if lacks(0.0) > 0 else 1.0


def detectable(units: float, variance: float, rho: float, *, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Smallest relative improvement that so many units show in a share `power` of experiments: a positive number below 1."""
    if units < 2 or not variance >= 0:
        return 1.0
    return float(-np.expm1(-np.sqrt(variance) * (half_width(units, rho, alpha) + norm.ppf(power) / np.sqrt(units))))
