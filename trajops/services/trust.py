"""Which traffic may be learnt from: the very rows are judged when they are, by the rules and the reference of the drift check."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from trajops.drift.columns import Rows
from trajops.drift.gaps import Gap, LeftOut, Span
from trajops.drift.learnable import Judge, Tally
from trajops.ports import DriftSource
from trajops.services.drift_reference import DriftReference
from trajops.stores import UnitOfWorkFactory
from trajops.telemetry import Served

# Of a range with more rows some agents of the busiest scenes are judged, each of them whole: most agents say what they all do.
MAX_ROWS = 200_000
# But no fewer of each scene than tell it minute by minute, up to so many rows in all.
ROWS_OF_SCENE, MOST_ROWS = 10_000, 1_500_000
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
        counts = {scene: sum(one.predictions for one in found.values()) for scene, found in tally.items()}
        shares = fair_shares(counts, max(MAX_ROWS, min(MOST_ROWS, ROWS_OF_SCENE * len(counts))))
        if not judge.rules.scenes.is_split:  # then all of them count alike
            shares = dict.fromkeys(counts, min(1.0, MAX_ROWS / max(1, sum(counts.values()))))
        return self._source.some(*seen, sources, shares), whole, tally, BEFORE_S


def fair_shares(counts: Mapping[str, int], most: int) -> dict[str, float]:
    """What share of each scene makes so many rows of all: as many of each, where it has them, so that a quiet scene stays whole.

    Args:
        counts: rows by scene.
        most: rows in all.
    """
    shares, left = {}, float(most)
    for number, (scene, count) in enumerate(sorted(counts.items(), key=lambda one: one[1])):
        allowed = left / (len(counts) - number)
        shares[scene] = min(1.0, allowed / max(1, count))
        left -= min(count, allowed)
    return shares
