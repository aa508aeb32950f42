"""The reference in memory: what drift checks compare traffic with, and what it is judged by before something is learnt from it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock

from trajops.contracts.drift import ReferenceChoice
from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, is_left_out
from trajops.drift.learnable import Judge
from trajops.drift.rules import DriftRules
from trajops.drift.watch import Watch
from trajops.ports import DriftSource

LASTING = "Fewer agents that stay for ever need a lower min_agents of reference, current and units in configs/drift.yaml."
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class Reference:
    """The reference window in memory, with what was learnt from it.

    Attributes:
        rows: its rows.
        since: when its first row was received.
        until: when its last row was received.
        loaded_at: when it was read.
        choice: what an operator had chosen then.
        watch: what was learnt from it.
        is_settled: two reads in a row found as many rows, so that it has stopped growing.
    """

    rows: Rows
    since: datetime
    until: datetime
    loaded_at: datetime
    choice: ReferenceChoice
    watch: Watch
    is_settled: bool = False

    @cached_property
    def judge(self) -> Judge:
        """Tells what may be learnt from."""
        return Judge(self.watch.rules, self.rows)


class DriftReference:
    """Reads the reference, and keeps it once it has stopped growing. Safe to use from several threads.

    Args:
        source: reads windows of rows.
        rules: which rows, and how many.
    """

    def __init__(self, source: DriftSource, rules: DriftRules) -> None:
        self._source = source
        self._rules = rules
        self._known: Reference | None = None
        self._lock = Lock()

    def at(self, at: datetime, choice: ReferenceChoice) -> Reference | None:
        """The chosen reference, or the oldest traffic where nothing was recorded; None where it has too few agents.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        with self._lock:
            return self._read(at, choice)

    def said_without(self, choice: ReferenceChoice) -> str:
        """Why nothing can be compared."""
        least = self._rules.reference.min_agents
        if choice.kind == "backfill" or choice.since is None or choice.until is None:
            return f"No reference of at least {least} agents yet, so nothing can be compared. {LASTING}"
        since, until = (f"{time.astimezone(UTC):%Y-%m-%d %H:%M}" for time in (choice.since, choice.until))
        return f"The chosen reference, {since} to {until} UTC, has fewer than {least} agents: choose another one. {LASTING}"

    def _read(self, at: datetime, choice: ReferenceChoice) -> Reference | None:
        rule, known = self._rules.reference, self._known
        if known is not None and known.choice != choice:
            self._known = known = None
        if known is not None and known.is_settled and at - known.loaded_at < timedelta(seconds=rule.refresh_s):
            return known
        rows = self._chosen(at, choice, known)
        if rows.agent_count < rule.min_agents:
            self._known = None
            return None
        since, until = (EPOCH + timedelta(seconds=float(time_s)) for time_s in (rows.times_s.min(), rows.times_s.max()))
        is_same = known is not None and (len(known.rows), known.since, known.until) == (len(rows), since, until)
        if known is not None and is_same and _is_same_truth(known.rows, rows):
            # What was learnt from it stays as well.
            known.rows, known.loaded_at, known.is_settled = rows, at, True
            return known
        self._known = Reference(rows, since, until, at, choice, Watch.of(self._rules, rows), is_settled=is_same)
        return self._known

    def _chosen(self, at: datetime, choice: ReferenceChoice, known: Reference | None) -> Rows:
        rule, served = self._rules.reference, self._rules.current.sources
        if choice.kind != "backfill":
            since, until = choice.since or EPOCH, choice.until or at
            rows = self._source.rows(since, min(at, until), (*served, *rule.sources), rule.max_rows, self._rules.current.window_s)
            gaps = [Gap(part.since, part.until, part.scene) for part in choice.without]
            return rows.select(~is_left_out(rows.times_s, rows.scenes, rows.scene_names, gaps)).without_empty_scenes() if gaps else rows
        since, until = EPOCH, at
        if known is not None and known.is_settled:  # what has settled is read again where it lies, not searched for in the whole lake
            # Times of rows are finer than those of ranges: without the margin its first row would be lost, and all learnt anew.
            since, until = known.since - timedelta(milliseconds=1), min(at, known.until + timedelta(seconds=rule.window_s))
        rows = self._source.rows(since, until, rule.sources, rule.max_rows, self._rules.current.window_s)
        return rows if rows.agent_count >= rule.min_agents else self._oldest(at)

    def _oldest(self, at: datetime) -> Rows:
        sources, rule = self._rules.current.sources, self._rules.reference
        oldest = self._source.oldest(sources) or at
        until = min(oldest + timedelta(seconds=rule.window_s), at - timedelta(seconds=self._rules.current.window_s))
        return self._source.rows(min(oldest, until), until, sources, rule.max_rows, self._rules.current.window_s)


def _is_same_truth(known: Rows, rows: Rows) -> bool:
    """Whether as many values are present in each column; truth may reach the reference after its predictions."""
    return all(int(known.present(name).sum()) == int(rows.present(name).sum()) for name in rows.values)
