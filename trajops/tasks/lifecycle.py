"""States of a task and the one table of transitions between them."""

from enum import StrEnum

from trajops.errors import IllegalTransition


class TaskState(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = TaskState
# Back to `queued` goes what a worker left unfinished: it was stopped, or killed.
TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    S.QUEUED: frozenset({S.RUNNING, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset({S.QUEUED, S.DONE, S.FAILED, S.CANCELLED}),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}
ACTIVE = frozenset({S.QUEUED, S.RUNNING})
OVER = frozenset(state for state, following in TRANSITIONS.items() if not following)


def check_transition(before: TaskState, after: TaskState) -> None:
    """Raise IllegalTransition unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing: it is over"
        raise IllegalTransition(f"a {before} task cannot become {after}; from {before} it may become {allowed}")
