"""The drift check: read both windows, score, decide, and write verdict and audit entry in one transaction."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np

from trajops.clock import now
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, DriftOut, DriftReportOut, Verdict, column_words
from trajops.drift import Rows, decile_edges, judge, missing_column, score_column, unit_column
from trajops.drift_rules import ColumnRule, DriftRules
from trajops.drift_thresholds import calibrate
from trajops.errors import Unavailable
from trajops.ports import Clock, DriftDetector, DriftSource
from trajops.stores import UnitOfWorkFactory
from trajops.trajectories import FloatArray

ACTOR = "worker:check_drift"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALARMS: frozenset[Verdict] = frozenset({"warning", "drift"})

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Reference:
    """The reference window in memory, with what was computed from it.

    Attributes:
        rows: its rows.
        since: when its first row was received.
        until: when its last row was received.
        loaded_at: when it was read.
        is_settled: two reads in a row found as many rows, so that it has stopped growing.
        edges: bins by column and model version.
        thresholds: by column, model version, number of agents and rows of an agent.
    """

    rows: Rows
    since: datetime
    until: datetime
    loaded_at: datetime
    is_settled: bool = False
    edges: dict[tuple[str, int | None], FloatArray] = field(default_factory=dict)
    thresholds: dict[tuple[str, int | None, int, int], float] = field(default_factory=dict)


class DriftMonitor:
    """Checks the newest traffic against the reference. One check at a time.

    Args:
        source: reads windows of rows.
        unit_of_work: opens a transaction.
        rules: what is compared, and when it is drift.
        reports_dir: folder of the full reports.
        clock: what time it is.
        detector: second opinion and full report; None goes without.
    """

    def __init__(
        self,
        source: DriftSource,
        unit_of_work: UnitOfWorkFactory,
        rules: DriftRules,
        reports_dir: Path,
        clock: Clock,
        detector: DriftDetector | None = None,
    ) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._reports_dir = reports_dir
        self._clock = clock
        self._detector = detector
        self._known: Reference | None = None

    def check(self) -> DriftCheckOut:
        """Judge the window that ends now, store the verdict and return it.

        Raises:
            Unavailable: if lake or database do not answer; nothing is stored then.
        """
        at = now(self._clock)
        since = at - timedelta(seconds=self._rules.current.window_s)
        current = self._source.rows(since, at, self._rules.current.sources)
        reference = self._reference(at)
        with self._unit_of_work(read_only=True) as work:
            history = work.drift_checks.history(8 * self._rules.confirm.of)
            last_report = work.drift_checks.last_report()
        columns, verdict, sentence = self._decide(reference, current, self._earlier(history, at))
        check = DriftCheckOut(
            check_id=uuid4().hex,
            at=at,
            verdict=verdict,
            sentence=sentence,
            reference_since=reference and reference.since,
            reference_until=reference and reference.until,
            current_since=since,
            current_until=at,
            reference_agents=reference.rows.agent_count if reference else 0,
            current_agents=current.agent_count,
            columns=columns,
            has_report=False,
        )
        report = None
        if reference is not None and verdict != "insufficient_data":
            wanted = self._reports_dir / f"{check.check_id}.html" if self._is_report_due(check, last_report, history) else None
            check, report = self._with_opinions(check, reference.rows, current, wanted)
        elif self._detector is not None:
            self._detector.warm_up()
        self._store(check, report, history)
        return check

    def _decide(
        self, reference: Reference | None, current: Rows, earlier: Sequence[Sequence[DriftColumn]]
    ) -> tuple[list[DriftColumn], Verdict, str]:
        wanted = self._rules.current.min_agents
        if reference is None:
            least = self._rules.reference.min_agents
            return [], "insufficient_data", f"No reference of at least {least} agents yet, so nothing can be compared."
        found = (unit_column(self._rules.units, column, reference.rows, current) for column in self._rules.units.columns)
        units = [column for column in found if column is not None]
        is_wrong_unit = any(column.is_drifted for column in units)
        if current.agent_count < wanted and not is_wrong_unit:
            minutes = f"{self._rules.current.window_s / 60:g} minutes"
            return units, "insufficient_data", f"The last {minutes} hold {current.agent_count} agents; a verdict needs {wanted}."
        columns = units + [self._column(rule, reference, current) for rule in self._rules.columns]
        verdict, names = judge(columns, earlier, self._rules.confirm)
        return columns, verdict, _sentence(verdict, [column for column in columns if column.column in names], columns, current)

    def _column(self, rule: ColumnRule, reference: Reference, current: Rows) -> DriftColumn:
        """Score one column. What a model says is compared within the version that answers now, so that a promotion is no drift."""
        before, after, version = reference.rows, current, None
        if rule.kind != "input" and len(current):
            version = _answering_version(current, self._rules.confirm.spacing_s)
            before, after = before.select(before.versions == version), after.select(after.versions == version)
        before, after = before.select(before.present(rule.column)), after.select(after.present(rule.column))
        agents = after.agent_count
        # A share of a window goes to each version, and the newest rows have no truth yet.
        least = self._rules.current.min_agents // (1 if rule.kind == "input" else 2)
        if agents < least or before.agent_count < least:
            return missing_column(rule)
        if (rule.column, version) not in reference.edges:
            reference.edges[rule.column, version] = decile_edges(before.values[rule.column])
        edges = reference.edges[rule.column, version]
        density = len(after) / agents
        # Steps of a fifth, rounded to the careful side: fewer agents and rows score higher by chance.
        size, dense = int(np.log(agents) / np.log(1.2)), int(np.log2(density))
        key = (rule.column, version, size, dense)
        if key not in reference.thresholds:
            reference.thresholds[key] = calibrate(
                before,
                rule.column,
                edges,
                self._rules.calibration,
                window_s=self._rules.current.window_s,
                agents=max(2, round(1.2**size)),
                rows_per_agent=2.0**dense,
            )
        return score_column(rule, before.values[rule.column], after.values[rule.column], edges, reference.thresholds[key])

    def _reference(self, at: datetime) -> Reference | None:
        """The recorded reference, or the oldest traffic where nothing was recorded; kept in memory once it has stopped growing."""
        rule, known = self._rules.reference, self._known
        if known is not None and known.is_settled and at - known.loaded_at < timedelta(seconds=rule.refresh_s):
            return known
        since, until = EPOCH, at
        if known is not None and known.is_settled:  # what has settled is read again where it lies, not searched for in the whole lake
            since, until = known.since, min(at, known.until + timedelta(seconds=rule.window_s))
        rows = self._source.rows(since, until, rule.sources, rule.max_rows)
        if rows.agent_count < rule.min_agents:
            rows = self._oldest(at)
        if rows.agent_count < rule.min_agents:
            self._known = None
            return None
        since, until = (EPOCH + timedelta(seconds=float(time_s)) for time_s in (rows.times_s.min(), rows.times_s.max()))
        is_same = known is not None and (len(known.rows), known.since, known.until) == (len(rows), since, until)
        self._known = Reference(rows, since, until, at, is_settled=is_same)
        if known is not None and is_same and _is_same_truth(known.rows, rows):
            self._known.edges, self._known.thresholds = known.edges, known.thresholds
        return self._known

    def _oldest(self, at: datetime) -> Rows:
        sources, rule = self._rules.current.sources, self._rules.reference
        oldest = self._source.oldest(sources) or at
        until = min(oldest + timedelta(seconds=rule.window_s), at - timedelta(seconds=self._rules.current.window_s))
        return self._source.rows(min(oldest, until), until, sources, rule.max_rows)

    def _earlier(self, history: Sequence[DriftCheckOut], at: datetime) -> list[list[DriftColumn]]:
        """Columns of the checks that may confirm this one: not on the same rows, and not from before a long pause."""
        spacing = timedelta(seconds=self._rules.confirm.spacing_s)
        oldest = at - timedelta(seconds=self._rules.confirm.of * self._rules.current.window_s)
        kept: list[list[DriftColumn]] = []
        last = at
        for check in history:
            if oldest <= check.at <= last - spacing:
                kept.append(check.columns)
                last = check.at
        return kept

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
        before = next((past.verdict for past in history if past.verdict != "insufficient_data"), None)
        with self._unit_of_work() as work:
            work.drift_checks.add(check, str(report) if report else None)
            if (before == "drift") != (check.verdict == "drift") and check.verdict != "insufficient_data":
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


def overview(unit_of_work: UnitOfWorkFactory, limit: int = 50) -> DriftOut:
    """The newest check in full, and the verdicts before it, newest first."""
    with unit_of_work(read_only=True) as work:
        checks = work.drift_checks
        return DriftOut(latest=checks.latest(), history=checks.history(limit), last_report=checks.last_report())


def _answering_version(rows: Rows, newest_s: float) -> int:
    """The version behind most of the newest rows. One that answers no more would be judged on the same rows again and again."""
    versions, counts = np.unique(rows.versions[rows.times_s >= rows.times_s.max() - newest_s], return_counts=True)
    return int(versions[counts.argmax()])


def _is_same_truth(known: Rows, rows: Rows) -> bool:
    """Whether as many values are present in each column; truth may reach the reference after its predictions."""
    return all(int(known.present(name).sum()) == int(rows.present(name).sum()) for name in rows.values)


def _sentence(verdict: Verdict, named: Sequence[DriftColumn], columns: Sequence[DriftColumn], current: Rows) -> str:
    compared = sum(column.score is not None for column in columns)
    if verdict == "stable":
        return f"{compared} columns of {current.agent_count} agents look like the reference."
    said = "; ".join(_said(column) for column in named)
    if verdict == "warning":
        return f"One check is out of the ordinary, the next ones confirm or clear it: {said}."
    return f"The traffic no longer looks like the reference: {said}."


def _said(column: DriftColumn) -> str:
    if column.score is None or column.threshold is None:
        return f"{column_words(column.column)} (not compared this time)"
    if column.method == UNIT_RULE:
        name = column_words(column.column.removesuffix("_ratio"))
        return f"{name} is {column.score:.2g} × the reference, which points to a unit or a clock"
    return (
        f"{column_words(column.column)} (PSI {column.score:.2f} over {column.threshold:.2f})"
        if column.is_drifted
        else f"{column_words(column.column)} (until just now)"
    )
