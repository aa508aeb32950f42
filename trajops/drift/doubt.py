"""Whether the data are bad now, as the newest check has it: then nothing is learnt before they are good again."""

from trajops.contracts.drift import UNIT_RULE, DriftCheckOut

# A scene that the reference does not know is new, and not wrong.
_HARMLESS = frozenset({"new_scene"})


def trouble(check: DriftCheckOut) -> str | None:
    """Why nothing can be learnt from the traffic that a check has seen; None where nothing speaks against it."""
    if _is_of_another_unit(check):
        return f"the data seem to come in another unit, so nothing can be learnt from them: {check.sentence}"
    bad = next((finding for finding in check.quality if finding.verdict == "bad" and finding.kind not in _HARMLESS), None)
    return None if bad is None else f"the data are bad, so nothing can be learnt from them: {bad.sentence}"


def is_suspicious(check: DriftCheckOut) -> bool:
    """Whether a check said drift, found bad data, or another unit, even in a column that is muted."""
    return check.verdict == "drift" or _is_of_another_unit(check) or any(finding.verdict == "bad" for finding in check.quality)


def on_units_and_quality(check: DriftCheckOut) -> DriftCheckOut:
    """The same check with its verdict, the ratios of units and what is bad, and nothing else."""
    columns = [column for column in check.columns if column.method == UNIT_RULE]
    return check.model_copy(update={"columns": columns, "scenes": [], "quality": [one for one in check.quality if one.verdict == "bad"]})


def _is_of_another_unit(check: DriftCheckOut) -> bool:
    is_found = any(one.kind == "unit" and one.verdict == "bad" for one in check.quality)
    return is_found or any(column.method == UNIT_RULE and column.is_drifted for column in check.columns)
