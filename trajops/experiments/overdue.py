"""Whether a run of visits without truth, the newest of an experiment, is more than chance explains, also by night.

The share of visits with truth is not the same at all hours: by night fewer ask, and of these fewer are followed. So a run must be more
than chance explains by three counts: by all visits, as if their share were the same at all hours; by those of quiet hours that were seen;
and by a night that was not seen yet. Where it is quiet a run takes its time: one that comes faster than visits of quiet hours do is the
less theirs.
"""

from collections.abc import Sequence
from math import log

from scipy.stats import poisson

from trajops.experiments.evidence import log_level, log_run

# That truth is taken for late at all, however long the experiment runs, has this probability at most where the share never changes.
OVERDUE_ALPHA = 0.01
# An hour is quiet with fewer visits than this part of the usual ones, and quiet hours tell their share from so many visits on.
QUIET, MANY_QUIET = 2 / 3, 30
# A night that was not seen yet: the part of the usual visits that come, the share of these with truth, and how unlikely a run must be.
# There is one first night, of few runs, so that it needs no part of the level above.
NIGHT_PACE, NIGHT_SHARE, NIGHT_ALPHA = 1 / 4, 0.4, 1e-4


def is_beyond_chance(run: int, visits: int, known: int, hours: Sequence[tuple[int, int]] = (), lasts_s: float = 0.0) -> bool:
    """Whether chance does not explain so many visits without truth, one after the other.

    Args:
        run: visits since the newest truth, none of which got any.
        visits: before these.
        known: of the visits before, with truth.
        hours: these two hour by hour, of hours with any; the first and the last may be parts of hours. Empty: not known, and their share
            is taken to be the same at all hours.
        lasts_s: how long the run has lasted.
    """
    level = log_level(OVERDUE_ALPHA, visits + run)
    if log_run(run, visits + run, visits - known + run) >= level:
        return False
    if not hours:
        return True
    lasts_h = lasts_s / 3600
    # By visits: an hour counts as often as somebody asks in it, or the night would make the usual hour a quiet one.
    usual = sum(count**2 for count, _ in hours) / visits
    if run * log(1 - NIGHT_SHARE) + _log_pace(run, NIGHT_PACE * usual * lasts_h) >= log(NIGHT_ALPHA):
        return False
    quiet = [hour for hour in hours[1:-1] if hour[0] < QUIET * usual]
    trials, hits = (sum(hour[n] for hour in quiet) for n in (0, 1))
    if trials < MANY_QUIET:
        return True
    return log_run(run, trials + run, trials - hits + run) + _log_pace(run, trials / len(quiet) * lasts_h) < level


def _log_pace(run: int, expected: float) -> float:
    """Logarithm of the probability that at least so many come where so many are expected."""
    return float(poisson.logsf(run - 1, expected))
