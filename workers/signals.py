"""Where alert rules get their figures from: one function a source.

To add one, write a function that takes a `View` and yields signals, and put `@source("its_first_signal", …)` above it with the names of
all signals that it yields. That is all: rules in `configs/alerts.yaml` may name them then, and a rule that names none of them is refused
with its line. For example, the share of rows with a missing field:

    @source("missing_field_share")
    def _missing_fields(view: View) -> Iterator[Signal]:
        for field, share in view.lake().missing_shares(minutes=5).items():
            detail = f"{100 * share:.0f} % of the rows of the last five minutes have no {field}."
            yield Signal("missing_field_share", share, view.at, {"field": field}, detail)

A source that has nothing to say yields nothing; what the rule's `missing` says then holds. One that raises takes no other with it: the
signal `source_failed` names it. All are asked every two seconds, each in a read-only transaction of its own, so a source must be cheap;
what costs more than a few milliseconds belongs into a job of its own, whose result is read here.
"""

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from trajops.alerts.signals import Signal
from trajops.clock import utc
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding, QualityKind, ratio_words
from trajops.contracts.jobs import job_title
from trajops.contracts.performance import Metric
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.model_ref import ModelRef
from trajops.drift.quality import AT_ONCE
from trajops.drift.watch import LONGEST_S, OTHERS
from trajops.experiments.lifecycle import ExperimentState
from trajops.objectives import Objectives
from trajops.rollouts.lifecycle import ACTIVE, RolloutState
from trajops.rollouts.waiting import wanted
from trajops.services.availability import burning
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from workers.jobs.join_truth import SILENT_SINCE

VERDICTS = {"stable": 0.0, "warning": 1.0, "drift": 2.0, UNIT_RULE: 3.0}
QUALITY = {"warning": 1.0, "bad": 2.0}
JUDGED = {"as_validated", "better", "warning", "degraded"}
VERDICTS_ON: dict[str, set[Metric]] = {
    "accuracy_verdict": {"ade_m", "fde_m", "miss_rate"},
    "intervals_verdict": {"coverage", "nll", "radius_m"},
}
# One that was made longer ago says nothing of now.
CHECKED_WITHIN = timedelta(minutes=3)
# After the last check that saw another unit, its rows stay in the window that is compared, and then for so long in the looks that confirm.
LINGERS = timedelta(minutes=2)
# What also moves columns, where it comes from scenes with so large a share of the agents; what it is has an alert of its own.
MOVES: frozenset[QualityKind] = frozenset({"unit", "sampling_rate"})
LARGE_SHARE = 0.1
# What another unit of all traffic looks like in each of its scenes.
OF_POSITIONS: frozenset[QualityKind] = frozenset({"unit", "frame"})
# What nothing in so much of the newest traffic tells any more is over.
UNTOLD = timedelta(seconds=LONGEST_S)
# So long the end of a rollout is news.
LATELY = timedelta(hours=1)
MOST_PATHS = 3
MOST_ROLLOUTS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What a source may look at.

    Attributes:
        work: the control state, to read.
        at: now.
        broken_files: paths of the lake's files that cannot be read.
        quarantined: segments of the spool that had lines which are no rows.
        objectives: what is promised.
    """

    work: UnitOfWork
    at: datetime
    broken_files: Callable[[], list[str]]
    quarantined: Callable[[], list[str]]
    objectives: Callable[[], Objectives]


Source = Callable[[View], Iterable[Signal]]
_SOURCES: dict[str, tuple[Source, frozenset[str]]] = {}


def source(*names: str) -> Callable[[Source], Source]:
    """Register a function as the source of the signals with these names."""

    def register(function: Source) -> Source:
        taken = set(names) & signal_names()
        assert not taken, f"two sources yield {taken}"
        _SOURCES[function.__name__.strip("_")] = function, frozenset(names)
        return function

    return register


def signal_names() -> frozenset[str]:
    """Every name that a rule may use."""
    return frozenset({"source_failed"}).union(*(names for _, names in _SOURCES.values()))


class SignalReader:
    """Asks every source; `source_failed` says of each whether it could answer.

    Args:
        unit_of_work: opens a transaction.
        broken_files: paths of the lake's files that cannot be read.
        quarantined: segments of the spool that had lines which are no rows.
        objectives: what is promised.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        broken_files: Callable[[], list[str]],
        quarantined: Callable[[], list[str]],
        objectives: Callable[[], Objectives],
    ) -> None:
        self._unit_of_work = unit_of_work
        self._broken_files = broken_files
        self._quarantined = quarantined
        self._objectives = objectives
        self._failures: dict[str, str] = {}

    def read(self, at: datetime) -> list[Signal]:
        """All signals of now."""
        found: list[Signal] = []
        for name, (ask, _) in _SOURCES.items():
            try:
                with self._unit_of_work(read_only=True) as work:
                    found += ask(View(work, at, self._broken_files, self._quarantined, self._objectives))
            except Exception as error:  # one blind eye must not close the others
                failure = f"{type(error).__name__}: {error}"
                if self._failures.get(name) != failure:
                    logger.exception("a source of alert signals failed", exc_info=error, extra={"source": name})
                self._failures[name] = failure
            else:
                self._failures.pop(name, None)
            failure = self._failures.get(name, "")
            detail = f"The source {name} of alert signals cannot be read: {failure}" if failure else ""
            found.append(Signal("source_failed", float(bool(failure)), at, {"source": name}, detail))
        return found


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
    wrong = _wrong_units(check)
    asked = [column for column in check.columns if column.method == UNIT_RULE and column.score is not None]
    if wrong:
        said = f"{' and '.join(map(ratio_words, wrong))}, which points to a unit or a clock."
        yield Signal("drift_unit", 1.0, check.at, detail=f"{said[0].upper()}{said[1:]}")
    elif asked or check.verdict == "stable":
        said = f": {' and '.join(map(ratio_words, asked))}" if asked else ""
        yield Signal("drift_unit", 0.0, check.at, detail=f"Nothing points to another unit or clock{said}.")
    was_all = any(_wrong_units(one) for one in _held(view, check))
    found = {(one.kind, one.scene): one for one in _to_tell(check, was_all=was_all)}
    for (kind, scene), one in found.items():
        yield _of_finding(kind, scene, 1.0, check.at, one.sentence)
    for alert in view.work.alerts.unresolved():
        about = next(((kind, alert.labels.get("scene")) for kind in AT_ONCE if alert.labels.get("kind") == kind), None)
        if alert.origin == "rules" and about is not None and about not in found:
            kind, scene = about
            well = _found_well(check, kind, scene)
            if well is not None or view.at - alert.seen_at > UNTOLD:
                yield _of_finding(kind, scene, 0.0, check.at, well or "Nothing tells of it any more.")


def _of_finding(kind: QualityKind, scene: str | None, value: float, at: datetime, detail: str) -> Signal:
    labels = {"kind": kind} | ({} if scene is None else {"scene": scene})
    return Signal("drift_unit" if kind == "unit" else "drift_scene", value, at, labels, detail)


def _to_tell(check: DriftCheckOut, *, was_all: bool) -> list[QualityFinding]:
    """What is drift at once, by kind and scene.

    No unit of a scene where the ratio of all has said it while the window lasts, and no frame where positions are in another unit.
    """
    found = _found(check, AT_ONCE)
    in_units = {one.scene for one in found if one.kind == "unit"}
    return [one for one in found if one.kind not in OF_POSITIONS or not (was_all or (one.kind == "frame" and one.scene in in_units))]


def _found_well(check: DriftCheckOut, kind: QualityKind, scene: str | None) -> str | None:
    """What a check says of a scene, or of those that are judged together, in which it does not find that; None: it does not tell."""
    if kind == "new_scene":  # which is not looked for in scenes that are gone, or are known by now
        return f"The scene {scene} is known, or nobody is in it any more."
    mine = [one for one in check.quality if one.kind == kind and (scene is None or scene == one.scene or scene in one.scenes)]
    is_well = bool(mine) and all(one.verdict == "ok" or one.muted_until is not None for one in mine)
    return mine[0].sentence if is_well else None


def _wrong_units(check: DriftCheckOut) -> list[DriftColumn]:
    return [column for column in check.columns if column.method == UNIT_RULE and column.is_drifted and column.muted_until is None]


def _found(check: DriftCheckOut, kinds: Container[QualityKind]) -> list[QualityFinding]:
    return [one for one in check.quality if one.kind in kinds and one.verdict == "bad" and one.muted_until is None]


def _held(view: View, check: DriftCheckOut) -> list[DriftCheckOut]:
    """A check, and those before it that called drift what is still in its window."""
    return [check, *(one for one in view.work.drift_checks.suspicious(check.current_since - LINGERS) if one.verdict == "drift")]


def _is_explained(view: View, check: DriftCheckOut) -> bool:
    """Whether what has drifted are scenes that have, or had in the window, another unit or rate."""
    held = _held(view, check)
    if any(_wrong_units(one) for one in held):
        return True
    found = [one for past in held for one in _found(past, MOVES)]
    agents = {scene.scene: scene.agents for scene in check.scenes}
    moved = {name if name in agents else OTHERS for one in found for name in ([one.scene] if one.scene is not None else one.scenes)}
    drifted = {scene.scene for scene in check.scenes if scene.verdict == "drift"}
    if drifted or not agents:
        return bool(found) and drifted <= moved
    return sum(agents.get(name, 0) for name in moved) >= LARGE_SHARE * sum(agents.values())


@source("data_quality")
def _quality(view: View) -> Iterator[Signal]:
    """What the newest drift check says of each rule on data quality: 0 well, 1 a warning, 2 bad; of several scenes, the worst."""
    check = view.work.drift_checks.latest()
    if check is None or view.at - check.at > CHECKED_WITHIN:
        return
    worst: dict[str, QualityFinding] = {}
    for finding in check.quality:
        known = worst.get(finding.kind)
        if known is None or QUALITY.get(finding.verdict, 0.0) > QUALITY.get(known.verdict, 0.0):
            worst[finding.kind] = finding
    for kind, finding in worst.items():
        yield Signal("data_quality", QUALITY.get(finding.verdict, 0.0), check.at, {"kind": kind}, finding.sentence)


@source("accuracy_verdict", "intervals_verdict")
def _performance(view: View) -> Iterator[Signal]:
    """Of each version that answers and was checked of late, its errors and its ellipses: 0 as validated or better, 1 a warning, 2 degraded.

    They are told apart because what mends the one, another version, does nothing for the other, which recalibration mends.
    """
    route = view.work.routes.table()
    answering = set(route.answering())
    for check in view.work.performance_checks.latest():
        is_served = ModelRef(check.model_name, check.model_version) in answering
        if check.verdict not in JUDGED or not is_served or view.at - check.at > CHECKED_WITHIN:
            continue
        for name, metrics in VERDICTS_ON.items():
            value = 2.0 if metrics & set(check.confirmed) else 1.0 if metrics & set(check.flagged) else 0.0
            yield Signal(name, value, check.at, {"model_version": str(check.model_version)}, check.sentence)


@source("burn_alarm")
def _availability(view: View) -> Iterator[Signal]:
    """1 for each alarm of the objective whose two windows burn the error budget too fast, else 0."""
    for state in burning(view.work, view.objectives().availability, view.at):
        alarm = state.alarm
        spoken = (
            f"{alarm.factor:g} times the pace that the objective allows, over {alarm.long_s // 60} and over {alarm.short_s // 60} minutes"
        )
        about = {"factor": f"{alarm.factor:g}", "urgency": alarm.severity}
        yield Signal("burn_alarm", float(state.is_burning), view.at, about, f"The error budget burns at {spoken}.")


@source("job_late", "job_failed")
def _jobs(view: View) -> Iterator[Signal]:
    """1 for each job that has not succeeded for three intervals, and for each whose last run failed; else 0.

    A job of which an alert still tells though nobody schedules it any more is neither.
    """
    jobs = view.work.jobs.overview(view.at)
    told = {alert.labels["job"] for alert in view.work.alerts.unresolved() if alert.origin == "rules" and "job" in alert.labels}
    for name in sorted(told - {job.job for job in jobs}):
        gone = f"The job {name} is scheduled no more."
        yield from (Signal(signal, 0.0, view.at, {"job": name}, gone) for signal in ("job_late", "job_failed"))
    for job in jobs:
        about, title = {"job": job.job}, job_title(job.job)
        since = f"since {job.last_success_at:%d %b %H:%M:%S} UTC" if job.last_success_at else "since its first run"
        late = f"The job {job.job} ({title}) has not succeeded {since}; it should every {job.every_s:g} s."
        yield Signal("job_late", float(job.is_late), view.at, about, late)
        if job.last_run is not None and job.last_run.state != "running":
            failed = f"The job {job.job} ({title}) failed: {job.last_run.error}"
            yield Signal("job_failed", float(job.last_run.state == "failed"), view.at, about, failed)


@source("rollout_waits", "rollout_failed")
def _rollouts(view: View) -> Iterator[Signal]:
    """Of each version that was rolled out of late: 1 where it waits for a person; 1 where it was lately taken back, or not decided; else 0.

    Not of the newest alone: what was told about the version before it would stay open, because nothing speaks of it any more.
    """
    newest: dict[int, RolloutOut] = {}
    for one in view.work.rollouts.newest(limit=MOST_ROLLOUTS):
        newest.setdefault(one.model_version, one)
    for version, one in newest.items():
        about = {"model_version": str(version)}
        asked = wanted(one, view.at)
        yield Signal("rollout_waits", float(asked is not None), view.at, about, asked or "It waits for nobody.")
        is_new = one.ended_at is not None and view.at - one.ended_at < LATELY
        failed = is_new and one.state in {RolloutState.ROLLED_BACK, RolloutState.INCONCLUSIVE}
        yield Signal("rollout_failed", float(failed), view.at, about, f"The rollout of version {version}: {one.sentence}")


@source("experiment_waits")
def _experiments(view: View) -> Iterator[Signal]:
    """How many experiments of nobody's rollout are paused, or have recommended what nobody has acted on."""
    steps = {one.experiment_id for one in view.work.rollouts.newest(states=ACTIVE)}
    waiting = view.work.experiments.newest(states={ExperimentState.PAUSED, ExperimentState.RECOMMENDED})
    said = [f"{one.plan.name} is {one.state}: {one.sentence}" for one in waiting if one.experiment_id not in steps]
    more = f" And {len(said) - MOST_PATHS} more." if len(said) > MOST_PATHS else ""
    yield Signal("experiment_waits", float(len(said)), view.at, detail=" ".join(said[:MOST_PATHS]) + more)


@source("lake_broken_files")
def _lake(view: View) -> Iterator[Signal]:
    """How many files of the lake cannot be read and were set aside."""
    paths = view.broken_files()
    yield Signal("lake_broken_files", float(len(paths)), view.at, detail=f"Files of the lake that cannot be read: {_named(paths)}.")


@source("spool_quarantine")
def _spool(view: View) -> Iterator[Signal]:
    """How many segments of this machine's spool had lines that are no rows, and were kept aside."""
    names = view.quarantined()
    yield Signal("spool_quarantine", float(len(names)), view.at, detail=f"Lines that are no rows were kept aside: {_named(names)}.")


def _named(paths: Sequence[str]) -> str:
    return ", ".join(paths[:MOST_PATHS]) + (f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else "")


@source("truth_silence_s")
def _truth(view: View) -> Iterator[Signal]:
    """For how long predictions have waited for truth without one being scored; 0 where none wait."""
    last = view.work.jobs.last_success("join_truth", until=view.at)
    if last is None:
        return
    since_ns = last.result.get(SILENT_SINCE)
    silence_s = 0.0 if since_ns is None else (view.at - utc(since_ns)).total_seconds()
    detail = f"{last.result.get('candidates', 0)} predictions wait for truth, and none was scored for {silence_s:.0f} s."
    yield Signal("truth_silence_s", silence_s, view.at, detail=detail)
