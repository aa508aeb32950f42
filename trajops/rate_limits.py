"""How much a client may ask for: token buckets, without a clock and without I/O.

A bucket holds up to `burst` tokens and gains `rate_per_s` of them a second; one prediction takes one. In any interval of t
seconds it gives out at most `burst + rate_per_s · t`, and a client that stays below its rate is never refused.
"""

from math import ceil
from typing import NamedTuple

from trajops.errors import BatchOverLimit, RateLimited

# What rounding may take from a client that asks exactly at its rate: lent once, never twice, because the bucket stays that much lower.
_ROUNDING = 1e-6


class Limit(NamedTuple):
    """Tokens a second, and the most that can be saved up. A rate of 0 means no limit."""

    rate_per_s: float
    burst: int

    def share(self, processes: int) -> "Limit":
        """What one of several processes may give out by itself; at least one token, so that it gives out any."""
        return Limit(self.rate_per_s / processes, max(1, self.burst // processes))


class Bucket:
    """The tokens of one client in this process. Use from one thread; times are seconds of any clock that only goes forward.

    Attributes:
        limit_id: whose tokens these are, the same in all processes.
        limit: what the client may do over all processes.
        share: what this process gives out by itself.
        tokens: present as of the last call; below 0 after more was given out elsewhere than there was.
        spent: tokens given out since the count was last set to 0.
        wanted: tokens of the largest request that was refused although it can fit; 0: none.
    """

    __slots__ = ("__weakref__", "_at_s", "_cap", "_rate_per_s", "limit", "limit_id", "share", "spent", "tokens", "wanted")

    def __init__(self, limit_id: str, limit: Limit, now_s: float, *, processes: int = 1) -> None:
        self.limit_id, self.limit, self.share = limit_id, limit, limit.share(processes)
        self._rate_per_s, self._cap = self.share.rate_per_s, float(self.share.burst)
        self.tokens, self._at_s = self._cap, now_s
        self.spent, self.wanted = 0, 0

    def take(self, count: int, now_s: float) -> bool:
        """Take tokens, all or none."""
        tokens, elapsed_s = self.tokens, now_s - self._at_s
        if elapsed_s > 0.0:
            tokens += elapsed_s * self._rate_per_s
            if tokens > self._cap:  # noqa: PLR1730 - `min` costs as much as all the rest
                tokens = self._cap
            self._at_s = now_s
        if tokens < count - _ROUNDING:
            self.tokens = tokens
            return False
        self.tokens = tokens - count
        self.spent += count
        return True

    def refusal(self, count: int, *, largest: int | None = None) -> RateLimited:
        """Why tokens were not given just now, and in how many seconds they will be there.

        Args:
            count: what was asked for.
            largest: most that can ever be given at once. Default: the burst of this process's share.
        """
        largest = self.share.burst if largest is None else largest
        if count > largest:
            return BatchOverLimit(
                f"{count} predictions in one request are more than the {largest} that this client may ask for at once; send it in parts"
            )
        self.wanted = max(self.wanted, count)
        retry_after_s = max(1, ceil((count - self.tokens) / self._rate_per_s))
        return RateLimited(
            f"this client may ask for {self.limit.rate_per_s:g} predictions a second and {self.limit.burst} at once; "
            f"try again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )

    @property
    def full_in_s(self) -> float:
        """Seconds until the share is whole again if nothing is taken."""
        return (self.share.burst - self.tokens) / self._rate_per_s
