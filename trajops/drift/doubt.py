"""Which traffic may be learnt from: what drift checks have wholly seen, and not found in another unit or frame, or broken.

What was wrong is learnt from neither then nor later, and what no check has judged may have been wrong.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding

# A scene that the reference does not know is new, and not wrong.
_HARMLESS = frozenset({"new_scene"})
# The finding that is made wherever there are agents enough for the rules on quality.
_ALWAYS = "frozen"


class Span(NamedTuple):
    """A time range: from `since` on, before `until`."""

    since: datetime
    until: datetime


class Judged(NamedTuple):
    """A check that has judged units and quality: when, and how much of the newest traffic by, seconds; 0 if it does not say."""

    at: datetime
    window_s: float


def trouble(check: DriftCheckOut) -> str | None:
    """Why nothing can be learnt from the traffic that a check has seen; None where nothing speaks against it."""
    if _is_of_another_unit(check):
        return f"the data seem to come in another unit, so nothing can be learnt from them: {check.sentence}"
    bad = next((finding for finding in check.quality if finding.verdict == "bad" and finding.kind not in _HARMLESS), None)
    return None if bad is None else f"the data are bad, so nothing can be learnt from them: {bad.sentence}"


def is_suspicious(check: DriftCheckOut) -> bool:
    """Whether a check said drift, found bad data, or another unit, even in a column that is muted."""
    return check.verdict == "drift" or _is_of_another_unit(check) or any(finding.verdict == "bad" for finding in check.quality)


def judged_s(columns: Iterable[DriftColumn], quality: Iterable[QualityFinding]) -> float | None:
    """How much of the newest traffic a check has judged units and quality by; None where it held too few agents for either.

    Args:
        columns: of the check.
        quality: its findings.

    Returns:
        Seconds; 0 if the check does not say, because the release before has made it.
    """
    units = [column.window_s or 0.0 for column in columns if column.method == UNIT_RULE]
    well = [finding.window_s or 0.0 for finding in quality if finding.kind == _ALWAYS]
    return max(*units, *well) if units and well else None


def doubtful(checks: Sequence[DriftCheckOut], window_s: float) -> list[Span]:
    """When the traffic was received that checks found wrong, oldest first, none touching another.

    A check tells of its newest window by what most agents do, so that what is wrong may have begun up to two windows before it, and may
    still come in for another one after the last check that says so.

    Args:
        checks: in any order; those that found nothing wrong do not matter.
        window_s: of the rules on units and quality; a check that has looked at more says so.
    """
    found = []
    for check in checks:
        if trouble(check) is not None:
            window = timedelta(seconds=max(window_s, judged_s(check.columns, check.quality) or 0.0))
            found.append(Span(check.at - 2 * window, check.at + window))
    return joined(found)


def vouched(checks: Iterable[Judged], window_s: float) -> list[Span]:
    """When the traffic was received that an unbroken series of checks has wholly seen, oldest first, none touching another.

    A series goes on as long as each check looks back to the one before. What came before its first check may be the end of something wrong
    that nobody saw, and what its last one has in its window may be the beginning of something that the next one will call wrong.

    Args:
        checks: in any order.
        window_s: of the rules on units and quality; a check that has looked at more says so.
    """
    found: list[Span] = []
    last_at: datetime | None = None
    for check in sorted(checks):
        begin = check.at - timedelta(seconds=max(window_s, check.window_s))
        if last_at is None or begin > last_at:
            found.append(Span(check.at, check.at))
        elif begin > found[-1].until:
            found[-1] = found[-1]._replace(until=begin)
        last_at = check.at
    return [span for span in found if span.since < span.until]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same spans in order, those that touch as one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.since <= found[-1].until:
            found[-1] = Span(found[-1].since, max(found[-1].until, span.until))
        else:
            found.append(span)
    return found


def outside(spans: Sequence[Span], whole: Span) -> list[Span]:
    """The parts of a whole that lie outside of spans, which are in order and apart."""
    edges = [whole.since, *(edge for span in spans for edge in span), whole.until]
    within = [min(max(edge, whole.since), whole.until) for edge in edges]
    return [Span(since, until) for since, until in zip(within[::2], within[1::2], strict=True) if since < until]


def _is_of_another_unit(check: DriftCheckOut) -> bool:
    return any(column.method == UNIT_RULE and column.is_drifted for column in check.columns)
