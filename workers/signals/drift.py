"""What drift checks say."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from math import inf

from trajops.alerts.signals import Signal
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, QualityFinding, QualityKind, ratio_words
from trajops.drift.quality import AT_ONCE
from trajops.drift.telling import LINGERS, Earlier, are_units_well, asked_units, found, found_well, scenes_of, to_tell, wrong_units
from trajops.drift.watch import LONGEST_S, OTHERS
from workers.signals.sources import CHECKED_WITHIN, View, source

VERDICTS = {"stable": 0.0, "warning": 1.0, "drift": 2.0, UNIT_RULE: 3.0}
QUALITY = {"warning": 1.0, "bad": 2.0}
# What also moves columns, where it comes from scenes with so large a share of the agents; what it is has an alert of its own.
MOVES: frozenset[QualityKind] = frozenset({"unit", "sampling_rate"})
LARGE_SHARE = 0.1
# What all do who come in another unit.
IMPOSSIBLE: frozenset[QualityKind] = frozenset({"impossible_speed", "impossible_acceleration"})
# What nothing in so much of the newest traffic tells any more is over.
UNTOLD = timedelta(seconds=LONGEST_S)


@source("drift_verdict", "drift_age_s")
def _drift(view: View) -> Iterator[Signal]:
    """Verdict of the newest check on columns; too little data is no verdict, only its age counts.

    The verdict is 0 stable, 1 warning, 2 drift, 3 drift of a window that holds another unit or rate: what else has moved there is told when
    that has left it.
    """
    check = view.work.drift_checks.latest()
    if check is None:
        return
    age_s = (view.at - check.at).total_seconds()
    yield Signal("drift_age_s", age_s, view.at, detail=f"The last drift check was {age_s:.0f} s ago.")
    if check.verdict == "insufficient_data" or view.at - check.at > CHECKED_WITHIN:
        return
    verdicts = {check.traffic_verdict or check.verdict, *(scene.verdict for scene in check.scenes)} - {"insufficient_data"}
    if verdicts:
        worst = max(VERDICTS[verdict] for verdict in verdicts)
        is_explained = worst == VERDICTS["drift"] and _is_explained(view, check)
        yield Signal("drift_verdict", VERDICTS[UNIT_RULE] if is_explained else worst, check.at, detail=check.sentence)


@source("drift_unit", "drift_scene")
def _drift_at_once(view: View) -> Iterator[Signal]:
    """What the newest check calls drift without a second look: each unit and each scene by itself, so that none hides behind another.

    What an open alert is about is 0 as soon as a check has looked at it and found it well, or nothing has told of it for `UNTOLD`.
    """
    check = view.work.drift_checks.latest()
    if check is None or view.at - check.at > CHECKED_WITHIN:
        return
    suspicious = cache(view.work.drift_checks.suspicious)  # of hundreds of scenes, all alerts ask for the same checks
    yield from _unit_of_all(view, check, suspicious)
    held = _held(suspicious, check)
    told = {(one.kind, one.scene): one for one in to_tell(check, suspicious)}
    for (kind, scene), one in told.items():
        yield _of_finding(kind, scene, 1.0, check.at, one.sentence)
    for alert in view.work.alerts.unresolved():
        about = next(((kind, alert.labels.get("scene")) for kind in AT_ONCE if alert.labels.get("kind") == kind), None)
        if alert.origin == "rules" and about is not None and about not in told:
            kind, scene = about
            well = found_well(check, kind, scene, held, suspicious)
            if well is not None or view.at - alert.seen_at > UNTOLD:
                yield _of_finding(kind, scene, 0.0, check.at, well or "Nothing tells of it any more.")


def _unit_of_all(view: View, check: DriftCheckOut, suspicious: Earlier) -> Iterator[Signal]:
    """Whether medians of all traffic point to another unit; nothing while they are hardly below their bounds."""
    if wrong := wrong_units(check):
        said = f"{' and '.join(map(ratio_words, wrong))}, which points to a unit or a clock."
        yield Signal("drift_unit", 1.0, check.at, detail=f"{said[0].upper()}{said[1:]}")
        return
    asked = asked_units(check)
    unseen = [alert for alert in view.work.alerts.unresolved() if "kind" not in alert.labels and view.at - alert.seen_at > UNTOLD]
    if are_units_well(check, suspicious) or (unseen and not any(map(wrong_units, suspicious(view.at - UNTOLD)))):
        said = f": {' and '.join(map(ratio_words, asked))}" if asked else ""
        yield Signal("drift_unit", 0.0, check.at, detail=f"Nothing points to another unit or clock{said}.")


def _of_finding(kind: QualityKind, scene: str | None, value: float, at: datetime, detail: str) -> Signal:
    labels = {"kind": kind} | ({} if scene is None else {"scene": scene})
    return Signal("drift_unit" if kind == "unit" else "drift_scene", value, at, labels, detail)


def _held(suspicious: Earlier, check: DriftCheckOut) -> list[DriftCheckOut]:
    """A check, and those before it that called drift what is still in its window."""
    return [check, *(one for one in suspicious(check.current_since - LINGERS) if one.verdict == "drift")]


def _is_explained(view: View, check: DriftCheckOut) -> bool:
    """Whether what has drifted are scenes that have, or had in the window, another unit or rate."""
    held = _held(view.work.drift_checks.suspicious, check)
    if any(wrong_units(one) for one in held):
        return True
    agents = {scene.scene: scene.agents for scene in check.scenes}
    wrong = [[(one, scenes_of(one)) for one in found(past, MOVES)] for past in held]
    moved = {name for past in wrong for _, names in past for name in names} & agents.keys()
    # One of many other scenes moves them next to nothing. A check of the release before has counted nobody.
    of_others = [sum(inf if one.agents is None else one.agents for one, names in past if not agents.keys() & names) for past in wrong]
    others = min(max(of_others), agents.get(OTHERS, 0))
    if others and others >= LARGE_SHARE * agents[OTHERS]:
        moved.add(OTHERS)
    drifted = {scene.scene for scene in check.scenes if scene.verdict == "drift"}
    if drifted or not agents:
        return any(wrong) and drifted <= moved
    return sum(agents[name] for name in moved - {OTHERS}) + others >= LARGE_SHARE * sum(agents.values())


@source("data_quality")
def _quality(view: View) -> Iterator[Signal]:
    """What the newest drift check says of each rule on data quality: 0 well, 1 a warning, 2 bad; of several scenes, the worst.

    Nothing of what nobody can do who is in another unit: that has an alert of its own, or had one of what is still in the window.
    """
    check = view.work.drift_checks.latest()
    if check is None or view.at - check.at > CHECKED_WITHIN:
        return
    worst: dict[str, QualityFinding] = {}
    for finding in check.quality:
        known = worst.get(finding.kind)
        if known is None or QUALITY.get(finding.verdict, 0.0) > QUALITY.get(known.verdict, 0.0):
            worst[finding.kind] = finding
    for kind, finding in worst.items():
        if kind in IMPOSSIBLE and finding.verdict != "ok" and _is_of_units(view, check, finding):
            continue
        yield Signal("data_quality", QUALITY.get(finding.verdict, 0.0), check.at, {"kind": kind}, finding.sentence)


def _is_of_units(view: View, check: DriftCheckOut, finding: QualityFinding) -> bool:
    """Whether as many agents as do what is impossible are, or were in the window, in another unit."""
    shares = [0.0]
    for past in _held(view.work.drift_checks.suspicious, check):
        agents = sum(inf if one.agents is None else one.agents for one in found(past, {"unit"}))
        shares.append(1.0 if wrong_units(past) else agents / max(1, past.current_agents))
    return (finding.value or 0.0) <= max(shares)
