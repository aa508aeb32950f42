"""Whether a failed try is repeated, and after which pause. Pure: no clock, no socket, no chance of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Literal

# What a proxy or the API says while it is briefly away, or has too much to do.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
# Of these, what the API says before it does anything.
REFUSALS = frozenset({429, 503})
# Refused however often it is sent.
FINAL_CODES = frozenset({"batch_over_limit"})
_MOST_DOUBLINGS = 32

RetryPredictions = Literal["never", "refused", "lost"]


class Retry(Enum):
    """What may be done about a try that failed, by what the call does."""

    READ = "changes nothing: may be repeated after any failure"
    KEYED = "carries an Idempotency-Key, so that it is done once however often it arrives: may be repeated after any failure"
    RECORDED = "leaves a record, as a prediction does: repeated as `retry_predictions` says"
    ONCE = "must not be done twice, and cannot be recognised: repeated only if it was surely never sent"


class Kind(Enum):
    """How a try failed."""

    UNSENT = "there was no connection, so nothing was sent"
    LOST = "it may have been sent, and no whole answer came"
    ANSWERED = "an answer came, and it is a problem"


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that failed.

    Attributes:
        kind: how.
        status: of the answer, if one came.
        code: of its problem document; None: the answer is not the API's own.
        retry_after_s: what its Retry-After says, seconds.
    """

    kind: Kind
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """When a call is tried again.

    Attributes:
        attempts: tries of one call, at least 1.
        base_s: the longest pause after the first try; it doubles with each further one.
        longest_wait_s: the longest pause, and the longest Retry-After that is waited for.
        predictions: "refused": a prediction is repeated where it is certain that nothing was predicted: the connection was never made,
            or the API refused it (429 or 503) and said when to come back. "lost": also where its answer was lost, which may record it
            twice. "never": not at all.
    """

    attempts: int = 3
    base_s: float = 0.1
    longest_wait_s: float = 10.0
    predictions: RetryPredictions = "refused"

    def __post_init__(self) -> None:
        """Refuse what would never send, or wait for less than nothing."""
        if self.attempts < 1 or self.base_s < 0 or self.longest_wait_s < 0:
            raise ValueError("attempts must be at least 1, base_s and longest_wait_s at least 0")

    def pause_s(self, retry: Retry, failure: Failure, *, tries: int, left_s: float, chance: float) -> float | None:
        """How long to wait before the next try; None: give up.

        Exponential backoff with full jitter, after what Retry-After asks for. A pause always ends before the deadline.

        Args:
            retry: what the call allows.
            failure: of the newest try.
            tries: tries so far, from 1.
            left_s: until the deadline, seconds.
            chance: uniform in [0, 1).
        """
        if tries >= self.attempts or not self._may_repeat(retry, failure):
            return None
        asked_s = failure.retry_after_s or 0.0
        ceiling_s = min(self.longest_wait_s, self.base_s * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
        pause_s = asked_s + chance * ceiling_s
        return pause_s if asked_s <= self.longest_wait_s and pause_s < left_s else None

    def _may_repeat(self, retry: Retry, failure: Failure) -> bool:
        if failure.kind is Kind.ANSWERED and (failure.status not in RETRIED_STATUSES or failure.code in FINAL_CODES):
            return False
        if retry in {Retry.READ, Retry.KEYED}:
            return True
        if retry is Retry.ONCE:
            return failure.kind is Kind.UNSENT
        if failure.kind is Kind.UNSENT or _is_refusal(failure):
            return self.predictions != "never"
        return self.predictions == "lost"


def _is_refusal(failure: Failure) -> bool:
    """Whether the API itself says that it did nothing, and when to come back. A proxy's 503 has no problem document."""
    return failure.status in REFUSALS and failure.code is not None and failure.retry_after_s is not None


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """A Retry-After header in seconds, from seconds or from a date; None: there is none that can be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
