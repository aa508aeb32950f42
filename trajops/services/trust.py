"""Which traffic may be learnt from, as the drift checks on record have it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from trajops.drift.doubt import Span, doubtful, joined, outside, vouched
from trajops.stores import UnitOfWork


@dataclass(frozen=True, slots=True)
class Trust:
    """What is asked of drift checks before traffic is learnt from.

    Attributes:
        window_s: newest part of the traffic that a check tells units and quality by, seconds.
        longest_s: how much it looks at for that where agents are few, seconds.
        is_checked: whether checks are made here; where no other worker makes them either, everything counts that was not found wrong.
    """

    window_s: float = 60.0
    longest_s: float = 300.0
    is_checked: bool = True

    @property
    def margin_s(self) -> float:
        """For how long before something is learnt from its checks must be remembered, seconds."""
        return 2 * max(self.window_s, self.longest_s)

    def doubtful(self, work: UnitOfWork, since: datetime) -> list[Span]:
        """What was found wrong from a time on."""
        return doubtful(work.drift_checks.suspicious(since - timedelta(seconds=self.margin_s)), self.window_s)

    def left_out(self, work: UnitOfWork, whole: Span) -> list[Span]:
        """What of a range must not be learnt from, in order: what was found wrong, and what no check has vouched for."""
        wrong = self.doubtful(work, whole.since)
        if not self.is_checked and not any(one.job == "check_drift" and one.paused_at is None for one in work.jobs.schedules()):
            return wrong
        checks = work.drift_checks.judged(whole.since - timedelta(seconds=self.margin_s))
        return joined([*wrong, *outside(vouched(checks, self.window_s), whole)])
