"""Figures beside their limits, and the result of a check that follows from them."""

import math
from collections.abc import Sequence

from trajops.contracts.validations import CheckName, CheckOut, MeasuredOut

# The figure that a card takes its interval from.
ADE_BY_AGENT = "ADE, mean over the agents"


def measured(name: str, value: float, unit: str = "", *, at_least: float | None = None, at_most: float | None = None) -> MeasuredOut:
    """A figure beside its limits; one that is not finite is within none."""
    is_within = math.isfinite(value) and (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    shown = float(value) if math.isfinite(value) else None
    return MeasuredOut(name=name, unit=unit, measured=shown, at_least=at_least, at_most=at_most, is_within=is_within)


def around(name: str, value: float, interval: tuple[float, float], unit: str = "") -> MeasuredOut:
    """A figure with its interval and without limits."""
    low, high = (end if math.isfinite(end) else None for end in interval)
    return measured(name, value, unit).model_copy(update={"low": low, "high": high})


def between(name: str, value: float, interval: tuple[float, float], *, at_least: float, at_most: float) -> MeasuredOut:
    """A share with its interval; it is within the band unless the whole interval lies outside of it."""
    low, high = interval
    is_within = math.isfinite(value) and high >= at_least and low <= at_most
    return around(name, value, interval).model_copy(update={"at_least": at_least, "at_most": at_most, "is_within": is_within})


def judged(check: CheckName, figures: Sequence[MeasuredOut], well: str) -> CheckOut:
    """Passed where every figure is within its limits, else failed; then the sentence names those that are not."""
    beyond = [figure for figure in figures if not figure.is_within]
    if not beyond:
        return CheckOut(check=check, state="passed", sentence=well, figures=list(figures))
    return CheckOut(check=check, state="failed", sentence="; ".join(map(words, beyond)), figures=list(figures))


def skipped(check: CheckName, reason: str, figures: Sequence[MeasuredOut] = ()) -> CheckOut:
    """A check that says nothing, and why."""
    return CheckOut(check=check, state="skipped", sentence=reason, figures=list(figures))


def failed(check: CheckName, sentence: str, figures: Sequence[MeasuredOut] = ()) -> CheckOut:
    """A check that failed for what no figure says."""
    return CheckOut(check=check, state="failed", sentence=sentence, figures=list(figures))


def words(figure: MeasuredOut) -> str:
    """A figure and its limits, for example `translation is 0.53 m, allowed at most 0.01 m`."""
    unit = f" {figure.unit}" if figure.unit else ""
    value = "not a finite number" if figure.measured is None else f"{figure.measured:.4g}{unit}"
    around = f" (95 % interval {figure.low:.3g} to {figure.high:.3g})" if figure.low is not None and figure.high is not None else ""
    limits = [f"at least {figure.at_least:g}{unit}"] if figure.at_least is not None else []
    limits += [f"at most {figure.at_most:g}{unit}"] if figure.at_most is not None else []
    return f"{figure.name} is {value}{around}" + (f", allowed {' and '.join(limits)}" if limits else "")
