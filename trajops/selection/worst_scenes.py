"""Worst scenes: a good mean may hide agents that a version is far off with.

The mean over the worst tenth of the agents is compared with the mean over the worst tenth of another model, each by its own
errors: choosing the agents by the errors of one of them would make that one look worse than it is.
"""

import math

import numpy as np

from trajops import metrics
from trajops.contracts.validations import CheckOut
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.head_to_head import interval
from trajops.ports import Forecaster
from trajops.selection.results import ADE_BY_AGENT, around, judged, measured, skipped
from trajops.selection.rules import BatteryRule
from trajops.selection.subject import Subject
from trajops.trajectories import FloatArray


def check_worst_scenes(subject: Subject, rules: BatteryRule) -> CheckOut:
    """The worst agents, and the worst scene where there are several, against constant velocity and the champion."""
    rule = rules.worst_scenes
    if subject.without_data is not None:
        return skipped("worst_scenes", subject.without_data)
    agents = len(subject.agents)
    if agents < rule.min_agents:
        return skipped("worst_scenes", f"{agents} agents were held out; with fewer than {rule.min_agents} nothing is said.")
    baseline = ConstantVelocity(window=subject.forecaster.window)
    mine, straight = agent_ade(subject, subject.forecaster), agent_ade(subject, baseline)
    worst_m, straight_m = tail_mean(mine, rule.share), tail_mean(straight, rule.share)
    figures = [
        around(ADE_BY_AGENT, float(mine.mean()), interval(mine), "m"),
        measured("ADE of the worst agents", worst_m, "m"),
        measured("the same over constant velocity's worst", _ratio(worst_m, straight_m), at_most=rule.baseline_ratio),
    ]
    said = f"{worst_m:.2f} m where it is worst, constant velocity {straight_m:.2f} m"
    if subject.champion is not None:
        champion_m = tail_mean(agent_ade(subject, subject.champion), rule.share)
        figures.append(measured("the same over the champion's worst", _ratio(worst_m, champion_m), at_most=rule.champion_ratio))
        said += f", the champion {champion_m:.2f} m"
    scenes = np.array([name.partition("\0")[0] for name in subject.agents])
    by_scene = {
        scene: _ratio(float(mine[scenes == scene].mean()), float(straight[scenes == scene].mean()))
        for scene in np.unique(scenes).tolist()
        if np.count_nonzero(scenes == scene) >= rule.min_agents
    }
    if len(by_scene) > 1:
        scene = max(by_scene, key=lambda name: by_scene[name])
        figures.append(measured(f"ADE over constant velocity's in the scene {scene}", by_scene[scene], at_most=rule.scene_ratio))
    return judged("worst_scenes", figures, f"Of {agents} agents, the worst {100 * rule.share:.0f} %: {said}.")


def agent_ade(subject: Subject, forecaster: Forecaster) -> FloatArray:
    """(A,) mean ADE of each agent, metres."""
    forecast = forecaster.forecast(subject.windows.history_m)
    return subject.by_agent(metrics.ade(forecast.best_m, subject.windows.truth_m))


def tail_mean(values: FloatArray, share: float) -> float:
    """Mean of the largest share of some values, one of them at least."""
    count = max(1, math.ceil(share * len(values) - 1e-9))
    return float(np.sort(values)[-count:].mean())


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else (1.0 if value == 0 else math.inf)
