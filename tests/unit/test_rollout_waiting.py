"""What a rollout wants of a person, and when."""

from datetime import timedelta
from typing import Any

import pytest

from tests.experiment_builders import STARTED
from tests.rollout_builders import a_rollout
from trajops.contracts.rollouts import GateOut
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.rollouts.waiting import duration_words, wanted

APPROVAL = GateOut(name="approval", state="waiting", detail="a person approves what comes next")
UNITS = GateOut(name="units", state="waiting", detail="3 of 50 agents")
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (5_400, "90 minutes"),
        (9_000, "2.5 hours"),
        (1.5 * DAY_S, "36 hours"),
        (7 * DAY_S, "7 days"),
        (6.5 * DAY_S, "6.5 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(
    ("changes", "after_s", "said"),
    [
        ({"gates": [APPROVAL]}, 1, "Version 2 has passed all gates but your approval."),
        ({"gates": [UNITS, APPROVAL]}, 1, None),
        ({"gates": [UNITS], "sentence": "It waits."}, DAY_S + 59, None),
        (
            {"gates": [UNITS], "sentence": "It waits."},
            2 * DAY_S,
            "Version 2 has been in one step of its rollout for 2 days; the champion answers meanwhile. It waits.",
        ),
        (
            {"gates": [UNITS], "stage": Stage.BAKING, "sentence": "It waits."},
            2 * DAY_S,
            "Version 2 has been in one step of its rollout for 2 days; it stays champion meanwhile. It waits.",
        ),
        (
            {"state": RolloutState.PAUSED, "sentence": "Data invalid."},
            1,
            "The rollout of version 2 is paused: resume or stop it. Data invalid.",
        ),
        ({"state": RolloutState.INCONCLUSIVE}, 9 * DAY_S, None),
    ],
)
def test_who_is_asked_for(changes: dict[str, Any], after_s: float, said: str | None) -> None:
    assert wanted(a_rollout(**changes), STARTED + timedelta(seconds=after_s)) == said
