"""The drift check: read both windows, score, decide, and write verdict and audit entry in one transaction."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np

from trajops.clock import now
from trajops.contracts.drift import (
    DOMAIN_METHOD,
    UNIT_RULE,
    DriftCheckOut,
    DriftColumn,
    DriftMute,
    DriftReportOut,
    DriftScene,
    DriftSettings,
    QualityKind,
    Verdict,
    column_words,
    ratio_words,
    without_bins,
)
from trajops.drift.columns import Earlier, Rows, described_column
from trajops.drift.paces import COLUMN as SPEED
from trajops.drift.quality import AT_ONCE, Counts, Wider, findings_alone
from trajops.drift.rules import DriftRules
from trajops.drift.watch import LONGEST_S, Conclusion, Look, conclude
from trajops.errors import Unavailable
from trajops.ports import Clock, DriftDetector, DriftSource
from trajops.services.drift_reference import DriftReference, Reference
from trajops.stores import UnitOfWorkFactory
from trajops.trajectories import FloatArray

ACTOR = "worker:check_drift"
ALARMS: frozenset[Verdict] = frozenset({"warning", "drift"})
LOOK_BACK = 64
MOST_ROWS = 200_000

logger = logging.getLogger(__name__)


class DriftMonitor:
    """Checks the newest traffic against the reference. One check at a time.

    Args:
        source: reads windows of rows.
        unit_of_work: opens a transaction.
        rules: what is compared, and when it is drift.
        reports_dir: folder of the full reports.
        clock: what time it is.
        detector: second opinion and full report; None goes without.
        reference: what is compared with; None: one of its own.
    """

    def __init__(
        self,
        source: DriftSource,
        unit_of_work: UnitOfWorkFactory,
        rules: DriftRules,
        reports_dir: Path,
        clock: Clock,
        detector: DriftDetector | None = None,
        reference: DriftReference | None = None,
    ) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._reports_dir = reports_dir
        self._clock = clock
        self._detector = detector
        self._reference = DriftReference(source, rules) if reference is None else reference

    def check(self) -> DriftCheckOut:
        """Judge the window that ends now, store the verdict and return it.

        Raises:
            Unavailable: if lake or database do not answer; nothing is stored then.
        """
        at = now(self._clock)
        rule = self._rules.current
        since = at - timedelta(seconds=rule.window_s)
        current = self._source.rows(since, at, rule.sources)
        with self._unit_of_work(read_only=True) as work:
            history = work.drift_checks.history(LOOK_BACK)
            last_report = work.drift_checks.last_report()
            settings = work.drift_settings.get()
        reference = self._reference.at(at, settings.reference)
        check = DriftCheckOut(
            check_id=uuid4().hex,
            at=at,
            verdict="insufficient_data",
            sentence=self._reference.said_without(settings.reference),
            reference_since=reference and reference.since,
            reference_until=reference and reference.until,
            current_since=since,
            current_until=at,
            reference_agents=reference.rows.agent_count if reference else 0,
            current_agents=current.agent_count,
            columns=[],
            has_report=False,
        )
        if reference is not None:
            check = self._judged(check, reference, current, self._more(current, reference, at), history, settings)
        else:
            found = findings_alone(current, self._counts(at), self._rules.quality, wider=[Wider(current, rule.window_s)])
            check = check.model_copy(update={"quality": found})
        report = None
        if reference is not None and check.verdict != "insufficient_data":
            wanted = self._reports_dir / f"{check.check_id}.html" if self._is_report_due(check, last_report, history) else None
            check, report = self._with_opinions(check, reference.rows, current, wanted)
        elif self._detector is not None:
            self._detector.warm_up()
        self._store(check, report, history)
        return check

    def _more(self, current: Rows, reference: Reference, at: datetime) -> Rows | None:
        """More of the newest traffic, by few rows of many agents; None where the window holds agents enough for every rule."""
        rule, watch = self._rules.current, reference.watch
        if not len(current) or rule.window_s >= LONGEST_S or not watch.needs_more(current):
            return None
        step_s = reference.judge.step_s
        rows = self._source.some(
            at - timedelta(seconds=LONGEST_S), at, rule.sources, step_s, MOST_ROWS, by_scene=self._rules.scenes.is_split
        )
        return rows.select(np.argsort(rows.times_s, kind="stable"))

    def _judged(
        self,
        check: DriftCheckOut,
        reference: Reference,
        current: Rows,
        more: Rows | None,
        history: Sequence[DriftCheckOut],
        settings: DriftSettings,
    ) -> DriftCheckOut:
        """The check with all that is seen in the window, and the verdict on it."""
        rule, watch = self._rules.current, reference.watch
        rows = watch.scenes(current)
        version = _answering_version(current, self._rules.confirm.spacing_s) if len(current) else 0
        counts = self._counts(check.at)
        look = _muted(watch.look(current, check.at.timestamp(), version, counts, more=more), settings.mutes, check.at)
        earlier = self._earlier(history, check.at, check.reference_since)
        told = conclude(
            look,
            [Earlier(age_s, past.columns) for age_s, past in earlier],
            {
                name: [Earlier(age_s, scene.columns) for age_s, past in earlier for scene in past.scenes if scene.scene == name]
                for name in look.scenes
            },
            self._rules,
        )
        units = [column for column in look.columns if column.method == UNIT_RULE]
        is_wrong_unit = any(column.is_drifted and column.muted_until is None for column in units)
        is_few = current.agent_count < rule.min_agents
        if is_few and not is_wrong_unit and not look.at_once:
            minutes = f"{rule.window_s / 60:g} minutes"
            said = f"The last {minutes} hold {current.agent_count} agents; a verdict needs {rule.min_agents}."
            return check.model_copy(update={"sentence": said, "columns": units, "quality": look.quality})
        columns = self._with_histograms(look.columns, reference.watch.reference, rows, version)
        return check.model_copy(
            update={
                "verdict": told.verdict,
                "traffic_verdict": "insufficient_data" if is_few and not is_wrong_unit else told.traffic[0],
                "sentence": _sentence(told, look, rows),
                "columns": columns,
                "scenes": self._scenes(look, told, reference.watch.reference, rows, version),
                "quality": look.quality,
            }
        )

    def _counts(self, at: datetime) -> Counts:
        """What the lake counts of the newest traffic: as much of it as holds predictions enough."""
        counts, current = Counts(), self._rules.current
        for window_s in (self._rules.quality.window_s, current.window_s, LONGEST_S):
            counts = self._source.counts(at - timedelta(seconds=window_s), at, current.sources)
            if counts.predictions >= self._rules.quality.min_agents:
                break
        return counts

    def _with_histograms(self, columns: Sequence[DriftColumn], before: Rows, after: Rows, version: int) -> list[DriftColumn]:
        """Columns that were scored, with means and histograms of both sides."""
        rules = {rule.column: rule for rule in self._rules.columns}
        sides = [self._values(rows, version) for rows in (before, after)]
        result = []
        for column in columns:
            rule = rules.get(column.column)
            if rule is None or not column.scores:
                result.append(column)
                continue
            found = [side[column.column][np.isfinite(side[column.column])] for side in sides]
            drawn = described_column(rule, column.scores, *found)
            result.append(drawn.model_copy(update={"muted_until": column.muted_until}))
        return result

    def _scenes(self, look: Look, told: Conclusion, before: Rows, after: Rows, version: int) -> list[DriftScene]:
        """Verdicts by scene, the worst first; histograms of what drifted only, so that a check stays small."""
        found = []
        for name, columns in look.scenes.items():
            verdict, names = told.scenes[name]
            drawn = [column for column in columns if column.score is not None]
            if names:
                sides = before.of_scene(name), after.of_scene(name)
                with_bins = {column.column: column for column in self._with_histograms(drawn, *sides, version)}
                drawn = [with_bins[one.column] if one.is_drifted else without_bins(with_bins[one.column]) for one in drawn]
            sentence = _said_of(verdict, [one for one in drawn if one.column in names], len(drawn), look.agents[name])
            found.append(DriftScene(scene=name, agents=look.agents[name], verdict=verdict, sentence=sentence, columns=drawn))
        order: tuple[Verdict, ...] = ("drift", "warning", "stable", "insufficient_data")
        return sorted(found, key=lambda scene: (order.index(scene.verdict), -scene.agents))

    def _earlier(self, history: Sequence[DriftCheckOut], at: datetime, since: datetime | None) -> list[tuple[float, DriftCheckOut]]:
        """The checks that may confirm this one, with their age in seconds.

        Not those from before a long pause, nor those that compared with another reference: a change that an operator has declared
        usual must not be held against the traffic any longer.
        """
        oldest = at - timedelta(seconds=self._rules.confirm.of * self._rules.current.window_s)
        mine = [check for check in history if oldest <= check.at < at and check.reference_since == since]
        return [((at - check.at).total_seconds(), check) for check in mine]

    def _with_opinions(
        self, check: DriftCheckOut, reference: Rows, current: Rows, report: Path | None
    ) -> tuple[DriftCheckOut, Path | None]:
        """The check with what the detector says, and the report if it was written."""
        if self._detector is None:
            return check, None
        rule = self._rules.report
        rng = np.random.default_rng(self._rules.calibration.seed)
        version = _answering_version(current, self._rules.confirm.spacing_s)
        sides = [
            self._values(rows, version)
            for rows in (reference.one_per_agent(rng, rule.reference_rows), current.one_per_agent(rng, rule.current_rows))
        ]
        try:
            opinions = self._detector.compare(sides[0], sides[1], report, rule.timeout_s)
        except Unavailable as error:
            logger.warning("the drift report is missing from a check", extra={"check_id": check.check_id, "reason": error.message})
            return check, None
        columns = [column.model_copy(update={"opinions": list(opinions.get(column.column, []))}) for column in check.columns]
        written = report if report is not None and report.is_file() else None
        return check.model_copy(update={"columns": columns, "has_report": written is not None}), written

    def _values(self, rows: Rows, version: int) -> dict[str, FloatArray]:
        """Columns of the rules as they are scored: what a model says counts where it is the version that answers now."""
        return {
            rule.column: rows.values[rule.column]
            if rule.kind == "input"
            else np.where(rows.versions == version, rows.values[rule.column], np.nan)
            for rule in self._rules.columns
            if rule.column in rows.values
        }

    def _is_report_due(self, check: DriftCheckOut, last: DriftReportOut | None, history: Sequence[DriftCheckOut]) -> bool:
        """For an alarm that has none yet, for the first check, and else at most once in `every_s`."""
        if last is None or check.at - last.at >= timedelta(seconds=self._rules.report.every_s):
            return True
        verdicts = {last.verdict, *(past.verdict for past in history if past.at > last.at)}
        return check.verdict in ALARMS and verdicts != {check.verdict}

    def _store(self, check: DriftCheckOut, report: Path | None, history: Sequence[DriftCheckOut]) -> None:
        number = next((number for number, past in enumerate(history) if past.verdict != "insufficient_data"), None)
        told = None if number is None else history[number]
        before = None if told is None else told.verdict
        # Its end was written when the first check found it well, though too little data is no verdict that the next ones could see.
        has_ended = any(_is_well_again(told, past) for past in history[:number])
        was_drift = before == "drift" and not has_ended
        with self._unit_of_work() as work:
            work.drift_checks.add(check, str(report) if report else None)
            if was_drift != (check.verdict == "drift") and (check.verdict != "insufficient_data" or _is_well_again(told, check)):
                work.audit.append(
                    at=check.at,
                    actor=ACTOR,
                    action="drift.began" if check.verdict == "drift" else "drift.ended",
                    subject=f"drift_check:{check.check_id}",
                    reason=check.sentence,
                    before={"verdict": before},
                    after={"verdict": check.verdict},
                )
        if report is not None:
            kept = sorted(self._reports_dir.glob("*.html"), key=lambda file: file.stat().st_mtime, reverse=True)
            for file in kept[self._rules.report.kept :]:
                file.unlink(missing_ok=True)


def _is_well_again(before: DriftCheckOut | None, check: DriftCheckOut) -> bool:
    """Whether all that was drift at once was looked at and is well, although there is too little data for columns."""
    if before is None:
        return False
    was: set[QualityKind] = {one.kind for one in before.quality if one.kind in AT_ONCE and one.verdict == "bad"}
    well: set[QualityKind] = {"new_scene", *(one.kind for one in check.quality if one.verdict == "ok")}
    units = [[column for column in one.columns if column.method == UNIT_RULE] for one in (before, check)]
    was |= {"unit"} if any(column.is_drifted for column in units[0]) else set()
    well |= {"unit"} if any(column.score is not None for column in units[1]) else set()
    return bool(was) and was <= well


def _muted(look: Look, mutes: Sequence[DriftMute], at: datetime) -> Look:
    """The look with the columns marked that may not raise an alarm now."""
    until = {one.column: one.until for one in mutes if one.until > at}
    if not until:
        return look

    def marked(columns: Iterable[DriftColumn]) -> list[DriftColumn]:
        named = [(column, column.column.removesuffix("_ratio")) for column in columns]
        return [column.model_copy(update={"muted_until": until[name]}) if name in until else column for column, name in named]

    scenes: Mapping[str, list[DriftColumn]] = {name: marked(columns) for name, columns in look.scenes.items()}
    quality = [
        one.model_copy(update={"muted_until": until[SPEED]}) if one.kind == "unit" and SPEED in until else one for one in look.quality
    ]
    return Look(marked(look.columns), scenes, look.agents, quality)


def _answering_version(rows: Rows, newest_s: float) -> int:
    """The version behind most of the newest rows. One that answers no more would be judged on the same rows again and again."""
    versions, counts = np.unique(rows.versions[rows.times_s >= rows.times_s.max() - newest_s], return_counts=True)
    return int(versions[counts.argmax()])


def _sentence(told: Conclusion, look: Look, current: Rows) -> str:
    """The verdict in words: what is wrong at once, then the traffic, then the scenes that say more than that."""
    compared = sum(column.score is not None for column in look.columns)
    said = [one.sentence for one in look.at_once]
    verdict, names = told.traffic
    of_all, of_scenes = [], []
    if verdict != "stable" or told.verdict == "stable":
        of_all = [_said_of(verdict, [column for column in look.columns if column.column in names], compared, current.agent_count)]
    for scene, (its_verdict, its_names) in told.scenes.items():
        if its_verdict == told.verdict != verdict and its_verdict in ALARMS:
            columns = [column for column in look.scenes[scene] if column.column in its_names]
            of_scenes.append(f"In {scene}: {_said_of(its_verdict, columns, compared, look.agents[scene])}")
    said += [*of_all, *of_scenes] if verdict == told.verdict else [*of_scenes, *of_all]  # what an alert is about stands first
    if told.verdict == "insufficient_data":
        return "No scene of the reference has enough agents now, so nothing can be compared."
    return " ".join(said)


def _said_of(verdict: Verdict, named: Sequence[DriftColumn], compared: int, agents: int) -> str:
    if verdict == "stable":
        return f"{compared} columns of {agents} agents look like the reference."
    said = "; ".join(_said(column) for column in named)
    if verdict == "warning":
        return f"One check is out of the ordinary, the next ones confirm or clear it: {said}."
    return f"The traffic no longer looks like the reference: {said}."


def _said(column: DriftColumn) -> str:
    if column.score is None or column.threshold is None:
        return f"{column_words(column.column)} (not compared this time)"
    if not column.is_drifted:
        return f"{column_words(column.column)} (until just now)"
    if column.method == UNIT_RULE:
        return f"{ratio_words(column)}, which points to a unit or a clock"
    if column.method == DOMAIN_METHOD:
        return f"{column_words(column.column)} (AUC {column.score:.2f} over {column.threshold:.2f}, by {', '.join(column.carriers[:2])})"
    if column.method == "scale":
        return f"{column_words(column.column)} (changed by {column.score:.0%}, {column.threshold:.0%} is chance)"
    return f"{column_words(column.column)} (PSI {column.score:.2f} over {column.threshold:.2f})"
