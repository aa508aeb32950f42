"""What is counted and summed of an experiment, the input of its verdict, and of the traffic that one may be launched on."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trajops.experiments.sums import ArmSums, PairSums


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """Of the units that one arm has answered. Units that were answered in several arms are not among them.

    Attributes:
        variant: name of the arm.
        units: that were answered.
        sums: of the metric and its covariate, over units with an outcome.
        predictions: answered.
        due: of these, old enough to have truth.
        joined: of these, with truth.
        failed_units: units that the baseline had to answer at least once.
        slow_units: units with a slow answer.
        means: of ADE, FDE, miss rate and coverage over units, where known.
        latency_ms: median, 95th and 99th percentile.
        pairs: of a shadow, of the metric over units that both the control and this arm have predicted.
        units_since: units with a scored prediction that was answered since the figures' `counted_since`; of a treatment in shadow, one that
            both have predicted.
        label_delay_s: median time from an answer to its first whole outcome; None: there is none.
    """

    variant: str
    units: int = 0
    sums: ArmSums = field(default_factory=lambda: ArmSums(0, 0, 0, 0, 0, 0))
    predictions: int = 0
    due: int = 0
    joined: int = 0
    failed_units: int = 0
    slow_units: int = 0
    means: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
    latency_ms: tuple[float | None, float | None, float | None] = (None, None, None)
    pairs: PairSums | None = None
    units_since: int = 0
    label_delay_s: float | None = None

    @property
    def join_rate(self) -> float | None:
        """Share of the predictions that got truth."""
        return self.joined / self.due if self.due else None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one experiment at one moment.

    Attributes:
        at: the moment.
        arms: in the order of the plan.
        jumpers: units that were answered in several arms.
        last_outcome_at: when the newest outcome was scored.
        counted_since: since when `units_since` of the arms is counted; None: it is not.
        enrolled_since: since when its units are enrolled, without a pause or the kill switch; None: from the beginning, or nobody is.
        overdue_units: units that were answered after both of these, long enough ago to have truth; none of these answers has any.
        overdue_visits: their visits: a unit counts once in three minutes, however often it asks in these.
        visits: visits of all units before, of answers that are old enough to have truth.
        known_visits: of these, with truth of at least one answer.
        overdue_stays: of the overdue units: a unit counts once in twenty minutes since truth is waited for.
        hours: `visits` and `known_visits` of each hour of the clock that has any, in order; empty: they were not counted by hour.
    """

    at: datetime
    arms: tuple[ArmFigures, ...]
    jumpers: int = 0
    last_outcome_at: datetime | None = None
    counted_since: datetime | None = None
    enrolled_since: datetime | None = None
    overdue_units: int = 0
    overdue_visits: int = 0
    visits: int = 0
    known_visits: int = 0
    overdue_stays: int = 0
    hours: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """Of all units of a range of served traffic: what an experiment on them can count on.

    Attributes:
        since: begin of what was looked at.
        until: its end.
        units: that were answered.
        predictions: answered.
        due: of these, old enough to have truth.
        joined: of these, with truth.
        sums: of the metric and its covariate, over units with an outcome; of all units, as if they were one arm.
    """

    since: datetime
    until: datetime
    units: int
    predictions: int
    due: int
    joined: int
    sums: ArmSums

    @property
    def join_rate(self) -> float | None:
        """Share of the predictions that got truth."""
        return self.joined / self.due if self.due else None

    @property
    def units_per_day(self) -> float | None:
        """Units that come in a day, if each comes once: where they come back, look at a day or more. None for an empty range."""
        days = (self.until - self.since) / timedelta(days=1)
        return self.units / days if days > 0 else None
