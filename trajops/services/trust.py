"""Which traffic may be learnt from: the very rows are judged when they are, by the rules and the reference of the drift check."""

from collections.abc import Sequence
from datetime import timedelta

from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, LeftOut, Span
from trajops.drift.learnable import Judge, Tally
from trajops.ports import DriftSource
from trajops.services.drift_reference import DriftReference
from trajops.stores import UnitOfWorkFactory
from trajops.telemetry import Served

# So many rows are judged at most, of few steps of an agent four; of more some agents are, as many rows of each scene.
MOST_ROWS = 1_000_000
# How much of what came before a range tells whether something wrong just ends in it, seconds.
BEFORE_S = 600.0


class Trust:
    """Judges traffic before something is learnt from it, where drift is checked: here, or by another worker.

    Where nobody checks drift, there need be no reference, and everything counts.

    Args:
        source: reads the rows.
        reference: what they are held against; the one of the drift check.
        unit_of_work: opens a transaction.
        is_checked: whether drift is checked here.
    """

    def __init__(self, source: DriftSource, reference: DriftReference, unit_of_work: UnitOfWorkFactory, *, is_checked: bool) -> None:
        self._source = source
        self._reference = reference
        self._unit_of_work = unit_of_work
        self._is_checked = is_checked

    def left_out(self, whole: Span, sources: Sequence[Served]) -> LeftOut:
        """What of a range must not be learnt from: what is wrong, what nothing tells anything about, and the newest slice.

        Raises:
            Unavailable: if lake or database do not answer.
        """
        if not self._is_wanted():
            return LeftOut()
        judge = self._judge(whole)
        if judge is None:
            return LeftOut((Gap(*whole),), untold=1.0, because="has no reference to be judged by")
        return judge.left_out(*self._read(judge, whole, sources))

    def wrong(self, whole: Span, sources: Sequence[Served]) -> LeftOut:
        """What of a range is wrong, for a comparison that cannot wait: of two champions, the better of which shall answer now.

        Both predict the same tracks, and nothing is fitted on them. So what cannot be judged, and the newest slice, may be compared on,
        and going back does not come later by that slice. What most agents show to be wrong is left out all the same: in feet, whoever
        predicts less motion looks worse.

        Raises:
            Unavailable: if lake or database do not answer.
        """
        judge = self._judge(whole) if self._is_wanted() else None
        return LeftOut() if judge is None else judge.wrong(*self._read(judge, whole, sources))

    def _is_wanted(self) -> bool:
        if self._is_checked:
            return True
        with self._unit_of_work(read_only=True) as work:
            return any(one.job == "check_drift" and one.paused_at is None for one in work.jobs.schedules())

    def _judge(self, whole: Span) -> Judge | None:
        with self._unit_of_work(read_only=True) as work:
            choice = work.drift_settings.get().reference
        reference = self._reference.at(whole.until, choice)
        return None if reference is None else reference.judge

    def _read(self, judge: Judge, whole: Span, sources: Sequence[Served]) -> tuple[Rows, Span, Tally, float]:
        seen = Span(whole.since - timedelta(seconds=BEFORE_S), whole.until)
        tally = self._source.tally(*seen, sources, judge.step_s)
        rows = self._source.some(*seen, sources, judge.step_s, MOST_ROWS, by_scene=judge.rules.scenes.is_split)
        return rows, whole, tally, BEFORE_S
