"""Of many checks the few that tell most: one for each part of a time range."""

from collections.abc import Sequence

from trajops.contracts.drift import DriftReportOut, Verdict

_RANK: dict[Verdict, int] = {"insufficient_data": 0, "stable": 1, "warning": 2, "drift": 3}


def worst_of_parts(checks: Sequence[tuple[DriftReportOut, bool]], most: int) -> list[str]:
    """Of so many equal parts of the time between the first and the last check the worst one each; all, where they are no more than that.

    Args:
        checks: id, time and verdict, and whether there is a full report: of equally bad ones it is the newest, those with a report first.
        most: at least 1.

    Returns:
        Ids, newest first.
    """
    ordered = sorted(checks, key=lambda one: (one[0].at, one[0].check_id))
    if len(ordered) > most:
        begin = ordered[0][0].at
        part_s = (ordered[-1][0].at - begin).total_seconds() / most
        kept: dict[int, tuple[DriftReportOut, bool]] = {}
        for check in ordered:
            part = min(int((check[0].at - begin).total_seconds() / part_s), most - 1) if part_s else 0
            kept[part] = max(check, kept.get(part, check), key=_worth)
        ordered = list(kept.values())
    return [check.check_id for check, _ in reversed(ordered)]


def _worth(check: tuple[DriftReportOut, bool]) -> tuple[int, bool]:
    return _RANK[check[0].verdict], check[1]
