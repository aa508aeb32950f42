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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import inf

from trajops.alerts.signals import Signal
from trajops.clock import utc
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, QualityFinding, QualityKind, ratio_words
from trajops.contracts.jobs import job_title
from trajops.contracts.performance import Metric
from trajops.contracts.rollouts import RolloutOut
from trajops.deployments.model_ref import ModelRef
from trajops.drift.quality import AT_ONCE
from trajops.drift.telling import LINGERS, Earlier, are_units_well, asked_units, found, found_well, scenes_of, to_tell, wrong_units
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
# What also moves columns, where it comes from scenes with so large a share of the agents; what it is has an alert of its own.
MOVES: frozenset[QualityKind] = frozenset({"unit", "sampling_rate"})
LARGE_SHARE = 0.1
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
        objectives: what is promised.
    """

    work: UnitOfWork
    at: datetime
    broken_files: Callable[[], list[str]]
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
        objectives: what is promised.
    """

    def __init__(
        self, unit_of_work: UnitOfWorkFactory, broken_files: Callable[[], list[str]], objectives: Callable[[], Objectives]
    ) -> None:
        self._unit_of_work = unit_of_work
        self._broken_files = broken_files
        self._objectives = objectives
        self._failures: dict[str, str] = {}

    def read(self, at: datetime) -> list[Signal]:
        """All signals of now."""
        found: list[Signal] = []
        for name, (ask, _) in _SOURCES.items():
            try:
                with self._unit_of_work(read_only=True) as work:
                    found += ask(View(work, at, self._broken_files, self._objectives))
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
    named = ", ".join(paths[:MOST_PATHS]) + (f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else "")
    yield Signal("lake_broken_files", float(len(paths)), view.at, detail=f"Files of the lake that cannot be read: {named}.")


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
