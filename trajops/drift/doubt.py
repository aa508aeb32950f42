"""When traffic was not what it should be: in another unit or frame, or broken. Nothing is learnt from it, then or later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from trajops.contracts.drift import UNIT_RULE, DriftCheckOut

# A scene that the reference does not know is new, and not wrong.
_HARMLESS = frozenset({"new_scene"})


class Span(NamedTuple):
    """A time range: from `since` on, before `until`."""

    since: datetime
    until: datetime


def trouble(check: DriftCheckOut) -> str | None:
    """Why nothing can be learnt from the traffic that a check has seen; None where nothing speaks against it."""
    if any(column.method == UNIT_RULE and column.is_drifted for column in check.columns):
        return f"the data seem to come in another unit, so nothing can be learnt from them: {check.sentence}"
    bad = next((finding for finding in check.quality if finding.verdict == "bad" and finding.kind not in _HARMLESS), None)
    return None if bad is None else f"the data are bad, so nothing can be learnt from them: {bad.sentence}"


def doubtful(checks: Sequence[DriftCheckOut], window_s: float) -> list[Span]:
    """When the traffic was received that checks found wrong, oldest first, none touching another.

    A check tells of its newest window by what most agents do, so that what is wrong may have begun up to two windows before it, and may
    still come in for another one after the last check that says so.

    Args:
        checks: in any order; those that found nothing wrong do not matter.
        window_s: of the rules on units and quality.
    """
    window = timedelta(seconds=window_s)
    found: list[Span] = []
    for at in sorted(check.at for check in checks if trouble(check) is not None):
        span = Span(at - 2 * window, at + window)
        if found and span.since <= found[-1].until:
            span = Span(found.pop().since, span.until)
        found.append(span)
    return found
