"""Shares of the arms, from the plan to the routes."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.stubs import SetClock
from tests.deployment_builders import NAME, WHO, a_database, live
from tests.experiment_builders import a_plan, three_arms
from trajops.contracts.experiments import LEAST_WEIGHT, ExperimentPlan
from trajops.services.comparisons import routed_as
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments


def test_thirds_that_were_cut_off_are_launched_as_thirds() -> None:
    database = a_database(versions=3)
    releases = Deployments(database.unit_of_work, clock=SetClock())
    live(releases, 1)
    for number in (2, 3):
        releases.stage(number, **WHO)
    service, plan = Experiments(database.unit_of_work, clock=SetClock()), three_arms()
    plan = ExperimentPlan.model_validate(plan.model_dump() | {"arms": [arm.model_dump() | {"weight": 0.3333333} for arm in plan.arms]})
    found = service.create(plan, is_launched=True, **WHO).experiment
    assert [arm.weight for arm in found.plan.arms] == [0.3333333] * 3, "the plan says what was given"
    with database.unit_of_work(read_only=True) as uow:
        [routed] = uow.routes.table().experiments
    assert [arm.weight for arm in routed.arms] == pytest.approx([1 / 3] * 3, abs=1e-12)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=5), st.integers(7, 15))
def test_whatever_weights_a_plan_takes_are_routed(parts: list[int], decimals: int) -> None:
    weights = [round(part / sum(parts), decimals) for part in parts]
    assume(min(weights) >= LEAST_WEIGHT)
    arms = [{"variant": f"arm_{number}", "model_version": number, "weight": weight} for number, weight in enumerate(weights, 1)]
    routed = routed_as("e", "s", a_plan(arms=arms), NAME)
    assert [arm.weight for arm in routed.arms] == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.33333, 0.33333, 0.33333], "weights add up to 1, not 0.99999; a third reads 0.3333333"),
        ([1 - 1e-5, 1e-5], "weight.*greater than or equal to 0.0001"),
    ],
)
def test_weights_that_no_experiment_has_are_refused(weights: list[float], said: str) -> None:
    arms = [{"variant": f"arm_{number}", "model_version": number, "weight": weight} for number, weight in enumerate(weights, 1)]
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        a_plan(arms=arms)
