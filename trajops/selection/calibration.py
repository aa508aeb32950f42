"""Calibration: ellipses hold what they promise, over the whole horizon and at each step of it.

Windows of one agent resemble one another, so agents are what is counted: the share of each agent is one number. The interval over
these is Student's with two agents wholly inside and two wholly outside added (Agresti and Coull, "Approximate is better than exact
for interval estimation of binomial proportions", The American Statistician 52, 1998), or a few agents that agree would seem certain.
A share fails only where its whole interval lies outside of the band.
"""

import numpy as np

from trajops import metrics
from trajops.contracts.validations import CheckOut, MeasuredOut
from trajops.head_to_head import interval
from trajops.selection.results import between, judged, skipped
from trajops.selection.rules import Band, BatteryRule
from trajops.selection.subject import Subject
from trajops.trajectories import FloatArray

ADDED = (0.0, 0.0, 1.0, 1.0)


def check_calibration(subject: Subject, rules: BatteryRule) -> CheckOut:
    """Coverage of the nominal 50 % and 90 % ellipses, and of the latter by step."""
    rule, agents = rules.calibration, len(subject.agents)
    if subject.without_data is not None:
        return skipped("calibration", subject.without_data)
    if agents < rule.min_agents:
        return skipped("calibration", f"{agents} agents were held out; with fewer than {rule.min_agents} nothing is said.")
    forecast, truth_m = subject.forecaster.forecast(subject.windows.history_m), subject.windows.truth_m
    half, most = (metrics.inside(forecast, truth_m, level).astype(float) for level in (0.5, 0.9))
    figures = [
        _share(subject, "coverage at 50 %", half.mean(axis=1), rule.coverage_50),
        _share(subject, "coverage at 90 %", most.mean(axis=1), rule.coverage_90),
    ]
    dt_s = subject.windows.window.dt_s
    figures += [
        _share(subject, f"coverage at 90 % after {(step + 1) * dt_s:.1f} s", most[:, step], rule.step_coverage_90)
        for step in range(most.shape[1])
    ]
    shares = [100 * (figure.measured or 0.0) for figure in figures]
    return judged(
        "calibration",
        figures,
        f"The 50 % ellipse holds {shares[0]:.0f} % of the truth, the 90 % ellipse {shares[1]:.0f} % "
        f"({min(shares[2:]):.0f} to {max(shares[2:]):.0f} % by step), over {agents} agents.",
    )


def _share(subject: Subject, name: str, inside: FloatArray, band: Band) -> MeasuredOut:
    by_agent = subject.by_agent(inside)
    low, high = interval(np.concatenate((by_agent, ADDED)))
    return between(name, float(by_agent.mean()), (max(low, 0.0), min(high, 1.0)), at_least=band.low, at_most=band.high)
