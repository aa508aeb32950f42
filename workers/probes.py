"""What may come of a probe."""

from typing import Literal, NamedTuple, get_args

Outcome = Literal["good", "slow", "refused", "wrong", "unreachable"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Probe(NamedTuple):
    """What came of one request.

    Attributes:
        outcome: `good`, or what was wrong.
        latency_s: until the whole answer was there; None where nobody answered.
        failure: what was wrong, as a sentence; None where nothing was.
    """

    outcome: Outcome
    latency_s: float | None
    failure: str | None
