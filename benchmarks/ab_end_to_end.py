"""False positives, power, time to the decision and to the rollback, end to end: API, lake and verdict over recorded tracks.

Two parts. Many whole experiments run at once in the product (`ab_replay`): some compare the champion with itself, some with a model that is
truly better, some with one that is truly worse. And because a rate needs more of them than a benchmark has time
for, what a paired shadow has recorded in the same run is assigned anew a thousand times (`ab_rerandomised`).

Shares stand with how many experiments they are of, and the interval that so many leave (Clopper and Pearson, 95 %).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.ab_replay import Ended, Floor, a_floor, a_plan, a_shadow
from benchmarks.ab_rerandomised import CONTROL, TREATMENT, Replayed, record, rerandomised, true_change
from benchmarks.ab_simulation import MIN_UNITS, is_enough, welch
from benchmarks.product import Fit
from benchmarks.record import Measurement
from data.lake.experiment_source import LakeExperiments
from trajops.contracts.experiments import ExperimentOut

CHAMPION = Fit("gaussian_mlp", 1_000)


@dataclass(frozen=True)
class Size:
    """How much is run, and of what.

    Attributes:
        champion: has learnt from a ninth of the windows that the better one has learnt from.
        better_one: truly better.
        worse_one: truly worse; it has learnt nothing.
        same: experiments of the champion with itself.
        better: with a better model.
        worse: with a worse model.
        units: after which each ends without a decision.
        agents_s: agents that come in a second, of one experiment.
        seconds: after which no more come.
        shadowed: share of all agents that a shadow is enrolled for.
        paired: agents of the shadow that are assigned anew.
        replications: how often.
        looks: at each.
    """

    champion: str | Fit = CHAMPION
    better_one: str | Fit = "gaussian_mlp"
    worse_one: str | Fit = "constant_velocity"
    same: int = 12
    better: int = 6
    worse: int = 6
    units: int = 1_000
    agents_s: float = 9.0
    seconds: float = 150.0
    shadowed: float = 0.3
    paired: int = 2_000
    replications: int = 1_000
    looks: int = 50


def run(size: Size | None = None) -> Measurement:
    """Run both parts."""
    size = size or Size()
    families = (size.champion, *[size.better_one] * (size.better + 1), *[size.worse_one] * size.worse)
    shadow, better = 2, range(3, 3 + size.better)
    worse = range(better.stop, better.stop + size.worse)
    with a_floor(*families) as floor:
        true = {name: floor.true_change(1, some[0]) for name, some in (("better", better), ("worse", worse)) if some}
        shadowed = floor.launch(a_shadow(1, shadow, size.shadowed))
        experiments = _launched(floor, {"same": [1] * size.same, "better": better, "worse": worse}, size.units)
        ended = floor.play(experiments, size.agents_s * len(experiments), size.seconds)
        paired = floor.ended(shadowed)
        recorded = record(floor.lake, shadowed, size.paired)
        whole = _of_whole(floor, ended, true)
    looks = np.linspace(size.paired / size.looks, size.paired, size.looks).astype(int).tolist()
    plan = a_plan("again", 1, shadow, None, size.paired)
    arms = {"same": (CONTROL, CONTROL), "better": (CONTROL, TREATMENT), "worse": (TREATMENT, CONTROL)}
    again = {name: rerandomised(recorded, plan, size.replications, looks, arms=columns) for name, columns in arms.items()}
    details = {
        **whole,
        "shadow_decided": paired.decided,
        "shadow_agents": paired.verdict.arms[0].scored_units,
        "assigned_anew": size.replications,
        "looks": size.looks,
        **_of_again(again, size.replications, true_change(recorded)),
    }
    return Measurement(details["again_false_positives"], details)


def _launched(floor: Floor, versions: Mapping[str, Sequence[int]], units: int) -> list[ExperimentOut]:
    """An experiment for each version, by the name of its kind; none shares a unit with another."""
    wanted = [(name, version) for name, of_kind in versions.items() for version in of_kind]
    ends = np.linspace(0, 1, len(wanted) + 1).round(3).tolist()
    return [floor.launch(a_plan(name, 1, version, (ends[n], ends[n + 1]), units)) for n, (name, version) in enumerate(wanted)]


def _of_whole(floor: Floor, ended: Sequence[Ended], true: dict[str, float]) -> dict[str, Any]:
    """Figures of the experiments that ran in the product."""
    same, better, worse = ([one for one in ended if one.name == name] for name in ("same", "better", "worse"))
    details: dict[str, Any] = {}
    details |= _share("false_positives", sum(one.decided in {"better", "worse", "guardrail"} for one in same), len(same))
    details |= _share("peeking_t_test", sum(_peeks(floor, one) for one in same), len(same))
    details["invalid"] = sum(one.decided == "invalid" for one in ended)
    for name, wanted, found in (("better", "better", better), ("worse", "worse", worse)):
        right = [one for one in found if one.decided == wanted]
        details |= _share(f"{name}_found", len(right), len(found))
        if right:
            changes = [change for one in right if (change := one.verdict.effects[0].change) is not None]
            details[f"{name}_median_agents"] = float(np.median([one.verdict.units for one in right]))
            details[f"{name}_median_s"] = round(float(np.median([one.seconds for one in right])), 1)
            details[f"{name}_change_said"] = round(float(np.median(changes)), 4)
            details[f"{name}_change_offline"] = round(true[name], 4)
    return details


def _peeks(floor: Floor, ended: Ended, looks: int = 30) -> bool:
    """Whether Welch's test, on the figures that the product reads, finds a difference at any of some looks while it ran."""
    experiment = ended.experiment
    assert experiment.started_at is not None
    source = LakeExperiments(floor.lake)
    for look in range(1, looks + 1):
        at = experiment.started_at + timedelta(seconds=ended.seconds * look / looks)
        control, treatment = source.figures(experiment.experiment_id, experiment.plan, experiment.started_at, at, float("inf")).arms
        if is_enough(control.sums, treatment.sums, MIN_UNITS) and float(welch(control.sums, treatment.sums)) < experiment.plan.alpha:
            return True
    return False


def _of_again(again: Mapping[str, Replayed], replications: int, change: float) -> dict[str, Any]:
    """Figures of what was assigned anew."""
    same = again["same"]
    details = _share("again_false_positives", same.share("better", "worse"), replications)
    details["again_false_rollbacks"] = same.share("worse") / replications
    details |= _share("again_peeking_t_test", same.peeking(), replications)
    details |= _share("again_one_look_t_test", same.one_look(), replications)
    details |= _share("again_invalid", same.share("invalid"), replications)
    for name, true in (("better", change), ("worse", 1 / (1 + change) - 1)):
        found = again[name]
        details |= _share(f"again_{name}_found", found.share(name), replications)
        details |= _share(f"again_{name}_misses_truth", found.misses(true), replications)
        agents = found.agents(name)
        details[f"again_{name}_change_offline"] = round(true, 4)
        details[f"again_{name}_median_agents"] = float(np.median(agents)) if len(agents) else None
        details[f"again_{name}_p90_agents"] = float(np.quantile(agents, 0.9)) if len(agents) else None
    return details


def _share(name: str, count: int, of: int) -> dict[str, Any]:
    """A share, with what it is of and the interval that so many leave."""
    if not of:
        return {}
    ends = binomtest(count, of).proportion_ci(method="exact")
    return {name: count / of, f"{name}_of": [count, of], f"{name}_95": [round(float(ends.low), 4), round(float(ends.high), 4)]}
