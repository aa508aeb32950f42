"""States of a deployment and the one table of transitions between them."""

from enum import StrEnum

from trajops.errors import IllegalTransition


class State(StrEnum):
    """Where a deployed model version stands."""

    REGISTERED = "registered"
    STAGED = "staged"
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"
    BAKING = "baking"
    LIVE = "live"
    PAUSED = "paused"
    INCONCLUSIVE = "inconclusive"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"


S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    S.REGISTERED: frozenset({S.STAGED, S.RETIRED}),
    S.STAGED: frozenset({S.SHADOW, S.CANARY, S.LIVE, S.RETIRED}),
    # A predecessor that watches its successor is retired again afterwards.
    S.SHADOW: frozenset({S.STAGED, S.CANARY, S.LIVE, S.PAUSED, S.ROLLED_BACK, S.INCONCLUSIVE, S.RETIRED}),
    S.CANARY: frozenset({S.STAGED, S.PROMOTING, S.LIVE, S.PAUSED, S.ROLLED_BACK, S.INCONCLUSIVE}),
    S.PROMOTING: frozenset({S.STAGED, S.BAKING, S.LIVE, S.PAUSED, S.ROLLED_BACK, S.INCONCLUSIVE}),
    S.BAKING: frozenset({S.LIVE, S.ROLLED_BACK, S.RETIRED}),
    S.LIVE: frozenset({S.RETIRED, S.ROLLED_BACK}),
    S.PAUSED: frozenset({S.SHADOW, S.CANARY, S.STAGED, S.ROLLED_BACK, S.INCONCLUSIVE}),
    S.INCONCLUSIVE: frozenset({S.STAGED, S.RETIRED}),
    S.ROLLED_BACK: frozenset({S.STAGED, S.LIVE, S.RETIRED}),
    S.RETIRED: frozenset({S.STAGED, S.LIVE, S.SHADOW}),
}


def check_transition(before: State, after: State) -> None:
    """Raise IllegalTransition unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise IllegalTransition(f"a {before} deployment cannot become {after}; from {before} it may become {allowed}")
