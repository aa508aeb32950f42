"""What is said of versions: how they perform, and how their rollouts and experiments stand."""

from collections.abc import Iterator
from datetime import timedelta

from trajops.alerts.signals import Signal
from trajops.contracts.performance import Metric
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.model_ref import ModelRef
from trajops.experiments.lifecycle import ExperimentState
from trajops.rollouts.lifecycle import ACTIVE, RolloutState
from trajops.rollouts.waiting import wanted
from workers.signals.sources import CHECKED_WITHIN, View, source

JUDGED = {"as_validated", "better", "warning", "degraded"}
VERDICTS_ON: dict[str, set[Metric]] = {
    "accuracy_verdict": {"ade_m", "fde_m", "miss_rate"},
    "intervals_verdict": {"coverage", "nll", "radius_m"},
}
# So long the end of a rollout is news.
LATELY = timedelta(hours=1)
MOST_PATHS = 3
MOST_ROLLOUTS = 10


@source("accuracy_verdict", "intervals_verdict")
def _performance(view: View) -> Iterator[Signal]:
    """Of each version that answers and was checked of late, its errors and its ellipses: 0 as validated or better, 1 a warning, 2 degraded.

    They are told apart because what mends the one, another version, does nothing for the other, which recalibration mends.
    """
    route = view.work.routes.table()
    answering = set(route.answering())
    for check in view.work.performance_checks.latest():
        is_served = ModelRef(check.model_name, check.model_version) in answering
        if check.verdict not in JUDGED or not is_served or view.at - check.at > CHECKED_WITHIN:
            continue
        for name, metrics in VERDICTS_ON.items():
            value = 2.0 if metrics & set(check.confirmed) else 1.0 if metrics & set(check.flagged) else 0.0
            yield Signal(name, value, check.at, {"model_version": str(check.model_version)}, check.sentence)


@source("rollout_waits", "rollout_failed")
def _rollouts(view: View) -> Iterator[Signal]:
    """Of each version that was rolled out of late: 1 where it waits for a person; 1 where it was lately taken back, or not decided; else 0.

    Not of the newest alone: what was told about the version before it would stay open, because nothing speaks of it any more.
    """
    newest: dict[int, RolloutOut] = {}
    for one in view.work.rollouts.newest(limit=MOST_ROLLOUTS):
        newest.setdefault(one.model_version, one)
    for version, one in newest.items():
        about = {"model_version": str(version)}
        asked = wanted(one, view.at)
        yield Signal("rollout_waits", float(asked is not None), view.at, about, asked or "It waits for nobody.")
        is_new = one.ended_at is not None and view.at - one.ended_at < LATELY
        failed = is_new and one.state in {RolloutState.ROLLED_BACK, RolloutState.INCONCLUSIVE}
        yield Signal("rollout_failed", float(failed), view.at, about, f"The rollout of version {version}: {one.sentence}")


@source("experiment_waits")
def _experiments(view: View) -> Iterator[Signal]:
    """How many experiments of nobody's rollout are paused, or have recommended what nobody has acted on."""
    steps = {one.experiment_id for one in view.work.rollouts.newest(states=ACTIVE)}
    waiting = view.work.experiments.newest(states={ExperimentState.PAUSED, ExperimentState.RECOMMENDED})
    said = [f"{one.plan.name} is {one.state}: {one.sentence}" for one in waiting if one.experiment_id not in steps]
    more = f" And {len(said) - MOST_PATHS} more." if len(said) > MOST_PATHS else ""
    yield Signal("experiment_waits", float(len(said)), view.at, detail=" ".join(said[:MOST_PATHS]) + more)
