"""Each client's bucket, hung on the client that the gate remembers, and what the answers say about it.

The header fields are those of the IETF draft on RateLimit header fields, as structured fields: `RateLimit-Policy` names what a
client may do over all processes, `RateLimit` what it may do now in the process that answers.
"""

import time
from dataclasses import dataclass, field, fields
from math import ceil
from weakref import WeakValueDictionary

from trajops.clients import Client
from trajops.errors import RateLimited
from trajops.rate_limits import Bucket, Limit

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class Refused:
    """What was asked for by clients that had used up their limits."""

    requests: int = 0
    predictions: int = 0


class ClientBucket(Bucket):
    """A bucket with its header fields: the policy is rendered once, what is left when it is another than last time.

    A client that stays well below its rate finds its bucket full each time, so that nothing is formatted for it.
    """

    __slots__ = ("_counted", "_rendered", "_rendered_tokens", "policy")

    def __init__(
        self, limit_id: str, limit: Limit, now_s: float, *, processes: int = 1, is_shared: bool = False, counted: Refused | None = None
    ) -> None:
        super().__init__(limit_id, limit, now_s, processes=processes, is_shared=is_shared)
        self._counted = counted or Refused()
        window_s = max(1, ceil(limit.burst / limit.rate_per_s))
        self.policy: Header = (b"ratelimit-policy", b'"client";q=%d;w=%d' % (limit.burst, window_s))
        self._rendered, self._rendered_tokens = _rendered(self.tokens, 0), self.tokens

    def refusal(self, count: int) -> RateLimited:
        """Why tokens were not given just now, which is counted."""
        self._counted.requests += 1
        self._counted.predictions += count
        return super().refusal(count)

    def remaining(self) -> Header:
        """What is left, and in how many seconds all of it is back."""
        tokens = self.tokens
        if tokens != self._rendered_tokens:
            self._rendered, self._rendered_tokens = _rendered(tokens, self.full_in_s + 1.0), tokens
        return self._rendered

    def remaining_after_refusal(self, error: Exception) -> Header:
        """What is left; where the refusal says when to try again, the field says the same."""
        retry_after_s = error.details.get("retry_after_s") if isinstance(error, RateLimited) else None
        return self.remaining() if retry_after_s is None else _rendered(self.tokens, retry_after_s)


def _rendered(tokens: float, seconds: float) -> Header:
    """The field; fractions are cut."""
    return (b"ratelimit", ('"client";r=%d;t=%d' % (tokens if tokens > 0.0 else 0, seconds)).encode())  # noqa: UP031 - cuts, and is faster


@dataclass(frozen=True, slots=True)
class Admitted(Client):
    """A client that was let in, with the bucket that it takes its predictions from; None: nothing limits it."""

    bucket: ClientBucket | None = field(default=None, compare=False, repr=False)


class Limiter:
    """Gives every client its bucket; the credentials of one client share one.

    Args:
        default: limit of clients without one of their own; a rate of 0 limits nobody.
        processes: how many API processes share it.
        is_shared: whether they tell each other what they gave out.

    Attributes:
        buckets: one for each client that is remembered.
        refused: what was asked for in vain.
    """

    def __init__(self, default: Limit, *, processes: int = 1, is_shared: bool = False) -> None:
        self._default = default
        self._processes = processes
        self._is_shared = is_shared
        self.refused = Refused()
        # A bucket lives as long as a remembered client holds it, so that the bound on those bounds these.
        self.buckets: WeakValueDictionary[str, ClientBucket] = WeakValueDictionary()

    def admitted(self, client: Client) -> Admitted:
        """The client with its bucket."""
        return Admitted(**{one.name: getattr(client, one.name) for one in fields(Client) if one.init}, bucket=self._bucket(client))

    def _bucket(self, client: Client) -> ClientBucket | None:
        limit = client.limit or self._default
        if limit.rate_per_s == 0:
            return None
        bucket = self.buckets.get(client.limit_id)
        if bucket is None or bucket.limit != limit:
            now_s = time.perf_counter()
            bucket = ClientBucket(client.limit_id, limit, now_s, processes=self._processes, is_shared=self._is_shared, counted=self.refused)
            self.buckets[client.limit_id] = bucket
        return bucket
