"""What the drift checks found, and what operators set for the next ones: the reference, and columns that keep silent."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from trajops.contracts.drift import MOST_CHECKS, DriftMute, DriftOut, DriftSettings, ReferenceChoice, TimeRange, of_scene
from trajops.deployments.model_ref import ModelRef
from trajops.drift.gaps import Gap, Span, shortened
from trajops.errors import InvalidInput
from trajops.stores import UnitOfWork, UnitOfWorkFactory

REFERENCE, MUTES = "drift:reference", "drift:mute:"
# Parameters of a training run that say which traffic it was trained on; of what was left out of it, the seconds after its begin, and the
# scene, where it is left out of one only: `60.000-120.000@plaza`.
TRAINED_SINCE, TRAINED_UNTIL, TRAINED_WITHOUT = "trained_since", "trained_until", "trained_without"
# MLflow takes no longer value.
MOST_CHARACTERS = 6000


def overview(
    unit_of_work: UnitOfWorkFactory, limit: int = MOST_CHECKS, scene: str | None = None, since: datetime | None = None
) -> DriftOut:
    """The newest check in full, and the verdicts before it, newest first; of all traffic, or as one scene saw them.

    Args:
        unit_of_work: opens a transaction.
        limit: most verdicts.
        scene: whose verdicts.
        since: verdicts spread over all the time since then; None: the newest ones.
    """
    with unit_of_work(read_only=True) as work:
        checks = work.drift_checks
        latest, history = checks.latest(), checks.history(limit, scene) if since is None else checks.spread(since, limit, scene)
        found = DriftOut(latest=latest, history=history, last_report=checks.last_report(), settings=work.drift_settings.get())
    if scene is None:
        return found
    latest = latest and of_scene(latest, scene)
    return found.model_copy(update={"latest": latest, "history": [of_scene(check, scene) for check in history]})


def set_reference(
    unit_of_work: UnitOfWorkFactory, choice: ReferenceChoice, *, model_name: str, actor: str, reason: str, at: datetime
) -> DriftSettings:
    """Choose what traffic is compared with, from the next check on.

    Raises:
        InvalidInput: if a range is missing, empty or in the future, or the champion's training does not say which traffic it had.
    """
    with unit_of_work() as work:
        before = work.drift_settings.get()
        if choice.kind == "training":
            choice = _trained_on(work, model_name)
        elif choice.kind == "range":
            if choice.since is None or choice.until is None:
                raise InvalidInput("a range needs `since` and `until`; for recorded history choose the kind `backfill`")
            if not choice.since < choice.until <= at:
                raise InvalidInput("`since` must lie before `until`, and `until` not in the future")
        else:
            choice = ReferenceChoice(kind="backfill")
        after = before.model_copy(update={"reference": choice})
        work.drift_settings.put(after)
        _audit(work, at, actor, "drift.reference", REFERENCE, reason, before.reference, choice)
    return after


def mute(unit_of_work: UnitOfWorkFactory, column: str, until: datetime | None, *, actor: str, reason: str, at: datetime) -> DriftSettings:
    """Let a column raise no alarm until a time, or speak again at once.

    Raises:
        InvalidInput: if the newest check has no such column, or the time has passed.
    """
    if until is not None and until <= at:
        raise InvalidInput("`until` has passed; give a time in the future, or null to let the column speak again")
    with unit_of_work() as work:
        latest = work.drift_checks.latest()
        known = sorted({one.column.removesuffix("_ratio") for one in latest.columns} if latest else ())
        if until is not None and column not in known:
            raise InvalidInput(f"no column {column!r} is compared; the newest check has {', '.join(known) or 'none'}")
        before = work.drift_settings.get()
        was = next((one for one in before.mutes if one.column == column), None)
        mutes = [one for one in before.mutes if one.column != column and one.until > at]
        is_now = None if until is None else DriftMute(column=column, until=until)
        after = before.model_copy(update={"mutes": mutes if is_now is None else [*mutes, is_now]})
        work.drift_settings.put(after)
        _audit(work, at, actor, "drift.unmuted" if until is None else "drift.muted", f"{MUTES}{column}", reason, was, is_now)
    return after


def told_of(whole: Span, without: Sequence[Gap]) -> dict[str, str]:
    """Parameters of a run that is trained on a range of traffic, without some parts of it: those of `as_told`."""
    told = {TRAINED_SINCE: whole.since.isoformat(), TRAINED_UNTIL: whole.until.isoformat()}
    parts = _parts(whole, without)
    return told | ({TRAINED_WITHOUT: parts} if parts else {})


def as_told(whole: Span, without: Sequence[Gap]) -> list[Gap]:
    """What is left out of a range, and no more parts of it than can be told of; where they are too many, more is left out."""
    return shortened(without, lambda gaps: len(_parts(whole, gaps)) <= MOST_CHARACTERS)


def _parts(whole: Span, without: Sequence[Gap]) -> str:
    parts = []
    for gap in without:
        if gap.since < whole.until and gap.until > whole.since:
            ends = (max(gap.since, whole.since), min(gap.until, whole.until))
            told = "-".join(f"{(time - whole.since).total_seconds():.3f}" for time in ends)
            parts.append(told if gap.scene is None else f"{told}@{quote(gap.scene, safe='')}")
    return " ".join(parts)


def _left_out(since: datetime, part: str) -> TimeRange:
    ends, at, scene = part.partition("@")
    begin, end = (since + timedelta(seconds=float(one)) for one in ends.split("-"))
    return TimeRange(since=begin, until=end, scene=unquote(scene) if at else None)


def _trained_on(work: UnitOfWork, model_name: str) -> ReferenceChoice:
    champion = work.routes.table().champion
    if champion is None:
        raise InvalidInput("there is no champion, so there is no training to go by; choose `backfill` or a range")
    params = work.model_versions.get(ModelRef(model_name, champion.version)).params
    try:
        since, until = (datetime.fromisoformat(str(params[name])).astimezone(UTC) for name in (TRAINED_SINCE, TRAINED_UNTIL))
        without = [_left_out(since, part) for part in str(params.get(TRAINED_WITHOUT, "")).split()]
    except (KeyError, ValueError) as error:
        said = f"version {champion.version} does not say which traffic it was trained on"
        raise InvalidInput(f"{said}; log {TRAINED_SINCE} and {TRAINED_UNTIL} with its run, or choose `backfill` or a range") from error
    return ReferenceChoice(kind="training", since=since, until=until, without=without)


def _audit(
    work: UnitOfWork,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    before: ReferenceChoice | DriftMute | None,
    after: ReferenceChoice | DriftMute | None,
) -> None:
    said = [{} if one is None else one.model_dump(mode="json", exclude_none=True) for one in (before, after)]
    work.audit.append(at=at, actor=actor, action=action, subject=subject, reason=reason, before=said[0], after=said[1])
