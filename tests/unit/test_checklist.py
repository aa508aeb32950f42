"""What must be so before an experiment is launched."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.ab_simulation import draw
from data.stubs import SetClock
from tests.deployment_builders import WHO, a_database, live
from tests.experiment_builders import STARTED, STOP, a_plan, three_arms
from trajops.contracts.experiments import CheckOut, ExperimentPlan
from trajops.deployments.lifecycle import State
from trajops.experiments.checklist import checks, expected_s, expected_units, spread
from trajops.experiments.figures import TrafficFigures
from trajops.experiments.statistics import compare
from trajops.experiments.sums import ArmSums
from trajops.services.deployments import Deployments
from trajops.services.experiment_checks import ExperimentChecks
from trajops.services.experiments import Experiments

LIVE, STAGED = State.LIVE, State.STAGED


def traffic(units: int = 2000, joined: int = 900, **changes: Any) -> TrafficFigures:
    found = draw(np.random.default_rng(1), 1, max(units, 1))
    sums = ArmSums.of(found.error_m[0, :units], found.covariate_m[0, :units])
    values = {"since": STARTED - timedelta(hours=6), "until": STARTED, "units": units, "predictions": 11 * units, "due": 1000}
    return TrafficFigures(**(values | {"joined": joined, "sums": sums} | changes))


def lines(plan: ExperimentPlan | None = None, found: TrafficFigures | None = None, **changes: Any) -> dict[str, CheckOut]:
    given: dict[str, Any] = {"states": {1: LIVE, 2: STAGED}, "warm": {1: True, 2: True}, "obstacle": None}
    return {one.name: one for one in checks(plan or a_plan(), found or traffic(), **(given | changes))}


def test_all_is_well() -> None:
    assert {one.state for one in lines().values()} == {"ok"}
    assert lines()["duration"].detail.startswith("−5 % takes about ")


@pytest.mark.parametrize(
    ("name", "state", "said", "changes"),
    [
        ("units", "blocked", "trajectory/2 is compared", {"obstacle": "trajectory/2 is compared already"}),
        ("versions", "blocked", "v2 is not deployed; stage it first", {"states": {1: LIVE, 2: None}}),
        ("versions", "blocked", "v2 is retired", {"states": {1: LIVE, 2: State.RETIRED}}),
        ("warm", "warning", "v2 will be loaded first", {"warm": {1: True, 2: False}}),
        ("join rate", "blocked", "10.0 % of the predictions get truth", {"found": traffic(joined=100)}),
        ("join rate", "warning", "old enough", {"found": traffic(due=0, joined=0)}),
        ("duration", "warning", "too few agents", {"found": traffic(units=5)}),
        ("duration", "blocked", "takes more than 1,000,000,000 agents: hope for more", {"plan": a_plan(expected_change=-1e-12)}),
        ("duration", "blocked", "ends after 60 minutes", {"plan": a_plan(stop=STOP | {"horizon_s": 3600})}),
    ],
)
def test_what_is_wrong_is_said(name: str, state: str, said: str, changes: dict[str, Any]) -> None:
    found = lines(**changes)
    assert found[name].state == state
    assert said in found[name].detail


def test_the_expected_units_are_those_that_the_experiment_will_find_itself() -> None:
    found = draw(np.random.default_rng(2), 1, 20_000)
    everybody = traffic(sums=ArmSums.of(found.error_m[0], found.covariate_m[0]))
    control, treatment = (
        ArmSums.of(found.error_m[0, mine], found.covariate_m[0, mine]) for mine in (~found.is_treated[0], found.is_treated[0])
    )

    assert spread(a_plan(), everybody) == pytest.approx(float(compare(control, treatment).variance), rel=0.05)


def test_smaller_parts_and_more_arms_take_longer() -> None:
    found = traffic()
    whole = expected_s(a_plan(), found)
    assert whole is not None
    half = expected_s(a_plan(coverage=0.5), found)
    assert half == pytest.approx(2 * whole)
    assert expected_s(a_plan(namespace={"name": "n", "begin": 0, "end": 0.25}), found) == pytest.approx(4 * whole)
    units = [expected_units(plan, found) for plan in (a_plan(), three_arms())]
    assert units[0] is not None
    assert units[1] is not None
    assert units[1] > 1.3 * units[0]


def test_an_impatient_plan_is_still_held_to_its_least_time_and_units() -> None:
    plan = a_plan(expected_change=-0.9)
    assert expected_units(plan, traffic()) == 100
    assert expected_s(plan, traffic(units=100_000)) == 600


def test_who_is_held_out_is_waited_for_in_vain() -> None:
    whole, half = (lines(held_out=held_out)["duration"] for held_out in (0.0, 0.5))
    assert expected_s(a_plan(), traffic(), 0.5) == pytest.approx(2 * (expected_s(a_plan(), traffic()) or 0.0))
    assert "held out" not in whole.detail
    assert ", with 50 % held out" in half.detail
    # The service takes the share from the routes.
    database, clock = a_database(), SetClock()
    releases, source = Deployments(database.unit_of_work, clock=clock), SimpleNamespace(traffic=lambda *_: traffic(units=200))
    live(releases, 1)
    releases.stage(2, **WHO)
    service = ExperimentChecks(source, database.unit_of_work, tuple, model_name="trajectory", clock=clock)  # type: ignore[arg-type]
    before = service.of(a_plan()).expected_s
    Experiments(database.unit_of_work, clock=clock).hold_out(releases.routes().current.epoch, 0.2, **WHO)
    assert before is not None
    assert service.of(a_plan()).expected_s == pytest.approx(before / 0.8, rel=1e-4)
    # A shadow predicts for them too.
    shadow = a_plan(mode="shadow")
    assert expected_s(shadow, traffic(), 0.5) == expected_s(shadow, traffic())
    assert "held out" not in lines(shadow, held_out=0.5)["duration"].detail


def test_what_came_in_less_than_an_hour_is_a_warning() -> None:
    found = lines(found=traffic(since=STARTED - timedelta(minutes=50)))["duration"]
    assert found.state == "warning"
    assert found.detail.endswith("at the rate of the last 50 minutes, which is all that is known")
    assert lines(found=traffic(since=STARTED - timedelta(minutes=60)))["duration"].state == "ok"
