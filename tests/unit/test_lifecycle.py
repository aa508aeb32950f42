"""The table of transitions."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops.deployments.lifecycle import TRANSITIONS, State, check_transition
from trajops.errors import Conflict, IllegalTransition


def test_every_state_has_a_row_and_a_way_out() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(TRANSITIONS.values())


def test_no_state_leads_to_itself() -> None:
    assert [state for state, after in TRANSITIONS.items() if state in after] == []


def test_every_state_but_the_first_can_be_reached() -> None:
    reached, frontier = {State.REGISTERED}, [State.REGISTERED]
    while frontier:
        new = TRANSITIONS[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)
    assert reached == set(State)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("registered staged shadow canary promoting baking live retired", id="the long way"),
        pytest.param("registered staged live retired live", id="promoted at once, rolled back to"),
        pytest.param("staged canary staged", id="canary stopped"),
        pytest.param("live rolled_back live", id="rolled back, promoted again"),
        pytest.param("canary inconclusive staged", id="horizon reached"),
        pytest.param("canary paused canary rolled_back", id="data invalid, then harm"),
    ],
)
def test_a_way_that_releases_take_is_allowed(path: str) -> None:
    steps = [State(name) for name in path.split()]
    for before, after in pairwise(steps):
        check_transition(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (State.REGISTERED, State.LIVE),
        (State.LIVE, State.STAGED),
        (State.LIVE, State.CANARY),
        (State.PAUSED, State.LIVE),
        (State.INCONCLUSIVE, State.LIVE),
        (State.RETIRED, State.CANARY),
    ],
)
def test_what_would_skip_a_gate_is_refused(before: State, after: State) -> None:
    with pytest.raises(IllegalTransition, match=f"a {before} deployment cannot become {after}"):
        check_transition(before, after)


@given(st.sampled_from(State), st.sampled_from(State))
def test_what_the_table_lacks_is_a_conflict_that_names_what_is_allowed(before: State, after: State) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
        return
    with pytest.raises(Conflict) as refused:
        check_transition(before, after)
    assert all(allowed in refused.value.message for allowed in TRANSITIONS[before])
