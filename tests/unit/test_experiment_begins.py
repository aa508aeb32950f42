"""What is said of an experiment before it has any truth."""

import pytest

from console.ab.words import health_tiles
from tests.experiment_builders import STARTED, a_plan, an_arm, an_experiment, figures
from trajops.experiments.verdict import judge


@pytest.mark.parametrize(
    ("due", "said"),
    [
        ((0, 0), "no prediction is old enough yet to have truth"),
        ((600, 0), "no prediction of treatment is old enough yet to have truth"),
    ],
)
def test_right_after_the_launch_no_rate_of_truth_is_told(due: tuple[int, int], said: str) -> None:
    arms = [an_arm(name, 60, due=one, joined=one) for name, one in zip(("control", "treatment"), due, strict=True)]
    verdict = judge(a_plan(), figures(*arms), STARTED)
    [found] = [one for one in verdict.health if one.name == "join_rate"]
    assert (found.is_ok, found.detail) == (False, said)
    tile = next(one for one in health_tiles(an_experiment(verdict=verdict), [], None) if one.title == "Truth")
    assert tile.detail == said.capitalize(), "there are no figures, so that no letters of arms stand before them"
