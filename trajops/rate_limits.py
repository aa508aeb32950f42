"""How much a client may ask for: token buckets, without a clock and without I/O.

A bucket holds up to `burst` tokens and gains `rate_per_s` of them a second; one prediction takes one. In any interval of t
seconds it gives out at most `burst + rate_per_s · t`, and a client that stays below its rate is never refused.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple, Protocol

from trajops.errors import BatchOverLimit, RateLimited

# What rounding may take from a client that asks exactly at its rate: lent once, never twice, because the bucket stays that much lower.
_ROUNDING = 1e-6
_KEPT_S = 2.0


class Limit(NamedTuple):
    """Tokens a second, and the most that can be saved up. A rate of 0 means no limit."""

    rate_per_s: float
    burst: int

    def share(self, processes: int) -> "Limit":
        """What one of several processes may give out by itself; at least one token, so that it gives out any."""
        return Limit(self.rate_per_s / processes, max(1, self.burst // processes))


class Report(NamedTuple):
    """What one process tells of one client.

    Attributes:
        limit_id: whose tokens.
        limit: what the client may do over all processes.
        charge: tokens given out since the last report, less those that were reserved for it; below 0: the rest is given back.
        wanted: tokens to reserve for this process, as far as they are there.
    """

    limit_id: str
    limit: Limit
    charge: int
    wanted: int


class Settled(NamedTuple):
    """What is left for everybody after a report, and what this process alone may give out of the rest."""

    level: float
    reserved: int


class SharedQuota(Protocol):
    """The tokens of all clients, kept where every process reaches them."""

    def settle(self, reports: Sequence[Report]) -> list[Settled]:
        """Book the reports, each in one step; the answers are in their order.

        A level below 0 is a debt: several processes gave out the same tokens before they heard of each other. It is paid back
        before anything more is given, and it is never larger than the burst.

        Raises:
            Unavailable: if it cannot be reached.
        """
        ...


class Bucket:
    """The tokens of one client in this process. Use from one thread; times are seconds of any clock that only goes forward.

    By itself a process gives out its share of the limit. Where the quota is shared, reports and what they are answered with put the
    tokens right every so often: whatever happens to the shared quota, the process goes on from what it has.

    Attributes:
        limit_id: whose tokens these are, the same in all processes.
        limit: what the client may do over all processes.
        share: what this process gives out by itself.
        largest: most tokens that can ever be given at once.
        tokens: present as of the last call; below 0 after more was given out elsewhere than there was.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_asked_s",
        "_at_s",
        "_cap",
        "_processes",
        "_rate_per_s",
        "_refused",
        "_reserved",
        "_spent",
        "largest",
        "limit",
        "limit_id",
        "share",
        "tokens",
    )

    def __init__(self, limit_id: str, limit: Limit, now_s: float, *, processes: int = 1, is_shared: bool = False) -> None:
        self.limit_id, self.limit, self.share = limit_id, limit, limit.share(processes)
        self.largest = limit.burst if is_shared else self.share.burst
        self._processes = processes
        self._rate_per_s, self._cap = self.share.rate_per_s, float(self.share.burst)
        self.tokens, self._at_s = self._cap, now_s
        self._spent = self._refused = self._reserved = self._asked = 0
        self._asked_s = now_s

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
        self._spent += count
        return True

    def refusal(self, count: int) -> RateLimited:
        """Why tokens were not given just now, and in how many seconds they will be there.

        Args:
            count: what was asked for.
        """
        if count > self.largest:
            return BatchOverLimit(
                f"{count} predictions in one request are more than the {self.largest} that this client may ask for; send it in parts"
            )
        self._refused += count
        self._asked, self._asked_s = max(self._asked, count), self._at_s
        rate_per_s = self._rate_per_s if count <= self.share.burst else self.limit.rate_per_s
        retry_after_s = max(1, ceil((count - self.tokens) / rate_per_s))
        return RateLimited(
            f"this client may ask for {self.limit.rate_per_s:g} predictions a second and {self.limit.burst} at once; "
            f"try again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )

    @property
    def full_in_s(self) -> float:
        """Seconds until the share is whole again if nothing is taken."""
        return (self.share.burst - self.tokens) / self._rate_per_s

    def report(self, now_s: float) -> Report | None:
        """What happened since the last report; None: nothing that others must know.

        As much is wanted as was asked for since: tokens follow the client to the process that it talks to. A request that was refused
        as a whole keeps its tokens for two seconds, so that they are there when it comes again.
        """
        if self._spent >= self._asked or now_s - self._asked_s > _KEPT_S:
            self._asked = 0
        wanted = min(self.limit.burst, max(self._asked, self._spent + self._refused))
        if wanted == self._spent == self._reserved == 0:
            return None
        charge = self._spent - self._reserved
        self._spent = self._refused = self._reserved = 0
        return Report(self.limit_id, self.limit, charge, wanted)

    def settle(self, settled: Settled, now_s: float) -> None:
        """Go on from what the shared quota has left; what was given out while it was asked comes off."""
        self._reserved = settled.reserved
        self.tokens = settled.level / self._processes + settled.reserved - self._spent
        self._cap, self._at_s = max(float(self.share.burst), self.tokens), now_s

    def go_on_alone(self) -> None:
        """Give out the own share only: the shared quota is away. What was reported to it is settled, because nobody gave more."""
        self._cap = float(self.share.burst)


def booked(level: float, elapsed_s: float, report: Report) -> Settled:
    """What a shared quota is after a report.

    Args:
        level: before it; the burst for a client that was not heard of yet.
        elapsed_s: since the level was booked.
        report: of one process.
    """
    rate_per_s, burst = report.limit
    left = min(burst, level + max(0.0, elapsed_s) * rate_per_s) - report.charge
    left = max(-float(burst), min(float(burst), left))
    reserved = min(report.wanted, max(0, floor(left)))
    return Settled(left - reserved, reserved)
