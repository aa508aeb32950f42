"""Which runs are compared: they stand in the URL, in the order in which they were chosen. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

MOST = 10
RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parsed(text: str | None) -> list[str]:
    """Ids in the form of a query parameter, `a,b`; what is no id and what comes twice is left out, and so is what is too much."""
    ids = [one for one in (text or "").split(",") if RUN_ID.fullmatch(one)]
    return list(dict.fromkeys(ids))[:MOST]


def toggled(chosen: Sequence[str], run_id: str) -> list[str]:
    """With one more, or without it; one more than may be compared is not taken."""
    if run_id in chosen:
        return [one for one in chosen if one != run_id]
    return [*chosen, run_id][:MOST]


def picked(chosen: Sequence[str], selection: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """What is chosen after a selection in a figure: a click adds or removes one, a box takes all that lie in it.

    Args:
        chosen: ids so far.
        selection: of Plotly: points with their `customdata`, and boxes.
        known: ids that can be chosen.
    """
    ids = list(dict.fromkeys(one for one in map(_id, selection.get("points", ())) if one in known))
    if not ids:
        return list(chosen)
    if selection.get("box") or selection.get("lasso") or len(ids) > 1:
        return ids[:MOST]
    return toggled(chosen, ids[0])


def baseline_of(chosen: Sequence[str], pinned: str | None) -> str | None:
    """The run that the others are held against: the pinned one, or the one that was chosen first."""
    return pinned if pinned in chosen else next(iter(chosen), None)


def _id(point: Mapping[str, Any]) -> str | None:
    data = point.get("customdata")
    found = data[0] if isinstance(data, list | tuple) and data else data
    return found if isinstance(found, str) else None
