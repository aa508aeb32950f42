"""States of an experiment and the one table of transitions between them."""

from enum import StrEnum

from trajops.errors import IllegalTransition


class ExperimentState(StrEnum):
    """Where an experiment stands."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    RECOMMENDED = "recommended"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"
    DISCARDED = "discarded"


S = ExperimentState
# A decision latches: `recommended` goes back to `running` only where what was recommended is taken back for harm and others are still
# compared, not over a pause; and what is over stays so.
TRANSITIONS: dict[ExperimentState, frozenset[ExperimentState]] = {
    S.DRAFT: frozenset({S.RUNNING, S.DISCARDED}),
    S.RUNNING: frozenset({S.PAUSED, S.RECOMMENDED, S.PROMOTED, S.ROLLED_BACK, S.INCONCLUSIVE, S.STOPPED}),
    S.PAUSED: frozenset({S.RUNNING, S.RECOMMENDED, S.ROLLED_BACK, S.INCONCLUSIVE, S.STOPPED}),
    S.RECOMMENDED: frozenset({S.RUNNING, S.PAUSED, S.PROMOTED, S.ROLLED_BACK, S.STOPPED}),
    S.PROMOTED: frozenset(),
    S.ROLLED_BACK: frozenset(),
    S.INCONCLUSIVE: frozenset(),
    S.STOPPED: frozenset(),
    S.DISCARDED: frozenset(),
}
# Its units are routed.
ROUTED = frozenset({S.RUNNING, S.PAUSED, S.RECOMMENDED})
OVER = frozenset(state for state, following in TRANSITIONS.items() if not following)


def check_transition(before: ExperimentState, after: ExperimentState) -> None:
    """Raise IllegalTransition unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing: it is over"
        raise IllegalTransition(f"a {before} experiment cannot become {after}; from {before} it may become {allowed}")
